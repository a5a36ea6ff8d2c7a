"""A connection that its server closes is not used again, and a request that never left costs nothing."""

from __future__ import annotations

import asyncio
import collections
import time
from contextlib import closing

import pytest

from batch import runner, spec
from batch.transport import pool
from batch.transport.client import Client
from batch.transport.endpoint import Endpoint, target
from tests import virtual
from tests.fake_api import FakeAPI, Step
from tests.reading import rows, texts, write
from tests.transport.test_client import request


@pytest.fixture
def api():
    """A server in the loop of its client, and in the time of that."""
    server = FakeAPI(in_a_thread=False)
    yield server
    server.close()


def played(api, *, requests=60, at_a_time=4, stream=False, pause=0.0, connections=64):
    """The faults of many requests, so many at a time, with a pause before each but the first."""
    table = Endpoint(base_url=api.url)
    found = []

    async def worker(session, count):
        for _ in range(count):
            asked = request(stream=True) if stream else request()
            found.append((await session.send(asked)).fault)
            await asyncio.sleep(pause)

    async def story():
        async with api.serving(), Client(table, target(table, {}), connections) as session:
            workers = (worker(session, requests // at_a_time) for _ in range(at_a_time))
            await asyncio.gather(*workers)

    virtual.play(story())
    return collections.Counter(found)


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("connections", [4, 64])
@pytest.mark.parametrize("seconds", [0.0, 0.001, 0.005, 0.02])
def test_a_server_that_closes_after_an_answer_is_asked_once(api, seconds, connections, stream):
    api.closes_after = seconds
    assert played(api, stream=stream, connections=connections) == {None: 60}
    assert len(api.ledger) == api.connections == 60


@pytest.mark.parametrize("pause", [0.0, 0.03, 0.2, 1.0])
@pytest.mark.parametrize("seconds", [0.05, 0.15])
def test_a_server_that_closes_later_is_known_after_a_few_answers(api, seconds, pause):
    api.closes_after = seconds
    faults = played(api, pause=pause)
    assert faults["reused_socket"] <= 12 and faults[None] >= 48


def test_a_server_that_closes_no_more_is_trusted_again(api):
    api.closes_after = 0.0
    table = Endpoint(base_url=api.url)

    async def story():
        async with api.serving(), Client(table, target(table, {}), connections=1) as session:
            for n in range(40):
                api.closes_after = 0.0 if n < 10 else None
                await session.send(request())
                await asyncio.sleep(pool.REST)
            api.reset_ledger()
            for _ in range(20):
                await session.send(request())

    virtual.play(story())
    assert api.connections <= 1


def test_a_server_that_keeps_connections_is_asked_on_few(api):
    assert played(api, connections=4) == {None: 60}
    assert api.connections == 4


def test_one_connection_is_enough_for_one_request_at_a_time(api):
    assert played(api, at_a_time=1, connections=1) == {None: 60}
    assert api.connections == 1


def test_rest_costs_no_more_than_a_moment(api):
    api.latency = 1.0
    began = virtual.Clock().now
    played(api, connections=4)
    taken = max(asked.at for asked in api.ledger) - began
    assert taken < 14 * 1.0 + 4 * pool.REST


@pytest.mark.parametrize("pause", [0.3, 0.74, 0.999, 1.0, 1.001, 1.5])
def test_an_idle_timeout_of_a_second_costs_nothing(api, pause):
    api.keeps_idle = 1.0
    assert played(api, pause=pause) == {None: 60}
    assert len(api.ledger) == 60


def test_an_idle_timeout_is_learnt(api):
    api.keeps_idle = 1.0
    played(api, pause=0.9, at_a_time=1, requests=10)
    seen = api.connections
    api.reset_ledger()
    played(api, pause=1.2, at_a_time=1, requests=10)
    assert (seen, api.connections) == (1, 10)


@pytest.mark.parametrize(
    ("said", "pause", "connections"),
    [
        ("timeout=2", 1.0, 2),
        ("timeout=2, max=100", 1.7, 10),
        ("TIMEOUT = 2", 1.7, 10),
        ("max=5, timeout=1", 0.8, 10),
        ("timeout=0", 0.0, 10),
        ("timeout=600", 3.0, 2),
        ("timeout=600", 4.5, 10),
        ("timeout=99999999999999999999", 3.0, 2),
        ("timeout=soon", 3.0, 2),
        ("", 3.0, 2),
    ],
)
def test_no_connection_is_used_for_longer_than_its_server_announces(api, said, pause, connections):
    api.always = Step(headers={"Keep-Alive": said})
    assert played(api, pause=pause, at_a_time=1, requests=10) == {None: 10}
    assert (api.connections == 10) == (connections == 10) and api.connections <= connections


@pytest.mark.parametrize(
    "raw",
    [
        b"HTTP/1.0 200 OK\r\nContent-Length: 2\r\n\r\n{}",
        b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 2\r\n\r\n{}",
    ],
)
def test_what_is_announced_to_close_is_not_used_again(api, raw):
    api.always = Step(raw=raw)
    assert played(api) == {None: 60}
    assert api.connections == 60


@pytest.mark.parametrize("limits", [{}, {"max_cost_usd": 0.004}], ids=["no cap", "a cap"])
@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("seconds", [0.0, 0.005])
def test_a_run_at_a_server_that_closes_counts_nothing_twice(api, tmp_path, seconds, stream, limits):
    api.closes_after = seconds
    prompts = write(tmp_path / "in.jsonl", texts(40))
    tables = {
        "input": str(prompts),
        "prompt": {"user": "{{ text }}"},
        "request": {"model": "m", "max_tokens": 16, "stream": stream},
        "endpoint": {"base_url": api.url, "api_key_env": ""},
        "limits": {"concurrency": 4, **limits},
        "prices": {"m": {"input": 1, "output": 1}},
    }
    ended = runner.run(spec.check(tables), tmp_path / "run", *virtual.how(api))
    found = rows(tmp_path / "run")
    assert ended.exit_code == 0 and len(api.ledger) == 40
    assert {row["attempts"] for row in found} == {1}
    assert not any(row["maybe_billed_attempts"] or row["unconfirmed_tokens"] for row in found)


async def test_an_end_that_came_while_the_loop_was_busy_is_seen_before_a_request_leaves():
    with closing(FakeAPI()) as api:
        api.keeps_idle = 0.05
        table = Endpoint(base_url=api.url)
        async with Client(table, target(table, {}), connections=1) as session:
            for _ in range(3):
                assert (await session.send(request())).fault is None
                time.sleep(0.2)  # noqa: ASYNC251
        assert (len(api.ledger), api.connections) == (3, 3)

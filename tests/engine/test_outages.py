"""An endpoint that goes away for a while costs time, and no row.

These runs, and the server they ask, have a time of their own: what is counted here is the same on a
busy machine.
"""

from __future__ import annotations

import asyncio
import errno
import os
import socket
from collections.abc import Callable, Coroutine, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from batch import runner, spec
from batch.planning.terms import Terms
from batch.reports.summary import Ended
from tests import virtual
from tests.fake_api import FakeAPI, Step, answer_to
from tests.reading import completions, rows, texts, write

SECONDS = 20.0
"""How long an outage takes: longer than it is to the first probe."""


Happening = Callable[[], Coroutine[Any, Any, object]]


@pytest.fixture
def api() -> Iterator[FakeAPI]:
    """A server that answers in the loop of the run that asks it."""
    api = FakeAPI(in_a_thread=False)
    yield api
    api.close()


def ask(
    api: FakeAPI,
    folder: Path,
    prompts: list[str],
    *meanwhile: Happening,
    yes: bool = False,
    limits: dict[str, Any] | None = None,
    **settings: Any,
) -> Ended:
    """A run in `folder`, and what happens `meanwhile`; `settings` are those of its retries."""
    job = job_of(api.url, folder, prompts, limits, settings)
    return runner.run(job, folder / "run", *virtual.how(api, *meanwhile, yes=yes))


def job_of(
    url: str,
    folder: Path,
    prompts: list[str],
    limits: dict[str, Any] | None = None,
    retry: dict[str, Any] | None = None,
) -> spec.Job:
    tables: dict[str, Any] = {
        "input": str(write(folder / "in.jsonl", prompts)),
        "prompt": {"user": "{{ text }}"},
        "request": {"model": "fake-model"},
        "endpoint": {"base_url": url, "api_key_env": ""},
        "limits": {"concurrency": 8} if limits is None else limits,
        "retry": {"first_delay": 0.001, "max_delay": 0.01, **(retry or {})},
    }
    return spec.check(tables)


def outage(api: FakeAPI, after: int, step: Step) -> Happening:
    """From the answer `after` on, everything is answered by `step`, for a while."""

    async def happens() -> None:
        await virtual.until(lambda: len(api.ledger) > after)
        api.always = step
        await asyncio.sleep(SECONDS)
        api.always = None

    return happens


def assert_all_answered(ended: Ended, prompts: list[str]) -> None:
    assert ended.exit_code == 0, ended.stopped
    assert completions(ended.run.path) == [(at, answer_to(text)) for at, text in enumerate(prompts)]


@pytest.mark.parametrize("status", [401, 404, 503])
def test_an_endpoint_that_fails_for_a_while_costs_no_row(api, tmp_path, status):
    api.latency, prompts = 0.01, texts(200)
    assert_all_answered(ask(api, tmp_path, prompts, outage(api, 50, Step(status))), prompts)
    refused = len(api.ledger) - len(prompts)
    # answers that were on their way at the first refusals begin the series of 20 anew
    assert refused <= 8 + 8 + 20 + 8 + SECONDS, "probes are few"


def test_answers_that_were_on_their_way_when_an_outage_began_cost_no_row(api, tmp_path):
    api.latency, prompts = 0.1, texts(200)
    assert_all_answered(ask(api, tmp_path, prompts, outage(api, 50, Step(503))), prompts)


def test_an_endpoint_that_is_gone_for_a_while_costs_no_row(api, tmp_path):
    """`api` is another, which nobody asks."""
    first, prompts = FakeAPI(in_a_thread=False), texts(200)
    first.latency = 0.01

    async def goes_and_comes_back() -> None:
        async with first.serving():
            await virtual.until(lambda: len(first.ledger) > 50)
        first.close()
        await asyncio.sleep(SECONDS)
        with closing(FakeAPI(first.port, in_a_thread=False)) as back:
            async with back.serving():
                await asyncio.Event().wait()

    how = virtual.how(api, goes_and_comes_back)
    ended = runner.run(job_of(first.url, tmp_path, prompts), tmp_path / "run", *how)
    assert_all_answered(ended, prompts)
    assert ended.seconds > SECONDS and api.ledger == []


def test_an_endpoint_that_stays_down_stops_the_run_which_can_be_resumed(api, tmp_path):
    api.latency, prompts = 0.01, texts(100)
    ended = ask(api, tmp_path, prompts, outage(api, 50, Step(503)), max_wait=0.5)
    assert ended.exit_code == 3
    assert "the endpoint has been down for" in str(ended.stopped)
    assert {row["status"] for row in rows(ended.run.path)} == {"ok"}
    api.always = None
    assert_all_answered(ask(api, tmp_path, prompts), prompts)


def test_an_endpoint_that_never_was_there_stops_the_run(tmp_path):
    with closing(socket.create_server(("127.0.0.1", 0))) as listener:
        port = listener.getsockname()[1]
    job = job_of(f"http://127.0.0.1:{port}/v1", tmp_path, texts(10), retry={"max_wait": 0.3})
    how = Terms(environment={})
    ended = runner.run(job, tmp_path / "run", how)
    assert (ended.exit_code, rows(ended.run.path)) == (3, [])
    assert os.strerror(errno.ECONNREFUSED) in str(ended.stopped)


@pytest.mark.parametrize(("status", "error_class"), [(403, "blocked"), (404, "invalid_request")])
def test_a_row_that_alone_is_turned_away_fails_alone(api, tmp_path, status, error_class):
    prompts = texts(600)
    prompts[100] = "the odd one"
    api.latency, api.script = 0.05, {"odd": [status, ...]}
    ended = ask(api, tmp_path, prompts)
    failed = [row for row in rows(ended.run.path) if row["status"] == "failed"]
    assert [(row["row"], row["error_class"]) for row in failed] == [(100, error_class)]
    assert (ended.exit_code, api.asked("odd")) == (1, 3)


def test_a_row_that_always_fails_does_not_hold_the_others_up(api, tmp_path):
    prompts = [*texts(50), "the odd one"]
    api.script = {"odd": [500, ...]}
    ended = ask(api, tmp_path, prompts, max_attempts=30)
    assert ended.seconds < 5
    assert [row["row"] for row in rows(ended.run.path) if row["status"] == "failed"] == [50]
    assert api.asked("odd") == 30


@pytest.mark.parametrize("attempts", [4, 30])
def test_the_last_two_rows_that_always_fail_are_no_outage(api, tmp_path, attempts):
    prompts = [*texts(50), "the odd one", "another odd one"]
    api.script = {"odd": [500, ...]}
    limits, retry = {"concurrency": 2}, {"max_attempts": attempts, "max_wait": 5}
    ended = ask(api, tmp_path, prompts, limits=limits, **retry)
    assert [row["row"] for row in rows(ended.run.path) if row["status"] == "failed"] == [50, 51]
    assert ended.exit_code == 1


@pytest.mark.parametrize(("empty", "exit_code"), [(24, 0), (25, 3)])
def test_a_run_whose_first_answers_are_mostly_empty_stops(api, tmp_path, empty, exit_code):
    prompts = [*(f"empty {at}" for at in range(empty)), *texts(50)]
    api.script = {"empty": [Step(content=""), ...]}
    ended = ask(api, tmp_path, prompts)
    assert ended.exit_code == exit_code
    assert ("are empty" in str(ended.stopped)) == (exit_code == 3)
    assert ask(api, tmp_path, prompts, yes=True).exit_code == 0
    assert len(rows(ended.run.path)) == len(prompts) == len(api.ledger)


def test_nobody_sends_before_retry_after_is_over_where_all_are_refused(api, tmp_path):
    api.latency, prompts = 0.3, texts(30)
    refused = Step(429, headers={"retry-after": "1"})
    api.script = {prompt: [refused] for prompt in prompts[:8]}
    ended = ask(api, tmp_path, prompts, limits={"concurrency": 8}, first_delay=0.01)
    assert_all_answered(ended, prompts)
    refused_at = max(asked.at for asked in api.ledger if asked.status == 429)
    since = [asked.at - refused_at for asked in api.ledger]
    assert sum(moment <= 0 for moment in since) == 8
    assert min(moment for moment in since if moment > 0) >= 1.0


def test_a_row_that_alone_is_refused_waits_alone(api, tmp_path):
    api.latency, prompts = 0.1, texts(30)
    api.script = {prompts[0]: [Step(429, headers={"retry-after": "1"})]}
    ended = ask(api, tmp_path, prompts, limits={"concurrency": 8}, first_delay=0.01)
    assert_all_answered(ended, prompts)
    first, again = [asked.at for asked in api.ledger if asked.prompt == prompts[0]]
    assert again - first >= 1.0
    assert sum(first < asked.at < first + 1.0 for asked in api.ledger) >= 22


@pytest.mark.parametrize("retry_after_ms", [True, False])
def test_a_limit_nobody_declared_costs_no_row_and_few_refusals(api, tmp_path, retry_after_ms):
    api.latency, prompts, in_flight = 0.02, texts(600), 200
    api.requests_per_second, api.retry_after_ms = 100, retry_after_ms
    limits = {"concurrency": in_flight}
    ended = ask(api, tmp_path, prompts, limits=limits, first_delay=0.5, max_delay=60)
    assert_all_answered(ended, prompts)
    # what leaves before the first refusal is heard of, and one in ten
    assert len(api.ledger) <= in_flight + 1.1 * len(prompts)


@pytest.mark.parametrize("known", ["configured", "announced"])
@pytest.mark.parametrize("what", ["requests", "tokens"])
def test_a_known_limit_is_used_and_hardly_ever_refuses(api, tmp_path, known, what):
    prompts = texts(300)
    tokens = 10  # of each row: 2 of the prompt, 3 of its frame, 5 of the answer
    api.latency, api.announces = 0.02, known == "announced"
    limits = {}
    if what == "requests":
        api.requests_per_second = 100
    else:
        api.tokens_per_second = 100 * tokens
    if known == "configured":
        limits = {f"{what}_per_minute": 6_000 * (1 if what == "requests" else tokens)}
    assert_all_answered(ask(api, tmp_path, prompts, limits=limits), prompts)
    refused = sum(asked.status == 429 for asked in api.ledger)
    assert refused <= 20, "what was sent before it was announced, or an answer's tokens known"


def test_a_row_larger_than_a_minutes_tokens_fails_at_once(api, tmp_path):
    prompts = ["x" * 4_000, *texts(5)]
    ended = ask(api, tmp_path, prompts, limits={"tokens_per_minute": 900})
    failed = [row for row in rows(ended.run.path) if row["status"] == "failed"]
    assert [(row["row"], row["error_class"], row["attempts"]) for row in failed] == [
        (0, "too_large", 0)
    ]
    assert len(api.ledger) == 5


@pytest.mark.parametrize(("faults", "most"), [(0.01, 1.03), (0.2, 1.35)])
def test_passing_faults_cost_hardly_more_than_themselves(api, tmp_path, faults, most):
    prompts, every = texts(2_000), round(1 / faults)
    api.script = {text: [503] for text in prompts[every - 1 :: every]}
    ended = ask(api, tmp_path, prompts, limits={"concurrency": 50})
    assert_all_answered(ended, prompts)
    assert len(api.ledger) <= most * len(prompts)


def test_a_run_whose_rows_are_mostly_invalid_stops(api, tmp_path):
    prompts = [*texts(50), *(f"odd {at}" for at in range(1_500))]
    api.script = {"odd": [400, ...]}
    ended = ask(api, tmp_path, prompts)
    assert ended.exit_code == 3
    assert "50 requests were refused alike" in str(ended.stopped)
    assert [row["status"] for row in rows(ended.run.path)] == ["ok"] * 50
    assert len(api.ledger) <= 50 + 50 + 8
    ended = ask(api, tmp_path, prompts)
    assert ended.exit_code == 3
    assert "more than half of the last 1,000 rows were rejected" in str(ended.stopped)
    assert len(api.ledger) <= 1_100 + 16
    assert ask(api, tmp_path, prompts, yes=True).exit_code == 1
    assert len(rows(ended.run.path)) == len(prompts)

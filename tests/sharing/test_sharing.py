"""A driver and its workers, which are threads here."""

from __future__ import annotations

import asyncio
import json
import threading
from contextlib import contextmanager
from decimal import Decimal
from typing import Any

import msgspec
import pytest

from batch import __version__, runner, spec
from batch.engine.events import Notice, Progressed
from batch.errors import Refused, UsageError
from batch.limits.concurrency import START
from batch.planning.terms import Terms
from batch.run_folder import RunFolder
from batch.runner import Surroundings
from batch.sharing import driver
from batch.sharing.processes import Died
from batch.store import budget_file
from tests.fake_api import Step, answer_to
from tests.reading import completions, table, texts, until, write
from tests.sharing.threads import Threads

KEY = {"SOME_KEY": "sk-1"}


def answers(prompts):
    return [(row, answer_to(prompt)) for row, prompt in enumerate(prompts)]


@pytest.fixture
def job(api, tmp_path):
    """Makes the job; keywords are tables over it."""

    def job(**more):
        tables = {
            "input": str(tmp_path / "in.jsonl"),
            "prompt": {"user": "{{ text }}"},
            "request": {"model": "m"},
            "endpoint": {"base_url": api.url, "api_key_env": ""},
            "limits": {"concurrency": 9},
            "output": {"part_rows": 20},
        }
        return spec.check({**tables, **more})

    return job


@pytest.fixture
def shared(tmp_path):
    """Runs a job in the folder `run` with workers; gives how it ended, and what was told."""

    def shared(job, threads=None, workers=3, hearing=None, environment=None, **more):
        told: list[Any] = []
        around = Surroundings(consumers=(told.append,))
        if hearing is not None:
            around = msgspec.structs.replace(around, hearing=hearing)
        terms = Terms(environment=environment or {}, **more)
        opening = (threads or Threads()).opening
        ended = driver.run(
            job, tmp_path / "run", terms, around, driver.Plan(workers=workers), opening
        )
        return ended, told

    return shared


def said(told):
    return [event.text for event in told if isinstance(event, Notice)]


@pytest.mark.parametrize("workers", [1, 3])
@pytest.mark.parametrize("name", ["in.jsonl", "in.parquet", "in.jsonl.gz"])
def test_workers_do_what_one_process_does(api, job, shared, tmp_path, name, workers):
    prompts = texts(150)
    write(tmp_path / name, prompts)
    ended, told = shared(job(input=str(tmp_path / name)), workers=workers)
    assert (ended.exit_code, ended.now.rows_ok, ended.rows) == (0, 150, 150)
    assert completions(tmp_path / "run") == answers(prompts)
    assert api.prompts() == dict.fromkeys(prompts, 1)
    assert api.peak_in_flight <= 9
    last = [event for event in told if isinstance(event, Progressed)][-1]
    assert (last.done, last.rows) == (150, 150)


def test_another_number_of_workers_goes_on_and_one_process_too(api, job, shared, tmp_path):
    prompts = texts(200)
    write(tmp_path / "in.jsonl", prompts)
    assert shared(job(limit=70), workers=3)[0].exit_code == 0
    ended, _ = shared(job(limit=150), workers=2)
    assert (ended.exit_code, ended.now.rows_ok) == (0, 80)
    assert runner.run(job(), tmp_path / "run", Terms(environment={})).exit_code == 0
    assert api.prompts() == dict.fromkeys(prompts, 1)
    assert completions(tmp_path / "run") == answers(prompts)


def test_rows_that_failed_are_asked_again_by_the_next_start(api, job, shared, tmp_path):
    prompts = texts(60)
    write(tmp_path / "in.jsonl", prompts)
    api.script = {"text 00007": [503, 503], "text 00033": [Step(status=400)]}
    once = job(retry={"max_attempts": 2, "first_delay": 0.01})
    ended, _ = shared(once)
    assert (ended.exit_code, ended.now.rows_failed) == (1, 2)
    ended, told = shared(once)
    assert (ended.exit_code, ended.now.rows_ok, ended.whole.totals().rows_ok) == (1, 1, 59)
    last = [event for event in told if isinstance(event, Progressed)][-1]
    assert (last.done, last.failed) == (60, 1)


def test_a_bad_key_costs_what_it_costs_one_process(api, job, shared, tmp_path, monkeypatch):
    write(tmp_path / "in.jsonl", texts(100))
    api.key = "another"
    of_key = {"base_url": api.url, "api_key_env": "SOME_KEY"}
    monkeypatch.setenv("SOME_KEY", "sk-1")  # a worker looks in its own environment
    ended, _ = shared(job(endpoint=of_key), workers=3, environment=KEY)
    assert ended.exit_code == 3
    assert len(api.ledger) < 2 * START  # those of one, and no second one's


def test_orders_hold_no_key(api, job, shared, tmp_path, monkeypatch):
    write(tmp_path / "in.jsonl", texts(30))
    orders = []

    def seen(order):
        orders.append(order)
        return order

    headers = {"x-api-key": "$SOME_KEY", "x-team": "seven"}
    monkeypatch.setenv("SOME_KEY", "sk-1")
    endpoint = {"base_url": api.url, "api_key_env": "", "headers": headers}
    ended, _ = shared(job(endpoint=endpoint), Threads(seen), environment=KEY)
    assert ended.exit_code == 0
    assert orders and all(b"sk-1" not in order and b"seven" in order for order in orders)


def test_a_job_with_a_secret_in_it_is_refused(api, job, shared, tmp_path):
    write(tmp_path / "in.jsonl", texts(30))
    endpoint = {"base_url": api.url, "api_key_env": "", "headers": {"x-api-key": "sk-1"}}
    with pytest.raises(UsageError, match=r"x-api-key.*\$VARIABLE"):
        shared(job(endpoint=endpoint))
    assert not api.ledger and not (tmp_path / "run").exists()


def test_workers_of_another_version_are_refused(api, job, shared, tmp_path):
    write(tmp_path / "in.jsonl", texts(30))

    def of_old(order):
        return json.dumps({**json.loads(order), "version": "0.0.1"}).encode()

    ended, _ = shared(job(), Threads(of_old))
    assert isinstance(ended.stopped, Refused)
    assert "0.0.1" in str(ended.stopped) and __version__ in str(ended.stopped)
    assert not api.ledger


def test_a_variable_that_a_worker_lacks_is_named(api, job, shared, tmp_path):
    write(tmp_path / "in.jsonl", texts(30))
    headers = {"x-some": "$VARIABLE_OF_THE_DRIVER"}
    endpoint = {"base_url": api.url, "api_key_env": "", "headers": headers}
    ended, _ = shared(job(endpoint=endpoint), environment={"VARIABLE_OF_THE_DRIVER": "x"})
    assert ended.exit_code == 2
    assert "VARIABLE_OF_THE_DRIVER" in str(ended.stopped) and "ray-" in str(ended.stopped)


def test_what_is_in_flight_is_waited_for_when_somebody_interrupts(api, job, shared, tmp_path):
    prompts = texts(300)
    write(tmp_path / "in.jsonl", prompts)
    api.latency = 0.1

    @contextmanager
    def hearing(interrupt):
        loop = asyncio.get_running_loop()

        def press():
            until(lambda: len(api.ledger) > 30)
            loop.call_soon_threadsafe(interrupt, "SIGINT", 130)

        pressing = threading.Thread(target=press)
        pressing.start()
        yield
        pressing.join()

    ended, told = shared(job(), hearing=hearing)
    assert ended.exit_code == 130
    assert sum("waiting up to" in text for text in said(told)) == 1
    assert len(completions(tmp_path / "run")) == len(api.ledger) < 300
    api.latency = 0
    assert shared(job())[0].exit_code == 0
    assert api.prompts() == dict.fromkeys(prompts, 1)


def test_without_the_coordinator_workers_drain_and_the_run_stops(api, job, shared, tmp_path):
    prompts = texts(300)
    write(tmp_path / "in.jsonl", prompts)
    api.latency = 0.1
    threads = Threads()

    def kill():
        until(lambda: len(api.ledger) > 30)
        threads.is_gone = True

    killing = threading.Thread(target=kill)
    killing.start()
    ended, _ = shared(job(), threads)
    killing.join()
    assert ended.exit_code == 3
    assert len(completions(tmp_path / "run")) == len(api.ledger) < 300
    api.latency = 0
    assert shared(job())[0].exit_code == 0
    assert api.prompts() == dict.fromkeys(prompts, 1)


class Silent(Threads):
    """Beats are not answered from some moment on."""

    def __init__(self, api):
        super().__init__()
        self._api = api

    async def beat(self, report):
        if len(self._api.ledger) > 30:
            await asyncio.get_running_loop().create_future()
        return await super().beat(report)


@pytest.mark.second_lane
def test_workers_that_hear_nothing_stop_asking_and_then_the_run_stops(api, job, shared, tmp_path):
    prompts = texts(2000)
    write(tmp_path / "in.jsonl", prompts)
    api.latency = 0.1
    ended, _ = shared(job(), Silent(api))
    assert ended.exit_code == 3 and "does not answer" in str(ended.stopped)
    assert len(completions(tmp_path / "run")) == len(api.ledger) < 2000
    assert shared(job())[0].exit_code == 0
    assert api.prompts() == dict.fromkeys(prompts, 1)


class Dying(Threads):
    """Workers of which the first `deaths` die before they begin."""

    def __init__(self, deaths):
        super().__init__()
        self._deaths = deaths

    async def work(self, name, order):
        self._deaths -= 1
        if self._deaths >= 0:
            raise Died("out of memory")
        return await super().work(name, order)


def test_another_process_takes_the_place_of_one_that_died(api, job, shared, tmp_path):
    prompts = texts(100)
    write(tmp_path / "in.jsonl", prompts)
    ended, told = shared(job(), Dying(2))
    assert ended.exit_code == 0
    assert sum("out of memory" in text for text in said(told)) == 2
    assert completions(tmp_path / "run") == answers(prompts)


def test_workers_that_always_die_stop_the_run(api, job, shared, tmp_path):
    write(tmp_path / "in.jsonl", texts(100))
    ended, _ = shared(job(), Dying(1000))
    assert ended.exit_code == 3 and "out of memory" in str(ended.stopped)


def test_the_cap_holds_for_all_workers_together(api, job, shared, tmp_path):
    write(tmp_path / "in.jsonl", texts(1000))
    cap = Decimal(24)
    prices = {"m": {"input": 3000, "output": 3000}}
    limits = {"concurrency": 9, "max_cost_usd": float(cap)}
    request = {"model": "m", "max_tokens": 20}
    ended, _ = shared(job(prices=prices, limits=limits, request=request))
    assert ended.exit_code == 3
    spent = sum(asked.input_tokens + asked.output_tokens for asked in api.ledger) * Decimal("0.003")
    drawn = budget_file.of_all(RunFolder(tmp_path / "run")).drawn_usd
    assert cap * Decimal("0.9") <= spent <= drawn <= cap


def test_a_run_that_is_shared_is_closed_to_others(api, job, shared, tmp_path):
    write(tmp_path / "in.jsonl", texts(100))
    refused = []

    @contextmanager
    def hearing(interrupt):
        for how in (Terms(environment={}), None):
            try:
                if how is None:
                    shared(job())
                else:
                    runner.run(job(), tmp_path / "run", how)
            except Refused as error:
                refused.append(str(error))
        yield

    assert shared(job(), hearing=hearing)[0].exit_code == 0
    assert len(refused) == 2 and all("ray-driver" in text for text in refused)


def test_where_nothing_is_left_to_do_no_process_begins(api, job, shared, tmp_path):
    write(tmp_path / "in.jsonl", texts(30))
    assert shared(job())[0].exit_code == 0
    threads = Threads()
    ended, _ = shared(job(), threads)
    assert (ended.exit_code, ended.now.attempts, ended.whole.totals().rows_ok) == (0, 0, 30)
    assert threads.coordinator is None


def test_totals_are_those_of_the_rows(api, job, shared, tmp_path):
    write(tmp_path / "in.jsonl", texts(80))
    ended, _ = shared(job())
    read, whole = table(tmp_path / "run"), ended.whole.totals()
    assert sum(read["attempts"].to_pylist()) == whole.attempts == ended.now.attempts

"""Rows that always fail, last in a run or spread over it: the run ends, and all others are answered.

Time is the run's own: what takes minutes here passes in seconds.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Iterator
from pathlib import Path
from typing import Any

import pytest

from batch import runner, spec
from batch.reports.summary import Ended
from tests import virtual
from tests.fake_api import FakeAPI, Step
from tests.reading import rows, texts, write

Happening = Callable[[], Coroutine[Any, Any, object]]


@pytest.fixture
def api() -> Iterator[FakeAPI]:
    api = FakeAPI(in_a_thread=False)
    api.latency = 0.05
    yield api
    api.close()


def run(api: FakeAPI, folder: Path, prompts: list[str], *meanwhile: Happening) -> Ended:
    """With the settings that a job has by default."""
    job = spec.check(
        {
            "input": str(write(folder / "in.jsonl", prompts)),
            "prompt": {"user": "{{ text }}"},
            "request": {"model": "m"},
            "endpoint": {"base_url": api.url, "api_key_env": ""},
        }
    )
    return runner.run(job, folder / "run", *virtual.how(api, *meanwhile))


def poisoned(count: int, poison: int, spread: bool) -> list[str]:
    good, bad = texts(count - poison), [f"odd {at:04d}" for at in range(poison)]
    if not spread:
        return [*good, *bad]
    every = len(good) // poison
    return [
        prompt
        for at, odd in enumerate(bad)
        for prompt in (*good[at * every : (at + 1) * every], odd)
    ] + good[poison * every :]


@pytest.mark.parametrize(
    ("poison", "count", "seconds", "spread"),
    [
        (3, 800, 90, False),
        (3, 800, 90, True),
        (40, 800, 90, False),
        (40, 800, 90, True),
        (300, 800, 600, False),
        (160, 800, 600, True),
    ],
    ids=["few, last", "few", "some, last", "some", "more than are in flight, last", "a fifth"],
)
def test_rows_that_always_fail_end_and_so_does_the_run(
    api, tmp_path, poison, count, seconds, spread
):
    prompts = poisoned(count, poison, spread)
    api.script = {"odd": [500, ...]}
    for _ in range(2):
        ended = run(api, tmp_path, prompts)
        found = rows(ended.run.path)
        assert (ended.exit_code, len(found)) == (1, len(prompts))
        assert {r["text"][:3] for r in found if r["status"] == "failed"} == {"odd"}
        assert sum(r["status"] == "failed" for r in found) == poison
        assert ended.seconds <= seconds


@pytest.mark.parametrize("seconds", [8, 60])
@pytest.mark.parametrize("after", [100, 290])
def test_an_outage_loses_no_row_even_at_the_end(api, tmp_path, seconds, after):
    async def outage() -> None:
        await virtual.until(lambda: len(api.ledger) > after)
        api.always = Step(503)
        await asyncio.sleep(seconds)
        api.always = None

    ended = run(api, tmp_path, texts(300), outage)
    assert ended.exit_code == 0, ended.stopped


@pytest.mark.parametrize("status", [500, 429, 407])
def test_where_the_list_of_models_fails_it_is_an_outage(api, tmp_path, status):
    api.script = {"odd": [500, ...]}
    api.listing = Step(status)
    ended = run(api, tmp_path, poisoned(100, 40, False))
    assert ended.exit_code == 3
    assert {row["status"] for row in rows(ended.run.path)} == {"ok"}


@pytest.mark.parametrize("count", [1, 3, 200])
def test_a_model_that_loads_is_waited_for(api, tmp_path, count):
    async def loads() -> None:
        api.always = Step(503, body={"error": {"message": "Loading model"}})
        await asyncio.sleep(45)
        api.always = None

    ended = run(api, tmp_path, texts(count), loads)
    assert ended.exit_code == 0, ended.stopped

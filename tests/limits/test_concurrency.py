"""The search for the right number of requests in flight, against simulated servers under a clock
of our own.
"""

from __future__ import annotations

import heapq
import random
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from batch.limits.concurrency import Concurrency

Serve = Callable[[float, random.Random], float]  # when a request sent now is answered


def queueing(slots: int, seconds: float) -> Serve:
    """A server that computes so many at once and lets the others wait."""
    free = [0.0] * slots

    def serve(now: float, chance: random.Random) -> float:
        done = max(heapq.heappop(free), now) + seconds * chance.lognormvariate(0, 0.3)
        heapq.heappush(free, done)
        return done

    return serve


def unbounded(seconds: float) -> Serve:
    return lambda now, chance: now + seconds * chance.lognormvariate(0, 0.5)


def run(
    serve: Serve, rows: int, seed: int, concurrency: Concurrency | None = None, now: float = 0.0
) -> Iterator[tuple[float, int, int]]:
    """(moment, limit, in flight) at each answer."""
    flying: list[Any] = []
    chance, sent = random.Random(seed), 0
    concurrency = concurrency or Concurrency(most=256)
    for _ in range(rows):
        while sent < rows and len(flying) < concurrency.limit:
            heapq.heappush(flying, serve(now, chance))
            sent += 1
        now = heapq.heappop(flying)
        concurrency.answered(1, len(flying) + 1, now)
        yield now, concurrency.limit, len(flying) + 1


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("seconds", [0.02, 0.4, 2.0])
def test_a_queueing_server_is_not_flooded_and_kept_busy(seconds: float, seed: int) -> None:
    steps = list(run(queueing(8, seconds), 2_000, seed))

    assert max(limit for _, limit, _ in steps[200:]) < 40
    best = 8 / (seconds * 1.046)  # the mean of the log-normal
    after = [moment for moment, _, _ in steps[200:]]
    assert len(after) / (after[-1] - after[0]) >= 0.93 * best


@pytest.mark.parametrize("seed", range(5))
def test_a_server_without_bounds_gets_all_that_is_allowed(seed: int) -> None:
    steps = list(run(unbounded(0.4), 6_000, seed))

    assert steps[1_000][1] == 256
    assert min(limit for _, limit, _ in steps[1_000:]) >= 200


def test_doubles_round_by_round_from_eight() -> None:
    limits = [limit for _, limit, _ in run(unbounded(0.4), 2_000, 1)]

    assert list(dict.fromkeys(limits))[:5] == [8, 16, 32, 64, 128]


def test_cuts_once_per_episode_of_refusals() -> None:
    concurrency = Concurrency(most=256, start=100)

    for moment in (10.0, 10.1, 10.5, 10.9):
        concurrency.refused(moment)

    assert concurrency.limit == 80
    concurrency.refused(13.0)
    assert concurrency.limit == 64


def test_an_episode_lasts_as_long_as_the_server_asks_to_wait() -> None:
    concurrency = Concurrency(most=256, start=100)
    concurrency.refused(10.0, wait=30.0)

    concurrency.refused(39.0)

    assert concurrency.limit == 80


def test_failures_of_the_server_freeze_it() -> None:
    concurrency = Concurrency(most=256)
    flying: list[Any] = []
    serve, chance, now = unbounded(0.4), random.Random(1), 0.0
    for answer in range(400):
        while len(flying) < concurrency.limit:
            heapq.heappush(flying, serve(now, chance))
        now = heapq.heappop(flying)
        if answer % 5 == 0:
            concurrency.failed()
        else:
            concurrency.answered(1, len(flying) + 1, now)

    assert concurrency.limit == 8


def test_recovers_after_refusals_to_where_it_was() -> None:
    concurrency = Concurrency(most=256)
    *_, (now, before, _) = run(unbounded(0.4), 3_000, 1, concurrency)
    for moment in range(5):
        concurrency.refused(now + 3 * moment)
    assert concurrency.limit < before / 2

    *_, (_, after, _) = run(unbounded(0.4), 20_000, 2, concurrency, now + 20)

    assert after >= 0.9 * before


def test_starts_slowly_after_an_outage_and_comes_back() -> None:
    concurrency = Concurrency(most=200)
    *_, (now, before, _) = run(unbounded(0.4), 3_000, 1, concurrency)
    concurrency.went_down()
    concurrency.came_back(now + 60)
    assert concurrency.limit == before // 10

    *_, (_, after, _) = run(unbounded(0.4), 3_000, 2, concurrency, now + 60)

    assert after == before


def test_too_few_rows_teach_nothing() -> None:
    concurrency = Concurrency(most=256)

    for answer in range(200):
        concurrency.answered(1, 2, answer * 0.1)

    assert concurrency.limit == 8


def test_what_is_allowed_may_change_while_it_is_used() -> None:
    fixed, found = Concurrency(most=10, fixed=True), Concurrency(most=256, start=100)
    for most, fixed_limit, found_limit in [(20, 20, 20), (5, 5, 5), (60, 60, 5)]:
        fixed.allow(most)
        found.allow(most)
        assert (fixed.limit, found.limit) == (fixed_limit, found_limit)


def test_after_an_outage_what_is_allowed_is_reached_slowly() -> None:
    concurrency = Concurrency(most=100, fixed=True)
    concurrency.went_down()
    concurrency.came_back(0.0)
    concurrency.allow(40)
    limits = [concurrency.limit]
    for answer in range(200):
        concurrency.answered(1, concurrency.limit, answer / 10)
        limits.append(concurrency.limit)

    assert list(dict.fromkeys(limits)) == [10, 20, 40]


@pytest.mark.parametrize("told", [True, False])
def test_a_time_in_which_rows_waited_for_each_other_tells_nothing(told):
    concurrency, now = Concurrency(most=64), 0.0
    for turn in range(12):
        if turn == 3:  # everything waited for one answer
            now += 30.0
            if told:
                concurrency.starved(0, now)
        in_flight = concurrency.limit
        now += 1.0
        concurrency.answered(in_flight, in_flight, now, in_flight)
    assert (concurrency.limit == 64) == told

"""A rate per minute that is set anew while somebody waits for it, under a clock of its own."""

from __future__ import annotations

import asyncio
from bisect import bisect_right
from collections.abc import Sequence
from itertools import accumulate, pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from batch.limits.token_bucket import SMOOTHED, TokenBucket
from tests.virtual import play

Changes = Sequence[tuple[float, float]]  # (when, the rate per minute from then on)
Takings = list[tuple[float, float]]  # (when, how much)

CHANGES: dict[str, Changes] = {
    "raised": [(0, 6), (0.2, 30_000)],
    "raised from next to nothing": [(0, 0.001), (0.2, 30_000)],
    "raised from nothing": [(0, 30_000), (1, 0), (4, 30_000)],
    "lowered": [(0, 60_000), (2.02, 6)],
    "lowered to next to nothing, and raised": [(0, 30_000), (2.02, 0.001), (5, 30_000)],
    "a seesaw": [(at / 4, 30_000 if at % 2 else 6_000) for at in range(40)],
    "a seesaw to nothing": [(at / 4, 30_000 if at % 2 else 0) for at in range(40)],
    "hardly changed, often": [(at / 50, 6_000 + at) for at in range(400)],
    "slow, and changed often": [(at / 4, 60 + at % 2) for at in range(80)],
    "a minute": [(at / 4, 3_000 + at % 7) for at in range(240)],
}


def takings(changes: Changes, amount: float, seconds: float) -> Takings:
    """What somebody gets who always wants more."""

    async def story() -> Takings:
        loop, got = asyncio.get_running_loop(), list[tuple[float, float]]()
        began, bucket = loop.time(), TokenBucket("tokens/min", changes[0][1])
        for at, rate in changes[1:]:
            loop.call_at(began + at, bucket.set, rate)
        try:
            async with asyncio.timeout(seconds):
                while True:
                    await bucket.take(amount)
                    got.append((loop.time() - began, amount))
        except TimeoutError:
            return got

    return play(story())


class Rates:
    """What rates that change give, by arithmetic."""

    def __init__(self, changes: Changes) -> None:
        self._at = [at for at, _ in changes]
        self._per_second = [rate / 60 for _, rate in changes]
        lasting = (until - at for at, until in pairwise(self._at))
        given = zip(lasting, self._per_second[:-1], strict=True)
        self._sums = list(accumulate((seconds * rate for seconds, rate in given), initial=0.0))

    def until(self, moment: float) -> float:
        """What they have given by then."""
        now = bisect_right(self._at, moment) - 1
        return self._sums[now] + (moment - self._at[now]) * self._per_second[now]

    def burst(self, start: float, end: float) -> float:
        """The most that may have gathered between two moments."""
        first, last = bisect_right(self._at, start) - 1, bisect_right(self._at, end)
        return max(1.0, SMOOTHED * max(self._per_second[max(0, first) : last]))

    def lost(self) -> float:
        """What has to be given up, as a rate that was lowered lets less gather."""
        bursts = [max(1.0, SMOOTHED * rate) for rate in self._per_second]
        return sum(max(0.0, earlier - later) for earlier, later in pairwise(bursts))


def check_windows(rates: Rates, got: Takings, window: float) -> None:
    """In no span of so many seconds more was let out than the rates give, and one burst."""
    moments = [moment for moment, _ in got]
    sums = list(accumulate((amount for _, amount in got), initial=0.0))
    for first, (start, amount) in enumerate(got):
        end = start + window
        let_out = sums[bisect_right(moments, end)] - sums[first]
        most = rates.until(end) - rates.until(start) + rates.burst(start, end)
        assert let_out <= most + amount + 0.01, (start, let_out, most)


def test_a_rate_that_is_raised_is_noticed_at_once_by_who_waits() -> None:
    async def story() -> float:
        loop, bucket = asyncio.get_running_loop(), TokenBucket("requests/min", 6)
        await bucket.take(1)
        waiting = asyncio.create_task(bucket.take(1))
        await asyncio.sleep(0.2)
        raised = loop.time()
        bucket.set(60_000)
        await waiting
        return loop.time() - raised

    assert play(story()) <= 0.002


@pytest.mark.parametrize("amount", [1.0, 7.5, 400.0])
@pytest.mark.parametrize("changes", CHANGES.values(), ids=CHANGES)
def test_a_change_brings_no_burst_and_loses_nothing(changes: Changes, amount: float) -> None:
    seconds = changes[-1][0] + 6
    rates, got = Rates(changes), takings(changes, amount, seconds)

    for window in (0.05, 0.25, 1.0, 60.0):
        check_windows(rates, got, window)
    given_out = sum(each for _, each in got)
    assert given_out >= 0.99 * (rates.until(seconds) - rates.lost()) - amount - 1


@pytest.mark.parametrize(
    "rates", [[3_000, 2_950], [3_000, 300, 1_500], [3_000, 0], [3_000, 0.001, 3_000, 6]]
)
@pytest.mark.parametrize("every", [0.03, 0.25, 1.1])
def test_no_second_and_no_minute_has_more_than_the_limit(rates: list[float], every: float) -> None:
    count = round(70 / every)
    changes = [(at * every, rates[at % len(rates)]) for at in range(count)]
    moments = [moment for moment, _ in takings(changes, 1.0, 70)]

    def most(window: float) -> int:
        return max(bisect_right(moments, start + window) - at for at, start in enumerate(moments))

    assert most(1.0 - 1e-6) <= 50 * (1 + SMOOTHED)
    assert most(60.0 - 1e-6) <= 3_000 * 1.001 + 50 * SMOOTHED


@given(
    st.lists(st.tuples(st.floats(0.001, 2), st.sampled_from([0, 0.01, 6, 60, 6e3, 3e4]))),
    st.sampled_from([3.0, 30.0, 2_000.0]),
)
@settings(deadline=None, max_examples=40)
def test_whatever_the_changes_no_more_leaves_than_the_rates_give(
    steps: list[tuple[float, float]], amount: float
) -> None:
    changes, at = [(0.0, 6_000.0)], 0.0
    for seconds, rate in steps:
        at += seconds
        changes.append((at, rate))
    rates, got = Rates(changes), takings(changes, amount, at + 1)

    for window in (0.1, 1.0, 60.0):
        check_windows(rates, got, window)


def test_at_a_rate_of_nothing_nothing_leaves_until_there_is_one() -> None:
    got = takings([(0, 60), (10.5, 0), (1_000, 60)], 1.0, 1_005)

    assert [moment for moment, _ in got if 10.5 < moment < 1_000] == []
    assert sum(moment >= 1_000 for moment, _ in got) in (5, 6)


def test_a_limit_that_falls_away_lets_go_who_waits() -> None:
    async def story() -> float:
        loop, bucket = asyncio.get_running_loop(), TokenBucket("tokens/min", 0)
        loop.call_later(3, bucket.set, None)
        began = loop.time()
        await bucket.take(100)
        return loop.time() - began

    assert play(story()) == pytest.approx(3, abs=0.01)


def test_several_may_wait_and_any_of_them_may_give_up() -> None:
    async def story() -> list[int]:
        bucket, left = TokenBucket("requests/min", 6), list[int]()

        async def go(number: int) -> None:
            await bucket.take(1)
            left.append(number)

        tasks = [asyncio.create_task(go(number)) for number in range(4)]
        await asyncio.sleep(1)
        tasks[2].cancel()
        bucket.set(3)
        bucket.set(60)
        await asyncio.gather(*tasks, return_exceptions=True)
        bucket.set(6)
        return left

    assert sorted(play(story())) == [0, 1, 3]

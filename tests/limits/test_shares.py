"""One limit among workers: never more than it in all, and hardly less where somebody wants it."""

from __future__ import annotations

import asyncio
import math
from bisect import bisect_left
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from batch.limits.shares import LEASE, Shares, demand, filled
from batch.limits.token_bucket import TokenBucket
from tests.virtual import play

BEATS = st.lists(
    st.tuples(
        st.sampled_from("abcde"),
        st.one_of(st.floats(0, 5_000), st.just(math.inf)),
        st.sampled_from([0.0, 0.01, 0.25, 1.0, 2.9, 3.0, 3.1, 10.0]),
        st.sampled_from(["beats", "beats", "beats", "leaves"]),
    ),
    max_size=60,
)


@given(BEATS)
def test_the_shares_in_force_are_never_more_than_the_limit(
    beats: list[tuple[str, float, float, str]],
) -> None:
    """A worker may keep to its former share for as long as it likes, up to its next beat."""
    shares, now = Shares(1_000), 0.0
    in_force: dict[str, tuple[float, float, float]] = {}  # what it was given, before that, until
    for worker, wanted, pause, does in beats:
        now += pause
        if does == "leaves":
            shares.leave(worker)
            in_force.pop(worker, None)
        else:
            share = shares.beat(worker, wanted, now)
            before, _, until = in_force.get(worker, (0.0, 0.0, 0.0))
            before = before if now < until else 0.0
            in_force[worker] = (share.per_minute, before, now + share.expires_in)
            assert share.per_minute >= 0
        most = sum(max(new, old) for new, old, until in in_force.values() if now < until)
        assert most <= 1_000 * (1 + 1e-9)


@pytest.mark.parametrize(
    ("wanted", "given"),
    [
        ({"a": math.inf}, {"a": 900}),
        ({"a": math.inf, "b": math.inf, "c": math.inf}, {"a": 300, "b": 300, "c": 300}),
        ({"a": math.inf, "b": 100, "c": math.inf}, {"a": 400, "b": 100, "c": 400}),
        ({"a": 350, "b": 100, "c": math.inf}, {"a": 350, "b": 100, "c": 450}),
        ({"a": 500, "b": 500, "c": 0}, {"a": 450, "b": 450, "c": 0}),
        ({"a": 100, "b": 200, "c": 0}, {"a": 300, "b": 400, "c": 200}),
    ],
)
def test_who_wants_less_leaves_more_to_the_others(
    wanted: dict[str, float], given: dict[str, float]
) -> None:
    assert filled(900, wanted) == pytest.approx(given)


def test_a_share_grows_when_the_other_has_heard_of_less() -> None:
    shares = Shares(1_000)

    assert shares.beat("a", math.inf, 0.0).per_minute == 1_000
    assert shares.beat("b", math.inf, 0.1).per_minute == 0  # it waits for a
    assert shares.beat("a", math.inf, 0.2).per_minute == 500
    assert shares.beat("b", math.inf, 0.3).per_minute == 0  # a may not have heard
    assert shares.beat("a", math.inf, 0.4).per_minute == 500
    assert shares.beat("b", math.inf, 0.5).per_minute == 500


def test_who_says_nothing_loses_its_share_and_gets_one_again() -> None:
    shares = Shares(1_000)
    for at in (0.0, 0.1, 0.2):
        shares.beat("a", math.inf, at)
        shares.beat("b", math.inf, at)

    assert shares.beat("a", math.inf, 0.2 + LEASE - 0.01).per_minute == 500
    assert shares.beat("a", math.inf, 0.2 + LEASE).per_minute == 1_000
    assert shares.beat("b", math.inf, 10.0).per_minute == 1_000
    assert shares.beat("a", math.inf, 10.1).per_minute == 0
    shares.leave("b")
    assert shares.beat("a", math.inf, 10.2).per_minute == 1_000


def test_a_limit_that_is_set_anew_is_kept_to_with_the_next_beat() -> None:
    shares = Shares(1_000)
    shares.beat("a", math.inf, 0.0)
    shares.limit = 100

    assert shares.beat("a", math.inf, 0.1).per_minute == 100


class Worker:
    """What a worker does with its share, as a fluid."""

    def __init__(self, name: str, first_beat: float) -> None:
        self.name = name
        self.next_beat = first_beat
        self.rate = 0.0  # a second
        self.until = 0.0
        self.used = 0.0
        self.beat_at: float | None = None
        self.is_held_back = True

    def beat(self, shares: Shares, now: float) -> None:
        since = 0.0 if self.beat_at is None else now - self.beat_at
        wanted = demand(self.used, since, held_back=self.is_held_back)
        share = shares.beat(self.name, wanted, now)
        self.rate, self.until = share.per_minute / 60, now + share.expires_in
        self.used, self.beat_at = 0.0, now
        self.next_beat = now + BEAT

    def use(self, wanted: float, now: float) -> float:
        """What it uses in a tick, wanting so much a second."""
        rate = self.rate if now < self.until else 0.0
        used = min(wanted, rate) * TICK
        self.is_held_back = wanted > rate
        self.used += used
        return used


BEAT, TICK, WORKERS, LIMIT = 0.25, 0.01, 8, 1_000.0
Wants = Callable[[int, float], float | None]  # of a worker at a moment; None: it is dead


def dying(number: int, now: float) -> float | None:
    return None if number == 3 and 20 < now < 35 else LIMIT / 4


@pytest.mark.parametrize(
    ("wants", "least"),
    [
        pytest.param(lambda number, now: LIMIT / 4, 0.99, id="even"),
        pytest.param(lambda number, now: LIMIT / 10, 0.99, id="even, and less than the limit"),
        pytest.param(lambda number, now: 2 * LIMIT if number == 0 else 1.0, 0.90, id="one busy"),
        pytest.param(dying, 0.90, id="one dies and comes back"),
        pytest.param(
            lambda number, now: LIMIT if int(now / 7) % WORKERS == number else 40.0,
            0.85,
            id="all demand jumps",
        ),
    ],
)
def test_a_limit_is_used_by_whoever_wants_it(wants: Wants, least: float) -> None:
    shares = Shares(60 * LIMIT)
    workers = [Worker(str(each), each * BEAT / WORKERS) for each in range(WORKERS)]
    used = possible = 0.0
    for tick in range(round(61 / TICK)):
        now = tick * TICK
        in_tick = could = 0.0
        for number, worker in enumerate(workers):
            wanted = wants(number, now)
            if wanted is None:
                continue
            if now >= worker.next_beat:
                worker.beat(shares, now)
            in_tick += worker.use(wanted, now)
            could += wanted
        assert in_tick <= LIMIT * TICK * (1 + 1e-9)
        if now >= 1:
            used += in_tick
            possible += min(LIMIT, could) * TICK

    assert used / possible >= least


def test_workers_with_buckets_together_let_out_no_more_than_the_limit() -> None:
    """Each takes all it can get in some seconds, and nothing in others; one is killed."""
    limit, pattern = 1_000.0, ((0, 1, 2, 3), (0,), (1, 2), (3,), (0, 2, 3), (2,))

    async def story() -> list[float]:
        loop, shares, left = asyncio.get_running_loop(), Shares(60 * limit), list[float]()
        began = loop.time()

        async def work(bucket: TokenBucket, number: int) -> None:
            while True:
                if number in pattern[int(loop.time() - began) // 2 % len(pattern)]:
                    await bucket.take(1)
                    left.append(loop.time() - began)
                else:
                    await asyncio.sleep(0.05)

        async def beat(bucket: TokenBucket, number: int) -> None:
            await asyncio.sleep(number * BEAT / 4)
            while True:
                busy = number in pattern[int(loop.time() - began) // 2 % len(pattern)]
                wanted = demand(0.0, BEAT, held_back=busy)
                bucket.set(shares.beat(str(number), wanted, loop.time()).per_minute)
                await asyncio.sleep(BEAT)

        async with asyncio.TaskGroup() as group:
            for number in range(4):
                bucket = TokenBucket("requests/min", 0)
                tasks = [group.create_task(each(bucket, number)) for each in (work, beat)]
                for task in tasks:
                    loop.call_at(began + (9 if number == 2 else 24), task.cancel)
        return left

    left = play(story())
    in_a_second = [bisect_left(left, at + 1 - 1e-6) - first for first, at in enumerate(left)]
    assert max(in_a_second) <= 1.05 * limit
    wanted = 20 * limit  # in 24 seconds, without those in which only the killed one would want it
    assert len(left) >= 0.75 * wanted

"""One search for the right number of requests in flight, for several workers at one server."""

from __future__ import annotations

import heapq
import random
from collections import deque

import pytest
from hypothesis import given
from hypothesis import strategies as st

from batch.limits.shared_concurrency import TURN, Answers, SharedConcurrency
from batch.limits.shares import LEASE


class Worker:
    """Always has more to send."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.slots = self.in_flight = self.answers = 0

    def beat(self, shared: SharedConcurrency, now: float) -> None:
        report = Answers(self.answers, float(self.answers), self.in_flight)
        self.slots = shared.beat(self.name, report, now)
        self.answers = 0


class Seen:
    """What a server saw in the second half: its rate, how many were there on average and at most."""

    def __init__(self, rate: float, mean: float, most: int) -> None:
        self.rate, self.mean, self.most = rate, mean, most


def serve(
    workers: int, slots: int, latency: float, seed: int, seconds: float = 120.0, beat: float = 0.25
) -> Seen:
    """A server that computes so many at once and lets the others wait, and workers that beat."""
    chance, shared = random.Random(seed), SharedConcurrency(256 * workers)
    all_of_them = [Worker(str(each)) for each in range(workers)]
    events: list[tuple[float, int, str, Worker]] = []
    queue, busy, order = deque[Worker](), 0, 0
    done, area, since, most = 0, 0.0, seconds / 2, 0

    def later(at: float, what: str, worker: Worker) -> None:
        nonlocal order
        order += 1
        heapq.heappush(events, (at, order, what, worker))

    for number, worker in enumerate(all_of_them):
        later(number * beat / workers, "beat", worker)
    while events[0][0] < seconds:
        now, _, what, worker = heapq.heappop(events)
        if now > seconds / 2:
            in_flight = sum(each.in_flight for each in all_of_them)
            area, since, most = area + in_flight * (now - since), now, max(most, in_flight)
            done += what == "answer"
        if what == "beat":
            worker.beat(shared, now)
            later(now + beat * chance.uniform(0.8, 1.4), "beat", worker)
        else:
            busy -= 1
            worker.in_flight -= 1
            worker.answers += 1
        while worker.in_flight < worker.slots:
            worker.in_flight += 1
            queue.append(worker)
        while busy < slots and queue:
            busy += 1
            later(now + latency * chance.uniform(0.7, 1.3), "answer", queue.popleft())
    return Seen(done / (seconds / 2), area / (seconds / 2), most)


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize(
    ("workers", "latency"), [(1, 0.5), (2, 0.5), (4, 0.1), (4, 0.5), (4, 2.0), (8, 0.5), (16, 0.5)]
)
def test_workers_together_find_the_knee_of_one_server(
    workers: int, latency: float, seed: int
) -> None:
    seen = serve(workers, 64, latency, seed)

    assert seen.rate >= 0.95 * 64 / latency
    assert seen.most <= 2.5 * 64


def busy(slots: int, answers: int = 0, refused_for: float | None = None) -> Answers:
    """The report of a worker that uses all it has."""
    return Answers(answers, float(answers), slots, refused_for=refused_for)


def settled(shared: SharedConcurrency, workers: str, now: float = 0.0) -> list[int]:
    """What each of them has once all have heard of all."""
    slots = dict.fromkeys(workers, 0)
    for _ in range(4):
        for worker in workers:
            slots[worker] = shared.beat(worker, busy(slots[worker]), now)
    return list(slots.values())


@pytest.mark.parametrize("workers", ["a", "abc", "abcdefgh", "abcdefghijkl"])
def test_once_all_have_heard_their_slots_are_the_limit(workers: str) -> None:
    shared = SharedConcurrency(20, fixed=True)

    slots = settled(shared, workers)
    assert sum(slots) == shared.limit == 20
    assert max(slots) - min(slots) <= 1


def test_where_there_are_fewer_slots_than_workers_all_have_their_turn() -> None:
    shared, had = SharedConcurrency(2, fixed=True), [0] * 5
    for turn in range(5):
        slots = settled(shared, "abcde", turn * TURN)
        assert sum(slots) == 2
        had = [before + now for before, now in zip(had, slots, strict=True)]

    assert min(had) >= 1


def test_who_says_nothing_or_leaves_has_no_slots() -> None:
    shared = SharedConcurrency(20, fixed=True)
    settled(shared, "abc")

    assert settled(shared, "ab", LEASE) == [10, 10]  # c expired
    shared.leave("b")
    assert settled(shared, "a", LEASE) == [20]


def test_one_refusal_told_by_all_cuts_once() -> None:
    shared = SharedConcurrency(1_000, start=100)
    settled(shared, "abcd")
    for worker in "abcd":
        shared.beat(worker, busy(25, refused_for=0.0), 1.0)

    assert shared.limit == 80
    assert sum(settled(shared, "abcd", 1.1)) == 80


@given(
    st.lists(
        st.tuples(
            st.sampled_from("abcde"), st.sampled_from([0.0, 0.1, 0.3, 2.9, 3.0]), st.booleans()
        ),
        max_size=60,
    )
)
def test_no_more_slots_are_in_force_than_the_limit(
    beats: list[tuple[str, float, bool]],
) -> None:
    shared, now = SharedConcurrency(20, fixed=True), 0.0
    in_force: dict[str, tuple[int, int, float]] = {}  # slots now, those before, until
    for worker, pause, leaves in beats:
        now += pause
        if leaves:
            shared.leave(worker)
            in_force.pop(worker, None)
            continue
        had, _, until = in_force.get(worker, (0, 0, 0.0))
        had = had if now < until else 0
        in_force[worker] = (shared.beat(worker, busy(had), now), had, now + LEASE)
        most = sum(max(new, old) for new, old, until in in_force.values() if now < until)
        assert most <= 20

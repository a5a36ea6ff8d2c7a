"""What is shared out, and what becomes of it when workers die, freeze or come back."""

from __future__ import annotations

from typing import Any

import pytest

from batch.limits.lent import Used
from batch.limits.shared_concurrency import Answers
from batch.limits.shares import LEASE
from batch.sharing.coordinator import REQUESTS, Coordinator
from batch.sharing.messages import Common, Report, State
from batch.totals import Totals

EVERY = 0.25


class Clock:
    def __init__(self):
        self.now = 100.0

    def __call__(self):
        return self.now


class Shared:
    """A coordinator, its clock, and the epochs of its workers."""

    def __init__(self, parts=10, workers=3, **more):
        self.clock = Clock()
        given: dict[str, Any] = {
            "requests_per_minute": None,
            "tokens_per_minute": None,
            "most": 12,
            "start": 12,
        }
        given |= {"finds_out": False, "succeeded": True, **more}
        self.coordinator = Coordinator(Common(parts=[*range(parts)], **given), self.clock)
        self.names = [f"ray-{number}" for number in range(workers)]
        self.epochs = {name: self.coordinator.join(name) for name in self.names}

    def beat(
        self, name, wanted=0, done=(), closed_for=0.0, ok=0, requests=0, held_back=None, **more
    ):
        used = Used(EVERY, requests, 0, held_back, Answers(0, 0.0, 0), closed_for)
        epoch = more.pop("epoch", self.epochs[name])
        state = State(asked=Totals(rows_ok=ok))
        return self.coordinator.beat(
            Report(
                worker=name,
                epoch=epoch,
                used=used,
                wanted=wanted,
                done=[*done],
                state=state,
                **more,
            )
        )


def test_each_part_is_lent_once():
    shared = Shared()
    lent: list[int] = []
    while not (grant := shared.beat(shared.names[len(lent) % 3], wanted=2)).over:
        lent += grant.parts
    assert sorted([*lent, *grant.parts]) == [*range(10)]
    assert all(shared.beat(name, wanted=2).parts == [] for name in shared.names)


def test_parts_of_a_lost_worker_are_the_next_and_those_it_did_are_not():
    shared = Shared()
    assert shared.beat("ray-0", wanted=3).parts == [0, 1, 2]
    shared.beat("ray-0", done=[1])
    assert shared.coordinator.lost("ray-0") == 2
    assert shared.beat("ray-1", wanted=3).parts == [0, 2, 3]


def test_whoever_was_taken_for_dead_gets_nothing_any_more():
    shared = Shared()
    shared.beat("ray-0", wanted=1)
    shared.coordinator.lost("ray-0")
    for _ in range(2):
        grant = shared.beat("ray-0", wanted=1, done=[0])
        assert grant.is_stranger and not grant.parts and grant.lent.is_nothing
        now = shared.coordinator.join("ray-0")
    assert shared.beat("ray-0", wanted=1, epoch=now).parts == [0]


def test_what_a_worker_leaves_is_for_others():
    shared = Shared(parts=2)
    assert shared.beat("ray-0", wanted=2).over
    shared.coordinator.leave("ray-0", shared.epochs["ray-0"])
    grant = shared.beat("ray-1", wanted=2)
    assert (grant.parts, grant.over) == ([0, 1], True)


def test_nothing_more_is_lent_once_all_are_to_stop():
    shared = Shared()
    shared.coordinator.stop()
    grant = shared.beat("ray-0", wanted=2)
    assert grant.stop and not grant.parts


def test_before_anything_has_succeeded_one_worker_tries():
    shared = Shared(succeeded=False)
    assert shared.beat("ray-1", wanted=1).parts == [0]
    assert [shared.beat(name, wanted=1).parts for name in shared.names] == [[], [1], []]
    shared.beat("ray-1", ok=1)
    assert shared.beat("ray-2", wanted=1).parts == [2]


def test_a_frozen_worker_does_not_keep_the_others_from_trying():
    shared = Shared(succeeded=False)
    shared.beat("ray-0", wanted=1)
    shared.clock.now += LEASE
    shared.beat("ray-1")
    assert shared.beat("ray-1", wanted=1).parts == [1]


def test_a_pause_that_one_heard_of_is_obeyed_by_all_with_their_next_beat():
    shared = Shared()
    shared.beat("ray-1", closed_for=20.0)
    shared.clock.now += 2
    assert [shared.beat(name).lent.closed_for for name in shared.names] == [18.0] * 3
    shared.clock.now += 18
    assert [shared.beat(name).lent.closed_for for name in shared.names] == [0.0] * 3


@pytest.mark.parametrize("dies", [None, "lost", "frozen"])
def test_rates_in_force_are_never_more_than_the_limit_and_are_used(dies):
    limit = 24_000.0
    shared = Shared(workers=4, requests_per_minute=limit)
    held, until, used = {}, {}, []
    for turn in range(400):
        shared.clock.now += EVERY / 4
        name = shared.names[turn % 4]
        if name == "ray-3" and dies and turn >= 200:
            if dies == "lost" and turn < 204:
                shared.coordinator.lost(name)
            continue
        grant = shared.beat(name, requests=10**6, held_back=REQUESTS)
        held[name], until[name] = grant.lent.requests, shared.clock.now + grant.lent.expires_in
        there = {each: rate for each, rate in held.items() if until[each] > shared.clock.now}
        assert sum(there.values()) <= limit * 1.0000001
        used.append(sum(there.values()))
    assert sum(used[8:]) / len(used[8:]) >= 0.9 * limit


def test_slots_of_all_are_those_of_the_run():
    shared = Shared(workers=3, most=12)
    for _ in range(4):
        slots = [shared.beat(name).lent.slots for name in shared.names]
    assert slots == [4, 4, 4]


def test_a_look_adds_up_all_workers_and_says_everything_once():
    shared = Shared()
    shared.beat("ray-0", ok=5, notices=["a", "a"])
    shared.beat("ray-1", ok=7, notices=["a", "b"])
    look = shared.coordinator.look()
    assert (look.state.asked.rows_ok, look.notices, look.left) == (12, ["a", "b"], 10)
    shared.coordinator.lost("ray-0")
    assert shared.coordinator.look().state.asked.rows_ok == 12
    shared.beat("ray-0", ok=2, epoch=shared.coordinator.join("ray-0"))
    look = shared.coordinator.look()
    assert (look.state.asked.rows_ok, look.notices) == (14, [])

"""When a row is tried again."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from batch.engine import retry
from batch.engine.retry import Chances, Retry, Waiting
from batch.outcome import TryAgain

FAILED = TryAgain("server_error", "it broke")
BILLED = TryAgain("timeout", "late", maybe_billed=True)
REFUSED = TryAgain("rate_limited", "full", refused=True)
POLICY = Retry()


def used(**failures: int) -> Chances:
    """The chances of a row that has failed so often, by kind."""
    return Chances(failures)


@pytest.mark.parametrize(
    ("chances", "outcome", "expected"),
    [
        (used(failed=1), FAILED, 0.25),
        (used(failed=2), FAILED, 0.5),
        (used(failed=7), FAILED, 16.0),
        (used(failed=8), FAILED, None),
        (used(failed=1, maybe_billed=1), BILLED, 0.25),
        (used(failed=2, maybe_billed=2), BILLED, None),
        (used(refused=1), REFUSED, 0.25),
        (used(refused=500), REFUSED, 30.0),
        (used(failed=7, refused=1), REFUSED, 0.25),
        (used(refused=1), TryAgain("rate_limited", "", refused=True, wait=20.0), 20.25),
        (used(failed=1), TryAgain("overloaded", "", wait=120.0), 120.25),
        (used(failed=1), TryAgain("connection", "", at_once=True), 0.0),
        (used(failed=8), TryAgain("connection", "", at_once=True), None),
    ],
)
def test_delay_is_half_of_the_doubled_delay_at_half_the_jitter(chances, outcome, expected):
    assert retry.delay(POLICY, chances, outcome, jitter=0.5) == expected


@given(
    st.integers(1, 10**6),
    st.floats(0, 1, exclude_max=True),
    st.none() | st.floats(0, 900),
    st.data(),
)
def test_never_sooner_than_asked_nor_later_than_the_longest_delay(refused, jitter, wait, data):
    policy = Retry(first_delay=data.draw(st.floats(0, 100)), max_delay=data.draw(st.floats(0, 100)))
    outcome = TryAgain("rate_limited", "", refused=True, wait=wait)
    delay = retry.delay(policy, used(refused=refused), outcome, jitter)
    assert delay is not None and (wait or 0) <= delay <= (wait or 0) + policy.max_delay


def test_a_refusal_uses_up_no_chance():
    chances = Chances().after(FAILED).after(REFUSED).after(REFUSED).after(BILLED)
    assert chances == used(failed=2, maybe_billed=1, refused=2)


CLOSED = TryAgain("connection", "closed", at_once=True)
MISFIT = TryAgain("schema_mismatch", "no JSON", mismatch=True)
TRUNCATED = TryAgain("invalid_request", "bad JSON", once=True)


@pytest.mark.parametrize(
    ("again", "others_succeed", "counted", "waits", "tries"),
    [
        (FAILED, False, {"failed": 1}, [0.25, 0.5, 1.0], 8),
        (BILLED, False, {"failed": 1, "maybe_billed": 1}, [0.25, None, None], 2),
        (TRUNCATED, False, {"failed": 1, "once": 1}, [0.25, None, None], 2),
        (CLOSED, False, {"at_once": 1}, [0.0, 0.0, 0.0], 11),
        (MISFIT, False, {"mismatch": 1}, [0.0, 0.0, None], 3),
        (REFUSED, False, {"refused": 1}, [0.25, 0.5, 1.0], None),
        (REFUSED, True, {"refused": 1, "alone": 1}, [0.25, 0.5, 0.5], 20),
    ],
)
def test_each_kind_of_failure_has_its_rule(again, others_succeed, counted, waits, tries):
    assert Chances().after(again, others_succeed) == used(**counted)

    chances, delays = Chances(), []
    for _ in range(100):
        chances = chances.after(again, others_succeed)
        delays.append(retry.delay(POLICY, chances, again, 0.5, others_succeed))
    assert delays[:3] == waits
    assert (delays.index(None) + 1 if None in delays else None) == tries


def test_a_row_without_fault_keeps_its_chances_but_for_what_may_be_billed():
    before = used(failed=3, at_once=1)
    assert before.after(FAILED).forgiven(before) == used(failed=3, at_once=1, maybe_billed=0)
    assert before.after(BILLED).forgiven(before) == used(failed=3, at_once=1, maybe_billed=1)


@given(st.lists(st.floats(0, 100)))
def test_waiting_rows_come_back_in_the_order_they_are_due(moments):
    waiting: Waiting[int] = Waiting()
    for item, due in enumerate(moments):
        waiting.push(due, item)
    assert len(waiting) == len(moments)
    assert waiting.next_due() == min(moments, default=None)
    popped = [waiting.pop_due(100.0) for _ in moments]
    assert popped == sorted(range(len(moments)), key=lambda item: (moments[item], item))
    assert waiting.pop_due(100.0) is None and waiting.next_due() is None


def test_no_row_comes_back_before_it_is_due():
    waiting: Waiting[dict[str, int]] = Waiting()
    waiting.push(5.0, {"incomparable": 1})
    waiting.push(5.0, {"incomparable": 2})
    assert waiting.pop_due(4.999) is None
    assert waiting.pop_due(5.0) == {"incomparable": 1}


def test_few_failures_wait_for_no_budget():
    budget = retry.Budget()
    for attempt in range(10_000):
        if attempt % 5 == 0:
            assert budget.wait(FAILED, attempt / 100, 60.0) == 0
        else:
            budget.earn(attempt / 100)


def test_when_most_attempts_fail_retries_wait_one_behind_the_other():
    budget = retry.Budget()
    waits = [budget.wait(FAILED, 1.0, 60.0) for _ in range(400)]

    assert waits[:200] == [0.0] * 200
    steps = [later - sooner for sooner, later in itertools.pairwise(waits[260:300])]
    assert steps == pytest.approx([retry.COST / retry.REFILL] * len(steps))
    assert max(waits) <= 60


def test_a_retry_that_may_be_paid_twice_costs_more():
    budget, dear = retry.Budget(), TryAgain("timeout", "no answer", maybe_billed=True)
    waits = [budget.wait(dear, 1.0, 60.0) for _ in range(200)]

    assert sum(wait == 0 for wait in waits) < 150


def test_time_heals_the_budget():
    budget = retry.Budget()
    for _ in range(400):
        budget.wait(FAILED, 1.0, 60.0)

    assert budget.wait(FAILED, 200.0, 60.0) == 0


@pytest.mark.parametrize("dear", [False, True])
@pytest.mark.parametrize("workers", [1, 2, 4, 8, 50])
def test_workers_together_retry_no_more_than_one(workers: int, dear: bool):
    """All attempts fail, for a minute: each retry comes when the one before is covered."""
    again = TryAgain("timeout", "no answer", maybe_billed=True) if dear else FAILED

    def retried(share: float) -> int:
        budget, now, retries = retry.Budget(share), 0.0, 0
        while (now := now + budget.wait(again, now, 1_000.0)) <= 60:
            retries += 1
        return retries

    one, all_of_them = retried(1.0), workers * retried(1 / workers)
    assert all_of_them <= one
    assert all_of_them >= one - 2 * workers  # what is left over of each


def test_a_share_of_the_budget_that_is_set_anew_counts_from_then_on():
    budget = retry.Budget()
    budget.share = 0.1

    waits = [budget.wait(FAILED, 1.0, 60.0) for _ in range(30)]
    assert waits[:25] == [0.0] * 25
    assert waits[25] == pytest.approx(retry.COST / (retry.REFILL * 0.1))


def test_rows_that_are_hurried_are_due_in_the_order_they_would_have_been():
    waiting: Waiting[str] = Waiting()
    for due, item in ((9.0, "c"), (1.0, "a"), (5.0, "b")):
        waiting.push(due, item)
    waiting.hurry(2.0)
    waiting.push(2.0, "d")
    assert [waiting.pop_due(2.0) for _ in range(5)] == ["a", "b", "c", "d", None]

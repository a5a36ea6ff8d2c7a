"""Whose fault a failure is: the endpoint's or the row's."""

from __future__ import annotations

import pytest

from batch.engine.outages import START_PATIENCE, Outages
from batch.engine.retry import Chances, Retry
from batch.limits.limiter import Limiter
from batch.limits.limits import Limits
from batch.outcome import TryAgain

BROKEN = TryAgain("server_error", "it broke")
REFUSED = TryAgain("rate_limited", "full", refused=True)
CLOSED = TryAgain("connection", "closed", at_once=True)
TRUNCATED = TryAgain("invalid_request", "bad JSON", once=True)
MISFIT = TryAgain("schema_mismatch", "no JSON", mismatch=True)
NO_CONNECTION = TryAgain("connection", "refused", unreachable=True)


class Case:
    """Outages, and a clock that is set by hand."""

    def __init__(self, policy: Retry | None = None) -> None:
        self.now = 1_000.0
        self.limiter = Limiter(Limits(), 8, clock=lambda: self.now)
        self.outages = Outages(policy or Retry(), self.limiter)
        self.chances: dict[int, Chances] = {}

    def fail(self, row: int, again: TryAgain = BROKEN, last: bool = False) -> bool:
        """A row fails, a second later."""
        self.now += 1.0
        chances = self.outages.noted(self.chances.get(row, Chances()), self.now)
        self.chances[row] = chances
        return self.outages.is_outage(row, again, chances, 0.2, self.now, last=last)

    def answer(self) -> None:
        """Another row is answered, a second later."""
        self.now += 1.0
        self.limiter.answered(0.2)
        self.outages.answered(self.now, 0.2)


@pytest.mark.parametrize(
    ("again", "rows", "first"),
    [
        (BROKEN, range(40), 20),
        (BROKEN, [1, 2] * 20, None),
        (NO_CONNECTION, range(40), 3),
        (NO_CONNECTION, [1] * 40, 3),
        (REFUSED, range(40), None),
        (CLOSED, range(40), None),
        (TRUNCATED, range(40), None),
        (MISFIT, range(40), None),
    ],
)
def test_an_endpoint_is_down_after_so_many_failures(again, rows, first):
    case = Case()
    down = [case.fail(row, again) for row in rows]
    assert (down.index(True) + 1 if True in down else None) == first
    assert case.outages.is_down == (first is not None)


def test_a_row_that_fails_while_others_are_answered_proves_nothing():
    case = Case()
    for _ in range(40):
        case.answer()
        assert not case.fail(1)
    assert not case.fail(1, last=True)


def test_the_last_chance_of_a_row_is_not_taken_while_others_fail_with_it():
    case = Case()
    case.answer()
    assert [case.fail(row) for row in (1, 2, 3)] == [False] * 3
    assert case.fail(1, last=True)


@pytest.mark.parametrize(
    ("has_answered", "seconds"), [(False, START_PATIENCE), (True, Retry().max_wait)]
)
def test_an_endpoint_that_never_answered_is_waited_for_less(has_answered, seconds):
    case = Case()
    if has_answered:
        case.answer()
    case.outages.turned_away("auth, HTTP 401", 0.2)
    assert case.outages.out_of_patience(case.now + seconds - 0.01) is None
    assert case.outages.out_of_patience(case.now + seconds) is not None
    case.answer()
    assert case.outages.out_of_patience(case.now + seconds) is None

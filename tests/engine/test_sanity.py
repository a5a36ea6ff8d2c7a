"""When the job is doubted, and not its rows."""

from __future__ import annotations

import pytest

from batch.engine.sanity import (
    EMPTY_WINDOW,
    HELD_BACK,
    INVALID_WINDOW,
    LEAST_TIMEOUTS,
    MOST_HELD_BACK,
    Failure,
    FirstAnswers,
    HeldBack,
    InvalidRows,
    Timeouts,
)
from batch.model import Request
from batch.results import Error


def failure(message: str) -> Failure:
    return Failure(Request(0, None, "chat", "m", b"", ""), (), Error("invalid_request", message))


def test_alike_but_for_numbers_is_the_jobs_fault() -> None:
    held = HeldBack()
    faults = [held.add(failure(f"row {row} has no such parameter")) for row in range(HELD_BACK)]

    assert faults == [None] * (HELD_BACK - 1) + ["job"]


def test_each_for_a_reason_of_its_own_is_the_rows_fault() -> None:
    held = HeldBack()
    faults = [held.add(failure("x" * row)) for row in range(MOST_HELD_BACK)]

    assert faults == [None] * (MOST_HELD_BACK - 1) + ["rows"]
    assert len(held.take()) == MOST_HELD_BACK
    assert held.at_the_end() is None


@pytest.mark.parametrize(("messages", "fault"), [("aaa", "job"), ("aab", "rows"), ("", None)])
def test_at_the_end_it_is_the_jobs_fault_when_all_were_alike(messages, fault) -> None:
    held = HeldBack()
    for message in messages:
        held.add(failure(message))

    assert held.at_the_end() == fault


@pytest.mark.parametrize(("empty", "doubted"), [(24, False), (25, True)])
def test_half_of_the_first_answers_empty_is_too_many(empty, doubted) -> None:
    for accepted in (False, True):
        first = FirstAnswers(accepted)
        seen = [first.mostly_empty(answer < empty) for answer in range(4 * EMPTY_WINDOW)]
        assert any(seen) == (doubted and not accepted)


@pytest.mark.parametrize(("invalid", "doubted"), [(500, False), (501, True)])
def test_more_than_half_of_a_thousand_invalid_is_too_many(invalid, doubted) -> None:
    for accepted in (False, True):
        counted = InvalidRows(accepted)
        seen = [counted.mostly(row < invalid) for row in range(INVALID_WINDOW)]
        assert any(seen) == (doubted and not accepted)


def test_one_late_answer_in_twenty_is_too_many() -> None:
    few, many = Timeouts(), Timeouts()

    assert not any(few.many(at % 25 == 0, at / 100) for at in range(5_000))
    assert any(many.many(at % 10 == 0, at / 100) for at in range(5_000))


def test_few_requests_and_old_ones_say_nothing_of_late_answers() -> None:
    timeouts = Timeouts()

    assert not any(timeouts.many(True, 1.0) for _ in range(LEAST_TIMEOUTS - 1))
    assert not timeouts.many(True, 1_000.0)

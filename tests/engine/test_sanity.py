"""When the job is doubted, and not its rows."""

from __future__ import annotations

from typing import Any

import pytest

from batch.engine.sanity import (
    DOUBTED,
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


def failure(message: str, error_class: str = "invalid_request", **asked: Any) -> Failure:
    request = Request(0, None, "chat", "m", asked.pop("body", b""), "", **asked)
    return Failure(request, (), Error(error_class, message))


def test_alike_but_for_numbers_is_the_jobs_fault() -> None:
    held = HeldBack()
    faults = [held.add(failure(f"row {row} has no such parameter")) for row in range(HELD_BACK)]

    assert faults == [None] * (HELD_BACK - 1) + ["job"]


def test_alike_but_for_ids_is_alike() -> None:
    one, other = (failure(f"no such field (request id: {id})") for id in ("req_0aXz", "9f-e3-b"))
    assert one.fingerprint() == other.fingerprint() != failure("another").fingerprint()


def test_each_for_a_reason_of_its_own_is_the_rows_fault() -> None:
    held = HeldBack()
    faults = [held.add(failure("x" * row)) for row in range(MOST_HELD_BACK)]

    assert faults == [None] * (MOST_HELD_BACK - 1) + ["rows"]
    assert len(held.take()) == MOST_HELD_BACK
    assert held.at_the_end() is None


LENGTH = "the context length is 8192, this request has 21 tokens"
CAP = "max_tokens=8192 is too large: " + LENGTH


@pytest.mark.parametrize("error_class", ["context_length", "too_large"])
@pytest.mark.parametrize(
    ("message", "asked", "most", "fault"),
    [
        (LENGTH, {"output_cap": 8192}, DOUBTED, "doubt"),
        (CAP, {"output_cap": 8192, "body": b"x" * 100}, HELD_BACK, "job"),
        (CAP, {"output_cap": 8192, "body": b"x" * 100_000}, DOUBTED, "doubt"),
        (CAP, {}, DOUBTED, "doubt"),
        (f"{LENGTH} (21 in the messages, 9 in the completion)", {"output_cap": 9, "body": b"x"},
         HELD_BACK, "job"),
    ],
)  # fmt: skip
def test_lengths_are_the_jobs_fault_where_its_own_output_is_too_large(
    error_class, message, asked, most, fault
) -> None:
    held = HeldBack()
    alike = [failure(message.replace("21", str(row)), error_class, **asked) for row in range(most)]
    assert all(held.holds(each) for each in alike)
    assert [held.add(each) for each in alike] == [None] * (most - 1) + [fault]
    again = HeldBack(doubted=held.doubted)
    assert again.holds(alike[0]) == (fault == "job")


@pytest.mark.parametrize(
    ("error_class", "succeeded"),
    [
        *(("content_filter", known) for known in (False, True)),
        *(("schema_mismatch", known) for known in (False, True)),
        ("blocked", True),
    ],
)
def test_what_is_a_rows_alone_is_never_held_back(error_class, succeeded) -> None:
    assert not HeldBack(succeeded).holds(failure("no", error_class))


def test_a_page_that_turns_everybody_away_before_the_first_success_is_the_jobs_fault() -> None:
    held = HeldBack()
    pages = [failure("403 Forbidden", "blocked") for _ in range(20)]
    assert all(held.holds(each) for each in pages)
    assert [held.add(each) for each in pages] == [None] * 19 + ["job"]


def test_what_was_refused_before_an_answer_was_asked_for_is_the_rows_fault() -> None:
    held = HeldBack(succeeded=True)
    for at in range(4):
        held.add(failure(f"no {at}"), float(at))
    assert [each.error.message for each in held.answered(1.5)] == ["no 0", "no 1"]
    assert len(held.take()) == 2


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

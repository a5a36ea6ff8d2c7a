"""When a row is tried again, and what servers ask for in their headers."""

from __future__ import annotations

from email.utils import formatdate

import pytest
from hypothesis import given
from hypothesis import strategies as st

from batch import ratelimits, retry
from batch.outcome import TryAgain
from batch.retry import Chances, Retry, Waiting

FAILED = TryAgain("server_error", "it broke")
BILLED = TryAgain("timeout", "late", maybe_billed=True)
REFUSED = TryAgain("rate_limited", "full", refused=True)
POLICY = Retry()


@pytest.mark.parametrize(
    ("chances", "outcome", "expected"),
    [
        (Chances(counted=1), FAILED, 0.25),
        (Chances(counted=2), FAILED, 0.5),
        (Chances(counted=7), FAILED, 16.0),
        (Chances(counted=8), FAILED, None),
        (Chances(counted=1, maybe_billed=1), BILLED, 0.25),
        (Chances(counted=2, maybe_billed=2), BILLED, None),
        (Chances(refused=1), REFUSED, 0.25),
        (Chances(refused=500), REFUSED, 30.0),
        (Chances(counted=7, refused=1), REFUSED, 0.25),
        (Chances(refused=1), TryAgain("rate_limited", "", refused=True, wait=20.0), 20.25),
        (Chances(counted=1), TryAgain("overloaded", "", wait=120.0), 120.25),
        (Chances(counted=1), TryAgain("connection", "", at_once=True), 0.0),
        (Chances(counted=8), TryAgain("connection", "", at_once=True), None),
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
    delay = retry.delay(policy, Chances(refused=refused), outcome, jitter)
    assert delay is not None and (wait or 0) <= delay <= (wait or 0) + policy.max_delay


def test_a_refusal_uses_up_no_chance():
    used = Chances().and_then(FAILED).and_then(REFUSED).and_then(REFUSED).and_then(BILLED)
    assert used == Chances(counted=2, maybe_billed=1, refused=2)


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


NOW = 1_700_000_000.0


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        ("2", 2.0),
        ("0.5", 0.5),
        ("0", 0.0),
        (" 3 ", 3.0),
        (formatdate(NOW + 90, usegmt=True), 90.0),
        (formatdate(NOW - 90, usegmt=True), 0.0),
        ("-10", None),
        ("inf", None),
        ("nan", None),
        ("1e34", None),
        ("9" * 400, None),
        ("", None),
        ("soon", None),
        ("1, 2", None),
        ("Fri, 31 Dec 99999 23:59:59 GMT", None),
        ("Fri, 31 Dec 9999 23:59:59 GMT", None),
        ("Mon, 01 Jan 2024 00:00:00 +99999999999999999", None),
        ("Mon, 32 Foo 2024 00:00:00 GMT", None),
    ],
)
def test_retry_after_is_seconds_or_a_date_and_nonsense_is_nothing(value, seconds):
    assert ratelimits.wait_seconds({"retry-after": value}, NOW) == seconds


@pytest.mark.parametrize(
    ("milliseconds", "seconds"), [("250", 0.25), ("60000", 60.0), ("3600000", 3600.0)]
)
def test_milliseconds_win_over_seconds(milliseconds, seconds):
    headers = {"retry-after-ms": milliseconds, "retry-after": "7"}
    assert ratelimits.wait_seconds(headers, NOW) == seconds


@pytest.mark.parametrize("nonsense", ["soon", "nan", "-1", ""])
def test_milliseconds_that_make_no_sense_leave_the_word_to_seconds(nonsense):
    assert ratelimits.wait_seconds({"retry-after-ms": nonsense, "retry-after": "7"}, NOW) == 7.0


def test_silent_headers_ask_for_nothing():
    assert ratelimits.wait_seconds({}, NOW) is None
    assert ratelimits.should_retry({}) is None


@pytest.mark.parametrize(
    ("value", "said"), [("true", True), ("False", False), ("perhaps", None), ("", None)]
)
def test_should_retry_is_true_false_or_nothing(value, said):
    assert ratelimits.should_retry({"x-should-retry": value}) is said


@given(st.text(), st.text())
def test_no_header_makes_it_raise(one, other):
    wait = ratelimits.wait_seconds({"retry-after": one, "retry-after-ms": other}, NOW)
    assert wait is None or 0 <= wait <= ratelimits.LONGEST_WAIT

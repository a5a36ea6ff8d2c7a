"""When a row is tried again, and what servers ask for in their headers."""

from __future__ import annotations

import itertools
from email.utils import formatdate

import pytest
from hypothesis import given
from hypothesis import strategies as st

from batch import headers as ratelimits
from batch.engine import retry
from batch.engine.retry import Chances, Retry, Waiting
from batch.outcome import TryAgain

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


def openai(
    limit: object, remaining: object, reset: object, what: str = "requests"
) -> dict[str, str]:
    parts = {"limit": limit, "remaining": remaining, "reset": reset}
    return {f"x-ratelimit-{part}-{what}": str(value) for part, value in parts.items()}


@pytest.mark.parametrize(
    ("headers", "announced"),
    [
        (openai(500, 499, "120ms"), (500, None)),
        (openai(500, 250, "30s"), (500, None)),
        (openai(60_000, 30_000, "29.7s", "tokens"), (None, 60_000)),
        (openai(600, 0, "1m0s") | openai(9_000, 4_500, 30, "tokens"), (600, 9_000)),
        (openai(14_400, 14_370, "2m59.56s"), (None, None)),  # Groq's requests are per day
        (openai(10, 9, "100ms"), (None, None)),  # per second
        (openai(500, 500, "0s"), (None, None)),
        (openai(500, 250, "soon"), (None, None)),
        (openai("inf", "nan", "30s"), (None, None)),
        ({"x-ratelimit-limit-requests": "500"}, (None, None)),
        ({}, (None, None)),
        (
            {
                "anthropic-ratelimit-requests-limit": "50",
                "anthropic-ratelimit-requests-remaining": "25",
                "anthropic-ratelimit-requests-reset": "2026-01-01T00:00:30Z",
            },
            (50, None),
        ),
    ],
)
def test_an_announced_limit_counts_when_its_period_is_about_a_minute(headers, announced):
    heard = ratelimits.announced(headers, 1767225600.0)  # 2026-01-01T00:00:00Z
    assert (heard.requests_per_minute, heard.tokens_per_minute) == announced


@pytest.mark.parametrize(
    ("reset", "seconds"),
    [
        ("6m0s", 360), ("1s", 1), ("500ms", 0.5), ("1m30.5s", 90.5), ("2h15m", 8100), ("1d", 86400),
        ("17", 17), ("0.25", 0.25), ("1767225660", 60), ("1767225660000", 60),
        ("2026-01-01T00:01:00Z", 60), ("2026-01-01T00:01:00", 60), ("2025-01-01T00:00:00Z", 0),
        ("", None), ("-1s", None), ("nan", None), ("inf", None), ("1e99", None), ("soon", None),
        ("9" * 400, None), ("5m ago", None),
    ],
)  # fmt: skip
def test_a_reset_is_read_in_every_dialect(reset, seconds):
    said = ratelimits.reset_seconds({"x-ratelimit-reset-requests": reset}, 1767225600.0)
    assert said == (None if seconds is None else pytest.approx(seconds))


def test_the_reset_that_counts_is_the_longest_of_what_is_used_up():
    headers = openai(10, 0, "3s") | openai(10, 5, "50s", "tokens")
    assert ratelimits.reset_seconds(headers, 0.0) == 3
    assert ratelimits.reset_seconds(headers | openai(10, 0, "50s", "tokens"), 0.0) == 50


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

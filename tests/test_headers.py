"""What servers ask for and announce in their headers."""

from __future__ import annotations

from email.utils import formatdate

import pytest
from hypothesis import given
from hypothesis import strategies as st

from batch import headers

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
    assert headers.wait_seconds({"retry-after": value}, NOW) == seconds


@pytest.mark.parametrize(
    ("milliseconds", "seconds"), [("250", 0.25), ("60000", 60.0), ("3600000", 3600.0)]
)
def test_milliseconds_win_over_seconds(milliseconds, seconds):
    said = {"retry-after-ms": milliseconds, "retry-after": "7"}
    assert headers.wait_seconds(said, NOW) == seconds


@pytest.mark.parametrize("nonsense", ["soon", "nan", "-1", ""])
def test_milliseconds_that_make_no_sense_leave_the_word_to_seconds(nonsense):
    assert headers.wait_seconds({"retry-after-ms": nonsense, "retry-after": "7"}, NOW) == 7.0


def test_silent_headers_ask_for_nothing():
    assert headers.wait_seconds({}, NOW) is None
    assert headers.should_retry({}) is None


@pytest.mark.parametrize(
    ("value", "said"), [("true", True), ("False", False), ("perhaps", None), ("", None)]
)
def test_should_retry_is_true_false_or_nothing(value, said):
    assert headers.should_retry({"x-should-retry": value}) is said


@given(st.text(), st.text())
def test_no_header_makes_it_raise(one, other):
    wait = headers.wait_seconds({"retry-after": one, "retry-after-ms": other}, NOW)
    assert wait is None or 0 <= wait <= headers.LONGEST_WAIT


def openai(
    limit: object, remaining: object, reset: object, what: str = "requests"
) -> dict[str, str]:
    parts = {"limit": limit, "remaining": remaining, "reset": reset}
    return {f"x-ratelimit-{part}-{what}": str(value) for part, value in parts.items()}


@pytest.mark.parametrize(
    ("said", "announced"),
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
def test_an_announced_limit_counts_when_its_period_is_about_a_minute(said, announced):
    heard = headers.announced(said, 1767225600.0)  # 2026-01-01T00:00:00Z
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
    said = headers.reset_seconds({"x-ratelimit-reset-requests": reset}, 1767225600.0)
    assert said == (None if seconds is None else pytest.approx(seconds))


def test_the_reset_that_counts_is_the_longest_of_what_is_used_up():
    said = openai(10, 0, "3s") | openai(10, 5, "50s", "tokens")
    assert headers.reset_seconds(said, 0.0) == 3
    assert headers.reset_seconds(said | openai(10, 0, "50s", "tokens"), 0.0) == 50


def test_a_name_is_kept_in_lower_case_where_it_means_something():
    assert headers.kept("X-RateLimit-Reset-Tokens") == "x-ratelimit-reset-tokens"
    assert headers.kept("Retry-After") == "retry-after"
    assert headers.kept("Set-Cookie") is None


@pytest.mark.parametrize("name", ["x-ratelimit-{}", "ratelimit-{}"])
@pytest.mark.parametrize(
    ("remaining", "reset", "seconds"),
    [
        ("0", "40", 40.0),
        (None, "40", 40.0),
        ("3", "40", None),
        ("0", str(int(NOW) + 40), 40.0),
        ("0", str((int(NOW) + 40) * 1000), 40.0),
        ("0", str(int(NOW) - 40), None),
        ("0", "1m30s", 90.0),
        ("0", "soon", None),
        ("0", None, None),
    ],
)
def test_a_limit_without_a_suffix_comes_back_as_a_whole(name, remaining, reset, seconds):
    told = {"limit": "50", "remaining": remaining, "reset": reset}
    said = {name.format(part): value for part, value in told.items() if value is not None}
    assert headers.window_seconds(said, NOW) == seconds
    assert all(headers.kept(each) for each in said)
    assert not headers.speaks_of_limits(said)


def test_limits_of_a_day_and_of_a_minute_are_told_apart_by_name():
    said = {"x-ratelimit-remaining-requests-day": "0", "x-ratelimit-reset-requests-day": "33011.5"}
    assert headers.reset_seconds(said, NOW) == 33011.5
    assert all(headers.kept(each) for each in said)


@pytest.mark.parametrize(
    ("text", "whole", "leading"),
    [
        ("6s", 6.0, 6.0),
        ("34.07s", 34.07, 34.07),
        ("7m12s", 432.0, 432.0),
        ("20ms", 0.02, 0.02),
        ("57 seconds", 57.0, 57.0),
        ("1 minute and more", None, 60.0),
        ("26 Seconds.", None, 26.0),
        ("5 apples", None, None),
        ("", None, None),
    ],
)
def test_durations_are_read_as_they_are_written(text, whole, leading):
    assert headers.duration(text) == (None if whole is None else pytest.approx(whole))
    read = headers.duration(text, whole=False)
    assert read == (None if leading is None else pytest.approx(leading))

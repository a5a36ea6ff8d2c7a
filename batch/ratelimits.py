"""What rate-limit headers mean, dialect by dialect.  Pure: the time comes in.

`retry-after-ms` is OpenAI's and Azure's, `retry-after` is RFC 9110 (seconds or an HTTP date;
servers also send fractions).  A value that makes no sense is no value.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from datetime import UTC
from email.utils import parsedate_to_datetime

LONGEST_WAIT = 31 * 86400.0
"""Seconds; a longer wait is a broken clock or a joke."""


def wait_seconds(headers: Mapping[str, str], now: float) -> float | None:
    """How long the server asks to wait, in seconds; None when it says nothing usable.

    `headers` have lower-case names; `now` is the wall clock in seconds since the epoch.
    """
    milliseconds = _number(headers.get("retry-after-ms"))
    if milliseconds is not None and (wait := _sane(milliseconds / 1000)) is not None:
        return wait
    value = headers.get("retry-after")
    if value is None:
        return None
    seconds = _number(value)
    return _sane(_until(value, now) if seconds is None else seconds)


def should_retry(headers: Mapping[str, str]) -> bool | None:
    """`x-should-retry`, which OpenAI's servers send and its SDK obeys; None where it is absent."""
    return {"true": True, "false": False}.get(headers.get("x-should-retry", "").lower())


def _number(text: str | None) -> float | None:
    try:
        return float(text) if text is not None else None
    except ValueError:
        return None


def _until(date: str, now: float) -> float | None:
    try:
        moment = parsedate_to_datetime(date)
    except (OverflowError, ValueError):
        return None
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=UTC)
    try:
        return max(0.0, moment.timestamp() - now)
    except (OverflowError, ValueError):
        return None


def _sane(seconds: float | None) -> float | None:
    if seconds is None or not math.isfinite(seconds) or not 0 <= seconds <= LONGEST_WAIT:
        return None
    return seconds

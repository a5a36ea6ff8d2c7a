"""What rate-limit headers mean, dialect by dialect.  Pure: the time comes in.

`retry-after-ms` is OpenAI's and Azure's, `retry-after` is RFC 9110 (seconds or an HTTP date;
servers also send fractions).  `x-ratelimit-{limit,remaining,reset}-{requests,tokens}` come from
OpenAI, Azure, Groq and most gateways, `anthropic-ratelimit-{requests,tokens}-{…}` from Anthropic.
A value that makes no sense is no value.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime

import msgspec

LONGEST_WAIT = 31 * 86400.0
"""Seconds; a longer wait is a broken clock or a joke."""

SHORTEST_MINUTE, LONGEST_MINUTE = 30.0, 120.0
"""Seconds a period may seem to have and still be a minute: counts and resets are rounded."""

FORMS = ("x-ratelimit-{part}-{what}", "anthropic-ratelimit-{what}-{part}")
EPOCH, EPOCH_MS = 1e9, 1e11
"""From the first on, a number is a moment in seconds since the epoch, from the second in ms."""

_DURATION = re.compile(
    "(?:{n}d)?(?:{n}h)?(?:{n}m(?!s))?(?:{n}s)?(?:{n}ms)?".replace("{n}", r"(\d+(?:\.\d+)?)")
)
_UNITS = (86400.0, 3600.0, 60.0, 1.0, 0.001)


class Announced(msgspec.Struct, frozen=True):
    """Limits a server says it has, per minute; None where it does not say, or counts otherwise."""

    requests_per_minute: float | None = None
    tokens_per_minute: float | None = None


def announced(headers: Mapping[str, str], now: float) -> Announced:
    """What the limit headers of an answer say.

    `reset` is the time until all is there again, so limit, remaining and reset together tell the
    period: limits per day or per second are not taken for limits per minute.
    """
    return Announced(_per_minute(headers, "requests", now), _per_minute(headers, "tokens", now))


def _per_minute(headers: Mapping[str, str], what: str, now: float) -> float | None:
    for form in FORMS:
        limit = _number(headers.get(form.format(part="limit", what=what)))
        remaining = _number(headers.get(form.format(part="remaining", what=what)))
        reset = _reset(headers.get(form.format(part="reset", what=what)), now)
        if limit is None or remaining is None or reset is None or not 0 <= remaining < limit:
            continue
        least = reset - 1 if reset.is_integer() else reset  # it may have been rounded up
        share = (limit - remaining) / limit
        if least / share >= SHORTEST_MINUTE and reset / share <= LONGEST_MINUTE:
            return limit
    return None


def reset_seconds(headers: Mapping[str, str], now: float) -> float | None:
    """Seconds until what is used up is there again, for a refusal that names no wait.

    The longest of those that have nothing left (or do not say what they have left).
    """
    resets = []
    for form in FORMS:
        for what in ("requests", "tokens"):
            left = _number(headers.get(form.format(part="remaining", what=what)))
            reset = _reset(headers.get(form.format(part="reset", what=what)), now)
            if reset is not None and (left is None or left <= 0):
                resets.append(reset)
    return max(resets, default=None)


def _reset(text: str | None, now: float) -> float | None:
    """Seconds in a reset header: `6m0s`, `500ms`, seconds, a moment since the epoch, ISO 8601."""
    if text is None:
        return None
    text = text.strip()
    number = _number(text)
    if number is not None:
        if number >= EPOCH:
            number = (number / 1000 if number >= EPOCH_MS else number) - now
        return _sane(number)
    if (spelt := _DURATION.fullmatch(text)) and any(spelt.groups()):
        parts = [_number(part) or 0.0 for part in spelt.groups()]
        return _sane(sum(part * unit for part, unit in zip(parts, _UNITS, strict=True)))
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        return None
    moment = moment if moment.tzinfo else moment.replace(tzinfo=UTC)
    return _sane(max(0.0, moment.timestamp() - now))


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

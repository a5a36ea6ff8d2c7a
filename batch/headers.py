"""The headers of an answer that mean something, and what they mean.  Pure: the time comes in.

No other file knows the name of one, and an attempt keeps those that are listed here and no more.  A
server with other headers for its limits is another Dialect in DIALECTS.  A value that makes no sense
is no value.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from functools import lru_cache

import msgspec


class Window(msgspec.Struct, frozen=True):
    """The headers about one limit: how much it is, what is left, and when all is there again.

    `seconds` is the period of the limit, where the names tell it; else the three headers together
    do.
    """

    limit: str
    remaining: str
    reset: str | None = None
    seconds: float | None = None


class Dialect(msgspec.Struct, frozen=True):
    """How a kind of server says what it allows.  `unit` is how many seconds 1 is in a reset that is
    a bare number.
    """

    requests: Window | None = None
    tokens: Window | None = None
    unit: float = 1.0

    @classmethod
    def of(cls, form: str) -> Dialect:
        """The one whose names all have one form."""
        return cls(_window(form, "requests"), _window(form, "tokens"))

    def windows(self) -> Iterator[Window]:
        """Those it has."""
        yield from filter(None, (self.requests, self.tokens))


def _window(form: str, what: str) -> Window:
    parts = ("limit", "remaining", "reset")
    limit, remaining, reset = (form.format(part=part, what=what) for part in parts)
    return Window(limit, remaining, reset)


DIALECTS = (
    Dialect.of("x-ratelimit-{part}-{what}"),  # OpenAI, Azure, Groq, most gateways
    Dialect.of("anthropic-ratelimit-{what}-{part}"),
    Dialect.of("x-ratelimit-{part}-{what}-day"),  # Cerebras
    Dialect.of("x-ratelimit-{part}-{what}-minute"),
)

FIXED = (
    Window("x-ratelimit-limit", "x-ratelimit-remaining", "x-ratelimit-reset"),  # OpenRouter
    Window("ratelimit-limit", "ratelimit-remaining", "ratelimit-reset"),  # an IETF draft
)
"""Limits that do not say of what, and come back all at once when they are reset."""

WAIT, WAIT_MS = "retry-after", "retry-after-ms"
"""RFC 9110 (seconds or an HTTP date; servers also send fractions); OpenAI's and Azure's."""
SHOULD_RETRY = "x-should-retry"
REQUEST_IDS = ("x-request-id", "request-id")
LOCATION = "location"
COST = "x-litellm-response-cost"
"""In which LiteLLM's proxy says the cost of an answer, in USD."""
LITELLM = "x-litellm-version"
"""By which that proxy is known (docs.litellm.ai, response headers, 2026-10-15)."""

LIMITS = frozenset(
    name
    for dialect in DIALECTS
    for window in dialect.windows()
    for name in (window.limit, window.remaining, window.reset)
    if name is not None
)
KEPT = LIMITS.union(
    (name for window in FIXED for name in (window.limit, window.remaining, window.reset) if name),
    (WAIT, WAIT_MS, SHOULD_RETRY, *REQUEST_IDS, LOCATION, COST, LITELLM),
)

LONGEST_WAIT = 31 * 86400.0
"""Seconds; a longer wait is a broken clock or a joke."""

SHORTEST_MINUTE, LONGEST_MINUTE = 30.0, 120.0
"""Seconds a period may seem to have and still be a minute: counts and resets are rounded."""

EPOCH, EPOCH_MS = 1e9, 1e11
"""From the first on, a number is a moment in seconds since the epoch, from the second in ms."""


_PART = re.compile(r"(\d+(?:\.\d+)?)\s*([a-z]+)\s*")
_UNITS = {
    **dict.fromkeys(("d", "day", "days"), 86400.0),
    **dict.fromkeys(("h", "hr", "hrs", "hour", "hours"), 3600.0),
    **dict.fromkeys(("m", "min", "mins", "minute", "minutes"), 60.0),
    **dict.fromkeys(("s", "sec", "secs", "second", "seconds"), 1.0),
    **dict.fromkeys(("ms", "millisecond", "milliseconds"), 0.001),
}


class Announced(msgspec.Struct, frozen=True):
    """Limits a server says it has, per minute; None where it does not say, or counts otherwise."""

    requests_per_minute: float | None = None
    tokens_per_minute: float | None = None


@lru_cache(maxsize=256)
def kept(name: str) -> str | None:
    """A header's name in lower case; None where nobody reads it."""
    lower = name.lower()
    return lower if lower in KEPT else None


def speaks_of_limits(headers: Mapping[str, str]) -> bool:
    """Whether an answer says anything of limits."""
    return not LIMITS.isdisjoint(headers)


def announced(headers: Mapping[str, str], now: float) -> Announced:
    """What the limit headers of an answer say.

    `reset` is the time until all is there again, so limit, remaining and reset together tell the
    period: limits per day or per second are not taken for limits per minute.
    """
    of_requests = [_per_minute(headers, each.requests, each.unit, now) for each in DIALECTS]
    of_tokens = [_per_minute(headers, each.tokens, each.unit, now) for each in DIALECTS]
    return Announced(_first(of_requests), _first(of_tokens))


def duration(text: str, *, whole: bool = True) -> float | None:
    """Seconds in `6m0s`, `500ms`, `57 seconds`; None for what is no duration.  A text that is not
    `whole` may go on behind it.
    """
    total, at, text = None, 0, text.strip().lower()
    while (part := _PART.match(text, at)) and part[2] in _UNITS:
        total = (total or 0.0) + float(part[1]) * _UNITS[part[2]]
        at = part.end()
    return None if whole and at < len(text) else total


def _first(found: list[float | None]) -> float | None:
    return next((limit for limit in found if limit is not None), None)


def _per_minute(
    headers: Mapping[str, str], window: Window | None, unit: float, now: float
) -> float | None:
    if window is None or (limit := _number(headers.get(window.limit))) is None:
        return None
    if window.seconds is not None:
        return limit * 60 / window.seconds if 0 < limit < math.inf else None
    remaining = _number(headers.get(window.remaining))
    reset = _reset(headers, window, unit, now)
    if remaining is None or reset is None or not 0 <= remaining < limit:
        return None
    least = reset - 1 if reset.is_integer() else reset  # it may have been rounded up
    share = (limit - remaining) / limit
    is_minute = least / share >= SHORTEST_MINUTE and reset / share <= LONGEST_MINUTE
    return limit if is_minute else None


def reset_seconds(headers: Mapping[str, str], now: float) -> float | None:
    """Seconds until what is used up is there again, for a refusal that names no wait.

    The longest of those that have nothing left (or do not say what they have left).
    """
    resets = []
    for dialect in DIALECTS:
        for window in dialect.windows():
            left = _number(headers.get(window.remaining))
            reset = _reset(headers, window, dialect.unit, now)
            if reset is not None and (left is None or left <= 0):
                resets.append(reset)
    return max(resets, default=None)


def window_seconds(headers: Mapping[str, str], now: float) -> float | None:
    """Seconds until a limit that is used up comes back as a whole: until then nothing is taken."""
    resets = []
    for window in FIXED:
        left = _number(headers.get(window.remaining))
        reset = _reset(headers, window, 1.0, now)
        if reset is not None and (left is None or left <= 0):
            resets.append(reset)
    return max(resets, default=None)


def _reset(headers: Mapping[str, str], window: Window, unit: float, now: float) -> float | None:
    """Seconds in a reset header: `6m0s`, `500ms`, a number, a moment since the epoch, ISO 8601."""
    text = None if window.reset is None else headers.get(window.reset)
    if text is None:
        return None
    text = text.strip()
    number = _number(text)
    if number is not None:
        if number >= EPOCH:
            return _sane((number / 1000 if number >= EPOCH_MS else number) - now)
        return _sane(number * unit)
    if (spelt := duration(text)) is not None:
        return _sane(spelt)
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
    milliseconds = _number(headers.get(WAIT_MS))
    if milliseconds is not None and (wait := _sane(milliseconds / 1000)) is not None:
        return wait
    value = headers.get(WAIT)
    if value is None:
        return None
    seconds = _number(value)
    return _sane(_until(value, now) if seconds is None else seconds)


def should_retry(headers: Mapping[str, str]) -> bool | None:
    """What OpenAI's servers say and its SDK obeys; None where it is absent."""
    return {"true": True, "false": False}.get(headers.get(SHOULD_RETRY, "").lower())


def request_id(headers: Mapping[str, str]) -> str | None:
    """What the server calls the request."""
    for name in REQUEST_IDS:
        if said := headers.get(name):
            return said
    return None


def location(headers: Mapping[str, str]) -> str | None:
    """Where the server says that the API is."""
    return headers.get(LOCATION)


def reported_cost(headers: Mapping[str, str]) -> float | None:
    """USD that a proxy says an answer cost; not judged here."""
    said = headers.get(COST)
    return None if said is None else _number(said)


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

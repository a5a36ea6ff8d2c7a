"""Whether the job is wrong and not its rows: many of them go wrong alike.

Pure: each class counts rows and says when there are too many.
"""

from __future__ import annotations

import re
from collections import Counter
from typing import Literal

import msgspec

from batch.model import Request
from batch.results import Error
from batch.tries import Try

EMPTY_WINDOW = 50
"""The first answers of a start, of which not half may be empty or misfits."""

HELD_BACK = 20
"""Requests refused alike, before any success, that show the job to be wrong."""
MOST_HELD_BACK = 200
"""Requests held back before any success; if they are not alike, the rows are wrong."""

INVALID_WINDOW = 1_000
"""Rows of which not more than half may be refused as invalid."""

TIMEOUT_SECONDS = 300.0
"""The window in which timeouts are counted."""
TIMEOUT_SHARE, LEAST_TIMEOUTS = 0.05, 20
"""Timeouts are too many above this share of the window's requests, and from this number on."""


class Failure(msgspec.Struct, frozen=True):
    """A row that failed, before its result is made."""

    request: Request
    tries: tuple[Try, ...]
    error: Error

    def fingerprint(self) -> str:
        """What alike failures have in common: their words without the numbers."""
        return f"{self.error.code} {re.sub(r'[0-9]+', '#', self.error.message)}"


class FirstAnswers:
    """The first answers of a start: half of them must not be empty."""

    def __init__(self, accept_empty: bool) -> None:
        self._left = 0 if accept_empty else EMPTY_WINDOW
        self._empty = 0

    def mostly_empty(self, empty: bool) -> bool:
        """Count one answer.  True once: at the last one counted, if half were empty."""
        if self._left == 0:
            return False
        self._left -= 1
        self._empty += empty
        return self._left == 0 and self._empty * 2 >= EMPTY_WINDOW


class HeldBack:
    """Invalid requests before the first success: nobody knows yet whether the job is at fault, or
    the rows are.
    """

    def __init__(self) -> None:
        self._held: list[Failure] = []
        self._alike: Counter[str] = Counter()

    def add(self, failure: Failure) -> Literal["job", "rows"] | None:
        """Hold back one more.  Returns whose fault it is; None while that is not known."""
        self._held.append(failure)
        self._alike[failure.fingerprint()] += 1
        if self._alike[failure.fingerprint()] >= HELD_BACK:
            return "job"
        return "rows" if len(self._held) >= MOST_HELD_BACK else None

    def at_the_end(self) -> Literal["job", "rows"] | None:
        """Nothing succeeded: if all were refused alike the job is wrong, else the rows are."""
        if not self._held:
            return None
        return "job" if len(self._alike) == 1 else "rows"

    def take(self) -> list[Failure]:
        """All that was held back; none is any more."""
        held = self._held
        self._held, self._alike = [], Counter()
        return held


class InvalidRows:
    """Counts the rows that are refused as invalid, in windows of a thousand."""

    def __init__(self, accepted: bool) -> None:
        self._accepted = accepted
        self._rows = self._invalid = 0

    def mostly(self, invalid: bool) -> bool:
        """Count one row.  True at the last row of a window, if most of it was refused."""
        self._rows += 1
        self._invalid += invalid
        if self._rows < INVALID_WINDOW:
            return False
        mostly = self._invalid * 2 > INVALID_WINDOW and not self._accepted
        self._rows = self._invalid = 0
        return mostly


class Timeouts:
    """Counts the requests that get no answer in time, in windows of five minutes."""

    def __init__(self) -> None:
        self._since = self._requests = self._late = 0.0

    def many(self, late: bool, now: float) -> bool:
        """Count one request.  True while too many of the window are late."""
        if now - self._since > TIMEOUT_SECONDS:
            self._since, self._requests, self._late = now, 0.0, 0.0
        self._requests += 1
        self._late += late
        return self._late >= LEAST_TIMEOUTS and self._late > TIMEOUT_SHARE * self._requests

"""When many rows go wrong alike, it is the job that is wrong and not the rows.

Pure: results come in, a doubt comes out.  To doubt more or less, change the numbers.
"""

from __future__ import annotations

import re
from collections import Counter
from typing import Literal

import msgspec

from batch.model import Request
from batch.results import Error, Try

EMPTY_WINDOW = 50
"""The first answers of a start, of which not half may be empty or misfits."""

HELD_BACK = 20
"""So many requests refused as invalid, alike and before any success, mean that the job is wrong
and not the rows.
"""
MOST_HELD_BACK = 200

INVALID_WINDOW = 1_000
"""Rows of which not more than half may be refused as invalid."""

TIMEOUT_SECONDS, TIMEOUT_SHARE, LEAST_TIMEOUTS = 300.0, 0.05, 20
"""A period, the share of its requests that may time out, and how many say nothing yet."""


class Refusal(msgspec.Struct, frozen=True):
    """A row that failed, before it is written."""

    request: Request
    tries: tuple[Try, ...]
    error: Error

    def fingerprint(self) -> str:
        """What makes two refusals alike: the words without their numbers."""
        return f"{self.error.code} {re.sub(r'[0-9]+', '#', self.error.message)}"


class First:
    """The first answers of a start: when half of them are empty, something is wrong with the job."""

    def __init__(self, accept_empty: bool) -> None:
        self._left = 0 if accept_empty else EMPTY_WINDOW
        self._empty = 0

    def mostly_empty(self, empty: bool) -> bool:
        """Count one answer.  True once: at the last of the window, when half of it is empty."""
        if self._left == 0:
            return False
        self._left -= 1
        self._empty += empty
        return self._left == 0 and self._empty * 2 >= EMPTY_WINDOW


class HeldBack:
    """Invalid requests before the first success: the job's fault or the rows', that is not known."""

    def __init__(self) -> None:
        self._held: list[Refusal] = []
        self._alike: Counter[str] = Counter()

    def add(self, refusal: Refusal) -> Literal["job", "rows"] | None:
        """Whose fault it turns out to be, None while it is not known."""
        self._held.append(refusal)
        self._alike[refusal.fingerprint()] += 1
        if self._alike[refusal.fingerprint()] >= HELD_BACK:
            return "job"
        return "rows" if len(self._held) >= MOST_HELD_BACK else None

    def at_the_end(self) -> Literal["job", "rows"] | None:
        """Nothing succeeded: when all were refused alike the job is wrong, else the rows are."""
        if not self._held:
            return None
        return "job" if len(self._alike) == 1 else "rows"

    def take(self) -> list[Refusal]:
        """All that is held back, which is not any more."""
        held = self._held
        self._held, self._alike = [], Counter()
        return held


class Invalid:
    """How many rows are refused as invalid, thousand by thousand."""

    def __init__(self, accepted: bool) -> None:
        self._accepted = accepted
        self._rows = self._invalid = 0

    def mostly(self, invalid: bool) -> bool:
        """Count one row.  Whether it is the last of a thousand of which most were refused."""
        self._rows += 1
        self._invalid += invalid
        if self._rows < INVALID_WINDOW:
            return False
        mostly = self._invalid * 2 > INVALID_WINDOW and not self._accepted
        self._rows = self._invalid = 0
        return mostly


class Timeouts:
    """How many requests get no answer in time, five minutes by five minutes."""

    def __init__(self) -> None:
        self._since = self._requests = self._late = 0.0

    def many(self, late: bool, now: float) -> bool:
        """Count one request.  Whether too many are late."""
        if now - self._since > TIMEOUT_SECONDS:
            self._since, self._requests, self._late = now, 0.0, 0.0
        self._requests += 1
        self._late += late
        return self._late >= LEAST_TIMEOUTS and self._late > TIMEOUT_SHARE * self._requests

"""Whether the job is wrong and not its rows: many of them go wrong alike.

Pure: each class counts rows and says when there are too many.
"""

from __future__ import annotations

import re
from hashlib import blake2b
from typing import Literal

import msgspec

from batch.model import Request
from batch.results import Error
from batch.tries import Try

Fault = Literal["job", "doubt", "rows"]
"""Whose fault refusals are.  `doubt`: perhaps the account's, and a person has to look."""

EMPTY_WINDOW = 50
"""The first answers of a start, of which not half may be empty or misfits."""

HELD_BACK = 20
"""Requests refused alike, before any success, that show the job to be wrong."""
MOST_HELD_BACK = 200
"""Requests held back at a time; if they are not alike, the rows are wrong."""
DOUBTED = 50
"""Requests refused alike that may have been the rows' fault: after others were answered, or for their
length.
"""

NUMBERED = r"[\w-]*[0-9][\w-]*"
"""Numbers, and the ids of requests."""
IN_DOUBT = ("invalid_request", "blocked")
"""Error classes that may be everybody's before the first success: a page that turns all away."""

LENGTHS = frozenset({"context_length", "too_large"})
OUTPUT_CAP = r"(?i)max_\w*(?:tokens|length)|n_predict|in the completion"
"""Words for the output a request may have, which may be too large for every row."""
BYTES_PER_TOKEN = 4

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
        """What alike failures have in common: their words without numbers and ids."""
        alike = f"{self.error.code} {re.sub(NUMBERED, '#', self.error.message)}"
        return blake2b(alike.encode(), digest_size=8).hexdigest()

    @property
    def of_job(self) -> bool:
        """Whether it is by what every row has: a parameter, such as too large an output."""
        if self.error.error_class not in LENGTHS:
            return True
        cap, size = self.request.output_cap or 0, len(self.request.body)
        is_large = cap > 0 and cap * BYTES_PER_TOKEN >= size
        return is_large and re.search(OUTPUT_CAP, self.error.message) is not None


class FirstAnswers:
    """The first answers of a start: half of them must not be empty."""

    def __init__(self, accept_empty: bool) -> None:
        self.left = 0 if accept_empty else EMPTY_WINDOW
        """How many of them are still to come."""
        self._empty = 0

    def mostly_empty(self, empty: bool) -> bool:
        """Count one answer.  True once: at the last one counted, if half were empty."""
        if self.left == 0:
            return False
        self.left -= 1
        self._empty += empty
        return self.left == 0 and self._empty * 2 >= EMPTY_WINDOW


class HeldBack:
    """Refused requests of which nobody knows yet whether the rows are at fault, or the job or the
    account is: all before the first success, and after it those that came since the last answer.
    """

    def __init__(
        self,
        succeeded: bool = False,
        doubted: frozenset[str] = frozenset(),
        accepts_all: bool = False,
    ) -> None:
        """`succeeded`: the run holds answers.  An earlier start stopped for refusals that are
        `doubted`: those are the rows' now.
        """
        self.doubted = self._known = doubted
        self._succeeded = succeeded
        self._accepts_all = accepts_all
        self._held: list[tuple[float, Failure]] = []

    @property
    def succeeded(self) -> bool:
        """Whether the run holds an answer."""
        return self._succeeded

    def holds(self, failure: Failure) -> bool:
        """Whether it is not known whose fault this is."""
        error_class = failure.error.error_class
        known = failure.fingerprint() in self._known
        if self._succeeded:
            return error_class == "invalid_request" and not (known or self._accepts_all)
        if error_class in LENGTHS:
            return (failure.of_job or not known) and all(
                done.certainly_free for done in failure.tries
            )
        return error_class in IN_DOUBT

    def add(self, failure: Failure, now: float = 0.0) -> Fault | None:
        """Hold back one more.  Returns whose fault it is; None while that is not known."""
        self._held.append((now, failure))
        words = failure.fingerprint()
        alike = sum(each.fingerprint() == words for _, each in self._held)
        sure = failure.of_job and not self._succeeded
        if alike >= (HELD_BACK if sure else DOUBTED):
            self.doubted = self.doubted if sure else self.doubted | {words}
            return "job" if sure else "doubt"
        return "rows" if len(self._held) >= MOST_HELD_BACK else None

    def answered(self, sent: float) -> list[Failure]:
        """A request that left at the moment `sent` was answered.  What was refused before that, or
        before the first success, was the rows' fault, and is held back no more.
        """
        if not self._held:
            self._succeeded = True
            return []
        cleared = [each for at, each in self._held if at <= sent or not self._succeeded]
        self._held = [(at, each) for at, each in self._held if at > sent and self._succeeded]
        self._succeeded = True
        return cleared

    def at_the_end(self) -> Fault | None:
        """If nothing succeeded and all were refused alike the job is wrong, else the rows are."""
        if not self._held:
            return None
        alike = len({each.fingerprint() for _, each in self._held}) == 1
        job = alike and not self._succeeded and self._held[0][1].of_job
        return "job" if job else "rows"

    def take(self) -> list[Failure]:
        """All that was held back; none is any more."""
        held = [failure for _, failure in self._held]
        self._held = []
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

"""Requests per second that a server takes, learnt from its refusals, for limits nobody has told.

Pure.  The wait that a refusal names is until the next free slot, not until there is room for
everybody: if all came back then, nearly all would be refused again.  So from then on requests leave a
little slower than answers came, and a little faster after every second without a refusal.
"""

from __future__ import annotations

from collections import deque

WINDOW = 1.0
"""Seconds over which answers are counted."""
CUT, LEAST_CUT = 0.95, 0.7
"""What a refusal leaves of the observed rate, and at least of the former one."""
FIRST_STEP, STEP = 2.0, 1.05
"""What a second without a refusal adds: until the second refusal, while the first estimate is
being tested, and later.
"""
USED = 0.8
"""The rate grows only when at least this share of it is used."""
LEAST = 1 / 60
"""Requests per second."""
FORGOTTEN = 60.0
"""Seconds without a refusal after which a rate that is not used up is forgotten."""


class AdaptiveRate:
    """`rate` is in requests per second, None while the server has refused nothing."""

    def __init__(self) -> None:
        self.rate: float | None = None
        self._answers: deque[float] = deque()
        self._first: float | None = None
        self._episode_ends = 0.0
        self._stepped = 0.0
        self._step = FIRST_STEP
        self._refused = 0.0
        self._answered_since_cut = False  # something has been answered since the last cut
        self._on_trial = False

    def answered(self, now: float) -> bool:
        """An answer came.  Whether the rate has changed."""
        if self._first is None:
            self._first = now
        answers = self._answers
        answers.append(now)
        while answers[0] < now - WINDOW:
            answers.popleft()
        self._answered_since_cut = True
        if self.rate is None or self._on_trial:
            return False
        if now - self._stepped < 1.0 or now < self._episode_ends:
            return False
        self._stepped = now
        if now - self._refused > FORGOTTEN and self._observed(now) < self.rate / 2:
            self.rate = None
        elif self._observed(now) >= USED * self.rate:
            self.rate *= self._step
        else:
            return False
        return True

    def refused(self, now: float) -> bool:
        """The server had no room.  Whether the rate has changed: once a second at the most."""
        self._refused = now
        if self._on_trial:  # a rate that was tried out was no estimate of the limit
            self.rate, self._on_trial = None, False
        if now < self._episode_ends or (self.rate is None and not self._answers):
            return False
        if self.rate is not None and not self._answered_since_cut:
            return False  # refusing everything tells nothing of how fast it would answer
        self._answered_since_cut = False
        self._episode_ends = self._stepped = now + WINDOW
        observed = self._observed(now)
        if self.rate is not None:  # a pause the server asked for leaves few answers to count
            self.rate = max(LEAST_CUT * self.rate, CUT * min(observed, self.rate), LEAST)
            self._step = STEP
        elif observed:
            self.rate, self._step = max(LEAST, CUT * observed), FIRST_STEP
        return self.rate is not None

    def try_out(self, rate: float) -> None:
        """Keep to a rate for a while, to see whether that changes anything."""
        self.rate, self._on_trial = max(LEAST, rate), True

    def end_trial(self, now: float, found: bool) -> None:
        """A limit was found by that, and the rate is kept to; or none was, and it is forgotten."""
        self._on_trial = False
        self._refused = self._stepped = now
        self._step = FIRST_STEP
        if not found:
            self.rate = None

    def hurry(self) -> None:
        """Refusals were no matter of rate: it may rise faster."""
        self._step = FIRST_STEP

    def _observed(self, now: float) -> float:
        """Answers per second lately."""
        self._forget(now)
        since = max(now if self._first is None else self._first, now - WINDOW)
        return len(self._answers) / max(now - since, WINDOW / 10)

    def _forget(self, now: float) -> None:
        while self._answers and self._answers[0] < now - WINDOW:
            self._answers.popleft()

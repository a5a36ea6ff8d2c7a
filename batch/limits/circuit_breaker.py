"""Whether the endpoint is there: a circuit that opens when it is not, and lets one probe out now
and then.

Pure: time comes in.  What counts is the fate of requests that were sent after the trouble began: an
answer to an older one says nothing of the present.  An outage must not use up the chances of rows
that have done nothing wrong, so while the circuit is open rows stay pending.  One row that always
fails while others succeed does not open it.
"""

from __future__ import annotations

from bisect import bisect_right
from collections import deque

UNREACHABLE = 3
"""Connections in a row that could not be made."""
FAULTS = 20
"""Failed attempts in a row, of MANY rows."""
SHARE, WINDOW = 0.8, 100
"""… or this share of the last attempts."""
MANY = 3
"""Rows that do not happen to fail at once each for its own reasons; two may be the last of a run."""
MOST_SENDS = 1_000
"""Requests since the trouble began that are remembered."""
SMOOTHING = 0.1
"""How much the latest answer counts for what is usual."""
FIRST_PROBE, PROBE = 1.0, 5.0
"""Seconds to the first probe, and between later ones."""


class Health:
    """What is known of one endpoint.  `since` is when the circuit opened, None while it is closed."""

    def __init__(self) -> None:
        self.since: float | None = None
        self.why = ""
        self._unreachable = 0
        self._faults = 0
        self._trouble_since = 0.0  # when the first of the faults in a row was heard of
        self._sends: deque[float] = deque(maxlen=MOST_SENDS)  # since then
        self._good_sent = 0.0  # when the latest request left that was answered
        self._usual = 0.0  # seconds an answer takes
        self.goods = 0
        self._rows: set[int] = set()  # of the faults in a row, at most MANY of them
        self._unanswered: set[int] = set()  # those since any answer came
        self._last: deque[bool] = deque(maxlen=WINDOW)
        self._next_probe = 0.0

    def good(self, now: float, sent: float) -> bool:
        """The endpoint has answered what was sent at that moment: it may have refused, but it is
        there.  Whether it had been away.
        """
        self._last.append(True)
        self.goods += 1
        self._good_sent = max(self._good_sent, sent)
        self._usual += SMOOTHING * (now - sent - self._usual)
        self._unanswered.clear()
        was_away = self.since is not None
        if sent < (self._trouble_since if self.since is None else self.since):
            return False
        self.since = None
        self._unreachable = self._faults = 0
        self._rows.clear()
        return was_away

    def fault(
        self,
        row: int,
        why: str,
        now: float,
        sent: float,
        *,
        unreachable: bool = False,
        fresh: bool = True,
    ) -> bool:
        """An attempt failed for a reason of the endpoint.  Whether the circuit is open now.  Nothing
        was answered since a `fresh` row first failed.
        """
        self._last.append(False)
        if self._faults == 0:
            self._trouble_since = now
            self._sends.clear()
        elif sent < self._trouble_since:
            return self.since is not None
        self._faults += 1
        self._unreachable = self._unreachable + 1 if unreachable else 0
        if len(self._rows) < MANY:
            self._rows.add(row)
        if fresh and len(self._unanswered) < MANY:
            self._unanswered.add(row)
        if self.since is None and self._is_down(now, now - sent):
            self.open(why, now)
        return self.since is not None

    def speaks(self, since: float, now: float) -> bool:
        """Whether a row that failed at `since`, and again now, tells something of the endpoint: what
        was answered in between had been on its way when the trouble began, not long ago.
        """
        return self._good_sent <= since and not self._lasts(now)

    def disregard(self) -> None:
        """An attempt failed that tells nothing: its row had failed while others were answered."""
        if self._sends:
            self._sends.popleft()

    def fails_for_many(self, now: float) -> bool:
        """Whether it is not a few rows alone: nothing has been answered since many began to fail, or
        many do since a short time ago, whatever had been on its way.
        """
        lately = len(self._rows) >= MANY and not self._lasts(now)
        return len(self._unanswered) >= MANY or lately

    def turn_away(self, why: str, now: float, sent: float) -> None:
        """What was sent at that moment was refused as a whole; others have been answered since, or
        the endpoint is closed to us.
        """
        if sent >= self._good_sent:
            self.open(why, now)

    def open(self, why: str, now: float) -> None:
        """Let nothing but probes out from now on."""
        if self.since is None:
            self.since, self.why = now, why
            self._next_probe = now + FIRST_PROBE

    def wait(self, now: float) -> float:
        """Seconds until the next request may leave."""
        return 0.0 if self.since is None else max(0.0, self._next_probe - now)

    def sent(self, now: float) -> None:
        """A request has left; while the circuit is open it is a probe."""
        if self._faults:
            self._sends.append(now)
        if self.since is not None:
            self._next_probe = now + PROBE

    def _lasts(self, now: float) -> bool:
        """Whether all that was on its way when the trouble began should have come."""
        return now - self._trouble_since > 1 + 1.5 * self._usual

    def _is_down(self, now: float, took: float) -> bool:
        """Fast failures overtake slow answers: a series tells something when it holds most of what
        should have failed by now, or has lasted longer than an answer takes.
        """
        due = bisect_right(self._sends, now - 2 * took)
        if self._faults < SHARE * due and not self._lasts(now):
            return False
        if self._unreachable >= UNREACHABLE:
            return True
        if len(self._rows) < MANY:
            return False
        full = len(self._last) == WINDOW
        return self._faults >= FAULTS or (full and self._last.count(False) >= SHARE * WINDOW)

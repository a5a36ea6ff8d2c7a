"""Whether the endpoint is there: a circuit that opens when it is not, and then lets out one probe
now and then.

Pure: time comes in.  Only requests that were sent after the trouble began count: an answer to an
older one says nothing of the present.  An outage must not use up the chances of rows that are not at
fault, so rows stay pending while the circuit is open.  One row that always fails while others succeed
does not open it.
"""

from __future__ import annotations

from bisect import bisect_right
from collections import deque

UNREACHABLE = 3
"""Connections in a row that could not be made."""
FAULTS, FAULTS_OF_ONE = 20, 5
"""Failed attempts in a row, of MANY rows; of one of several endpoints, whose rows go to others."""
SHARE, WINDOW = 0.8, 100
"""… or this share of the last attempts."""
MANY = 3
"""So many rows hardly fail at once each for its own reasons.  Two would not do: they may be the last
of a run.
"""
MOST_SENDS = 1_000
"""Requests since the trouble began that are remembered."""
SMOOTHING = 0.1
"""How much the latest answer counts for what is usual."""
FIRST_PROBE, PROBE = 1.0, 5.0
"""Seconds to the first probe, and at most between later ones."""
UNEVEN, GOLDEN = 0.4, 0.618034
"""The share of that by which probes are uneven, and what spreads them: no rhythm of the endpoint
escapes them.
"""


class CircuitBreaker:
    """Hears what became of requests to one endpoint.

    `open_since` is when the circuit opened, None while it is closed; `why` says for what reason;
    `answers` have come so far.
    """

    def __init__(self, faults: int = FAULTS) -> None:
        """So many `faults` in a row open it."""
        self._most_faults = faults
        self.open_since: float | None = None
        self.why = ""
        self.answers = 0
        self._unreachable = 0
        self._faults = 0
        self._trouble_since = 0.0  # when the first of the faults in a row was heard of
        self._sends: deque[float] = deque(maxlen=MOST_SENDS)  # when requests left since then
        self._answered_sent = 0.0  # when the latest request left that was answered
        self._usual_latency = 0.0  # seconds an answer takes
        self._failing_rows: set[int] = set()  # at most MANY, of the faults in a row
        self._unanswered_rows: set[int] = set()  # at most MANY, that failed since any answer came
        self._last_attempts: deque[bool] = deque(maxlen=WINDOW)
        self._next_probe = 0.0
        self._probes = 0

    def answered(self, now: float, sent: float) -> bool:
        """The endpoint has answered a request, if only with a refusal.  Whether that closes the
        circuit.  `sent` is when the request left.
        """
        self._last_attempts.append(True)
        self.answers += 1
        if sent > self._answered_sent:
            self._answered_sent = sent
        self._usual_latency += SMOOTHING * (now - sent - self._usual_latency)
        self._unanswered_rows.clear()
        closes = self.open_since is not None
        if sent < (self._trouble_since if self.open_since is None else self.open_since):
            return False
        self.open_since = None
        self._unreachable = self._faults = 0
        self._failing_rows.clear()
        return closes

    def failed(
        self,
        row: int,
        why: str,
        now: float,
        sent: float,
        *,
        unreachable: bool = False,
        unanswered: bool = True,
    ) -> bool:
        """An attempt failed for a reason of the endpoint.  Whether the circuit is open now.
        `unanswered` says that nothing was answered since the row first failed.
        """
        self._last_attempts.append(False)
        if self._faults == 0:
            self._trouble_since = now
            self._sends.clear()
        elif sent < self._trouble_since:
            return self.open_since is not None
        self._faults += 1
        self._unreachable = self._unreachable + 1 if unreachable else 0
        if len(self._failing_rows) < MANY:
            self._failing_rows.add(row)
        if unanswered and len(self._unanswered_rows) < MANY:
            self._unanswered_rows.add(row)
        if self.open_since is None and self._is_down(now, now - sent):
            self.open(why, now)
        return self.open_since is not None

    def is_evidence(self, failed_at: float, now: float) -> bool:
        """Whether it tells something of the endpoint that a row failed at that moment, and again now.

        It does if whatever was answered in between had left before the row first failed.  After a
        while it does no more: by then an older answer would have come.
        """
        return self._answered_sent <= failed_at and not self._trouble_lasts(now)

    def ignore_failure(self) -> None:
        """An attempt failed that is no evidence: its row had failed while others were answered, or it
        went to a connection that had been closed.
        """
        if self._sends:
            self._sends.popleft()

    def fails_for_many(self, now: float) -> bool:
        """Whether more than a few rows fail.  Either nothing was answered since they began to, or they
        began so short a time ago that older answers may still be on their way.
        """
        lately = len(self._failing_rows) >= MANY and not self._trouble_lasts(now)
        return len(self._unanswered_rows) >= MANY or lately

    def refused(self, why: str, now: float, sent: float) -> None:
        """The endpoint refuses what it took before, as it does with a key that is no longer valid.  It
        tells nothing if a request that left after this one was answered.
        """
        if sent >= self._answered_sent:
            self.open(why, now)

    def open(self, why: str, now: float) -> None:
        """Let nothing but probes out from now on."""
        if self.open_since is None:
            self.open_since, self.why = now, why
            self._next_probe = now + FIRST_PROBE
            self._probes = 0

    def close(self) -> None:
        """The endpoint is there: what failed were the rows."""
        self.open_since = None
        self._unreachable = self._faults = 0
        self._failing_rows.clear()
        self._unanswered_rows.clear()
        self._last_attempts.clear()

    def wait(self, now: float) -> float:
        """Seconds until the next request may leave."""
        return 0.0 if self.open_since is None else max(0.0, self._next_probe - now)

    def sent(self, now: float) -> None:
        """A request has left; while the circuit is open it is a probe."""
        if self._faults:
            self._sends.append(now)
        if self.open_since is not None:
            self._next_probe = now + PROBE * (1 - UNEVEN * (self._probes**2 * GOLDEN % 1))
            self._probes += 1

    def _trouble_lasts(self, now: float) -> bool:
        """Whether the trouble lasts so long that all that was on its way when it began must have come."""
        return now - self._trouble_since > 1 + 1.5 * self._usual_latency

    def _is_down(self, now: float, took: float) -> bool:
        """Failures are fast and overtake slow answers.  So a series of them counts once it holds most
        requests that should have failed by now, or has lasted longer than an answer takes.
        """
        due = bisect_right(self._sends, now - 2 * took)
        if self._faults < SHARE * due and not self._trouble_lasts(now):
            return False
        if self._unreachable >= UNREACHABLE:
            return True
        if len(self._failing_rows) < MANY:
            return False
        full = len(self._last_attempts) == WINDOW
        return self._faults >= self._most_faults or (
            full and self._last_attempts.count(False) >= SHARE * WINDOW
        )

"""Whether the endpoint is down or a row alone fails, and how long a run waits for an endpoint.

Pure, as the judge is: the limiter hears of failures and holds the circuit breaker.
"""

from __future__ import annotations

import msgspec

from batch.engine import stop_reasons
from batch.engine.retry import Chances, FirstFailure, Retry
from batch.errors import BatchError
from batch.limits.circuit_breaker import CircuitBreaker
from batch.limits.limiter import Limiter
from batch.outcome import TryAgain

START_PATIENCE = 30.0
"""Seconds in which an endpoint that nothing has ever been heard of must come up."""
EVERYWHERE = -1
"""The number under which a row's first failure at any endpoint is kept."""
SILENCE = 65.0
"""Seconds without a good answer before the last rows of a run are taken for what they are."""


class Outages:
    """Blames failures on the endpoint or on their rows."""

    def __init__(
        self,
        policy: Retry,
        limiter: Limiter,
        *,
        number: int = 0,
        succeeded: bool = False,
        patience: float = START_PATIENCE,
    ) -> None:
        """`number` is that of the endpoint.  `succeeded`: it has answered in an earlier start.
        `patience`: seconds in which one that nothing has ever been heard of must come up.
        """
        self._policy = policy
        self._number = number
        self._patience = patience
        self.everywhere: CircuitBreaker | None = None
        """It hears of the failures at all endpoints, where there are several."""
        self._limiter = limiter
        self.has_answered = False
        """Whether the endpoint has answered in this start: a key it refuses before that is wrong."""
        self._succeeded = succeeded
        self._heard_of = False  # it takes connections, at least
        self._silent_since: float | None = None
        self.last_tries = False
        """Whether the rows that are left have their last tries: the endpoint is there, and they fail."""

    @property
    def is_down(self) -> bool:
        """Whether the circuit is open."""
        return self._limiter.circuit.open_since is not None

    def answered(self, now: float, took: float) -> None:
        """The endpoint has given an answer, after so many seconds."""
        if self.everywhere is not None:
            self.everywhere.answered(now, now - took)
        self.has_answered = self._succeeded = True
        self._silent_since, self.last_tries = None, False

    def may_be_the_rows(self, now: float) -> bool:
        """Whether so long a silence may be the fault of the rows that are left, if they are few."""
        silent = self._silent_since is not None and now - self._silent_since >= SILENCE
        return silent and self._succeeded and self._heard_of and self.is_down

    def try_the_last(self) -> None:
        """The endpoint is there, though the last rows of the run fail."""
        self.last_tries = True
        self._limiter.rows_fail()

    def noted(self, chances: Chances, now: float) -> Chances:
        """`chances` with the moment of the row's first failure here."""
        if self._number in chances.firsts:
            return chances
        firsts = {**chances.firsts, self._number: FirstFailure(self._limiter.circuit.answers, now)}
        if self.everywhere is not None:
            firsts.setdefault(EVERYWHERE, FirstFailure(self.everywhere.answers, now))
        return msgspec.structs.replace(chances, firsts=firsts)

    def is_outage(
        self, row: int, again: TryAgain, chances: Chances, took: float, now: float, *, last: bool
    ) -> bool:
        """Whether the endpoint is down, so that this failure is not the row's.

        A row that failed before, while others were answered, proves nothing.  When the `last`
        chance of a row is gone, and other rows fail with it, it is the endpoint.
        """
        if again.at_once:  # it went to a connection that had been closed, and not to the endpoint
            self._limiter.circuit.ignore_failure()
        if again.refused or again.at_once:
            return False
        if again.once or again.mismatch:
            self._limiter.answered(took)
            return False
        self._heard_of = not again.unreachable
        if self._silent_since is None:
            self._silent_since = now
        if self.last_tries and not again.unreachable:
            return False
        self.last_tries = False
        circuit = self._limiter.circuit
        first = chances.firsts[self._number]
        unanswered = first.answers_before == circuit.answers
        proves = unanswered or circuit.is_evidence(first.at, now)
        why = stop_reasons.excerpt(again.message)
        down = self._limiter.failed(
            row, why, took, unreachable=again.unreachable, is_evidence=proves, unanswered=unanswered
        )
        many = self._succeeded and self._fails_for_many(row, why, chances, now, now - took)
        loading = not self._succeeded and again.error_class == "overloaded"
        if not down and last and (many or loading):
            self._limiter.turned_away(why)
            return True
        return down

    def _fails_for_many(
        self, row: int, why: str, chances: Chances, now: float, sent: float
    ) -> bool:
        """Whether other rows fail, too: here, or wherever they go."""
        here, all_of_them = self._limiter.circuit.fails_for_many(now), self.everywhere
        if all_of_them is None:
            return here
        first = chances.firsts.get(EVERYWHERE)
        unanswered = first is None or first.answers_before == all_of_them.answers
        all_of_them.failed(row, why, now, sent, unanswered=unanswered)
        return here or all_of_them.fails_for_many(now)

    def turned_away(self, why: str, took: float) -> None:
        """The endpoint refuses what it took before: a key, a path or a model."""
        self._limiter.turned_away(why, took)

    def out_of_patience(self, now: float) -> BatchError | None:
        """Why the run stops, if the endpoint has been down for too long."""
        circuit = self._limiter.circuit
        longest = self._policy.max_wait
        if not self.has_answered and not self._heard_of:
            longest = min(longest, self._patience)
        if circuit.open_since is None or now - circuit.open_since < longest:
            return None
        return stop_reasons.down(circuit.why, now - circuit.open_since)

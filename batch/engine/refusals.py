"""The server has no room (429 and its like): how long nobody sends, and when the run gives up.

Pure, as the judge is: the limiter holds requests back.
"""

from __future__ import annotations

from collections.abc import Callable

import msgspec

from batch.engine import retry, stop_reasons
from batch.engine.retry import Retry
from batch.errors import BatchError
from batch.limits.limiter import Limiter
from batch.model import Attempt
from batch.outcome import TryAgain

SHORT_WAIT = 0.1
"""Seconds; a server that names less and answers nobody does not mean it."""


class Held(msgspec.Struct, frozen=True):
    """Whether a refusal holds all requests `back`, and why the run stops, if the wait is too long."""

    back: bool
    reason: BatchError | None = None


class Refusals:
    """Knows since when the server has had no room for anybody."""

    def __init__(self, policy: Retry, limiter: Limiter, jitter: Callable[[], float]) -> None:
        self._policy = policy
        self._limiter = limiter
        self._jitter = jitter
        self._since: float | None = None

    @property
    def others_succeed(self) -> bool:
        """Whether the server has room for other rows: it has refused none since its last answer."""
        return self._since is None

    def answered(self) -> None:
        """The server has given an answer."""
        self._since = None

    def read(self, again: TryAgain, took: float) -> TryAgain:
        """`again` as a refusal, if it is one: there are limits that say just "overloaded" (503)."""
        silent = again.error_class == "overloaded" and not again.refused and again.wait is None
        if silent and not again.once and self._limiter.lacks_room(took):
            return msgspec.structs.replace(again, refused=True)
        return again

    def hold(self, again: TryAgain, attempt: Attempt, now: float) -> Held:
        """Let nobody send before the moment that the server names, unless it turns away only some.
        Where it names none and answers nobody, that is a backoff.
        """
        alone = self.others_succeed
        if again.refused and self._since is None:
            self._since = now
        if self._is_too_long(again.wait or 0.0, now):
            longest = again.wait or again.reset or 0.0
            reason = stop_reasons.out_of_patience(longest, again.message, self._policy.max_wait)
            self._hold(again, attempt, now, alone)
            return Held(True, reason)
        return Held(self._hold(again, attempt, now, alone))

    def _hold(self, again: TryAgain, attempt: Attempt, now: float, alone: bool) -> bool:
        """Whether all requests are held back, which they are from now on."""
        why = f"{attempt.status} {stop_reasons.excerpt(again.message).rstrip('. ')}"
        if not again.refused:  # it failed, and says when to come back
            self._limiter.pause_until(now + (again.wait or 0.0), why)
            return True
        if not self._limiter.refused(again.wait, again.reset, attempt.latency_s, why):
            return False
        if not alone and (again.wait or 0.0) < SHORT_WAIT:
            times = max(1, self._limiter.refusals)
            self._limiter.pause_until(now + retry.backoff(self._policy, times, self._jitter()), why)
        return True

    def _is_too_long(self, wait: float, now: float) -> bool:
        waited = 0.0 if self._since is None else now - self._since
        return max(wait, waited) > self._policy.max_wait

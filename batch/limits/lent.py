"""A limiter whose limits are lent, a few times a second, by somebody who shares them out among workers."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import msgspec

from batch.costs.token_bounds import Estimate
from batch.limits.crossing import Obstacle
from batch.limits.limiter import Limiter
from batch.limits.shared_concurrency import Answers
from batch.model import Request, Usage

UNLENT = "waiting for a share of the limits"
HEARD = "the server has asked another worker to wait"
A_MOMENT = 0.5
"""Seconds after which it is looked again whether something is lent."""
SHORTEST_PAUSE = 0.2
"""Seconds; the others are told only of longer pauses."""


class Lent(msgspec.Struct, frozen=True):
    """What a worker may use, for `expires_in` seconds from when it asked.  Rates are per minute, None where
    nothing limits them.  Nothing leaves for `closed_for` seconds, which a server has asked for.
    """

    requests: float | None
    tokens: float | None
    slots: int
    expires_in: float
    closed_for: float = 0.0

    @property
    def is_nothing(self) -> bool:
        """Whether nothing may leave."""
        return self.slots < 1 or self.requests == 0 or self.tokens == 0


class Used(msgspec.Struct, frozen=True):
    """What was used in so many seconds: requests and tokens.  `held_back` is the rate that was not enough;
    `closed_for` are seconds for which this server has just asked for nothing.
    """

    seconds: float
    requests: int
    tokens: int
    held_back: str | None
    answers: Answers
    closed_for: float = 0.0


class LentLimiter(Limiter):
    """Lets out what is lent.  Before anything is, and once that has expired, nothing."""

    def __init__(self, *args: Any, **more: Any) -> None:
        super().__init__(*args, **{**more, "known_slots": True})
        self._since = self._clock()
        self._requests = self._tokens_used = 0
        self._answers = self._failures = 0
        self._work = 0.0
        self._refused_for: float | None = None
        self._closed_until: float | None = None  # as the server said, and nobody was told of it yet
        self._obeys = False
        self._until = self._since  # from then on nothing is lent
        self._on_refusal: Callable[[], None] = lambda: None

    def when_refused(self, call: Callable[[], None]) -> None:
        """`call` when the server has asked for a pause, of which the others should hear."""
        self._on_refusal = call

    def used(self) -> Used:
        """What happened since this was asked before."""
        now = self._clock()
        closed = 0.0 if self._closed_until is None else max(0.0, self._closed_until - now)
        answers = Answers(
            self._answers, self._work, self.in_flight, self._failures, self._refused_for
        )
        held_back = self._rates.held_back(self._since)
        found = Used(
            now - self._since, self._requests, self._tokens_used, held_back, answers, closed
        )
        self._since = now
        self._requests = self._tokens_used = self._answers = self._failures = 0
        self._work, self._refused_for, self._closed_until = 0.0, None, None
        return found

    def obey(self, lent: Lent, asked_at: float) -> None:
        """Keep to what is lent, which was asked for at that moment."""
        self._until = asked_at + (0.0 if lent.is_nothing else lent.expires_in)
        if lent.closed_for:
            self._obeys = True
            self.pause_until(self._clock() + lent.closed_for, HEARD)
            self._obeys = False
        self.keep_to(lent.requests, lent.tokens, lent.slots)

    @property
    def is_lent(self) -> bool:
        """Whether anything is lent now."""
        return self._clock() < self._until

    @property
    def held_up(self) -> float:
        """See Limiter."""
        return super().held_up if self.is_lent else max(A_MOMENT, super().held_up)

    def obstacle(self) -> Obstacle | None:
        """See Limiter."""
        return super().obstacle() if self.is_lent else Obstacle("refused", UNLENT, UNLENT)

    def pause_until(self, moment: float, reason: str) -> None:
        """See Limiter."""
        if not self._obeys and moment - self._clock() > SHORTEST_PAUSE:
            self._closed_until = max(moment, self._closed_until or 0.0)
            self._on_refusal()
        super().pause_until(moment, reason)

    def accepted(self, request: Request, usage: Usage, took: float) -> None:
        """See Limiter."""
        self._answers += 1
        self._work += usage.output_tokens or 1
        super().accepted(request, usage, took)

    def refused(self, wait: float | None, reset: float | None, took: float, reason: str) -> bool:
        """See Limiter."""
        holds = super().refused(wait, reset, took, reason)
        if holds:
            self._refused_for = max(wait or 0.0, self._refused_for or 0.0)
        return holds

    def failed(self, *args: Any, **more: Any) -> bool:
        """See Limiter."""
        self._failures += 1
        return super().failed(*args, **more)

    def at_once(self, request: Request) -> bool:
        """See Limiter."""
        return self.is_lent and super().at_once(request)

    def _let_out(self, request: Request, needed: Estimate, now: float) -> None:
        self._requests += 1
        self._tokens_used += needed.likely
        super()._let_out(request, needed, now)

    def _wait(self, needed: Estimate) -> float | None:
        return super()._wait(needed) if self.is_lent else A_MOMENT

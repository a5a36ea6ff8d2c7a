"""How fast requests leave: requests per minute, and the gate that a server's "wait" closes for
everybody.

Requests per minute go through aiolimiter with a bucket of a tenth of a second's rate: a bucket of a
whole minute would let two minutes' worth out in the first.  Turns are taken in order of arrival.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import Annotated

import msgspec
from aiolimiter import AsyncLimiter

from batch.health import Health

Positive = Annotated[int, msgspec.Meta(ge=1)]

SMOOTHED = 0.1
"""Seconds of the rate that may leave at once."""

AUTO = 64
"""Requests in flight with `concurrency = "auto"`, unless the endpoint says better."""


class Limits(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """`[limits]` of a job."""

    requests_per_minute: Annotated[float, msgspec.Meta(gt=0)] | None = None
    concurrency: int | str = "auto"
    concurrency_max: Positive = 256

    def __post_init__(self) -> None:
        number = self.concurrency
        if number != "auto" and (
            not isinstance(number, int) or isinstance(number, bool) or number < 1
        ):
            raise ValueError(
                f'concurrency: expected "auto" or a number of at least 1, not {number!r}'
            )

    def in_flight(self, auto: int = AUTO) -> int:
        """How many requests may be in flight at once; `auto` is what the endpoint takes by itself."""
        return (
            self.concurrency
            if isinstance(self.concurrency, int)
            else min(auto, self.concurrency_max)
        )


class Limiter:
    """Lets one request out at a time, when it may go: by the rate, by the server's word, and by the
    health of the endpoint.
    """

    def __init__(self, limits: Limits, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._turn = asyncio.Lock()  # its waiters are served in order of arrival
        self._closed_until = 0.0
        self._reason = ""
        self._requests = _bucket(limits.requests_per_minute)
        self._changed = asyncio.Event()
        self.health = Health()

    def close_until(self, moment: float, reason: str) -> None:
        """Let nothing out before `moment` of the monotonic clock."""
        if moment > self._closed_until:
            self._closed_until = moment
            self._reason = reason

    def answered(self) -> None:
        """The endpoint has answered: what waited for a probe may go."""
        was_down = self.health.since is not None
        self.health.good()
        if was_down:
            self._changed.set()
            self._changed = asyncio.Event()

    def is_open(self) -> bool:
        """Whether `admit` returns without waiting."""
        return self._requests is None and self.health.since is None and self._gate() <= 0

    def words(self) -> str:
        """What requests wait for, in a few words; nothing when they do not."""
        if self.health.since is not None:
            since = self._clock() - self.health.since
            return f"endpoint down for {since:.0f} s, probing ({self.health.why})"
        if (wait := self._gate()) > 0:
            until = time.strftime("%H:%M:%S", time.localtime(time.time() + wait))
            return f"{self._reason}: until {until}"
        return ""

    async def admit(self) -> None:
        """Return when one more request may leave."""
        if self.is_open():
            return
        async with self._turn:
            if self._requests is not None:
                await self._requests.acquire()
            while (wait := max(self._gate(), self.health.wait(self._clock()))) > 0:
                await self._rest(wait)
            self.health.sent(self._clock())

    def _gate(self) -> float:
        return self._closed_until - self._clock()

    async def _rest(self, seconds: float) -> None:
        """Sleep, or until the endpoint is back."""
        try:
            async with asyncio.timeout(seconds):
                await self._changed.wait()
        except TimeoutError:
            return


def _bucket(per_minute: float | None) -> AsyncLimiter | None:
    if per_minute is None:
        return None
    per_second = per_minute / 60
    capacity = max(1.0, per_second * SMOOTHED)
    return AsyncLimiter(capacity, capacity / per_second)

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
    """Lets one request out at a time, when it may go."""

    def __init__(self, limits: Limits, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._turn = asyncio.Lock()  # its waiters are served in order of arrival
        self._closed_until = 0.0
        self._requests = _bucket(limits.requests_per_minute)
        self.waiting_for: str | None = None

    def close_until(self, moment: float, reason: str) -> None:
        """Let nothing out before `moment` of the monotonic clock."""
        if moment > self._closed_until:
            self._closed_until = moment
            self.waiting_for = reason

    def is_open(self) -> bool:
        """Whether `admit` returns without waiting."""
        return self._requests is None and self._closed_until <= self._clock()

    async def admit(self) -> None:
        """Return when one more request may leave."""
        if self.is_open():
            self.waiting_for = None
            return
        async with self._turn:
            if self._requests is not None:
                await self._requests.acquire()
            while (wait := self._closed_until - self._clock()) > 0:  # noqa: ASYNC110
                await asyncio.sleep(wait)
            self.waiting_for = None


def _bucket(per_minute: float | None) -> AsyncLimiter | None:
    if per_minute is None:
        return None
    per_second = per_minute / 60
    capacity = max(1.0, per_second * SMOOTHED)
    return AsyncLimiter(capacity, capacity / per_second)

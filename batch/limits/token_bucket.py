"""A rate per minute, kept by aiolimiter with a bucket that holds a twentieth of a second's worth.

A bucket of a whole minute would let two minutes' worth out in the first.
"""

from __future__ import annotations

import asyncio
import math
from contextlib import suppress
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from aiolimiter import AsyncLimiter

SMOOTHED = 0.05
"""Seconds of a rate that may leave at once."""
MOST_CREDIT = 0.35
"""At most this share of what a request takes is paid by what others did not use."""
HALVINGS = 40
"""How closely it is found out what has gathered."""


class TokenBucket:
    """A rate that can be changed while it is used, and settled once it is known what was used.

    None is no limit; at a rate of 0 nothing leaves.
    """

    def __init__(self, name: str, per_minute: float | None, share: float = 1.0) -> None:
        """`share` of the rate is used."""
        self.name = name
        self.per_minute: float | None = None
        self._share = share
        self._credit = 0.0
        self._limiter: AsyncLimiter | None = None  # where there is a rate, and it is not 0
        self._kept = math.inf  # what had gathered when that was last not there
        self._waiting: set[asyncio.Timeout] = set()
        self.set(per_minute)

    def set(self, per_minute: float | None) -> bool:
        """Change the rate from now on, for whoever waits, too.  Whether it is another one.

        What has gathered is kept, as far as it is no more than the new rate lets gather.
        """
        if per_minute == self.per_minute:
            return False
        gathered = math.inf if self.per_minute is None else self._gathered()
        self.per_minute = per_minute
        per_second = (per_minute or 0.0) * self._share / 60
        most = max(1.0, per_second * SMOOTHED)
        self._kept = min(gathered, most)
        self._limiter = _holding(self._kept, most, per_second) if per_second else None
        self._wake()
        return True

    @property
    def is_waited_for(self) -> bool:
        """Whether somebody waits for more to gather."""
        return bool(self._waiting)

    def give_back(self, amount: float) -> None:
        """What was taken too much (or, negative, too little) counts at the next taking.  Where there is
        no rate, nothing was taken.
        """
        if self.per_minute is not None:
            self._credit += amount

    def has(self, amount: float) -> bool:
        """Whether `take` returns at once."""
        amount -= self._of_credit(amount)
        if self.per_minute is None or amount <= 0:
            return True
        limiter = self._limiter
        return limiter is not None and amount <= limiter.max_rate and limiter.has_capacity(amount)

    def _of_credit(self, amount: float) -> float:
        """How much of `amount` is paid by what was given back.  Only a part is: a large reservation
        that was not used is no reason for a burst.
        """
        return min(self._credit, amount * MOST_CREDIT)

    async def take(self, amount: float) -> None:
        """Return when `amount` may be used; more than the bucket holds, in instalments."""
        used = self._of_credit(amount)
        self._credit -= used
        amount -= used
        while self.per_minute is not None and amount > 0:
            amount -= await self._instalment(amount)

    async def _instalment(self, amount: float) -> float:
        """Take what the bucket can hold of `amount`.  Gives how much that was: nothing, if the rate
        changed before.
        """
        limiter = self._limiter
        step = min(amount, limiter.max_rate) if limiter is not None else 0.0
        if limiter is not None and limiter.has_capacity(step):
            await limiter.acquire(step)
            return step
        try:
            async with asyncio.timeout(None) as waiting:
                self._waiting.add(waiting)
                if limiter is None:
                    await asyncio.get_running_loop().create_future()
                else:
                    await limiter.acquire(step)
        except TimeoutError:
            return 0.0
        finally:
            self._waiting.discard(waiting)
        return step if limiter is self._limiter else 0.0  # what it was paid with has been kept

    def _wake(self) -> None:
        woken, self._waiting = self._waiting, set()
        for waiting in woken:
            waiting.reschedule(asyncio.get_running_loop().time())

    def _gathered(self) -> float:
        """How much could be taken at once.  An AsyncLimiter tells only whether an amount could."""
        limiter = self._limiter
        if limiter is None:
            return self._kept
        low, high = 0.0, limiter.max_rate
        if limiter.has_capacity(high):
            return high
        for _ in range(HALVINGS):
            middle = (low + high) / 2
            low, high = (middle, high) if limiter.has_capacity(middle) else (low, middle)
        return low


def _holding(amount: float, most: float, per_second: float) -> AsyncLimiter:
    """A bucket in which so much has gathered."""
    from aiolimiter import AsyncLimiter  # 5 ms, which most runs have no use for

    limiter = AsyncLimiter(most, most / per_second)
    if amount < most:
        taking = limiter.acquire(most - amount)
        with suppress(StopIteration):  # a full one lets nobody wait
            taking.send(None)
    return limiter

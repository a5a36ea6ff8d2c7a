"""A rate per minute, kept by aiolimiter with a bucket that holds a twentieth of a second's worth.

A bucket of a whole minute would let two minutes' worth out in the first.
"""

from __future__ import annotations

from aiolimiter import AsyncLimiter

SMOOTHED = 0.05
"""Seconds of a rate that may leave at once."""
MOST_CREDIT = 0.35
"""At most this share of what a request takes is paid by what others did not use."""


class TokenBucket:
    """A rate that can be changed while it is used, and settled once it is known what was used."""

    def __init__(self, name: str, per_minute: float | None, share: float = 1.0) -> None:
        """`share` of the rate is used."""
        self.name = name
        self.per_minute: float | None = None
        self._share = share
        self._credit = 0.0
        self._limiter: AsyncLimiter | None = None
        self._used_up = False
        self.set(per_minute)

    def set(self, per_minute: float | None) -> bool:
        """Change the rate from now on.  Whether it is another one."""
        if per_minute == self.per_minute:
            return False
        self._used_up = self._limiter is not None  # a change is no reason for another burst
        self.per_minute = per_minute
        self._limiter = None
        if per_minute is not None:
            per_second = per_minute * self._share / 60
            capacity = max(1.0, per_second * SMOOTHED)
            self._limiter = AsyncLimiter(capacity, capacity / per_second)
        return True

    def give_back(self, amount: float) -> None:
        """What was taken too much (or, negative, too little) counts at the next taking.  Where there is
        no rate, nothing was taken.
        """
        if self.per_minute is not None:
            self._credit += amount

    def has(self, amount: float) -> bool:
        """Whether `take` returns at once."""
        amount -= self._of_credit(amount)
        limiter = self._limiter
        if limiter is None or amount <= 0:
            return True
        return not self._used_up and amount <= limiter.max_rate and limiter.has_capacity(amount)

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
        while (limiter := self._limiter) is not None and amount > 0:
            if self._used_up:
                self._used_up = False
                await limiter.acquire(limiter.max_rate)
            step = min(amount, limiter.max_rate)
            await limiter.acquire(step)
            amount -= step

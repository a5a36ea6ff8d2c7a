"""The rates that requests keep to: per minute, of requests and of tokens.

A configured rate is a ceiling.  One that the server announces counts when it is smaller.  One that
refusals have taught counts besides.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

from batch import headers
from batch.limits.adaptive_rate import AdaptiveRate
from batch.limits.token_bucket import TokenBucket

HEADROOM = 0.98
"""The share of a server's limit that is used: at the very limit, the jitter of a network is refused."""
READ_EVERY = 1.0
"""Seconds between two looks at the limits in answers' headers."""
SHOWN = 5.0
"""Seconds for which a wait for a rate is shown after it ended: the next one follows at once."""


class Rates:
    """`take` before a request leaves."""

    def __init__(
        self,
        requests_per_minute: float | None,
        tokens_per_minute: float | None,
        clock: Callable[[], float],
        say: Callable[[str], None],
        workers: int = 1,
    ) -> None:
        """The configured rates.  `say` hears of the others.  Where several workers ask the endpoint,
        these rates are the share of this one; what the server announces is for all.
        """
        self._clock = clock
        self._say = say
        self._requests = _Ceiling("requests/min", requests_per_minute, workers)
        self._tokens = _Ceiling("tokens/min", tokens_per_minute, workers)
        self.give_back = self._tokens.bucket.give_back
        """So many of the tokens taken were not used; negative: so many more were."""
        self._learnt = TokenBucket("learnt requests/min", None)
        self._adaptive = AdaptiveRate()
        self._announced = headers.Announced()
        self._read_at = -READ_EVERY
        self._waited_for, self._waited_at = "", -SHOWN

    @property
    def tokens_per_minute(self) -> float | None:
        """None where they are not limited."""
        return self._tokens.bucket.per_minute

    @property
    def all_tokens_per_minute(self) -> float | None:
        """Those of all workers together."""
        return self._tokens.of_all

    def unlimited(self) -> bool:
        """Whether there is no rate to keep to."""
        of_requests, of_tokens = self._requests.bucket.per_minute, self._tokens.bucket.per_minute
        return (of_requests, of_tokens, self._learnt.per_minute) == (None, None, None)

    def keep_to(self, requests_per_minute: float | None, tokens_per_minute: float | None) -> None:
        """The share of this worker is another one from now on, for whoever waits, too."""
        self._requests.configure(requests_per_minute)
        self._tokens.configure(tokens_per_minute)

    def held_back(self, since: float) -> str | None:
        """The name of the rate for which a request waits, or has waited since then."""
        for bucket in (self._requests.bucket, self._tokens.bucket):
            lately = self._waited_for == bucket.name and self._waited_at >= since
            if bucket.is_waited_for or lately:
                return bucket.name
        return None

    async def take(self, tokens: int) -> None:
        """Return when one more request of so many tokens may leave."""
        await self._take(self._requests.bucket, 1)
        await self._take(self._tokens.bucket, tokens)
        await self._take(self._learnt, 1)

    @property
    def adapts(self) -> bool:
        """Whether a rate is kept to that refusals have taught."""
        return self._adaptive.rate is not None

    def answered(self, now: float) -> bool:
        """The server gave an answer.  Whether the learnt rate has changed."""
        changed = self._adaptive.answered(now)
        if changed:
            self._follow_adaptive()
        return changed

    def refused(self, now: float) -> bool:
        """The server had no room.  Whether the learnt rate has changed."""
        changed = self._adaptive.refused(now)
        if changed:
            self._follow_adaptive()
        return changed

    def try_out(self, per_second: float) -> None:
        """Keep to a rate for a while."""
        self._adaptive.try_out(per_second)
        self._learnt.set(per_second * 60)

    def end_trial(self, now: float, found: bool) -> None:
        """What was tried out is a limit, or it is none."""
        self._adaptive.end_trial(now, found)
        self._learnt.set(None)
        self._follow_adaptive()

    def hurry(self) -> None:
        """Refusals were no matter of rate."""
        self._adaptive.hurry()

    def read(self, answered: Mapping[str, str], wall_time: float) -> float | None:
        """Keep to the limits that the headers of an answer announce.  Gives our requests per minute where
        they have changed by that.
        """
        now = self._clock()
        if now - self._read_at < READ_EVERY or not headers.speaks_of_limits(answered):
            return None
        announced = headers.announced(answered, wall_time)
        if announced != self._announced:  # said once, it may have been misread
            self._announced = announced
            return None
        self._read_at = now
        changed = self._announce(self._requests, announced.requests_per_minute)
        self._announce(self._tokens, announced.tokens_per_minute)
        return self._requests.bucket.per_minute if changed else None

    def waited_for(self) -> str | None:
        """The name of the rate that requests wait for, None when they do not."""
        shown = self._waited_for and self._clock() - self._waited_at < SHOWN
        return self._waited_for if shown else None

    async def _take(self, bucket: TokenBucket, amount: int) -> None:
        if bucket.has(amount):
            await bucket.take(amount)
            return
        self._waited_for, self._waited_at = bucket.name, self._clock()
        await bucket.take(amount)
        self._waited_at = self._clock()

    def _follow_adaptive(self) -> None:
        first, rate = self._learnt.per_minute is None, self._adaptive.rate
        self._learnt.set(None if rate is None else rate * 60)
        if first and rate is not None:
            self._say(
                f"the server refuses requests: going on with {rate * 60:,.0f} a minute,"
                " and a little more every second"
            )

    def _announce(self, ceiling: _Ceiling, announced: float | None) -> bool:
        """Whether the rate has changed."""
        if announced is None or not ceiling.announce(announced):
            return False
        allowed = ceiling.configured_for_all
        than = "" if allowed is None else f" (the job allows {allowed:,.0f})"
        name = ceiling.bucket.name
        self._say(f"the server announces {announced:,.0f} {name}{than}: the smaller is kept to")
        return True


class _Ceiling:
    """A rate of which it is known what is configured, and what the server announces."""

    def __init__(self, name: str, configured: float | None, workers: int) -> None:
        self.bucket = TokenBucket(name, configured, HEADROOM)
        self.configured_for_all = None if configured is None else configured * workers
        self._workers = workers
        self._configured = configured
        self._announced: float | None = None  # for all

    @property
    def of_all(self) -> float | None:
        """The rate of all workers together."""
        return _least(self.configured_for_all, self._announced)

    def configure(self, per_minute: float | None) -> None:
        self._configured = per_minute
        self._set()

    def announce(self, per_minute: float) -> bool:
        """Whether the rate has changed."""
        self._announced = per_minute
        return self._set()

    def _set(self) -> bool:
        announced = self._announced and self._announced / self._workers
        return self.bucket.set(_least(self._configured, announced))


def _least(*rates: float | None) -> float | None:
    return min((rate for rate in rates if rate is not None), default=None)

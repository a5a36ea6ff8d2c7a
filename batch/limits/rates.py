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
    ) -> None:
        """The configured rates.  `say` hears of the others."""
        self._configured_requests = requests_per_minute
        self._configured_tokens = tokens_per_minute
        self._clock = clock
        self._say = say
        self._requests = TokenBucket("requests/min", requests_per_minute, HEADROOM)
        self._tokens = TokenBucket("tokens/min", tokens_per_minute, HEADROOM)
        self.give_back = self._tokens.give_back
        """So many of the tokens taken were not used; negative: so many more were."""
        self._learnt = TokenBucket("learnt requests/min", None)
        self._adaptive = AdaptiveRate()
        self._announced = headers.Announced()
        self._read_at = -READ_EVERY
        self._waited_for, self._waited_at = "", -SHOWN

    @property
    def tokens_per_minute(self) -> float | None:
        """None where they are not limited."""
        return self._tokens.per_minute

    def unlimited(self) -> bool:
        """Whether there is no rate to keep to."""
        return not (self._requests.per_minute or self._tokens.per_minute or self._learnt.per_minute)

    async def take(self, tokens: int) -> None:
        """Return when one more request of so many tokens may leave."""
        await self._take(self._requests, 1)
        await self._take(self._tokens, tokens)
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
        """Keep to the limits that the headers of an answer announce.  Gives the requests per minute
        announced where our rate has changed by that.
        """
        now = self._clock()
        if now - self._read_at < READ_EVERY or not headers.speaks_of_limits(answered):
            return None
        announced = headers.announced(answered, wall_time)
        if announced != self._announced:  # said once, it may have been misread
            self._announced = announced
            return None
        self._read_at = now
        requests, tokens = announced.requests_per_minute, announced.tokens_per_minute
        changed = self._keep_to(requests, self._requests, self._configured_requests)
        self._keep_to(tokens, self._tokens, self._configured_tokens)
        return requests if changed else None

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

    def _keep_to(
        self, announced: float | None, bucket: TokenBucket, configured: float | None
    ) -> bool:
        """Whether the rate of `bucket` has changed."""
        if announced is None or not bucket.set(min(announced, configured or announced)):
            return False
        than = "" if configured is None else f" (the job allows {configured:,.0f})"
        self._say(
            f"the server announces {announced:,.0f} {bucket.name}{than}: the smaller is kept to"
        )
        return True

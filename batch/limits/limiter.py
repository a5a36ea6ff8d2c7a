"""How fast requests leave: rates, requests in flight, the server's word, the endpoint's health.

One request at a time stands at the front (`turn`), so they leave in the order in which rows are
taken.  A configured rate is a ceiling; one the
server announces counts when it is smaller; one that refusals have taught counts besides.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Mapping
from typing import Annotated

import msgspec

from batch import headers
from batch.costs.token_bounds import Estimate, Estimates
from batch.limits.adaptive_rate import Pace
from batch.limits.circuit_breaker import Health
from batch.limits.concurrency import START, Concurrency
from batch.limits.gate import Turn
from batch.limits.token_bucket import Bucket
from batch.model import Request, Usage

Positive = Annotated[int, msgspec.Meta(ge=1)]
PerMinute = Annotated[float, msgspec.Meta(gt=0)]
USD = Annotated[float, msgspec.Meta(gt=0, le=1_000_000_000)]

HEADROOM = 0.98
"""The share of a server's limit that is used: at the very limit, the jitter of a network is refused."""
LISTENED = 1.0
"""Seconds between two looks at the limits in answers' headers."""
SHOWN = 5.0
"""Seconds for which a wait for a rate is shown after it ended: the next one follows at once."""
MARGIN = 0.005
"""Seconds beyond the moment that a server names: it may have rounded down."""
SPARE = 0.5
"""The share of a minute's tokens that caps of answers in flight may reserve beyond what is likely."""
FIRST_RESET, LONGEST_RESET = 1.0, 60.0
"""Seconds of an announced reset that are waited for where a refusal names no wait: at first, and
when nothing has been answered since the refusal before.
"""


class Limits(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """`[limits]` of a job."""

    requests_per_minute: PerMinute | None = None
    tokens_per_minute: PerMinute | None = None
    concurrency: int | str = "auto"
    concurrency_max: Positive = 256
    max_cost_usd: USD | None = None

    def __post_init__(self) -> None:
        number = self.concurrency
        if number != "auto" and (
            not isinstance(number, int) or isinstance(number, bool) or number < 1
        ):
            raise ValueError(
                f'concurrency: expected "auto" or a number of at least 1, not {number!r}'
            )

    def most(self, slots: int | None = None) -> int:
        """Requests that may ever be in flight; `slots` is what the endpoint takes, if it is known."""
        if isinstance(self.concurrency, int):
            return self.concurrency
        return min(self.concurrency_max, slots or self.concurrency_max)


NOTHING = Estimate(0, 0, 0)


class TooLarge(ValueError):
    """One request needs more tokens than the limit gives in a minute."""


class Obstacle(msgspec.Struct, frozen=True):
    """Why nothing leaves: `kind` is down, refused or rate; `words` say so at this moment, `why` at
    any.
    """

    kind: str
    why: str
    words: str


class Limiter:
    """Lets requests out, one at a time, when they may go: `admit`, and `release` afterwards."""

    def __init__(
        self,
        limits: Limits,
        most: int,
        *,
        known_slots: bool = False,
        clock: Callable[[], float] = time.monotonic,
        say: Callable[[str], None] = lambda _: None,
    ) -> None:
        """`most` requests may be in flight; `known_slots` says that the endpoint takes just those."""
        self.most = most
        self._limits = limits
        self._clock = clock
        self._say = say
        self.turn = Turn()
        self.health = Health()
        self.in_flight = 0
        self.refusals = 0  # episodes since the last answer
        self._requests = Bucket("requests/min", limits.requests_per_minute, HEADROOM)
        self._tokens = Bucket("tokens/min", limits.tokens_per_minute, HEADROOM)
        self._learnt = Bucket("learnt requests/min", None)
        self._pace = Pace()
        fixed = known_slots or isinstance(limits.concurrency, int)
        start = max(START, _in_flight(limits.requests_per_minute or 0.0))
        self._concurrency = Concurrency(most, start, fixed=fixed)
        self._estimates = Estimates()
        self._reserved: dict[int, Estimate] = {}  # row -> tokens
        self._spare = 0  # tokens that what is in flight may take beyond what is likely
        self._closed_until = 0.0
        self._reason = ""
        self._episode_began = 0.0
        self._changed = asyncio.Event()
        self._standing: asyncio.Timeout | None = None
        self._listened = -LISTENED
        self._heard = headers.Announced()
        self._closed = False
        self._held_by, self._held_at = "", -SHOWN

    def now(self) -> float:
        """The moment on its clock."""
        return self._clock()

    # What is learnt

    def accepted(self, request: Request, usage: Usage, took: float) -> None:
        """The endpoint has given an answer that was taken, after so many seconds."""
        now = self._clock()
        self.answered(took)
        self.refusals = 0
        self._estimates.learn(request, usage)
        self._concurrency.answered(usage.output_tokens or 1, self.in_flight + 1, now)
        if self._pace.answered(now):
            self._follow_pace()

    def answered(self, took: float) -> None:
        """The endpoint has answered, be it with a row's error: what waited for a probe may go."""
        now = self._clock()
        if self.health.good(now, now - took):
            self._concurrency.came_back(now)
            self._wake()

    def refused(self, wait: float | None, reset: float | None, took: float, reason: str) -> None:
        """The server had no room for a request that took so many seconds.

        It asked to wait, or says when all is there again, or neither.
        """
        now = self._clock()
        self.answered(took)
        self._concurrency.refused(now, wait or 0.0)
        if self._pace.refused(now):
            self._follow_pace()
        if now - took >= self._episode_began:  # it was sent after the refusals before
            self.refusals += 1
            self._episode_began = now
        if wait is None and reset is not None:
            wait = min(reset, FIRST_RESET if self.refusals < 2 else LONGEST_RESET)
        if wait:
            self.close_until(now + wait + MARGIN, reason)

    def failed(
        self,
        row: int,
        why: str,
        took: float,
        *,
        unreachable: bool = False,
        innocent: bool = True,
        fresh: bool = True,
    ) -> bool:
        """The endpoint failed.  Whether it is down: only rows that have not failed before, while
        others were answered, are evidence.  `fresh` are those since whose failure nothing came.
        """
        self._concurrency.failed()
        if not innocent:
            self.health.disregard()
            return self.health.since is not None
        now = self._clock()
        sent = now - took
        down = self.health.fault(row, why, now, sent, unreachable=unreachable, fresh=fresh)
        if down:
            self._concurrency.went_down()
        return down

    def turned_away(self, why: str, took: float = 0.0) -> None:
        """The endpoint refuses what it took before."""
        now = self._clock()
        self.health.turn_away(why, now, now - took)
        if self.health.since is not None:
            self._concurrency.went_down()

    def hear(self, answered: Mapping[str, str], wall_time: float) -> None:
        """Take in what the headers of an answer say of limits; the smaller of that and the configured
        one counts.
        """
        now = self._clock()
        if now - self._listened < LISTENED or not headers.speaks_of_limits(answered):
            return
        heard = headers.announced(answered, wall_time)
        if heard != self._heard:  # said once, it may have been misread
            self._heard = heard
            return
        self._listened = now
        limits = self._limits
        self._obey(self._requests, limits.requests_per_minute, heard.requests_per_minute)
        self._obey(self._tokens, limits.tokens_per_minute, heard.tokens_per_minute)

    def close_until(self, moment: float, reason: str) -> None:
        """Let nothing out before `moment` of the monotonic clock."""
        if moment > self._closed_until:
            self._closed_until = moment
            self._reason = reason

    # What may go

    async def admit(self, request: Request) -> bool:
        """Wait until this request may leave; False when `close` came before.

        To be called by whoever has the `turn`.  Raises TooLarge.
        """
        needed = self._needed(request)
        if self._closed:
            return False
        if not self._is_free():
            try:
                async with asyncio.timeout(None) as self._standing:
                    await self._stand(needed)
            except TimeoutError:
                return False
            finally:
                self._standing = None
        self._reserved[request.row] = needed
        self._spare += needed.most - needed.likely
        self.in_flight += 1
        self.health.sent(self._clock())
        return True

    def close(self) -> None:
        """Let go whoever stands at the front; nothing is asked any more."""
        self._closed = True
        standing, self._standing = self._standing, None
        if standing is not None:
            standing.reschedule(asyncio.get_running_loop().time())

    def release(self, request: Request, used: int | None) -> None:
        """The request is not in flight any more; it used so many tokens, None if nobody knows."""
        reserved = self._reserved.pop(request.row)
        self._spare -= reserved.most - reserved.likely
        self._tokens.give_back(reserved.likely - (reserved.most if used is None else used))
        self.in_flight -= 1
        if self.turn.locked():
            self._wake()

    def obstacle(self) -> Obstacle | None:
        """What requests wait for; None when they do not."""
        now = self._clock()
        if self.health.since is not None:
            seconds = now - self.health.since
            probing = f"probing ({self.health.why})"
            words = f"endpoint down for {seconds:.0f} s, {probing}"
            return Obstacle("down", f"endpoint down, {probing}", words)
        if (wait := self._closed_until - now) > 0:
            until = time.strftime("%H:%M:%S", time.localtime(time.time() + wait))
            why = f"{self._reason}: until {until}"
            return Obstacle("refused", why, why)
        if self._held_by and now - self._held_at < SHOWN:
            why = f"{self._held_by} used up"
            return Obstacle("rate", why, why)
        return None

    def words(self) -> str:
        """`obstacle` in words, empty when there is none."""
        obstacle = self.obstacle()
        return "" if obstacle is None else obstacle.words

    def _needed(self, request: Request) -> Estimate:
        per_minute = self._tokens.per_minute
        if per_minute is None:
            return NOTHING
        needed = self._estimates.of(request)
        if needed.largest > per_minute:
            raise TooLarge(
                f"may take {needed.largest:,} tokens, and {per_minute:,.0f} a minute are all there are"
            )
        self._concurrency.at_least(_in_flight(per_minute / needed.likely))
        return needed

    def _is_free(self) -> bool:
        if self._requests.per_minute or self._tokens.per_minute or self._learnt.per_minute:
            return False
        if self.health.since is not None or self._closed_until > self._clock():
            return False
        return self.in_flight < self._slots()

    async def _stand(self, needed: Estimate) -> None:
        spare = needed.most - needed.likely
        await self._pass(spare)
        await self._take(self._requests, 1)
        await self._take(self._tokens, needed.likely)
        await self._take(self._learnt, 1)
        await self._pass(spare)

    async def _pass(self, spare: int) -> None:
        """Return when neither the server's word, nor its health, nor a lack of room is in the way."""
        while (wait := self._wait(spare)) != 0:
            self._changed.clear()
            try:
                async with asyncio.timeout(wait):
                    await self._changed.wait()
            except TimeoutError:
                continue

    def _wait(self, spare: int = 0) -> float | None:
        """Seconds until there may be a way, None when only a release makes one."""
        now = self._clock()
        wait = max(self._closed_until - now, self.health.wait(now))
        if wait > 0:
            return wait
        if self.health.since is not None or not self.in_flight:  # what hangs does not stop a probe
            return 0.0
        return 0.0 if self.in_flight < self._slots() and self._has_spare(spare) else None

    def _has_spare(self, tokens: int) -> bool:
        """Whether the tokens in flight, at their most, leave room for so many."""
        per_minute = self._tokens.per_minute
        return per_minute is None or self._spare + tokens <= SPARE * per_minute

    def _slots(self) -> int:
        """A server that refuses one after the other is asked by one at a time."""
        return 1 if self.refusals >= 2 else self._concurrency.limit

    async def _take(self, bucket: Bucket, amount: int) -> None:
        if bucket.has(amount):
            await bucket.take(amount)
            return
        self._held_by, self._held_at = bucket.name, self._clock()
        await bucket.take(amount)
        self._held_at = self._clock()

    def _follow_pace(self) -> None:
        first, rate = self._learnt.per_minute is None, self._pace.rate
        self._learnt.set(None if rate is None else rate * 60)
        if first and rate is not None:
            self._say(
                f"the server refuses requests: going on with {rate * 60:,.0f} a minute,"
                " and a little more every second"
            )

    def _obey(self, bucket: Bucket, configured: float | None, heard: float | None) -> None:
        if heard is None or not bucket.set(min(heard, configured or heard)):
            return
        if bucket is self._requests:
            self._concurrency.at_least(_in_flight(heard))
        than = "" if configured is None else f" (the job allows {configured:,.0f})"
        self._say(f"the server announces {heard:,.0f} {bucket.name}{than}: the smaller is kept to")

    def _wake(self) -> None:
        self._changed.set()


def _in_flight(per_minute: float) -> int:
    """A rate that is known protects the server: half a minute's worth may be in flight at once."""
    return round(per_minute / 2)

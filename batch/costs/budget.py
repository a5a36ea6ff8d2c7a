"""The cap on what a run may cost over its whole life, kills included.

Money is drawn from the cap in slices, and a slice is on disk before any of it is spent.  A request
reserves the most it can cost, and settles afterwards.  So the sum on disk is never less than what
was spent.  After a kill all of it counts as spent, since nobody knows better.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from decimal import Decimal
from functools import lru_cache
from typing import Protocol

import msgspec

from batch.costs import token_bounds
from batch.costs.prices import Pricer
from batch.costs.spent import Spent
from batch.model import Attempt, Request

SLICE = Decimal("0.01")
"""The share of the cap that is drawn at once."""

HALF_HOUR = 1800
"""Seconds.  Price lists change at full and half hours, and a request leaves within two of them."""
SIGNIFICANT_BITS = 5
"""Of a number of tokens, which is rounded up beyond them: to look a price up takes 4 ms."""
MANY = 1_000_000
"""Tokens.  A model that costs nothing for so many is free."""

MORE_WORK = ("previous_response_id", "conversation", "web_search_options", "plugins")
"""Keys of a body that make the server read or do more than the body says."""
SIGNS_OF_MORE_WORK = (*(f'"{key}":'.encode() for key in MORE_WORK), b'"prompt":{', b'"tools":[')
"""A body with none of these in it asks for no more work: inside a text the quotes are escaped."""
RUN_BY_CLIENT = ("function", "custom")
"""Tools that the server does not run itself."""


class Boundless(ValueError):
    """Nothing bounds the cost of a request.  The text names the key to set."""


class Account(Protocol):
    """Where money is drawn from the cap."""

    @property
    def others(self) -> Decimal:
        """What others have drawn, as far as that is known."""

    def draw(self, wished: Decimal, least: Decimal) -> Decimal:
        """Make so large a sum durable as drawn, or a smaller one where the cap allows no more.  Gives the
        sum that is drawn now: less than `least` where there is not enough for that.
        """

    def record(self, spent: Decimal) -> None:
        """Make a sum durable as drawn, whatever the cap says: it is spent, or others may have it."""


class Budget:
    """What is spent and reserved of the cap, in USD.  For the event loop only: not safe for threads."""

    def __init__(self, cap: Decimal, drawn: Decimal, account: Account) -> None:
        """`drawn` is what earlier starts drew."""
        self.cap = cap
        self._own = drawn  # what is spent
        self._drawn = drawn
        self._account = account
        self._reserved: dict[int, Decimal] = {}  # row -> its worst case
        self._in_flight = Decimal(0)

    @property
    def spent(self) -> Decimal:
        """What is spent, and what others may have spent."""
        return self._own + self._account.others

    @property
    def left(self) -> Decimal:
        """What may still be reserved."""
        return max(Decimal(0), self.cap - self.spent - self._in_flight)

    @property
    def idle(self) -> bool:
        """Whether nothing is reserved."""
        return not self._reserved

    def reserve(self, row: int, worst: Decimal) -> bool:
        """Set aside what a row's request may cost at worst; False when there is not enough left."""
        needed = self._own + self._in_flight + worst
        if worst and needed > self.cap:
            return False
        if needed > self._drawn:
            wished = min(self.cap, max(needed, self._drawn + self.cap * SLICE))
            self._drawn = self._account.draw(wished, needed)
            if worst and needed > self._drawn:
                return False
        self._reserved[row] = worst
        self._in_flight += worst
        return True

    def settle(self, row: int, cost: Decimal | None) -> None:
        """A request has cost so much; None, when nobody knows, counts what was reserved.

        A request that cost more than that (another model answered, say) counts in full.
        """
        worst = self._reserved.pop(row)
        self._in_flight -= worst
        self._own += worst if cost is None else cost
        if (needed := self._own + self._in_flight) > self._drawn:
            self._record(needed)

    def close(self) -> None:
        """Give back what was drawn and is neither spent nor in flight."""
        if (needed := self._own + self._in_flight) != self._drawn:
            self._record(needed)

    def _record(self, amount: Decimal) -> None:
        self._account.record(amount)
        self._drawn = amount


class WorstCase:
    """The most that requests can cost."""

    def __init__(self, pricer: Pricer) -> None:
        self._pricer = pricer
        self._price = lru_cache(4096)(self._look_up)

    def of(self, request: Request, now: float) -> Decimal:
        """The most USD that a request can cost which leaves within half an hour of `now` (seconds
        since the epoch).  Raises Boundless.
        """
        half_hour, cap = int(now // HALF_HOUR), request.output_cap
        most = _coarse(token_bounds.most_input(request))
        price = self._price(request.model, most, MANY if cap is None else cap, half_hour)
        if price is None:
            raise Boundless(
                f"no price is known for {request.model}: put it under [prices], or say in"
                " endpoint.provider whose list holds"
            )
        if price and cap is None:
            way_out = f"set {request.cap_key} in [request]"
            raise Boundless(f"nothing bounds how long an answer may be: {way_out}")
        if price and (key := _more_work(request.body)):
            raise Boundless(f"what {key} costs is not known before: leave it out of the request")
        return price

    def forget(self) -> None:
        """Look every price up again."""
        self._price.cache_clear()

    def _look_up(
        self, model: str | None, input_tokens: int, output_tokens: int, half_hour: int
    ) -> Decimal | None:
        """The highest price from the beginning of a half hour to the end of the next."""
        moments = (half_hour * HALF_HOUR, (half_hour + 1) * HALF_HOUR, (half_hour + 2) * HALF_HOUR)
        prices = [self._pricer.at_most(model, input_tokens, output_tokens, at) for at in moments]
        known = [price for price in prices if price is not None]
        return max(known) if len(known) == len(prices) else None


class Reservations:
    """What the requests of a run reserve of its budget before they leave, and settle afterwards."""

    def __init__(
        self, budget: Budget, pricer: Pricer, clock: Callable[[], float] = time.time
    ) -> None:
        """`clock` gives seconds since the epoch: prices may depend on the hour."""
        self.budget = budget
        self.wanted = Decimal(0)  # by the request that waits, or reserved last
        self._worst_case = WorstCase(pricer)
        self._clock = clock
        self._settled = asyncio.Event()

    def look_up_again(self) -> None:
        """Prices are others from now on."""
        self._worst_case.forget()

    async def reserve(self, request: Request) -> bool:
        """Wait until there is enough left for the request; False when there never will be.

        One request at a time may wait.  Raises Boundless.
        """
        self.wanted = self._worst_case.of(request, self._clock())
        while not self.budget.reserve(request.row, self.wanted):
            if self.budget.idle:
                return False
            self._settled.clear()
            await self._settled.wait()
        return True

    def give_back(self, request: Request) -> None:
        """The request has not left, and will not."""
        self.budget.settle(request.row, Decimal(0))
        self._settled.set()

    def settle(self, request: Request, attempt: Attempt, known: Spent, maybe_billed: bool) -> None:
        """The request is not in flight any more; `known` is what it used and cost."""
        self.budget.settle(request.row, known.usd(attempt, maybe_billed))
        self._settled.set()


def _coarse(count: int) -> int:
    """`count` rounded up, by a sixteenth at most."""
    step = 1 << max(0, count.bit_length() - SIGNIFICANT_BITS)
    return -(-count // step) * step


def _more_work(body: bytes) -> str | None:
    """What makes the server read or do more than the body says, if anything does."""
    if not any(sign in body for sign in SIGNS_OF_MORE_WORK):
        return None
    asked = msgspec.json.decode(body)
    for key in MORE_WORK:
        if asked.get(key) is not None:
            return str(key)
    if isinstance(asked.get("prompt"), dict):
        return "a stored prompt"
    tools = asked.get("tools")
    for tool in tools if isinstance(tools, list) else ():
        kind = tool.get("type") if isinstance(tool, dict) else None
        if kind not in RUN_BY_CLIENT:
            return f"the tool {kind}"
    return None

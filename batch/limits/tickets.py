"""A request's worth of an endpoint's rates, paid before it is known who leaves with it.

Where several endpoints are there, a request goes to one that may be asked now; so each has a ticket
paid, as soon as its rates allow it.
"""

from __future__ import annotations

import asyncio

from batch.limits.rates import Rates


class Ticket:
    """One at a time; `changed` is set when it is paid."""

    def __init__(self, rates: Rates, changed: asyncio.Event) -> None:
        self._rates = rates
        self._changed = changed
        self._paying: asyncio.Task[None] | None = None
        self._tokens = 0  # for which it is paid, or being paid

    def is_paid(self, tokens: int) -> bool:
        """Whether a request of so many tokens may leave.  Where it may not, a ticket is being paid."""
        if self._rates.unlimited():
            return True
        if self._paying is None:
            self._tokens = tokens
            self._paying = asyncio.create_task(self._pay())
        return self._paying.done()

    def use(self, tokens: int) -> None:
        """A request of so many tokens leaves: what it takes more, or less, counts for the next."""
        paying, self._paying = self._paying, None
        if paying is None:
            return
        if paying.done():
            self._rates.give_back(self._tokens - tokens)
        else:
            paying.cancel()

    def close(self) -> None:
        """Nobody leaves any more."""
        if self._paying is not None:
            self._paying.cancel()

    async def _pay(self) -> None:
        await self._rates.take(self._tokens)
        self._changed.set()

"""The endpoints of a run that asks several, each with its client and its limiter.

One may come or go while the run is under way.  One that goes is asked no more; what it has in flight
is waited for.
"""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager

import msgspec

from batch.costs.prices import Pricer
from batch.limits.crossing import Crossing
from batch.limits.limiter import Limiter
from batch.limits.limits import Limits
from batch.limits.pool import Candidate, Share
from batch.transport.client import Client
from batch.transport.endpoint import Endpoint, Target


class Way(msgspec.Struct, frozen=True):
    """An endpoint that may be asked: where it is, its share, and what prices its answers."""

    endpoint: Endpoint
    target: Target
    share: Share
    pricer: Pricer


def _name(target: Target) -> str:
    """As the column `endpoint` has it, but for what is below the host's path."""
    place = target.name or target.base_url.partition("://")[2] or target.base_url
    return f"{place}#{target.label}" if target.label else place


class Lane:
    """An endpoint that is asked.  `number` is that of its attempts, `name` what a person calls it."""

    def __init__(self, number: int, way: Way, client: Client, limiter: Limiter) -> None:
        self.number = number
        self.way = way
        self.client = client
        self.limiter = limiter
        self.name = _name(way.target)
        self.weight = way.share.weight

    def candidate(self) -> Candidate:
        """It, as one to choose."""
        return Candidate(self.number, self.name, self.weight, self.limiter.in_flight)

    @property
    def is_down(self) -> bool:
        """Whether only probes go there."""
        return self.limiter.circuit.open_since is not None


class Lanes:
    """Those that `join` are asked; their clients end with a stack."""

    def __init__(
        self,
        limits: Limits,
        most: int,
        clients: Callable[[int, Way], Client],
        joined: Callable[[int, Way], object],
        say: Callable[[str], None],
        clock: Callable[[], float] = time.monotonic,
        workers: int = 1,
    ) -> None:
        """`limits` are those of the run, `most` may be in flight in all; `clients` makes the client of an
        endpoint, by its number; `joined` hears of each before it is asked.  Of several `workers` that
        share the run, these are the limits of one.
        """
        self.crossing = Crossing()
        self.limiters: list[Limiter] = []
        """Those of all endpoints that ever were, by their numbers."""
        self._limits = limits
        self._most = most
        self._clients = clients
        self._joined = joined
        self._say = say
        self._clock = clock
        self._workers = workers
        self._lanes: list[Lane] = []
        self._open = AsyncExitStack()

    @asynccontextmanager
    async def opened(self, ways: Sequence[Way]) -> AsyncIterator[None]:
        """Meanwhile those are asked where the `ways` lead, and all that join."""
        async with self._open:
            for way in ways:
                await self.join(way)
            try:
                yield
            finally:
                self.close()

    @property
    def there(self) -> list[Lane]:
        """Those that are asked."""
        return [lane for lane in self._lanes if not lane.limiter.is_gone]

    @property
    def all(self) -> list[Lane]:
        """Those that ever were, by their numbers."""
        return self._lanes

    async def join(self, way: Way) -> Lane:
        """Ask one more from now on."""
        number = len(self._lanes)
        own = way.share.limits(self._limits)
        limiter = Limiter(
            own,
            min(own.most(), self._most),
            clock=self._clock,
            say=lambda text: self._say(f"{lane.name}: {text}"),
            crossing=self.crossing,
            workers=self._workers,
        )
        client = await self._open.enter_async_context(self._clients(number, way))
        lane = Lane(number, way, client, limiter)
        self._joined(number, way)
        self._lanes.append(lane)
        self.limiters.append(limiter)
        self.crossing.changed.set()
        return lane

    def leave(self, number: int, why: str) -> None:
        """Ask it no more; `why` is said once."""
        limiter = self.limiters[number]
        if not limiter.is_gone:
            limiter.is_gone = True
            self._say(f"{self._lanes[number].name} is asked no more: {why}")
            self.crossing.changed.set()

    def close(self) -> None:
        """Nothing leaves any more."""
        for limiter in self.limiters:
            limiter.close()
        self.crossing.changed.set()

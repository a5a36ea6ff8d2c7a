"""A request to one of several endpoints and back.

What `Sender` does for one: the cap and the rates of the run stand before the choice, the limits of an
endpoint are part of it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any

from batch.costs.budget import Reservations
from batch.engine.lanes import Lane, Lanes
from batch.engine.prefixes import Prefixes
from batch.engine.sender import Capped, Layer, Recorded, Unsendable, never, tokens
from batch.limits import pool
from batch.limits.crossing import Obstacle
from batch.limits.limiter import Limiter
from batch.limits.pool import NEW, Past
from batch.limits.token_reservations import TooLarge
from batch.model import Attempt, Request, Usage
from batch.outcome import Accept, Outcome, Reject
from batch.results import Error
from batch.store.writer import Store
from batch.tries import Try

SOON = 5.0
"""Seconds for which a row that was refused at one endpoint waits for another before all others."""
MOST_SHOWN = 4
"""Endpoints that are shown one by one."""


class PooledSender:
    """All layers together, over endpoints that may come and go."""

    def __init__(
        self,
        lanes: Lanes,
        store: Store,
        of_run: Limiter,
        reservations: Reservations | None = None,
        *,
        affinity: bool = False,
    ) -> None:
        """`of_run` keeps to the limits of the run in all; with `affinity` prompts that begin alike go to
        one endpoint.
        """
        self._lanes = lanes
        self._of_run = of_run
        self._chosen = _Chosen(lanes, affinity)
        rated = _OfRun(Recorded(self._chosen, store), of_run)
        layers: Layer = rated if reservations is None else Capped(rated, reservations)
        self.admit, self.send, self.settle = layers.admit, layers.send, layers.settle
        """See Layer."""
        self.adapted = self._chosen.adapted
        """The request as the endpoint that was chosen takes it."""
        self.at_once = never
        self.gate, self.now = lanes.crossing.gate, of_run.now
        """See Sender."""

    @property
    def under_way(self) -> int:
        """See Sender."""
        return sum(limiter.in_flight for limiter in self._lanes.limiters)

    def obstacle(self) -> Obstacle | None:
        """What requests wait for; None while an endpoint takes them."""
        there = [lane.limiter.obstacle() for lane in self._lanes.there]
        if not there or None in there:
            return self._of_run.obstacle()
        found = [each for each in there if each is not None]
        least = min(found, key=lambda each: ("rate", "refused", "down").index(each.kind))
        if len(found) == 1:
            return least
        every = f"{len(found)} endpoints"
        return Obstacle(least.kind, f"all {every}: {least.why}", f"all {every}: {least.words}")

    @property
    def urls(self) -> dict[int, str]:
        """See Sender."""
        return {lane.number: lane.way.target.base_url for lane in self._lanes.there}

    def url_of(self, endpoint: int) -> str:
        """See Sender."""
        return self._lanes.all[endpoint].way.target.base_url

    def words(self) -> str:
        """See Sender."""
        obstacle = self.obstacle()
        return "" if obstacle is None else obstacle.words

    def shown(self) -> str:
        """What each endpoint has in flight, for a person."""
        there = self._lanes.there
        down = sum(lane.is_down for lane in there)
        if len(there) > MOST_SHOWN:
            return f"{len(there) - down} of {len(there)} endpoints"
        return ", ".join(map(_shown, there))

    def oldest(self) -> float:
        """See Sender."""
        return max((lane.client.oldest() for lane in self._lanes.all), default=0.0)

    def starved(self) -> None:
        """See Sender."""
        for limiter in self._lanes.limiters:
            limiter.starved()

    def leave(self, endpoint: int, why: str) -> None:
        """An endpoint is asked no more."""
        self._lanes.leave(endpoint, why)

    def close(self) -> None:
        """Admit nothing more."""
        self._of_run.close()
        self._chosen.close()


class _Chosen:
    """Each request goes to one endpoint."""

    def __init__(self, lanes: Lanes, affinity: bool) -> None:
        self._lanes = lanes
        self._prefixes = Prefixes() if affinity else None
        self._at: dict[int, Lane] = {}  # row in flight -> where
        self._closed = False

    async def admit(self, request: Request, past: Past = NEW) -> bool:
        prefix = None if self._prefixes is None else self._prefixes.of(request)
        changed = self._lanes.crossing.changed
        while not self._closed:
            changed.clear()
            wait, lanes = self._ready(request, self._there(past))
            chosen = pool.pick(
                [lane.candidate() for lane in lanes],
                prefix=prefix,
                names=self._names() if prefix is not None else (),
                avoided=past.failed,
            )
            if chosen is not None:
                self._at[request.row] = lane = self._lanes.all[chosen.number]
                lane.limiter.take(request)
                return True
            try:
                async with asyncio.timeout(wait):
                    await changed.wait()
            except TimeoutError:
                continue
        return False

    def close(self) -> None:
        self._closed = True
        self._lanes.close()

    @property
    def send(self) -> Callable[[Request], Coroutine[Any, Any, Attempt]]:
        return self._send

    def _send(self, request: Request) -> Coroutine[Any, Any, Attempt]:
        return self._at[request.row].client.send(request)

    def adapted(self, request: Request) -> Request:
        return self._at[request.row].client.adapted(request)

    def settle(self, request: Request, done: Try, judged: Outcome) -> None:
        lane, attempt = self._at.pop(request.row), done.attempt
        if isinstance(judged, Reject) and judged.stream_options:
            lane.client.leave_out_stream_options()
        if isinstance(judged, Reject) and judged.cache_marks:
            lane.client.leave_out_cache_marks()
        lane.limiter.release(request, tokens(attempt, judged))
        lane.limiter.read_headers(attempt.headers, attempt.started_at + attempt.latency_s)

    def _there(self, past: Past) -> list[Lane]:
        """The endpoints that are there, but for those that refused the row, if there is another."""
        there = self._lanes.there
        others = [lane for lane in there if lane.number not in past.refused]
        return others if any(lane.limiter.held_up <= SOON for lane in others) else there

    def _ready(self, request: Request, there: list[Lane]) -> tuple[float | None, list[Lane]]:
        """The endpoints that may be asked now, and seconds until another may; None where that takes a
        change.  Raises Unsendable for a request that is too large for all.
        """
        ready, waits, large = [], [], None
        for lane in there:
            try:
                wait = lane.limiter.when(request)
            except TooLarge as error:
                large = error
                continue
            if wait == 0:
                ready.append(lane)
            elif wait is not None:
                waits.append(wait)
            else:
                waits.append(float("inf"))
        if large is not None and not ready and not waits:
            raise Unsendable(Error("too_large", str(large)))
        soonest = min(waits, default=float("inf"))
        return None if soonest == float("inf") else soonest, ready

    def _names(self) -> tuple[str, ...]:
        """Those that are there: what is down is nobody's home."""
        there = self._lanes.there
        return tuple(lane.name for lane in there if not lane.is_down) or tuple(
            lane.name for lane in there
        )


class _OfRun:
    """Requests leave no faster than the run is to ask, wherever they go."""

    def __init__(self, inner: Layer, limiter: Limiter) -> None:
        self.send = inner.send
        self._inner = inner
        self._limiter = limiter

    async def admit(self, request: Request, past: Past = NEW) -> bool:
        try:
            if not await self._limiter.admit(request):
                return False
        except TooLarge as error:
            raise Unsendable(Error("too_large", str(error))) from None
        admitted = False
        try:
            admitted = await self._inner.admit(request, past)
        finally:
            if not admitted:
                self._limiter.release(request, 0)
        return admitted

    def settle(self, request: Request, done: Try, judged: Outcome) -> None:
        self._inner.settle(request, done, judged)
        if isinstance(judged, Accept):
            self._limiter.tokens.learn(request, judged.completion.usage or Usage())
        self._limiter.release(request, tokens(done.attempt, judged))


def _shown(lane: Lane) -> str:
    name = lane.way.endpoint.name or lane.name
    return f"{name} down" if lane.is_down else f"{name} {lane.limiter.in_flight}"

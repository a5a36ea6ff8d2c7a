"""Tells how far a run is, twice a second, and what it waits for: once when that has lasted a while,
and once when it is over.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

from batch.engine.events import Events, Progressed, Waiting, WentOn
from batch.limits.crossing import Obstacle

PATIENCE = 2.0
"""Seconds of waiting that are not worth a line."""

EVERY = 0.5
"""Seconds between two looks."""


@asynccontextmanager
async def reporting(
    events: Events,
    obstacle: Callable[[], Obstacle | None],
    progress: Callable[[], Progressed],
    clock: Callable[[], float] = time.monotonic,
) -> AsyncIterator[None]:
    """Meanwhile progress and waits are told; progress once more at the end."""
    task = asyncio.create_task(_report(events, obstacle, progress, clock))
    try:
        yield
    finally:
        task.cancel()
        await asyncio.wait({task})
        events.emit(progress())


async def _report(
    events: Events,
    obstacle: Callable[[], Obstacle | None],
    progress: Callable[[], Progressed],
    clock: Callable[[], float],
) -> None:
    waits = Waits(events)
    while True:
        waits.see(obstacle(), clock())
        events.emit(progress())
        await asyncio.sleep(EVERY)


class Waits:
    """What a run has been waiting for, and whether that was told."""

    def __init__(self, events: Events) -> None:
        self._events = events
        self._kind = ""
        self._since = 0.0
        self._told = ""

    def see(self, obstacle: Obstacle | None, now: float) -> None:
        """Note what is in the way at this moment, if anything is."""
        kind = obstacle.kind if obstacle else ""
        if kind != self._kind:
            self._over(now)
            self._kind, self._since = kind, now
        if obstacle and obstacle.why != self._told and now - self._since >= PATIENCE:
            self._events.emit(Waiting(kind, obstacle.why, again=bool(self._told)))
            self._told = obstacle.why

    def _over(self, now: float) -> None:
        if self._told:
            self._events.emit(WentOn(self._kind, now - self._since))
        self._told = ""

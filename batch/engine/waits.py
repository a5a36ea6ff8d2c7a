"""Keeps a person informed while nothing comes back: the bar moves on, and what a run waits for is
said once when it begins, once when it is over, and is in run.log for `batchmill status`.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from batch.limits.limiter import Limiter, Obstacle
from batch.progress import BAR_SECONDS, Progress
from batch.store.log import Log
from batch.words import duration

PATIENCE = 2.0
"""Seconds of waiting that are not worth a line."""


@asynccontextmanager
async def watching(limiter: Limiter, progress: Progress, log: Log) -> AsyncIterator[None]:
    """Meanwhile the state of things is shown."""
    task = asyncio.create_task(_watch(limiter, Waits(progress, log), progress))
    try:
        yield
    finally:
        task.cancel()
        await asyncio.wait({task})


async def _watch(limiter: Limiter, waits: Waits, progress: Progress) -> None:
    while True:
        waits.see(limiter.obstacle(), time.monotonic())
        progress.tick()
        await asyncio.sleep(BAR_SECONDS)


class Waits:
    """What a run has been waiting for, and whether that was said."""

    def __init__(self, progress: Progress, log: Log) -> None:
        self._progress = progress
        self._log = log
        self._kind = ""
        self._since = 0.0
        self._why = ""  # as it was said

    def see(self, obstacle: Obstacle | None, now: float) -> None:
        """Take note of what is in the way at this moment, if anything is."""
        kind = obstacle.kind if obstacle else ""
        if kind != self._kind:
            self._over(now)
            self._kind, self._since = kind, now
        if obstacle and obstacle.why != self._why and now - self._since >= PATIENCE:
            if kind != "rate" and not self._why:  # a limit that is used up is how it should be
                self._progress.say(obstacle.why)
            self._why = obstacle.why
            self._log.event("waiting", why=obstacle.why)

    def _over(self, now: float) -> None:
        if self._why:
            seconds = now - self._since
            self._log.event("going on", after_s=round(seconds, 1))
            if self._kind == "down":
                self._progress.say(f"the endpoint is back after {duration(seconds)}")
        self._why = ""

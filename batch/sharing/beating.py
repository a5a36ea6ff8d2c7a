"""What a worker does while it asks: it beats, obeys what it is lent, and takes the parts that come."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from functools import partial
from typing import Protocol

from batch.errors import Interrupted, Refused, Stopped
from batch.limits.crossing import Obstacle
from batch.limits.lent import LentLimiter
from batch.runner import AtWork
from batch.sharing.messages import Grant, Report, State

EVERY = 0.25
"""Seconds from one beat to the next."""
SOONEST = 0.05
"""Seconds after a beat in which none follows, whatever happens."""
MOST_UNANSWERED = 40
"""Times in a row that a beat's answer is looked for; times, as the whole machine may have slept."""


class Gone(Exception):
    """The coordinator is not there any more."""


class Link(Protocol):
    """The way to the coordinator."""

    async def beat(self, report: Report) -> Grant:
        """Raises Gone."""


class Beats:
    """Of one worker, in the loop in which it asks."""

    def __init__(
        self, link: Link, worker: str, epoch: int, at: AtWork, notices: Callable[[], list[str]]
    ) -> None:
        assert isinstance(at.limiter, LentLimiter)
        assert at.leases is not None
        self._link = link
        self._worker = worker
        self._epoch = epoch
        self._at = at
        self._limiter = at.limiter
        self._leases = at.leases
        self._notices = notices
        self._hurried = asyncio.Event()
        loop = asyncio.get_running_loop()
        self._leases.when_wanted(partial(loop.call_soon_threadsafe, self._hurried.set))
        self._limiter.when_refused(self._hurried.set)
        at.store.when_sealed(self._leases.done)

    async def go_on(self) -> None:
        """Beat until nobody answers any more, or all are to stop."""
        try:
            while await self._beat():
                await self._rest()
        except Gone:
            self._end(Stopped("the process that shares out the run is gone"))

    async def last(self) -> None:
        """Tell what became of the rest."""
        with suppress(Gone, TimeoutError):
            async with asyncio.timeout(EVERY * 4):
                await self._link.beat(self._report())

    async def _beat(self) -> bool:
        asked_at, report = self._at.clock(), self._report()
        self._hurried.clear()
        answered = asyncio.ensure_future(self._link.beat(report))
        try:
            for _ in range(MOST_UNANSWERED):
                done, _ = await asyncio.wait({answered}, timeout=EVERY)
                if done:
                    return self._obey(answered.result(), asked_at)
        finally:
            answered.cancel()
        self._end(Stopped("the process that shares out the run does not answer"))
        return False

    def _obey(self, grant: Grant, asked_at: float) -> bool:
        if grant.is_stranger:
            self._end(Refused("this worker was taken for dead: another has its parts"))
            return False
        self._limiter.obey(grant.lent, asked_at)
        self._leases.add(grant.parts)
        if grant.over:
            self._leases.end()
        if grant.stop:
            self._at.engine.wind_up(Interrupted("interrupted"))
        return True

    def _end(self, why: Stopped | Refused) -> None:
        self._leases.end()
        self._at.engine.wind_up(why)

    async def _rest(self) -> None:
        await asyncio.sleep(SOONEST)
        with suppress(TimeoutError):
            async with asyncio.timeout(EVERY - SOONEST):
                await self._hurried.wait()

    def _report(self) -> Report:
        now, obstacle = self._at.progress(), self._at.obstacle()
        return Report(
            worker=self._worker,
            epoch=self._epoch,
            used=self._limiter.used(),
            wanted=self._leases.wanted,
            done=self._leases.take_done(),
            notices=self._notices(),
            state=State(
                held=now.held,
                asked=now.asked,
                retries=now.retries,
                in_flight=now.in_flight,
                words=now.waiting,
                obstacle=None if obstacle is None else _pieces(obstacle),
            ),
        )


def _pieces(obstacle: Obstacle) -> tuple[str, str, str]:
    return obstacle.kind, obstacle.why, obstacle.words


@asynccontextmanager
async def beating(
    link: Link, worker: str, epoch: int, notices: Callable[[], list[str]], at: AtWork
) -> AsyncIterator[None]:
    """Meanwhile a worker beats."""
    beats = Beats(link, worker, epoch, at, notices)
    going_on = asyncio.create_task(beats.go_on())
    try:
        yield
    finally:
        going_on.cancel()
        await asyncio.wait({going_on})
        await beats.last()
        if not going_on.cancelled() and (failure := going_on.exception()) is not None:
            raise failure

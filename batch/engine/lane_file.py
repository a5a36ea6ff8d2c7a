"""The file that names endpoints, followed while a run is under way."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

from batch.engine.lanes import Lane, Lanes, Way
from batch.errors import BatchError
from batch.limits import pool
from batch.limits.pool import Listed

EVERY = 5.0
"""Seconds between two looks."""


class LaneFile:
    """Lets endpoints come and go as the file says.  One that cannot be read changes nothing."""

    def __init__(
        self,
        path: Path,
        lanes: Lanes,
        way: Callable[[Listed], Way],
        named: frozenset[str],
        say: Callable[[str], None],
    ) -> None:
        """`way` tells where a line leads; `named` are URLs of the job itself, which stay."""
        self._path = path
        self._lanes = lanes
        self._way = way
        self._named = named
        self._say = say
        self._text = ""
        self._complaint = ""
        self._crossed_out: set[int] = set()  # endpoints whose line has gone, perhaps to come back

    @asynccontextmanager
    async def followed(self) -> AsyncIterator[None]:
        """Meanwhile it is looked at again and again.  Where that cannot go on, the run does."""
        following = asyncio.create_task(self._follow())
        following.add_done_callback(self._tell)
        try:
            yield
        finally:
            following.cancel()
            await asyncio.wait({following})

    async def _follow(self) -> None:
        while True:
            await asyncio.sleep(EVERY)
            await self.look()

    def _tell(self, following: asyncio.Task[None]) -> None:
        if not following.cancelled() and (error := following.exception()) is not None:
            self._say(f"{self._path} is looked at no more: {error!r}")

    async def look(self) -> None:
        """Do what has changed since the last look."""
        try:
            text = await asyncio.to_thread(self._path.read_text, encoding="utf-8-sig")
        except (OSError, UnicodeDecodeError) as error:
            self._complain(str(error))
            return
        if text == self._text:
            return
        self._text, self._complaint = text, ""
        try:
            listed = {each.url: each for each in pool.listed(text)}
        except ValueError as error:
            self._complain(str(error))
            return
        asked = {_url(lane): lane for lane in self._lanes.all if self._is_of_line(lane)}
        for url, line in listed.items():
            if url not in self._named:
                await self._ask(line, asked.get(url))
        for url, lane in asked.items():
            if url not in listed:
                self._drain(lane)

    def _is_of_line(self, lane: Lane) -> bool:
        """Whether an endpoint is there for its line, or has left though that is there: it has refused."""
        return lane.number not in self._crossed_out and _url(lane) not in self._named

    async def _ask(self, line: Listed, lane: Lane | None) -> None:
        """As the line says; one that has left is not asked again."""
        try:
            way = self._way(line)
            if lane is not None:
                lane.weight = way.share.weight
                return
            lane = await self._lanes.join(way)
        except BatchError as error:
            self._complain(str(error))
        else:
            self._say(f"{lane.name} is asked, too")

    def _drain(self, lane: Lane) -> None:
        if lane.limiter.is_gone:
            self._crossed_out.add(lane.number)
        elif len(self._lanes.there) > 1:
            self._crossed_out.add(lane.number)
            self._lanes.leave(lane.number, f"{self._path.name} no longer names it")
        else:
            self._complain(f"it names none that is there: {lane.name} stays")

    def _complain(self, why: str) -> None:
        if why != self._complaint:
            self._complaint = why
            self._say(f"{self._path}: {why}; the endpoints stay as they are")


def _url(lane: Lane) -> str:
    return lane.way.endpoint.base_url or ""

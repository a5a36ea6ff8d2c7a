"""The file that names endpoints, followed while a run is under way."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
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

    async def follow(self) -> None:
        """Until it is cancelled."""
        while True:
            await asyncio.sleep(EVERY)
            await self.look()

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
        there = {lane.way.endpoint.base_url or "": lane for lane in self._lanes.there}
        for url, line in listed.items():
            lane = there.get(url)
            if lane is None:
                await self._join(line)
            else:
                lane.weight = line.weight
        for url, lane in there.items():
            if url not in listed and url not in self._named:
                self._drain(lane)

    async def _join(self, line: Listed) -> None:
        try:
            lane = await self._lanes.join(self._way(line))
        except BatchError as error:
            self._complain(str(error))
        else:
            self._say(f"{lane.name} is asked, too")

    def _drain(self, lane: Lane) -> None:
        if len(self._lanes.there) > 1:
            self._lanes.leave(lane.number, f"{self._path.name} no longer names it")
        else:
            self._complain(f"it names none that is there: {lane.name} stays")

    def _complain(self, why: str) -> None:
        if why != self._complaint:
            self._complaint = why
            self._say(f"{self._path}: {why}; the endpoints stay as they are")

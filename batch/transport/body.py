"""The body of an answer, piece by piece, in bounded memory.

An answer that grows beyond the size most have waits for one of a few places, and is read on there.
Whoever has a place may hold MAX_BODY, and everyone else little more than aiohttp reads ahead.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import AbstractContextManager

from batch.event_stream import TooLarge

MAX_BODY = 16 << 20
"""Decoded bytes one answer may have."""

LARGE_BODY, LARGE_STREAM = 128 << 10, 2 << 20
"""Bytes beyond which an answer needs a place.  Of a stream only the texts are held, so it needs one
later.
"""

LARGE_BODIES = 32
"""Places for large answers: together they hold 0.5 GiB at most."""

Read = Callable[[], Awaitable[bytes]]
"""Gives what has come of a body, and nothing at its end."""
Held = Callable[[], AbstractContextManager[None]]
"""A context in which the answer's timeout stands still: it is we who do not read on."""


class LargeBodies(asyncio.Semaphore):
    """The places for large answers.  Each is read on once there is `room`, too."""

    def __init__(self, room: Callable[[], Awaitable[None]]) -> None:
        super().__init__(LARGE_BODIES)
        self.room = room


class Body:
    """`with` it, and take the decoded bytes piece by piece with `next`."""

    def __init__(self, read: Read, held: Held, large_from: int, places: LargeBodies) -> None:
        """A body of more than `large_from` bytes needs one of `places`."""
        self._read = read
        self._held = held
        self._large_from = large_from
        self._places = places
        self._size = 0
        self._is_large = False

    def __enter__(self) -> Body:
        return self

    def __exit__(self, *_: object) -> None:
        if self._is_large:
            self._places.release()

    async def next(self) -> bytes:
        """Empty at the end.  Raises TooLarge beyond MAX_BODY, without reading on."""
        piece = await self._read()
        self._size += len(piece)
        if self._size > MAX_BODY:
            raise TooLarge(f"the answer has more than {MAX_BODY >> 20} MiB")
        if self._size > self._large_from and not self._is_large:
            with self._held():
                await self._places.acquire()
                self._is_large = True
                await self._places.room()
        return piece

    async def rest(self) -> bytes:
        """All that is still to come.  Raises TooLarge."""
        pieces = []
        while piece := await self.next():
            pieces.append(piece)
        return b"".join(pieces)

"""A lock that lets workers through one at a time, in any order."""

from __future__ import annotations

import asyncio
from collections import deque


class Gate:
    """`enter` it unless one goes in `at_once`, and `leave` it; or `async with` it.

    Whoever comes while nobody is inside goes in at once, though others wait: workers are all alike.
    An asyncio.Lock serves them in order: once one has had to wait, everyone after it waits a round of
    the loop, too, at every row.
    """

    def __init__(self) -> None:
        self.is_taken = False
        """Whether somebody is inside."""
        self._waiters: deque[asyncio.Future[None]] = deque()

    def at_once(self) -> bool:
        """Whether one goes in, as nobody is inside."""
        if self.is_taken:
            return False
        self.is_taken = True
        return True

    async def enter(self) -> None:
        """Go in as soon as nobody is inside."""
        while self.is_taken:
            waiter = asyncio.get_running_loop().create_future()
            self._waiters.append(waiter)
            try:
                await waiter
            except asyncio.CancelledError:
                if not waiter.cancelled():  # it had been called, so it calls another
                    self._call()
                raise
        self.is_taken = True

    def leave(self) -> None:
        """Let another in."""
        self.is_taken = False
        if self._waiters:
            self._call()

    async def __aenter__(self) -> None:
        await self.enter()

    async def __aexit__(self, *_: object) -> None:
        self.leave()

    def _call(self) -> None:
        while self._waiters:
            waiter = self._waiters.popleft()
            if not waiter.done():
                waiter.set_result(None)
                return

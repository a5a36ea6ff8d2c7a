"""A lock that lets workers through one at a time, in any order."""

from __future__ import annotations

import asyncio
from collections import deque


class Gate:
    """`async with` it.

    Whoever comes while nobody is inside goes in at once, though others wait: workers are all alike.
    An asyncio.Lock serves them in order: once one has had to wait, everyone after it waits a round of
    the loop, too, at every row.
    """

    def __init__(self) -> None:
        self._taken = False
        self._waiters: deque[asyncio.Future[None]] = deque()

    def locked(self) -> bool:
        """Whether somebody is inside."""
        return self._taken

    async def __aenter__(self) -> None:
        while self._taken:
            waiter = asyncio.get_running_loop().create_future()
            self._waiters.append(waiter)
            try:
                await waiter
            except asyncio.CancelledError:
                if not waiter.cancelled():  # it had been called, so it calls another
                    self._call()
                raise
        self._taken = True

    async def __aexit__(self, *_: object) -> None:
        self._taken = False
        if self._waiters:
            self._call()

    def _call(self) -> None:
        while self._waiters:
            waiter = self._waiters.popleft()
            if not waiter.done():
                waiter.set_result(None)
                return

"""An event loop whose time is its own: sleeping costs nothing, and an hour passes in a moment."""

from __future__ import annotations

import asyncio
import selectors
from collections.abc import Coroutine
from typing import Any, TypeVar

T = TypeVar("T")

TICK = 1e-6
"""Seconds that a turn of the loop takes, so that time does not stand still in rounding."""


class VirtualLoop(asyncio.SelectorEventLoop):
    """When everything waits, time goes on to the next moment at which something is due."""

    def __init__(self) -> None:
        self.now = 1_000.0
        super().__init__(_Selector(self))

    def time(self) -> float:
        return self.now


class _Selector(selectors.DefaultSelector):
    def __init__(self, loop: VirtualLoop) -> None:
        super().__init__()
        self._loop = loop

    def select(self, timeout: float | None = None) -> list[Any]:
        if timeout is None:
            raise RuntimeError("everything waits for ever")
        self._loop.now += TICK + max(0.0, timeout)
        return super().select(0)


def play(story: Coroutine[Any, Any, T]) -> T:
    """Run a coroutine to its end under a time of its own."""
    with asyncio.Runner(loop_factory=VirtualLoop) as runner:
        return runner.run(story)

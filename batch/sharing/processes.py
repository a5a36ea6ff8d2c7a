"""The processes of a shared run, whatever they are, as its driver sees them."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import AbstractContextManager
from typing import Protocol, TypeVar

from batch.sharing.beating import Gone
from batch.sharing.messages import Common, Look

T = TypeVar("T")

ANSWER_SECONDS = 10.0
"""After so many without an answer the coordinator is taken for gone."""


class Died(Exception):
    """The process of a worker is gone."""


class Processes(Protocol):
    """The coordinator's process, and those of the workers.  What asks the coordinator raises Gone."""

    async def begin(self, common: Common) -> None:
        """Let the coordinator be there.  Raises Stopped and Refused where it cannot."""

    async def join(self, worker: str) -> int:
        """See Coordinator."""

    async def lost(self, worker: str) -> int:
        """See Coordinator."""

    async def leave(self, worker: str, epoch: int) -> None:
        """See Coordinator."""

    async def stop(self) -> None:
        """See Coordinator."""

    async def look(self) -> Look:
        """See Coordinator."""

    async def work(self, worker: str, order: bytes) -> bytes:
        """Begin a process, and give what it tells at its end.  Raises Died."""

    def kill(self) -> None:
        """End all workers at once."""


Opening = Callable[[str, Callable[[str], None]], AbstractContextManager[Processes]]
"""Gives the processes of the run with an id; takes where to say what takes long."""


async def answer(asked: Awaitable[T]) -> T:
    """What the coordinator answers.  Raises Gone where it does not."""
    try:
        async with asyncio.timeout(ANSWER_SECONDS):
            return await asked
    except TimeoutError:
        raise Gone("no answer") from None

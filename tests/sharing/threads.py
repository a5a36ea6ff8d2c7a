"""The processes of a shared run as threads of this one, for all but what only a kill shows."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from batch.sharing import worker
from batch.sharing.beating import Gone
from batch.sharing.coordinator import Coordinator
from batch.sharing.messages import Common, Grant, Look, Report


class Threads:
    """See driver.Processes.  `order` may change what a worker is told to do."""

    def __init__(self, order: Callable[[bytes], bytes] = lambda order: order) -> None:
        self.coordinator: Coordinator | None = None
        self.reports: list[Report] = []
        self.grants: list[Grant] = []
        self.is_gone = False
        self.killed = False
        self._order = order
        self._lock = threading.Lock()

    @contextmanager
    def opening(self, run_id: str, say: Callable[[str], None]) -> Iterator[Threads]:
        """See driver.Opening."""
        yield self

    async def begin(self, common: Common) -> None:
        self.coordinator = Coordinator(common)

    async def join(self, name: str) -> int:
        return self._call("join", name)

    async def lost(self, name: str) -> int:
        return self._call("lost", name)

    async def leave(self, name: str, epoch: int) -> None:
        self._call("leave", name, epoch)

    async def stop(self) -> None:
        self._call("stop")

    async def look(self) -> Look:
        return self._call("look")

    async def beat(self, report: Report) -> Grant:
        """See beating.Link."""
        grant: Grant = self._call("beat", report)
        self.reports.append(report)
        self.grants.append(grant)
        return grant

    async def work(self, name: str, order: bytes) -> bytes:
        return await asyncio.to_thread(worker.work, self._order(order), self, owns_process=False)

    def kill(self) -> None:
        self.killed = True

    def _call(self, name: str, *args: Any) -> Any:
        if self.is_gone:
            raise Gone("the coordinator")
        with self._lock:
            return getattr(self.coordinator, name)(*args)

"""The group commit of the open parts: lines are written as they come, a thread syncs them.

What came in one turn of the loop is written in the next, and before another request leaves.  The
system then has it, so a kill of the process takes what was in flight and no more.  Rows count as done
after the sync, which comes at most every `seconds`.

A write takes 10 us, also beside a sync.  Where it may take long, another thread does it, and workers
wait for it in `room`: while a sync takes longer than STALL_SECONDS, and where a part begins before the
one before it is durable, which has to be synced first (a power cut must not leave a gap).
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

from batch.errors import StorageError
from batch.run_folder import RunFolder
from batch.store.append_files import AppendFiles
from batch.store.files import Disk
from batch.store.open_parts import OpenPart, Write, Written, sync

STALL_SECONDS = 0.3
"""Seconds after which a sync is taken for that of a disk that stalls."""
MOST_UNSYNCED = 8 << 20
"""Bytes of results not yet on disk above which workers wait."""
MOST_JOURNALS, MOST_SPOOLS = 16, 2
"""Files that are held open."""


class GroupCommit:
    """All writes to open parts.  `run` it as long as there may be something new."""

    def __init__(
        self,
        disk: Disk,
        run: RunFolder,
        seconds: float,
        on_durable: Callable[[list[Written]], None],
        on_failure: Callable[[], None],
    ) -> None:
        self._disk = disk
        self._run = run
        self._seconds = seconds
        self._on_durable = on_durable
        self._on_failure = on_failure
        self._spools = AppendFiles(disk, lambda part: run.opened(part).spool, MOST_SPOOLS)
        self._journals = AppendFiles(disk, lambda part: run.opened(part).journal, MOST_JOURNALS)
        self._new: dict[int, OpenPart] = {}  # those with something that is not written, by number
        self._beginning = 0  # how many of them have no files yet
        self._begun: Written | None = None  # the last part that got them, until it is durable
        self._written: list[Written] = []
        self._unsynced = 0
        self._sync_began: float | None = None
        self._aside: asyncio.Task[None] | None = None
        self._dirty = asyncio.Event()
        self._moved = asyncio.Event()
        self._closing = asyncio.Event()
        self._syncs = ThreadPoolExecutor(1, "commit")
        self._writes = ThreadPoolExecutor(1, "write")
        self.failure: StorageError | None = None

    def add(self, part: OpenPart, size: int = 0) -> None:
        """`part` has something new, with `size` bytes of results."""
        if not self._new:
            asyncio.get_running_loop().call_soon(self.write)
        if part.number not in self._new:
            self._new[part.number] = part
            self._beginning += not part.is_on_disk
        self._unsynced += size

    def write(self) -> None:
        """Write what is new; `failure` tells what the disk refused."""
        if self._aside is not None or not self._new or self.failure is not None:
            return
        at_once = self._may_write_at_once()
        writes = [self._new[number].take_new() for number in sorted(self._new)]
        self._new, self._beginning = {}, 0
        if not at_once:
            self._aside = asyncio.create_task(self._write_aside(writes))
            return
        try:
            self._has_written(self._put(writes, None))
        except StorageError as error:
            self.fail(error)

    def is_behind(self) -> bool:
        """Whether much is unsynced, or something new has to wait before it is written."""
        if self.failure is not None:
            return False
        if self._unsynced > MOST_UNSYNCED or self._aside is not None:
            return True
        return bool(self._new) and not self._may_write_at_once()

    async def room(self) -> None:
        """Return when little enough is unsynced, and all is written or about to be."""
        while self.is_behind():
            self._moved.clear()
            await self._moved.wait()

    async def run(self) -> None:
        """Sync what is written, until `end` or a failure."""
        await self._dirty.wait()
        while not self._closing.is_set() and self.failure is None:
            began = time.monotonic()
            await self._sync()
            await self._rest(self._seconds - (time.monotonic() - began))
            await self._dirty.wait()
        await self._write_the_rest()
        if self.failure is None:
            await self._sync()

    def end(self) -> None:
        """Nothing more will come: `run` writes and syncs the rest."""
        self._closing.set()
        self._dirty.set()

    def close(self, part: int) -> None:
        """Close the files of a part that is complete."""
        self._spools.close(part)
        self._journals.close(part)

    def shutdown(self) -> None:
        """Close all files and let the threads end."""
        self._syncs.shutdown()
        self._writes.shutdown()
        self._spools.close_all()
        self._journals.close_all()

    def fail(self, error: StorageError) -> None:
        """The disk refused something: nothing is written from now on."""
        self.failure = self.failure or error
        self._dirty.set()
        self._moved.set()
        self._on_failure()

    def _may_write_at_once(self) -> bool:
        """Whether a write is sure to take no longer than it takes to copy its bytes."""
        began = self._sync_began
        stalls = began is not None and time.monotonic() - began > STALL_SECONDS
        return not stalls and self._beginning + (self._begun is not None) <= 1

    def _put(self, writes: list[Write], begun: Written | None) -> list[Written]:
        """Write to the files.  `begun` is a part that must be durable before another begins."""
        done: list[Written] = []
        for write in writes:
            if write.is_new and begun is not None:
                sync(self._disk, self._run, [begun])
            if write.is_new:
                self._disk.name_folder(self._run.opened(write.part.number).path)
            done.append(write.to(self._spools, self._journals))
            if write.is_new:
                begun = done[-1]
        return done

    def _has_written(self, done: list[Written]) -> None:
        self._written += done
        for each in done:
            if each.is_new:
                self._begun = each
        self._dirty.set()

    async def _write_aside(self, writes: list[Write]) -> None:
        """Write in a thread: a disk that stalls may hold it up for as long as it likes."""
        loop = asyncio.get_running_loop()
        try:
            done = await loop.run_in_executor(self._writes, self._put, writes, self._begun)
        except StorageError as error:
            self.fail(error)
        else:
            self._has_written(done)
        self._aside = None
        self._moved.set()
        self.write()

    async def _write_the_rest(self) -> None:
        self.write()
        while self._aside is not None:
            await self._aside

    async def _sync(self) -> None:
        """Sync what is written, then tell.  An fsync takes 0.1 to 30 ms, so it runs in a thread."""
        self._dirty.clear()
        done, self._written = self._written, []
        self._sync_began = time.monotonic()
        loop = asyncio.get_running_loop()
        try:
            await loop.run_in_executor(self._syncs, sync, self._disk, self._run, done)
        except StorageError as error:
            self.fail(error)
        else:
            self._is_durable(done)
        finally:
            self._sync_began = None
            self._moved.set()

    def _is_durable(self, done: list[Written]) -> None:
        if any(each is self._begun for each in done):
            self._begun = None
        self._unsynced -= sum(each.size for each in done)
        self._on_durable(done)

    async def _rest(self, seconds: float) -> None:
        """Let results gather for so long, unless the store is being left."""
        try:
            async with asyncio.timeout(max(0.0, seconds)):
                await self._closing.wait()
        except TimeoutError:
            return

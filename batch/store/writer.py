"""The run folder of a run that is under way: rows taken in, results written, parts sealed.

`write` returns at once.  A row counts as done after its line has been fsynced, which a group commit
does for all that is new, at most every COMMIT_SECONDS, in a thread.  A part whose rows are all done
is sealed in another thread.  All state here belongs to the event loop; the threads get bytes and
give back nothing but time.
"""

from __future__ import annotations

import asyncio
import time
from bisect import bisect_right
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor

import msgspec

from batch.errors import StorageError
from batch.model import Batch, Position, Result, Sent
from batch.run_folder import RunFolder
from batch.store import journal, parts
from batch.store.files import Disk, refused
from batch.store.recover import Found, end_of
from batch.store.seal import Layout, Slice, seal
from batch.store.sends import Sends
from batch.store.spool import SpoolWriter, Start
from batch.totals import Summary

COMMIT_SECONDS = 0.2
MOST_UNSYNCED = 8 << 20
"""Bytes of results not yet on disk above which workers wait."""
MOST_OPEN = 256
"""Open parts; a straggler does not hold up others, but 256 of them do."""
NOTHING: Mapping[int, int] = {}
PART_BYTES = 64 << 20
"""Bytes of input after which a part is full, whatever its number of rows."""


class OpenPart:
    """A part that takes results: one byte a row says whether it is still to do."""

    def __init__(self, number: int, generation: int, start_row: int, start: Position) -> None:
        self.number = number
        self.generation = generation
        self.start_row = start_row
        self.start = start
        self.end = start
        self.to_do = bytearray()
        self.left = 0
        self.full = False  # no more rows will join
        self.results = 0  # written to its journal, this time or before
        self.on_disk = False
        self.places: journal.Places | None = journal.Places()
        """Of its results in the journal; None where an earlier start wrote some of them."""
        self.journal_bytes = 0
        self.spool = SpoolWriter(Start(number, generation, start_row, start))
        self.spool_bytes = 0
        self.before = b""  # of its first rows, as far as an earlier start knew them: those to do
        self.behind = False  # the journal has results of rows that are not spooled again yet
        self.attempts: Mapping[int, int] = {}  # of rows that are asked again, as recorded
        self.committing = False  # what was new is on its way to the disk
        self.new_spool: list[bytes] = []
        self.new_lines: list[bytes] = []
        self.new_results: list[Result] = []

    @property
    def rows(self) -> int:
        return len(self.to_do)

    def noted(self, head: bytes) -> None:
        """Keep where the new lines will lie, after `head`."""
        at = self.journal_bytes + len(head)
        if self.places is not None:
            for result, line in zip(self.new_results, self.new_lines, strict=True):
                self.places.add(result.row, at, line)
                at += len(line)
        self.journal_bytes = at

    def take_in(self, batch: Batch) -> None:
        """Let the batch's rows join."""
        written = self.spool.add(batch)
        self.new_spool.append(written)
        self.spool_bytes += len(written)
        known = self.before[self.rows : self.rows + len(batch.table)]
        fresh = known + b"\1" * (len(batch.table) - len(known))
        self.to_do += fresh
        self.left += sum(fresh)
        self.end = batch.end
        self.behind = self.rows < len(self.before)


class Store:
    """`async with Store(...)`; leaving it commits and seals whatever there is."""

    def __init__(
        self,
        run: RunFolder,
        layout: Layout,
        found: list[Found],
        *,
        part_rows: int,
        on_done: Callable[[list[Result]], None],
        disk: Disk,
        sends: Sends | None = None,
    ) -> None:
        self._run = run
        self._layout = layout
        self._part_rows = part_rows
        self._on_done = on_done
        self._disk = disk
        self._sends = sends or Sends(disk, run)
        self._open: dict[int, OpenPart] = {}
        self._starts: list[int] = []  # of the open parts, sorted
        self._by_start: dict[int, OpenPart] = {}
        self.footers = {part.number: part.footer for part in found if part.footer is not None}
        self._current: OpenPart | None = None
        self._count = len(found)
        self.next_position, self.next_row = end_of(found)
        self._unsynced = 0
        self._dirty = asyncio.Event()
        self._synced = asyncio.Event()
        self._closing = asyncio.Event()
        self._commits = ThreadPoolExecutor(1, "commit")
        self._seals = ThreadPoolExecutor(1, "seal")
        self._sealing: list[asyncio.Task[None]] = []
        self._failure: StorageError | None = None
        self._on_change: Callable[[], None] = lambda: None

    def when_changed(self, call: Callable[[], None]) -> None:
        """`call` when there is room for another part again, or a failure."""
        self._on_change = call

    # Rows in

    def has_room(self) -> bool:
        """Whether another part may be opened."""
        return len(self._open) < MOST_OPEN

    def take_in(self, batch: Batch) -> int:
        """Let new rows of the input join, opening parts as needed; gives the ordinal of the first."""
        first = self.next_row
        for piece in self._pieces(batch):
            part = self._current
            assert part is not None
            part.take_in(piece)
            self._dirty.set()
            self.next_row += len(piece.table)
            self.next_position = piece.end
            full = part.rows >= self._part_rows or part.spool_bytes >= PART_BYTES
            if full and not part.behind:
                self._close_current()
        return first

    def input_ended(self) -> None:
        """No more rows will come in this run."""
        self._close_current()

    def reopen(self, found: Found, to_do: bytes, attempts: Mapping[int, int] = NOTHING) -> OpenPart:
        """Open a part of an earlier start again, with one byte a row that says which are to do, and
        the attempts recorded of those that have a result.

        Unless its spool covers its slice, `respool` that; then `filled`.
        """
        part = self._opened(found)
        part.to_do, part.left = bytearray(to_do), sum(to_do)
        part.end, part.attempts = found.end, attempts
        part.behind = found.results > 0 and not found.spooled
        self._add(part)
        return part

    def resume_last(
        self, found: Found, to_do: bytes, attempts: Mapping[int, int] = NOTHING
    ) -> None:
        """Open the last part again, which was not full yet: the input is taken in again from its
        start.  `to_do` has one byte a row up to the last that has a result.
        """
        part = self._current = self._opened(found)
        part.before, part.behind = to_do, len(to_do) > 0
        part.attempts = attempts
        self._add(part)

    def respool(self, part: OpenPart, batch: Batch) -> None:
        """Keep one more batch of a reopened part's slice."""
        part.new_spool.append(part.spool.add(batch))
        self._dirty.set()

    def filled(self, part: OpenPart) -> None:
        """The part's whole slice is spooled."""
        part.full, part.behind = True, False
        self._seal_if_settled(part)

    # Requests out

    def sent(
        self, row: int, model: str | None, input_tokens: int, output_tokens: int | None
    ) -> None:
        """A request for `row` is about to leave, with so many tokens at most; `write_down` before
        it does.  Raises StorageError.
        """
        if self._failure is not None:
            raise self._failure
        part = self._part_of(row)
        before = part.attempts.get(row, 0)
        self._sends.leaves(
            part.number, Sent(row, time.time(), before, model, input_tokens, output_tokens)
        )

    def write_down(self) -> None:
        """Keep what is about to leave, whatever becomes of this process.  Raises StorageError."""
        self._sends.write_down()

    def cost_nothing(self, row: int) -> None:
        """The last request for `row`, which has no result yet, was certainly not charged."""
        self._sends.cost_nothing(self._part_of(row).number, row)

    # Results out

    def wants(self, row: int) -> bool:
        """Whether `row` has no result yet.  Those of a sealed part have theirs."""
        found = bisect_right(self._starts, row) - 1
        if found < 0:
            return False
        part = self._by_start[self._starts[found]]
        at = row - part.start_row
        return part.to_do[at : at + 1] == b"\1"

    def write(self, result: Result) -> None:
        """Take a row's result.  Returns at once; `on_done` hears of it when it is durable.
        Raises StorageError.
        """
        if self._failure is not None:
            raise self._failure
        part = self._part_of(result.row)
        result = self._sends.answered(result)
        line = journal.line(result)
        part.new_lines.append(line)
        part.new_results.append(result)
        self._unsynced += len(line)
        self._dirty.set()

    async def room(self) -> None:
        """Return when little enough is unsynced."""
        while self._unsynced > MOST_UNSYNCED and self._failure is None:
            self._synced.clear()
            await self._synced.wait()

    @property
    def failure(self) -> StorageError | None:
        """What the disk refused.  Nothing is written after that."""
        return self._failure

    # Life

    async def __aenter__(self) -> Store:
        self._committer = asyncio.create_task(self._commit_for_ever())
        return self

    async def __aexit__(self, *_: object) -> None:
        self._closing.set()
        self._dirty.set()
        try:
            await self._committer
            await asyncio.gather(*self._sealing)
            if self._failure is None:
                await self._seal_the_rest()
        finally:
            self._sends.end(durable=self._failure is None)
            self._commits.shutdown()
            self._seals.shutdown()
        if self._failure is not None:
            raise self._failure

    def summary(self) -> Summary:
        """What all sealed parts add up to."""
        whole = Summary()
        for number in sorted(self.footers):
            whole.merge(self.footers[number].summary)
        return whole

    def _opened(self, found: Found) -> OpenPart:
        generation = found.generation or (found.footer.generation if found.footer else 0) + 1
        part = OpenPart(found.number, generation, found.start_row, found.start)
        part.results = found.results
        part.on_disk = found.generation > 0
        part.places = None if part.on_disk else journal.Places()
        return part

    def _pieces(self, batch: Batch) -> Iterator[Batch]:
        """The batch, cut where a part is full."""
        while len(batch.table):
            if self._current is None:
                self._begin(batch.start)
            assert self._current is not None
            least = max(self._part_rows, len(self._current.before))
            room = max(1, least - self._current.rows)
            if room >= len(batch.table):
                yield batch
                return
            piece, batch = batch.cut(room)
            yield piece

    def _begin(self, start: Position) -> None:
        self._current = OpenPart(self._count, 1, self.next_row, start)
        self._count += 1
        self._add(self._current)

    def _close_current(self) -> None:
        part, self._current = self._current, None
        if part is not None and part.rows:  # none: a limit ends before it
            part.full = True
            self._seal_if_settled(part)

    def _add(self, part: OpenPart) -> None:
        self._open[part.number] = part
        self._by_start[part.start_row] = part
        self._starts = sorted(self._by_start)

    def _drop(self, part: OpenPart) -> None:
        del self._open[part.number], self._by_start[part.start_row]
        self._starts = sorted(self._by_start)
        self._on_change()

    def _part_of(self, row: int) -> OpenPart:
        return self._by_start[self._starts[bisect_right(self._starts, row) - 1]]

    async def _commit_for_ever(self) -> None:
        """Until the store is left, which the last commit follows."""
        while self._failure is None:
            await self._dirty.wait()
            last = self._closing.is_set()
            began = time.monotonic()
            await self._commit()
            if last:
                return
            await self._rest(COMMIT_SECONDS - (time.monotonic() - began))

    async def _rest(self, seconds: float) -> None:
        """Let a fifth of a second's results gather, unless there will be no more."""
        try:
            async with asyncio.timeout(max(0.0, seconds)):
                await self._closing.wait()
        except TimeoutError:
            return

    async def _commit(self) -> None:
        """Write and sync what is new, then tell.  An fsync takes 0.1 to 30 ms, so it runs in a
        thread.
        """
        self._dirty.clear()
        parts_in_order = [self._open[number] for number in sorted(self._open)]
        taken = [write for part in parts_in_order if (write := self._taken(part)) is not None]
        try:
            await asyncio.get_running_loop().run_in_executor(self._commits, self._write_all, taken)
        except StorageError as error:
            self._fail(error)
        else:
            self._count_done(taken)
        finally:
            self._synced.set()

    def _taken(self, part: OpenPart) -> _Write | None:
        if not part.new_spool and not part.new_lines:
            return None
        new = not part.on_disk
        header = journal.Header(part.number, part.generation, part.start_row, part.start)
        head = journal.line(header) if new else b""
        part.noted(head)
        size = sum(map(len, part.new_lines))
        lines = b"".join([head, *part.new_lines])
        write = _Write(part, new, b"".join(part.new_spool), lines, part.new_results, size)
        part.on_disk = part.committing = True
        part.new_spool, part.new_lines, part.new_results = [], [], []
        return write

    def _write_all(self, writes: list[_Write]) -> None:
        for write in writes:
            opened = self._run.opened(write.part.number)
            if write.new:
                self._disk.make_folder(opened.path)
            if write.spool:
                self._disk.append(opened.spool, write.spool)
            if write.lines:
                self._disk.append(opened.journal, write.lines)
            if write.new or write.spool:
                self._disk.sync_folder(opened.path)

    def _count_done(self, writes: list[_Write]) -> None:
        for write in writes:
            part = write.part
            for result in write.results:
                at = result.row - part.start_row
                part.left -= part.to_do[at]
                part.to_do[at] = 0
            part.committing = False
            part.results += len(write.results)
            self._unsynced -= write.size
            self._on_done(write.results)
            self._seal_if_settled(part)

    def _seal_if_settled(self, part: OpenPart) -> None:
        if (
            part.full
            and part.left == 0
            and not part.new_lines
            and not part.new_spool
            and not part.committing
            and part.number in self._open
        ):
            self._drop(part)
            self._sealing.append(asyncio.create_task(self._seal(part)))

    async def _seal(self, part: OpenPart) -> None:
        loop = asyncio.get_running_loop()
        self._sends.close(part.number)
        unanswered = self._sends.waits_in(part.start_row, part.rows)
        try:
            self.footers[part.number] = await loop.run_in_executor(
                self._seals, self._seal_now, part, unanswered
            )
        except StorageError as error:
            self._fail(error)
        except OSError as error:  # what it had to read
            self._fail(refused(error, self._run.path))

    def _fail(self, error: StorageError) -> None:
        self._failure = self._failure or error
        self._on_change()

    def _seal_now(self, part: OpenPart, unanswered: bool) -> parts.Footer:
        """Takes about 15 us a row."""
        piece = Slice(part.number, part.generation, part.start_row, part.rows, part.start, part.end)
        known = None if part.places is None else part.places.entries()
        footer = seal(self._disk, self._run, piece, self._layout, known)
        if not unanswered:
            self._sends.remove(part.number)
        self._disk.remove_folder(self._run.opened(part.number).path)
        return footer

    async def _seal_the_rest(self) -> None:
        """Seal parts as they are, so that what was paid for is in Parquet; a last part without
        results goes.  One that was not read in again stays open.
        """
        for number in sorted(self._open, reverse=True):
            part = self._open[number]
            last = number == self._count - 1
            if part.results == 0 and (last or number in self.footers):
                self._forget(part)
            elif not part.behind:
                self._drop(part)
                await self._seal(part)

    def _forget(self, part: OpenPart) -> None:
        self._sends.close(part.number)
        if not self._sends.waits_in(part.start_row, part.rows):
            self._sends.remove(part.number)
        folder = self._run.opened(part.number).path
        if folder.is_dir():
            self._disk.remove_folder(folder)
        if part.number not in self.footers:
            self._count -= 1
        self._drop(part)


class _Write(msgspec.Struct, frozen=True):
    """What one group commit has to write for one part."""

    part: OpenPart
    new: bool
    spool: bytes
    lines: bytes
    results: list[Result]
    size: int

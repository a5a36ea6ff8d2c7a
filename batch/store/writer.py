"""The run folder of a run that is under way: rows taken in, results written, parts sealed.

`write` returns at once.  A row counts as done once its line is fsynced, by the group commit.  A part
whose rows are all done is sealed in a thread.  All state here belongs to the event loop; the seals'
thread gets a part that no longer changes.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor

from batch.errors import StorageError
from batch.model import Batch, Position, Result, Sent
from batch.run_folder import RunFolder
from batch.store import parts
from batch.store.files import refused
from batch.store.group_commit import GroupCommit
from batch.store.open_parts import NO_ATTEMPTS, OpenPart, OpenParts, Written
from batch.store.recover import Found, end_of
from batch.store.seal import Layout, seal
from batch.store.sends import Sends, Unanswered
from batch.totals import Summary

COMMIT_SECONDS = 0.2
"""Seconds from one group commit to the next, at least."""
PART_BYTES = 64 << 20
"""Bytes of input after which a part is full, whatever its number of rows."""


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
        sends: Sends,
        is_planned: bool = False,
    ) -> None:
        """`found` are the parts of earlier starts; where the run `is_planned`, all that this process is
        to work at, begun or not.  A new part takes `part_rows` rows.  `on_done` hears of results once
        they are durable.
        """
        self._run = run
        self._layout = layout
        self._part_rows = part_rows
        self._is_planned = is_planned
        self._on_done = on_done
        self._sends = sends
        self._disk = sends.disk  # the same: what was refused to one is refused to the other
        self._open = OpenParts(layout.chosen)
        self.footers = {part.number: part.footer for part in found if part.footer is not None}
        self._current: OpenPart | None = None
        self._count = len(found)
        self.next_position, self.next_row = end_of(found)
        self._seals = ThreadPoolExecutor(1, "seal")
        self._sealing: list[asyncio.Task[None]] = []
        self._on_change: Callable[[], None] = lambda: None
        self._on_sealed: Callable[[int], None] = lambda _: None
        self._commits = GroupCommit(
            self._disk, run, COMMIT_SECONDS, self._is_durable, lambda: self._on_change()
        )
        self.is_behind = self._commits.is_behind
        """Whether one has to wait for `room` before another row is asked."""
        self.room = self._commits.room
        """Return when another row may be asked: little is unsynced, and all that came is written."""

    def when_changed(self, call: Callable[[], None]) -> None:
        """`call` whenever there is room for another part again, and when the disk has failed."""
        self._on_change = call

    def when_sealed(self, call: Callable[[int], None]) -> None:
        """`call` with the number of each part that is sealed with all that was to do in it."""
        self._on_sealed = call

    # Rows in

    def has_room(self) -> bool:
        """Whether another part may be opened."""
        return self._open.has_room()

    @property
    def knows_next(self) -> bool:
        """Whether some of the rows that are taken in next may have results of an earlier start."""
        return self._current is not None and self._current.rows < self._current.least_rows

    def take_in(self, batch: Batch) -> int:
        """Add new rows of the input, opening parts as needed.  Gives the place of the first."""
        first = self.next_row
        for piece in self._pieces(batch):
            part = self._current
            assert part is not None
            part.take_in(piece)
            self._commits.add(part)
            self.next_row += len(piece.table)
            self.next_position = piece.end
            full = part.rows >= self._part_rows or part.spool_bytes >= PART_BYTES
            if full and not part.spool_is_behind:
                self._close_current()
        return first

    def input_ended(self) -> None:
        """No more rows will come in this run."""
        self._close_current()

    def reopen(
        self, found: Found, to_do: bytes, attempts: Mapping[int, int] = NO_ATTEMPTS
    ) -> OpenPart:
        """Open a part of an earlier start again.  `to_do` has one byte a row, 1 where it is to do;
        `attempts` are those recorded of such rows that have a result.

        Unless its spool covers its slice, `respool` that; then `filled`.
        """
        part = OpenPart.of_earlier_start(found, attempts, self._layout.chosen)
        part.take_whole(to_do, found.end, spooled=found.spooled)
        self._open.add(part)
        return part

    def resume_last(
        self, found: Found, to_do: bytes, attempts: Mapping[int, int] = NO_ATTEMPTS
    ) -> None:
        """Open the last part again, which was not full yet: the input is taken in again from its
        start.  `to_do` has one byte a row up to the last that has a result.
        """
        part = self._current = OpenPart.of_earlier_start(found, attempts, self._layout.chosen)
        part.know(to_do)
        self._open.add(part)

    def take_over(self, unanswered: Unanswered) -> None:
        """Rows of a part that is about to be opened were sent by others, who recorded no answer."""
        self._sends.take_over(unanswered)

    def respool(self, part: OpenPart, batch: Batch) -> None:
        """Keep one more batch of a reopened part's slice."""
        part.spool(batch)
        self._commits.add(part)

    def filled(self, part: OpenPart) -> None:
        """The part's whole slice is spooled."""
        part.spooled()
        self._seal_if_settled(part)

    # Requests out

    def sent(
        self,
        row: int,
        model: str | None,
        input_tokens: int,
        output_tokens: int | None,
        *,
        rides: bool = False,
    ) -> None:
        """A request for `row`, with so many tokens at most, is about to leave; where it `rides`, that of
        another row.  Call `write_down` before it does.  Raises StorageError.
        """
        if self._commits.failure is not None:
            raise self._commits.failure
        part = self._part_of(row)
        before = part.attempts_of(row) if part.attempts else 0
        self._sends.leaves(
            part.number,
            Sent(row, time.time(), before, model, input_tokens, output_tokens, False, rides),
        )

    def write_down(self) -> None:
        """Write what has come and what is about to leave, so that it survives this process.  Raises
        StorageError.
        """
        self._commits.write()
        self._raise_failure()
        self._sends.write_down()

    def cost_nothing(self, *rows: int) -> None:
        """The last request for each of these, which have no result yet, was certainly not charged."""
        self._sends.cost_nothing((self._part_of(row).number, row) for row in rows)

    # Results out

    def wants(self, row: int) -> bool:
        """Whether `row` is still to do; none of a sealed part is."""
        part = self._open.of(row)
        return part is not None and part.is_to_do(row)

    def write(self, result: Result) -> None:
        """Take a row's result.  Returns at once; `on_done` hears of it when it is durable.
        Raises StorageError.
        """
        if self._commits.failure is not None:
            raise self._commits.failure
        part = self._part_of(result.row)
        self._commits.add(part, part.add(self._sends.answered(result)))

    @property
    def failure(self) -> StorageError | None:
        """What the disk refused.  Nothing is written after that."""
        return self._commits.failure

    # Life

    async def __aenter__(self) -> Store:
        self._committer = asyncio.create_task(self._commits.run())
        return self

    async def __aexit__(self, *_: object) -> None:
        self._commits.end()
        try:
            await self._committer
            await asyncio.gather(*self._sealing)
            if self.failure is None:
                await self._seal_the_rest()
        finally:
            self._sends.end(durable=self.failure is None)
            self._commits.shutdown()
            self._seals.shutdown()
        self._raise_failure()

    def summary(self) -> Summary:
        """What all sealed parts add up to."""
        whole = Summary()
        for number in sorted(self.footers):
            whole.merge(self.footers[number].summary)
        return whole

    def _pieces(self, batch: Batch) -> Iterator[Batch]:
        """The batch, cut where a part is full."""
        while len(batch.table):
            if self._current is None:
                self._begin(batch.start)
            assert self._current is not None
            least = max(self._part_rows, self._current.least_rows)
            room = max(1, least - self._current.rows)
            if room >= len(batch.table):
                yield batch
                return
            piece, batch = batch.cut(room)
            yield piece

    def _begin(self, start: Position) -> None:
        self._current = OpenPart(self._count, 1, self.next_row, start, self._layout.chosen)
        self._count += 1
        self._open.add(self._current)

    def _close_current(self) -> None:
        part, self._current = self._current, None
        if part is not None and part.rows:  # none: a limit ends before it
            part.close()
            self._seal_if_settled(part)

    def _drop(self, part: OpenPart) -> None:
        self._open.remove(part)
        self._on_change()

    def part_of(self, row: int) -> int:
        """The number of the open part that has a row."""
        return self._part_of(row).number

    def _part_of(self, row: int) -> OpenPart:
        part = self._open.of(row)
        assert part is not None
        return part

    def _raise_failure(self) -> None:
        if (failure := self._commits.failure) is not None:
            raise failure

    def _is_durable(self, written: list[Written]) -> None:
        for each in written:
            each.part.has_synced(each.results)
        self._on_done([result for each in written for result in each.results])
        for each in written:
            self._seal_if_settled(each.part)

    def _seal_if_settled(self, part: OpenPart) -> None:
        if part in self._open and part.is_settled():
            self._drop(part)
            self._sealing.append(asyncio.create_task(self._seal_whole(part)))

    async def _seal_whole(self, part: OpenPart) -> None:
        await self._seal(part)
        if self.failure is None:
            self._on_sealed(part.number)

    async def _seal(self, part: OpenPart) -> None:
        loop = asyncio.get_running_loop()
        self._sends.close(part.number)
        unanswered = self._sends.has_unanswered(part.span)
        try:
            self.footers[part.number] = await loop.run_in_executor(
                self._seals, self._seal_now, part, unanswered
            )
        except StorageError as error:
            self._commits.fail(error)
        except OSError as error:  # what it had to read
            self._commits.fail(refused(error, self._run.path))

    def _seal_now(self, part: OpenPart, unanswered: bool) -> parts.Footer:
        """Takes about 15 us a row."""
        self._commits.close(part.number)
        footer = seal(self._disk, self._run, part.slice, self._layout, part.entries())
        if not unanswered:
            self._sends.remove(part.number)
        self._disk.remove_folder(self._run.opened(part.number).path)
        return footer

    async def _seal_the_rest(self) -> None:
        """Seal parts as they are, so that what was paid for is in Parquet.  One without results is
        removed if no part follows it, or all are planned; one whose spool is behind its journal stays
        open.
        """
        for part in reversed([*self._open]):
            may_go = self._is_planned or part.number == self._count - 1
            if part.results == 0 and (may_go or part.number in self.footers):
                self._forget(part)
            elif not part.spool_is_behind:
                self._drop(part)
                await self._seal(part)

    def _forget(self, part: OpenPart) -> None:
        self._commits.close(part.number)
        self._sends.close(part.number)
        if not self._sends.has_unanswered(part.span):
            self._sends.remove(part.number)
        folder = self._run.opened(part.number).path
        if folder.is_dir():
            self._disk.remove_folder(folder)
            self._disk.sync_folder(folder.parent)  # before the part in front of it goes, too
        if part.number not in self.footers:
            self._count -= 1
        self._drop(part)

"""The parts of a run that take rows and results, and what of each is not written yet."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable, Iterator, Mapping

import msgspec

from batch.model import Batch, Position, Result
from batch.run_folder import RunFolder
from batch.sampling import Chosen
from batch.store import journal
from batch.store.append_files import AppendFiles
from batch.store.files import Disk
from batch.store.recover import Found
from batch.store.seal import Slice
from batch.store.spool import SpoolWriter, Start

MOST_OPEN = 256
"""Open parts; a straggler does not hold up others, but 256 of them do."""
NO_ATTEMPTS: Mapping[int, int] = {}


class OpenPart:
    """A part that takes results.  It counts which of its rows are still to do."""

    def __init__(
        self,
        number: int,
        generation: int,
        start_row: int,
        start: Position,
        chosen: Chosen | None = None,
    ) -> None:
        """In a sample, whose rows are `chosen`, `start_row` is a place in it."""
        self.number = number
        self.start_row = start_row
        self.start = start
        self.spool_bytes = 0
        self.spool_is_behind = False
        """Whether the journal has results of rows that are not spooled again yet."""
        self.results = 0
        """Durable results in its journal, of this start or an earlier one."""
        self.is_on_disk = False
        """Whether its files are there, or are being made."""
        self._chosen = chosen
        self._generation = generation
        self._end = start
        self._to_do = bytearray()  # a byte a row, 1 where it is to do
        self._rows_left = 0
        self._is_full = False  # no more rows will join
        self._index: journal.Index | None = journal.Index()  # None if others wrote to the journal
        self._journal_bytes = 0
        self._spool = SpoolWriter(Start(number, generation, start_row, start))
        self._known_to_do = b""  # as `_to_do`, of first rows that an earlier start knew
        self.attempts = NO_ATTEMPTS
        """Those recorded of rows that are asked again."""
        self._unsynced = 0  # writes that were taken and are not durable
        self._new_spool: list[bytes] = []
        self._new_lines: list[bytes] = []
        self._new_results: list[Result] = []

    @classmethod
    def of_earlier_start(
        cls, found: Found, attempts: Mapping[int, int], chosen: Chosen | None = None
    ) -> OpenPart:
        """A part that an earlier start left; `attempts` are those of its rows that are asked again."""
        generation = found.generation or (found.footer.generation if found.footer else 0) + 1
        part = cls(found.number, generation, found.start_row, found.start, chosen)
        part.results = found.results
        part.attempts = attempts
        if found.generation:
            part.is_on_disk, part._index = True, None
        return part

    @property
    def rows(self) -> int:
        """Rows that have joined."""
        return len(self._to_do)

    @property
    def span(self) -> range:
        """The numbers of its rows, and of those between them."""
        first, end = self.start_row, self.start_row + self.rows
        if self._chosen is None or first == end:
            return range(first, end)
        return range(self._chosen.numbers[first], self._chosen.numbers[end - 1] + 1)

    @property
    def least_rows(self) -> int:
        """Rows that it must have before it is full: those that an earlier start knew."""
        return len(self._known_to_do)

    @property
    def slice(self) -> Slice:
        """What there is to seal."""
        return Slice(
            self.number, self._generation, self.start_row, self.rows, self.start, self._end
        )

    # Rows in

    def know(self, to_do: bytes) -> None:
        """One byte a row tells which of the first rows are to do, once they join."""
        self._known_to_do, self.spool_is_behind = to_do, len(to_do) > 0

    def take_whole(self, to_do: bytes, end: Position, *, spooled: bool) -> None:
        """All its rows join, without being spooled; one byte a row tells which are to do."""
        self._to_do, self._rows_left, self._end = bytearray(to_do), sum(to_do), end
        self.spool_is_behind = self.results > 0 and not spooled

    def take_in(self, batch: Batch) -> None:
        """Let the batch's rows join."""
        self.spool(batch)
        known = self._known_to_do[self.rows : self.rows + len(batch.table)]
        fresh = known + b"\1" * (len(batch.table) - len(known))
        self._to_do += fresh
        self._rows_left += sum(fresh)
        self._end = batch.end
        self.spool_is_behind = self.rows < len(self._known_to_do)

    def spool(self, batch: Batch) -> None:
        """Keep a batch of its slice."""
        written = self._spool.add(batch)
        self._new_spool.append(written)
        self.spool_bytes += len(written)

    def spooled(self) -> None:
        """Its whole slice is in the spool."""
        self.spool_is_behind = False
        self.close()

    def close(self) -> None:
        """No more rows will join."""
        self._is_full = True

    # Results out

    def is_to_do(self, row: int) -> bool:
        """Whether `row` has joined, and has no durable result yet."""
        at = self._place(row)
        return self._to_do[at : at + 1] == b"\1"

    def attempts_of(self, row: int) -> int:
        """Attempts recorded of a row that is asked again."""
        return self.attempts.get(row, 0)

    def add(self, result: Result) -> int:
        """Take a result.  Gives the bytes of its line."""
        line = journal.line(result)
        self._new_lines.append(line)
        self._new_results.append(result)
        return len(line)

    def take_new(self) -> Write:
        """What is new, to be written; `has_synced` follows."""
        is_new = not self.is_on_disk
        header = journal.Header(self.number, self._generation, self.start_row, self.start)
        head = journal.line(header) if is_new else b""
        self._index_new(len(head))
        lines = b"".join([head, *self._new_lines])
        size = len(lines) - len(head)
        write = Write(self, is_new, b"".join(self._new_spool), lines, self._new_results, size)
        self.is_on_disk = True
        self._unsynced += 1
        self._new_spool, self._new_lines, self._new_results = [], [], []
        return write

    def has_synced(self, results: list[Result]) -> None:
        """One write that was taken is durable, with these results."""
        for result in results:
            at = self._place(result.row)
            self._rows_left -= self._to_do[at]
            self._to_do[at] = 0
        self._unsynced -= 1
        self.results += len(results)

    def is_settled(self) -> bool:
        """Whether all its rows have joined and have durable results."""
        is_durable = not (self._new_lines or self._new_spool or self._unsynced)
        return self._is_full and self._rows_left == 0 and is_durable

    def entries(self) -> Iterable[journal.Entry] | None:
        """What its journal holds; None where only the journal knows."""
        return None if self._index is None else self._index.entries()

    def _place(self, row: int) -> int:
        """Where in its slice a row is."""
        return (row if self._chosen is None else self._chosen.place(row)) - self.start_row

    def _index_new(self, head: int) -> None:
        """Keep where the new lines will lie, after so many bytes."""
        at = self._journal_bytes + head
        if self._index is not None:
            for result, line in zip(self._new_results, self._new_lines, strict=True):
                self._index.add(result.row, at, line)
                at += len(line)
        self._journal_bytes = at


class Write(msgspec.Struct, frozen=True):
    """What is to be written of one part: bytes of its spool, and of its journal with these results.
    `size` is that of the results.
    """

    part: OpenPart
    is_new: bool
    spool: bytes
    lines: bytes
    results: list[Result]
    size: int

    def to(self, spools: AppendFiles, journals: AppendFiles) -> Written:
        """Write it, the rows as read before their results.  `sync` makes it durable."""
        number = self.part.number
        if self.spool:
            spools.add(number, self.spool)
        if self.lines:
            journals.add(number, self.lines)
        spooled, has_lines = bool(self.spool), bool(self.lines)
        return Written(self.part, self.is_new, spooled, has_lines, self.results, self.size)


class Written(msgspec.Struct, frozen=True):
    """What a kill cannot take any more, and a power cut can."""

    part: OpenPart
    is_new: bool
    is_spooled: bool
    has_lines: bool
    results: list[Result]
    size: int


def sync(disk: Disk, run: RunFolder, written: list[Written]) -> None:
    """Make durable what was written."""
    if any(each.is_new for each in written):
        disk.sync_folder(run.open)
    spooled = {each.part.number for each in written if each.is_spooled}
    with_lines = {each.part.number for each in written if each.has_lines}
    named = spooled | {each.part.number for each in written if each.is_new}
    for number in sorted(spooled | with_lines):
        opened = run.opened(number)
        if number in spooled:
            disk.sync(opened.spool)
        if number in with_lines:
            disk.sync(opened.journal)
        if number in named:
            disk.sync_folder(opened.path)


class OpenParts:
    """All of a run, found by number or by row; of a sample whose rows are `chosen`, if it is one."""

    def __init__(self, chosen: Chosen | None = None) -> None:
        self._chosen = chosen
        self._parts: dict[int, OpenPart] = {}  # by number
        self._by_start: dict[int, OpenPart] = {}
        self._starts: list[int] = []  # sorted

    def __iter__(self) -> Iterator[OpenPart]:
        """In order."""
        return iter([self._parts[number] for number in sorted(self._parts)])

    def __contains__(self, part: OpenPart) -> bool:
        return part.number in self._parts

    def has_room(self) -> bool:
        """Whether another part may be opened."""
        return len(self._parts) < MOST_OPEN

    def add(self, part: OpenPart) -> None:
        self._parts[part.number] = part
        self._by_start[part.start_row] = part
        self._starts = sorted(self._by_start)

    def remove(self, part: OpenPart) -> None:
        del self._parts[part.number], self._by_start[part.start_row]
        self._starts = sorted(self._by_start)

    def of(self, row: int) -> OpenPart | None:
        """The last part that begins with `row` or before it."""
        place = row if self._chosen is None else self._chosen.place(row)
        at = bisect_right(self._starts, place)
        return self._by_start[self._starts[at - 1]] if at else None

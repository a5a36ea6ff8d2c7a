"""Seal = merge(part of generation g if there is one, journal of generation g+1) -> part of
generation g+1.

Memory stays bounded by a chunk whatever the answers' size: one pass over the journal finds where each
row's result lies, a second takes rows in order, a row group at a time.  The later result of a row
wins; what earlier attempts used and cost is added to it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

import msgspec
import pyarrow as pa

from batch import columns, totals
from batch.columns import Column
from batch.errors import Damaged
from batch.lost import log_of
from batch.model import Position, Result
from batch.run_folder import PartFolder, RunFolder
from batch.sampling import Chosen
from batch.store import journal, parts, spool
from batch.store.files import Disk, parquet
from batch.totals import Summary

CHUNK = 32 << 20
"""Bytes of journal that make a row group; in memory, as values and as arrays, they are about
twice that.
"""
CHUNK_OF_VECTORS = CHUNK // 4
"""The same where rows have vectors, which are numbers throughout: they gain nothing by lying together."""

ADDED_UP = (*totals.SUMMED, "reported_cost_usd")
COUNTED = (
    *(
        "row",
        "status",
        "flags",
        "error_class",
        "error_message",
        "http_status",
        "attempt_log",
        "started_at",
    ),
    *("latency_s", "endpoint", "model", "served_model", "service_tier", "reused", *ADDED_UP),
    "requests",
)
"""The columns that counting and adding up need."""


class Layout(msgspec.Struct, frozen=True):
    """How results become columns in one run.

    `carry` takes a spooled batch to the carried columns, in the order of the schema's first fields.
    In a sample, whose rows are `chosen`, parts are slices of it and count by places in it.
    """

    schema: pa.Schema
    own: tuple[Column, ...]
    carry: Callable[[pa.RecordBatch], list[pa.Array]]
    chosen: Chosen | None = None


class Slice(msgspec.Struct, frozen=True):
    """The part of the input (or of its sample) that is sealed, and the generation the sealed part gets."""

    part: int
    generation: int
    start_row: int
    rows: int
    start: Position
    end: Position


def seal(
    disk: Disk,
    run: RunFolder,
    piece: Slice,
    layout: Layout,
    entries: Iterable[journal.Entry] | None = None,
) -> parts.Footer:
    """Make the sealed part, durably.  The caller removes the open one.  `entries` is what its journal
    holds, if that is known.
    """
    opened, target = run.opened(piece.part), run.sealed(piece.part)
    if entries is None:
        entries = journal.scan(opened.journal).entries
    draft = run.drafts / target.name
    file = disk.create(draft)
    old = target if piece.generation > 1 else None
    try:
        with closing(Merge(opened, old, entries, layout)) as merge:
            made = parts.write(file, layout.schema, merge.tables(), lambda: merge.footer(piece))
        disk.finish(file, draft)
    finally:
        file.close()
    if run.worker and old is None:
        disk.claim(draft, target)
    else:
        disk.rename(draft, target)
    return made


class Merge:
    """One merge: tables in row order, and what they add up to."""

    def __init__(
        self,
        opened: PartFolder,
        old: Path | None,
        entries: Iterable[journal.Entry],
        layout: Layout,
        *,
        spooled: bool = True,
    ) -> None:
        """`spooled` says that the spool must be whole; otherwise what it lacks is null."""
        self._journal = opened.journal
        self._layout = layout
        self._entries: dict[int, list[journal.Entry]] = {}
        for entry in entries:
            self._entries.setdefault(entry.row, []).append(entry)
        self._old = None if old is None else _OldPart(old)
        whole = spooled or _is_whole(opened.spool, max(self._places([*self._entries]), default=-1))
        self._spool = _SpoolSlices(opened.spool) if whole else None
        self._extra = [at for at, each in enumerate(layout.schema) if columns.is_extra(each)]
        has_vectors = any(column.name == columns.EMBEDDING.name for column in layout.own)
        self._chunk = CHUNK_OF_VECTORS if has_vectors else CHUNK
        self._summary = Summary()
        self._rows = sorted(
            self._entries.keys() | (set() if self._old is None else self._old.at.keys())
        )

    def tables(self) -> Iterator[pa.Table]:
        for rows in self._chunks():
            new = [row for row in rows if row in self._entries]
            kept = [row for row in rows if row not in self._entries]
            tables = [self._new(new)] if new else []
            if kept and self._old is not None:
                tables.append(self._old.table(kept).cast(self._layout.schema))
                for result in self._old.counted(kept):
                    self._summary.add(result)
            whole = pa.concat_tables(tables)
            self._summary.misfits += sum(len(whole) - whole[at].null_count for at in self._extra)
            yield whole.sort_by("row") if len(tables) > 1 else whole

    def close(self) -> None:
        """Let go of what is read: Windows does not replace a file that is open."""
        if self._old is not None:
            self._old.close()
        if self._spool is not None:
            self._spool.close()

    def footer(self, piece: Slice) -> parts.Footer:
        """What has been written, once `tables` is exhausted."""
        return parts.Footer(
            part=piece.part,
            generation=piece.generation,
            start_row=piece.start_row,
            rows_planned=piece.rows,
            rows_present=len(self._rows),
            complete=len(self._rows) == piece.rows,
            start=piece.start,
            end=piece.end,
            summary=self._summary,
        )

    def _chunks(self) -> Iterator[list[int]]:
        chunk: list[int] = []
        weight = 0
        for row in self._rows:
            size = self._entries[row][-1].length if row in self._entries else 2048
            if chunk and weight + size > self._chunk:
                yield chunk
                chunk, weight = [], 0
            chunk.append(row)
            weight += size
        if chunk:
            yield chunk

    def _new(self, rows: list[int]) -> pa.Table:
        results = list(self._results(rows))
        for result in results:
            self._summary.add(result)
        carried = self._carried(rows)
        return pa.Table.from_arrays(
            [*carried, *columns.arrays(results, self._layout.own)], schema=self._layout.schema
        )

    def _results(self, rows: list[int]) -> Iterator[Result]:
        before = {} if self._old is None else self._old.whole(rows, self._layout.own)
        entries = [entry for row in rows for entry in self._entries[row]]
        read = journal.results(self._journal, entries)
        for row in rows:
            result = before.get(row)
            for _ in self._entries[row]:
                later = next(read)
                result = later if result is None else after(result, later)
            if result is not None:
                yield result

    def _carried(self, rows: list[int]) -> list[pa.ChunkedArray]:
        if self._spool is None:
            fields = list(self._layout.schema)[: -len(self._layout.own)]
            return [pa.chunked_array([pa.nulls(len(rows), field.type)]) for field in fields]
        slices = self._spool.take(self._places(rows))
        pieces = [self._layout.carry(table) for table in slices]
        return [pa.chunked_array(list(arrays)) for arrays in zip(*pieces, strict=True)]

    def _places(self, rows: list[int]) -> list[int]:
        chosen = self._layout.chosen
        return rows if chosen is None else [chosen.place(row) for row in rows]


def after(earlier: Result, later: Result) -> Result:
    """`later`, with what `earlier` attempts at the same row used and cost added.

    A failure does not replace an answer that was paid for: that answer stays, with the cost of both.
    """
    if later.reused:
        return later
    both = (earlier, later)
    summed: dict[str, Any] = {
        name: totals.add_known(getattr(earlier, name), getattr(later, name)) for name in ADDED_UP
    }
    if any(
        "unpriced_rows" in totals.counting(each) for each in both
    ):  # a sum of what is known would pass for all
        summed.update(cost_usd=None, cost_source=None)
    if any("unconfirmed_unpriced_rows" in totals.counting(each) for each in both):
        summed["unconfirmed_cost_usd"] = None
    if later.attempts:
        summed["reused"] = False
    if any(each.requests is not None for each in both):
        summed["requests"] = sum(columns.requests(each) for each in both)
    log = [*log_of(earlier), *log_of(later)]
    kept = earlier if earlier.status == "ok" and later.status == "failed" else later
    return msgspec.structs.replace(kept, **summed, attempt_log=log if len(log) > 1 else None)


class _OldPart:
    """The sealed part that is merged into.  It is read a row group at a time."""

    def __init__(self, path: Path) -> None:
        self._file = parquet(path)
        self._first = [0]
        for index in range(self._file.num_row_groups):
            self._first.append(self._first[-1] + self._file.metadata.row_group(index).num_rows)
        rows = self._file.read(columns=["row"]).column("row").to_pylist()
        self.at = {row: position for position, row in enumerate(rows)}

    def close(self) -> None:
        self._file.close()

    def table(self, rows: list[int], names: list[str] | None = None) -> pa.Table:
        """The given rows, in their order."""
        positions = [self.at[row] for row in rows if row in self.at]
        pieces = []
        for index in range(self._file.num_row_groups):
            first, end = self._first[index], self._first[index + 1]
            inside = [position - first for position in positions if first <= position < end]
            if inside:
                pieces.append(self._file.read_row_group(index, columns=names).take(inside))
        return pa.concat_tables(pieces) if pieces else self._file.schema_arrow.empty_table()

    def whole(self, rows: list[int], own: Sequence[Column]) -> dict[int, Result]:
        """The given rows' results, as far as they are there: one may outlive what came later."""
        present = [row for row in rows if row in self.at]
        names = [column.name for column in own]
        found = columns.results(self.table(present, names)) if present else ()
        return {result.row: result for result in found}

    def counted(self, rows: list[int]) -> Iterator[Result]:
        """The given rows' results, as far as they are added up and counted."""
        present = [row for row in rows if row in self.at]
        if present:
            yield from columns.results(self.table(present, list(COUNTED)))


def results(path: Path, names: Sequence[str] = COUNTED) -> Iterator[Result]:
    """The results of a sealed part, as far as the columns `names` tell them."""
    with parquet(path) as file:
        for batch in file.iter_batches(1024, columns=list(names)):
            yield from columns.results(batch)


def _is_whole(path: Path, last_row: int) -> bool:
    """Whether a spool reaches as far as `last_row`."""
    found = spool.read(path)
    if found is None:
        return False
    start, batches = found
    return start.start_row + sum(len(batch.table) for batch in batches) > last_row


class _SpoolSlices:
    """The spool's batches, read once, in order."""

    def __init__(self, path: Path) -> None:
        found = spool.read(path)
        if found is None:
            raise Damaged(f"{path}: the spool cannot be read")
        start, self._batches = found
        self._path = path
        self._next = start.start_row
        self._batch: pa.RecordBatch | None = None

    def close(self) -> None:
        self._batches.close()
        self._batch = None

    def take(self, rows: list[int]) -> Iterator[pa.RecordBatch]:
        """The rows at the given places as read, in order; each call goes on from the last."""
        position = 0
        while position < len(rows):
            batch = self._holding(rows[position])
            first = self._next - len(batch)
            inside = [
                row - first for row in rows[position : position + len(batch)] if row < self._next
            ]
            position += len(inside)
            yield batch if len(inside) == len(batch) else batch.take(pa.array(inside))

    def _holding(self, row: int) -> pa.RecordBatch:
        while self._batch is None or row >= self._next:
            spooled = next(self._batches, None)
            if spooled is None:
                raise Damaged(f"{self._path}: the spool lacks row {row}")
            self._batch = spooled.table
            self._next += len(spooled.table)
        return self._batch

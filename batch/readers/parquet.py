"""Parquet: batches of the file's own columns, types kept exactly, row groups before the start
never read.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import msgspec
import pyarrow as pa
import pyarrow.parquet as pq

from batch import values
from batch.errors import InputError
from batch.model import Batch, Position, Row
from batch.readers import common_type, pages, source, union
from batch.readers.reading import Reading
from batch.readers.stretches import Stretch, of_pieces

SUFFIXES = (".parquet", ".pq")
GROWS = HAS_EXTRA = False

NOTES = 0

detect = None

_STALE = re.compile(
    rb"pandas|ARROW:schema|batchmill|writer\.model\.name|org\.apache\.spark\.|(.*\.)?schema$"
)
"""What of a file's metadata describes its columns as a whole, and is wrong of a file that has more:
a reader that believes it would not see them.
"""


class _File(msgspec.Struct, frozen=True):
    """One that is open."""

    path: str
    stored: Any
    parquet: pq.ParquetFile

    @property
    def name(self) -> str:
        return source.basename(self.path)


def read(path: str, start: Position, reading: Reading) -> Iterator[Batch]:
    """All columns."""
    return read_columns(path, start)


def read_columns(
    path: str, start: Position, columns: Sequence[str] | None = None
) -> Iterator[Batch]:
    """`columns` are those to read, in the order of the file; all of them when None."""
    with _open(path) as file:
        schema, at = _schema(file).remove_metadata(), start
        if columns is not None:
            wanted = frozenset(columns)
            schema = pa.schema([field for field in schema if field.name in wanted])
        for rows in _slices(file, start.offset, columns):
            # read in the order asked for
            at_ = {name: index for index, name in enumerate(rows.schema.names)}
            arrays = [rows.column(at_[name]) for name in schema.names]
            batch = pa.RecordBatch.from_arrays(arrays, schema=schema)
            end = Position(start.file, at.offset + len(batch))
            yield Batch(batch, at, end)
            at = end


@contextmanager
def _open(path: str) -> Iterator[_File]:
    try:
        stored = source.open_seekable(path)
        # without pre-buffering and with a small buffer a column is read page by page, not a row group at once
        file = pq.ParquetFile(
            stored, pre_buffer=False, buffer_size=1 << 16, page_checksum_verification=True
        )
    except source.READ_FAULTS as error:
        message = source.cause(error)
        if "magic bytes" in message or "file size is" in message:
            message = "not a Parquet file, or one that was cut off"
        raise InputError(f"{source.basename(path)}: {message}") from error
    with stored:
        yield _File(path, stored, file)


def _slices(file: _File, offset: int, columns: Sequence[str] | None) -> Iterator[pa.RecordBatch]:
    """The rows from `offset` on, at most ROWS and about BYTES at a time."""
    metadata, first = file.parquet.metadata, 0
    for group in range(metadata.num_row_groups):
        count = metadata.row_group(group).num_rows
        after = first + count
        for rows in _group(file, group, first, columns) if after > offset or not count else ():
            yield from _cut(rows.slice(min(max(offset - first, 0), len(rows))))
            first += len(rows)
        first = after


def _group(
    file: _File, group: int, first: int, columns: Sequence[str] | None
) -> Iterator[pa.RecordBatch]:
    about, done = file.parquet.metadata.row_group(group), 0
    _refuse_unreadable(file, group, first)
    _refuse_contradiction(file, group)
    most = source.about(file.parquet.metadata.num_columns)
    size = min(max(most * about.num_rows // max(about.total_byte_size, 1), 1), source.ROWS)
    batches = file.parquet.iter_batches(batch_size=size, row_groups=[group], columns=columns)
    while True:
        try:
            rows = next(batches, None)
        except source.READ_FAULTS as error:
            place = f"{file.name}: {source.cause(error)}, near row {first + done}"
            raise InputError(place) from error
        if rows is None:
            break
        done += len(rows)
        yield rows
    if done != about.num_rows:
        raise _damaged(file, f"row group {group} says {about.num_rows} rows, its pages hold {done}")


def _refuse_unreadable(file: _File, group: int, first: int) -> None:
    """To be called before a column is asked about: pyarrow aborts at one that is encrypted, or whose
    part of the footer is damaged.
    """
    try:
        next(file.parquet.iter_batches(batch_size=1, row_groups=[group]), None)
    except source.READ_FAULTS as error:
        if "decrypt" in str(error).lower():
            raise InputError(f"{file.name}: {source.cause(error)}") from error
        raise _damaged(file, f"{source.cause(error)}, near row {first}") from error


def _refuse_contradiction(file: _File, group: int) -> None:
    # of a file that is elsewhere, each header of a page would be a request
    stored = None if source.is_url(file.path) else file.stored
    try:
        fault = pages.fault(stored, file.parquet.metadata, group)
    except source.READ_FAULTS as error:
        raise InputError(f"{file.name}: {source.cause(error)}") from error
    if fault is not None:
        raise _damaged(file, f"row group {group} {fault}")


def _damaged(file: _File, fault: str) -> InputError:
    return InputError(f"{file.name}: damaged: {fault}", hint="Write the file anew.")


def _cut(rows: pa.RecordBatch) -> Iterator[pa.RecordBatch]:
    """Smaller slices where the rows are larger than the file's own sizes say (dictionaries,
    compression).
    """
    most = source.about(rows.num_columns)
    step = max(len(rows) * most // max(rows.nbytes, most), 1)
    for offset in range(0, len(rows), step):
        yield rows.slice(offset, step)


def stretches(path: str, start: Position, reading: Reading) -> Iterator[Stretch]:
    """The row groups, by the footer alone."""
    with _open(path) as file:
        metadata = file.parquet.metadata
        groups = map(metadata.row_group, range(metadata.num_row_groups))
        yield from of_pieces(start, ((group.num_rows, group.total_byte_size) for group in groups))


def size(path: str) -> int:
    """Rows of the file."""
    with _open(path) as file:
        return int(file.parquet.metadata.num_rows)


def rows(
    spooled: pa.RecordBatch,
    start: Position,
    name: str,
    first_index: int,
    folder: str | None,
    offsets: Sequence[int] | None = None,
) -> list[Row]:
    before, behind = start.offset + start.skip, offsets or range(len(spooled))
    return [
        Row(first_index + at, held, f"{name} row {before + at}", None, folder, padded=True)
        for at, held in zip(behind, values.seen(spooled), strict=True)
    ]


def schema(paths: Sequence[str], reading: Reading, first: Iterable[Batch]) -> pa.Schema:
    return united(paths, [columns_of(path) for path in paths])


def united(paths: Sequence[str], found: Sequence[pa.Schema]) -> pa.Schema:
    """The columns of files that were `found` in each.  Raises InputError, also where the files'
    statistics tell that a value would be rounded.
    """
    names = source.names(paths)
    whole = union.schema(list(map(union.Columns, names, found)))
    for path, name, own in zip(paths, names, found, strict=True):
        narrower = [field for field in own if _narrows(field.type, whole.field(field.name).type)]
        if narrower:
            with _open(path) as file:
                _refuse_rounding(file, name, {field.name for field in narrower}, whole)
    return whole


def schema_of(path: str) -> pa.Schema:
    """The columns of one file with all that its writer noted of each."""
    with _open(path) as file:
        return file.parquet.schema_arrow


def columns_of(path: str) -> pa.Schema:
    """The columns of one file, and what its writer noted of them."""
    with _open(path) as file:
        said, groups = file.parquet.metadata.num_rows, file.parquet.metadata.num_row_groups
        held = sum(file.parquet.metadata.row_group(group).num_rows for group in range(groups))
        if said != held:
            raise _damaged(file, f"it says {said} rows, its row groups {held}")
        return _schema(file)


def _schema(file: _File) -> pa.Schema:
    """Names and types only: what else the writers noted of a field would keep files from being read
    together.
    """
    found = file.parquet.schema_arrow
    if twice := [name for name, count in Counter(found.names).items() if count > 1]:
        message = f"{file.name}: more than one column is called {twice[0]!r}"
        raise InputError(message, hint="Rename all but one.")
    return pa.schema([pa.field(field.name, field.type) for field in found], noted(found))


def noted(found: pa.Schema) -> dict[bytes, bytes]:
    """What a writer noted of a schema, as far as that stays right when there are more columns."""
    return {key: text for key, text in (found.metadata or {}).items() if not _STALE.match(key)}


def _narrows(before: pa.DataType, after: pa.DataType) -> bool:
    """Whether some values of a type are none of the one it is united to."""
    if before == after or pa.types.is_null(before):
        return False
    return any(common_type.most(*pair) is not None for pair in common_type.leaves(before, after))


def _refuse_rounding(file: _File, name: str, narrower: set[str], whole: pa.Schema) -> None:
    metadata, leaves = file.parquet.metadata, []
    if metadata.num_row_groups:
        _refuse_unreadable(file, 0, 0)
    for field in file.parquet.schema_arrow:
        after = whole.field(field.name).type if field.name in narrower else field.type
        leaves += [(field.name, *pair) for pair in common_type.leaves(field.type, after)]
    if len(leaves) != metadata.num_columns:  # then they are told when their rows are read
        return
    for index, (column, before, after) in enumerate(leaves):
        most = common_type.most(before, after)
        found = None if most is None else _beyond(metadata, index, before, most)
        if found is not None:
            words = f"column {column!r} holds {found}, which {after} cannot hold"
            raise InputError(f"{name}: {words}; other files make it that", hint=union.HINT)


def _beyond(metadata: pq.FileMetaData, index: int, kind: pa.DataType, most: int) -> int | None:
    """An integer beyond `most` that the statistics of a column tell of."""
    for group in range(metadata.num_row_groups):
        statistics = metadata.row_group(group).column(index).statistics
        if statistics is None or not statistics.has_min_max:
            continue
        for found in (statistics.min_raw, statistics.max_raw):
            value = int(found) % 2**64 if pa.types.is_uint64(kind) else int(found)
            if abs(value) > most:
                return value
    return None


def carry(
    spooled: pa.RecordBatch, schema: pa.Schema, keep: frozenset[str] | None
) -> list[pa.Array]:
    at = {name: index for index, name in enumerate(spooled.schema.names)}
    return [spooled.column(at[field.name]) for field in schema]

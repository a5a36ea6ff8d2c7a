"""Parquet: batches of the file's own columns, types kept exactly, row groups before the start
never read.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from batch.errors import InputError
from batch.model import Batch, Position, Row
from batch.readers import source
from batch.readers.reading import Reading

SUFFIXES = (".parquet", ".pq")
TEXT = GROWS = HAS_EXTRA = False


def read(path: str, start: Position, reading: Reading) -> Iterator[Batch]:
    """All columns."""
    return read_columns(path, start)


def read_columns(
    path: str, start: Position, columns: Sequence[str] | None = None
) -> Iterator[Batch]:
    """`columns` are those to read, in the order of the file; all of them when None."""
    with _open(path) as file:
        schema, at = _schema(file, path), start
        if columns is not None:
            schema = pa.schema([field for field in schema if field.name in columns])
        for rows in _slices(file, path, start.offset, columns):
            arrays = [rows.column(name) for name in schema.names]  # read in the order asked for
            batch = pa.RecordBatch.from_arrays(arrays, schema=schema)
            end = Position(start.file, at.offset + len(batch))
            yield Batch(batch, at, end)
            at = end


@contextmanager
def _open(path: str) -> Iterator[pq.ParquetFile]:
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
        yield file


def _slices(
    file: pq.ParquetFile, path: str, offset: int, columns: Sequence[str] | None
) -> Iterator[pa.RecordBatch]:
    """The rows from `offset` on, at most ROWS and about BYTES at a time."""
    first = 0
    for group in range(file.metadata.num_row_groups):
        after = first + file.metadata.row_group(group).num_rows
        for rows in _group(file, path, group, first, columns) if after > offset else ():
            yield from _cut(rows.slice(min(max(offset - first, 0), len(rows))))
            first += len(rows)
        first = after


def _group(
    file: pq.ParquetFile, path: str, group: int, first: int, columns: Sequence[str] | None
) -> Iterator[pa.RecordBatch]:
    about = file.metadata.row_group(group)
    size = min(max(source.BYTES * about.num_rows // max(about.total_byte_size, 1), 1), source.ROWS)
    batches, done = file.iter_batches(batch_size=size, row_groups=[group], columns=columns), 0
    while True:
        try:
            rows = next(batches, None)
        except source.READ_FAULTS as error:
            place = f"{source.basename(path)}: {source.cause(error)}, near row {first + done}"
            raise InputError(place) from error
        if rows is None:
            return
        done += len(rows)
        yield rows


def _cut(rows: pa.RecordBatch) -> Iterator[pa.RecordBatch]:
    """Smaller slices where the rows are larger than the file's own sizes say (dictionaries,
    compression).
    """
    step = max(len(rows) * source.BYTES // max(rows.nbytes, source.BYTES), 1)
    for offset in range(0, len(rows), step):
        yield rows.slice(offset, step)


def size(path: str) -> int | None:
    """Rows of the file."""
    with _open(path) as file:
        return int(file.metadata.num_rows)


def rows(
    spooled: pa.RecordBatch, start: Position, name: str, first_index: int, folder: str | None
) -> list[Row]:
    plain = _microseconds(spooled)
    found = []
    for index, (values, fault) in enumerate(_values(plain)):
        found.append(
            Row(
                first_index + index,
                values,
                f"{name} row {start.offset + start.skip + index}",
                fault,
                folder,
                padded=True,
            )
        )
    return found


def _values(batch: pa.RecordBatch) -> list[tuple[dict[str, Any], str | None]]:
    try:
        return [(values, None) for values in batch.to_pylist()]
    except (ValueError, OverflowError):
        return [_value(batch.slice(index, 1)) for index in range(len(batch))]


def _value(row: pa.RecordBatch) -> tuple[dict[str, Any], str | None]:
    try:
        return row.to_pylist()[0], None
    except UnicodeDecodeError:
        return {}, "invalid UTF-8"
    except (ValueError, OverflowError) as error:
        return {}, f"a value cannot be shown: {source.cause(error)}"


def _microseconds(batch: pa.RecordBatch) -> pa.RecordBatch:
    """Times as Python can hold them.  Only prompts see these; the output carries the times as
    they were.
    """
    types = [_coarser(field.type) for field in batch.schema]
    columns = [
        column if kind == column.type else column.cast(kind, safe=False)
        for column, kind in zip(batch.columns, types, strict=True)
    ]
    return pa.RecordBatch.from_arrays(columns, names=batch.schema.names)


def _coarser(kind: pa.DataType) -> pa.DataType:
    match kind:
        case pa.TimestampType(unit="ns"):
            return pa.timestamp("us", kind.tz)
        case pa.DurationType(unit="ns"):
            return pa.duration("us")
        case pa.Time64Type(unit="ns"):
            return pa.time64("us")
        case pa.StructType():
            return pa.struct([field.with_type(_coarser(field.type)) for field in kind])
        case pa.ListType():
            return pa.list_(kind.value_field.with_type(_coarser(kind.value_type)))
    return kind


def schema(paths: Sequence[str], reading: Reading) -> pa.Schema:
    first: pa.Schema | None = None
    for path in paths:
        with _open(path) as file:
            found = _schema(file, path)
        if first is not None and found != first:
            message = _difference(paths[0], first, path, found)
            raise InputError(message, hint="Run files of each kind on their own.")
        first = found
    return first if first is not None else pa.schema([])


def _schema(file: pq.ParquetFile, path: str) -> pa.Schema:
    """Names and types only: what else the writers noted would keep files from being read together."""
    found = file.schema_arrow
    for name in found.names:
        if found.names.count(name) > 1:
            message = f"{source.basename(path)}: more than one column is called {name!r}"
            raise InputError(message, hint="Rename all but one.")
    return pa.schema([pa.field(field.name, field.type) for field in found])


def _difference(first: str, known: pa.Schema, path: str, found: pa.Schema) -> str:
    where = f"{source.basename(path)}: the columns are not those of {source.basename(first)}"
    for field in known:
        if field.name not in found.names:
            return f"{where}: {field.name!r} is missing"
        if (kind := found.field(field.name).type) != field.type:
            return f"{where}: {field.name!r} is {kind}, not {field.type}"
    if more := [name for name in found.names if name not in known.names]:
        return f"{where}: {more[0]!r} is new"
    return f"{where}: the order differs"


def carry(
    spooled: pa.RecordBatch, schema: pa.Schema, keep: frozenset[str] | None
) -> list[pa.Array]:
    return [spooled.column(field.name) for field in schema]

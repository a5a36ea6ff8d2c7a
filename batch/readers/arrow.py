"""Arrow IPC, as files (Feather version 2 is one) and as streams: types kept as far as Parquet has
them.

Files on this machine are mapped into memory, so a batch of any size is read row by row.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager

import pyarrow as pa
import pyarrow.parquet as pq

from batch.errors import InputError
from batch.model import Batch, Position
from batch.readers import parquet, source, union
from batch.readers.reading import Reading
from batch.readers.stretches import Stretch, of_pieces

SUFFIXES = (".arrow", ".arrows", ".feather", ".ipc")
GROWS = HAS_EXTRA = False

FILE = b"ARROW1"

NOTES = 0

detect = None
rows = parquet.rows
carry = parquet.carry

_Batches = Iterator[pa.RecordBatch]


def read(path: str, start: Position, reading: Reading) -> Iterator[Batch]:
    with _open(path) as (found, batches):
        kept = _schema(path, found).remove_metadata()
        first, at = 0, start
        for whole in batches:
            begin, first = max(start.offset - first, 0), first + len(whole)
            for cut in _cut(whole, begin):
                end = Position(start.file, at.offset + len(cut))
                yield Batch(_copied(_as(cut, kept)), at, end)
                at = end


def _as(batch: pa.RecordBatch, kept: pa.Schema) -> pa.RecordBatch:
    columns = [
        column.cast(field.type) if column.type != field.type else column
        for column, field in zip(batch.columns, kept, strict=True)
    ]
    return pa.RecordBatch.from_arrays(columns, schema=kept)


def _copied(rows: pa.RecordBatch) -> pa.RecordBatch:
    """The same rows, whatever is written over the file that is mapped."""
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, rows.schema) as stream:
        stream.write_batch(rows)
    return pa.ipc.open_stream(sink.getvalue()).read_next_batch()


@contextmanager
def _open(path: str) -> Iterator[tuple[pa.Schema, _Batches]]:
    """The schema and the batches of a file of either kind."""
    name = source.basename(path)
    try:
        plain = source.open_seekable(path)
        if plain.size() and not source.is_url(path):
            plain = pa.memory_map(path)
        with plain as stored:
            begin = stored.read(len(FILE))
            stored.seek(0)
            if begin == FILE:
                file = pa.ipc.open_file(stored)
                yield file.schema, map(file.get_batch, range(file.num_record_batches))
            else:
                stream = pa.ipc.open_stream(stored)
                yield stream.schema, iter(stream)
    except source.READ_FAULTS as error:
        problem = "not an Arrow file, or one that was cut off"
        raise InputError(f"{name}: {problem} ({source.cause(error)})") from error


def _cut(whole: pa.RecordBatch, begin: int) -> Iterator[pa.RecordBatch]:
    """The rows from `begin` on, at most ROWS and about BYTES at a time."""
    for offset in range(begin, len(whole), source.ROWS):
        some = whole.slice(offset, source.ROWS)
        most = source.about(some.num_columns)
        step = max(len(some) * most // max(some.nbytes, most), 1)
        for place in range(0, len(some), step):
            yield some.slice(place, step)


def stretches(path: str, start: Position, reading: Reading) -> Iterator[Stretch]:
    """The record batches."""
    with _open(path) as (_, batches):
        yield from of_pieces(start, ((len(whole), whole.nbytes) for whole in batches))


def size(path: str) -> int:
    """Rows of the file."""
    with _open(path) as (_, batches):
        return sum(map(len, batches))


def schema(paths: Sequence[str], reading: Reading, first: Iterable[Batch]) -> pa.Schema:
    found = []
    for path in paths:
        with _open(path) as (own, _):
            found.append(_schema(path, own))
    return union.schema(list(map(union.Columns, source.names(paths), found)))


def _schema(path: str, found: pa.Schema) -> pa.Schema:
    """The columns, of types that Parquet has.  Raises InputError for one that it has not."""
    fields = [pa.field(field.name, _plain(field.type)) for field in found]
    kept = pa.schema(fields, parquet.noted(found))
    where = f"{source.basename(path)}: "
    if twice := [name for name, count in Counter(kept.names).items() if count > 1]:
        message = f"{where}more than one column is called {twice[0]!r}"
        raise InputError(message, hint="Rename all but one.")
    for field in kept:
        try:
            pq.ParquetWriter(pa.BufferOutputStream(), pa.schema([field])).close()
        except pa.ArrowException:
            message = f"{where}column {field.name!r} is {field.type}, which Parquet cannot hold"
            raise InputError(message, hint="Write it as another type.") from None
    return kept


def _plain(kind: pa.DataType) -> pa.DataType:
    """The type under which others find the same values."""
    return {pa.string_view(): pa.string(), pa.binary_view(): pa.binary()}.get(kind, kind)

"""JSON documents: an array of objects, one inside an object, or objects one after another.

The text is read a piece at a time, and each row by itself: an array may be larger than memory, and
reading goes on from any row (in a Position, `line` counts the rows before it).  Rows are spooled and
carried as those of JSON Lines are, and files of either kind may stand side by side.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import msgspec
import pyarrow as pa

from batch.model import Batch, Position, Row
from batch.readers import json_shapes, jsonl, lines, source
from batch.readers.json_stream import Stream
from batch.readers.reading import Dialect, Reading, TextOptions
from batch.readers.stretches import Stretch, of_batches

SUFFIXES = (".json",)
GROWS = False
HAS_EXTRA = True

NOTES = jsonl.NOTES

schema = jsonl.schema

carry = jsonl.carry
size = lines.size


def detect(path: str, options: TextOptions) -> Dialect:
    """The dialect of a file, by its first bytes.  Raises InputError."""
    if source.suffix(path) in jsonl.SUFFIXES:  # beside documents
        return jsonl.detect(path, options)
    return json_shapes.detect(path, options)


def read(path: str, start: Position, reading: Reading) -> Iterator[Batch]:
    dialect = reading.dialect(start.file)
    if dialect.shape == "lines":
        yield from jsonl.read(path, start, reading)
        return
    texts: list[bytes | None] = []
    size, since = 0, start
    with Stream(path, start.offset or dialect.offset, dialect.encoding) as stream:
        for row, text in enumerate(_rows(stream, dialect, begun=start.line > 0), start.line + 1):
            texts.append(text)
            size += len(text)
            end = Position(start.file, stream.offset, row)
            if len(texts) >= source.ROWS or size >= source.BYTES:
                yield Batch(jsonl.spooled(texts, [None] * len(texts)), since, end)
                texts, size, since = [], 0, end
        if texts:
            yield Batch(jsonl.spooled(texts, [None] * len(texts)), since, end)


def stretches(path: str, start: Position, reading: Reading) -> Iterator[Stretch]:
    """By the line ends, where rows are lines."""
    if reading.dialect(start.file).shape == "lines":
        return jsonl.stretches(path, start, reading)
    return of_batches(read(path, start, reading))


def _rows(stream: Stream, dialect: Dialect, *, begun: bool) -> Iterator[bytes]:
    """The text of every row from here on; `begun` tells that there are rows before."""
    if dialect.shape == "values":
        while stream.peek():
            yield stream.value()[1]
        return
    while stream.peek() != "]":
        if begun:
            stream.take(",")
        begun = True
        yield stream.value()[1]
    stream.take("]")
    if dialect.within is None and stream.peek():
        raise stream.fault("there is more behind the end of the array")


def rows(
    spooled: pa.RecordBatch,
    start: Position,
    name: str,
    first_index: int,
    folder: str | None,
    offsets: Sequence[int] | None = None,
) -> list[Row]:
    """As of JSON Lines; a row of a document is called `name[7]`, counted from 0 as jq does."""
    found = jsonl.rows(spooled, start, name, first_index, folder, offsets)
    if spooled.column(1).null_count == 0:
        return found
    first = start.line + start.skip
    return [
        msgspec.structs.replace(row, where=f"{name}[{first + at}]")
        for at, row in zip(offsets or range(len(found)), found, strict=True)
    ]

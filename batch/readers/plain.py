"""Plain lines: a row each, in the column `text`; lines without a word are none.

Spooled as CSV is: the text, its line, and what is wrong with it.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

import msgspec
import pyarrow as pa

from batch.model import Batch, Position
from batch.readers import csv, encodings, lines, source
from batch.readers.reading import Dialect, Reading, TextOptions

SUFFIXES = ()
GROWS = True
HAS_EXTRA = False

NOTES = csv.NOTES

rows = csv.rows
carry = csv.carry
size = lines.size


def detect(path: str, options: TextOptions) -> Dialect:
    """The dialect of the file, by its first bytes.  Raises InputError."""
    return msgspec.structs.replace(lines.detect(path, options)[0], any_end=True)


def read(path: str, start: Position, reading: Reading) -> Iterator[Batch]:
    dialect = reading.dialect(start.file)
    taken: list[tuple[str | None, int, str | None]] = []
    size, since = 0, start
    for line in lines.read(path, start, dialect):
        text, fault = _text(line, dialect)
        if fault is None and not (text and text.strip()):
            continue
        taken.append((text, line.number, fault))
        size += len(text or "")
        end = Position(start.file, line.offset, line.number)
        if len(taken) >= source.ROWS or size >= source.BYTES:
            yield Batch(_spooled(taken), since, end)
            taken, size, since = [], 0, end
    if taken:
        yield Batch(_spooled(taken), since, end)


def _text(line: lines.Line, dialect: Dialect) -> tuple[str | None, str | None]:
    """What a line says, and what is wrong with it."""
    if line.text is None:
        return None, f"the line is longer than {lines.MAX_LINE >> 20} MiB"
    raw = line.text.rstrip(b"\r\n")
    try:
        return raw.decode(), None
    except UnicodeDecodeError:
        return encodings.legible(raw), encodings.fault(raw, dialect.probably)


def _spooled(taken: Sequence[tuple[str | None, int, str | None]]) -> pa.RecordBatch:
    texts, numbers, faults = zip(*taken, strict=True)
    arrays = [
        pa.array(texts, pa.string()),
        pa.array(numbers, pa.int64()),
        pa.array(faults, pa.string()),
    ]
    return pa.RecordBatch.from_arrays(arrays, names=["text", *csv.BOOKS])


def schema(paths: Sequence[str], reading: Reading, first: Iterable[Batch]) -> pa.Schema:
    return pa.schema([("text", pa.string())])

"""CSV and TSV: a header, then records whose fields may hold quotes, delimiters and newlines.  All
strings.

A record can span lines, so a position is always the start of a record; the header is read again
wherever reading starts.  The spool has the file's columns and, last, the record's line and its
fault.
"""

from __future__ import annotations

import csv
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import pyarrow as pa

from batch.errors import InputError
from batch.model import Batch, Position, Row
from batch.readers import lines, source
from batch.readers.reading import Reading

SUFFIXES = (".csv", ".tsv")
TEXT = GROWS = True
HAS_EXTRA = False

MAX_RECORD = 16 << 20  # the csv module holds a field at four bytes a character

csv.field_size_limit(MAX_RECORD)


class Record(NamedTuple):
    """`line` is where it starts, `end` where the next one does.  With a fault, `fields` mean
    nothing.
    """

    fields: list[str]
    line: int
    end: Position
    fault: str | None


class _TooLong(Exception):
    """Leaves the csv module in the middle of a record."""


class _Feed:
    """Lines for the csv module, which tells neither where a record ends nor that a quote was
    left open.
    """

    def __init__(self, path: str, start: Position) -> None:
        self.lines = lines.read(path, start)
        self.at = start
        self.size = 0
        self.exhausted = False

    def __iter__(self) -> _Feed:
        return self

    def __next__(self) -> str:
        line = next(self.lines, None)
        if line is None:
            self.exhausted = True
            raise StopIteration
        self.size += line.offset - self.at.offset
        self.at = Position(self.at.file, line.offset, line.number)
        if line.text is None or self.size > MAX_RECORD:
            raise _TooLong
        return line.text.decode(errors="surrogateescape")


size = lines.size


def read(path: str, start: Position, reading: Reading) -> Iterator[Batch]:
    records = _records(path, Position(start.file))
    header = _header(path, next(records, None))
    if start.offset:
        records = _records(path, start)
    taken: list[Record] = []
    since, size_since = start, start.offset
    for record in records:
        if len(header) > 1 and _is_blank(record):
            continue
        taken.append(_checked(record, len(header)))
        if len(taken) >= source.ROWS or record.end.offset - size_since >= source.BYTES:
            yield Batch(_spooled(header, taken), since, record.end)
            taken, since, size_since = [], record.end, record.end.offset
    if taken:
        yield Batch(_spooled(header, taken), since, taken[-1].end)


def _records(path: str, start: Position) -> Iterator[Record]:
    """The records from `start` on, empty lines left out."""
    feed = _Feed(path, start)
    reader = csv.reader(feed, delimiter="\t" if source.suffix(path) == ".tsv" else ",")
    while True:
        line, feed.size, fields, fault = feed.at.line + 1, 0, [], None
        try:
            fields = next(reader)
        except StopIteration:
            return
        except _TooLong:
            fault = f"the record is longer than {MAX_RECORD >> 20} MiB; is a quote left open?"
        except csv.Error as error:
            fault = str(error)
        if feed.exhausted:
            fault = "a quote is opened here and never closed"
        if fault or fields:
            yield Record(fields, line, feed.at, fault)


def _is_blank(record: Record) -> bool:
    return record.fault is None and len(record.fields) == 1 and not record.fields[0].strip()


def _checked(record: Record, width: int) -> Record:
    if record.fault is None and not _is_text("".join(record.fields)):
        return record._replace(fault="invalid UTF-8")
    if record.fault is None and len(record.fields) != width:
        return record._replace(fault=f"{_fields(len(record.fields))}, but the header has {width}")
    return record


def _is_text(value: str) -> bool:
    try:
        value.encode()
    except UnicodeEncodeError:
        return False
    return True


def _fields(count: int) -> str:
    return "1 field" if count == 1 else f"{count} fields"


def _header(path: str, record: Record | None) -> list[str]:
    """The names of the columns; none for an empty file."""
    if record is None:
        return []
    names, name = record.fields, source.basename(path)
    fault = record.fault or (None if _is_text("".join(names)) else "invalid UTF-8")
    if fault:
        raise InputError(f"{name}:{record.line}: {fault}")
    if "" in names:
        message = f"{name}:{record.line}: column {names.index('') + 1} has no name"
        raise InputError(message, hint="Name it in the first line.")
    if twice := [column for column in dict.fromkeys(names) if names.count(column) > 1]:
        message = f"{name}:{record.line}: more than one column is called {twice[0]!r}"
        raise InputError(message, hint="Rename all but one.")
    return names


def _spooled(header: Sequence[str], records: Sequence[Record]) -> pa.RecordBatch:
    nothing = [None] * len(header)
    columns = zip(*(nothing if record.fault else record.fields for record in records), strict=True)
    arrays = [pa.array(column, pa.string()) for column in columns]
    arrays.append(pa.array([record.line for record in records], pa.int64()))
    arrays.append(pa.array([record.fault for record in records], pa.string()))
    return pa.RecordBatch.from_arrays(arrays, names=[*header, "__line__", "__fault__"])


def rows(
    spooled: pa.RecordBatch, start: Position, name: str, first_index: int, folder: str | None
) -> list[Row]:
    header = spooled.schema.names[:-2]
    *columns, numbers, faults = (column.to_pylist() for column in spooled.columns)
    found = []
    for index, (number, fault) in enumerate(zip(numbers, faults, strict=True)):
        values = (
            {}
            if fault
            else {key: column[index] for key, column in zip(header, columns, strict=True)}
        )
        found.append(Row(first_index + index, values, f"{name}:{number}", fault, folder))
    return found


def schema(paths: Sequence[str], reading: Reading) -> pa.Schema:
    first: list[str] = []
    owner = ""
    for path in paths:
        header = _header(path, next(_records(path, Position()), None))
        if first and header and header != first:
            message = _difference(owner, first, path, header)
            raise InputError(message, hint="Run files of each kind on their own.")
        if header and not first:
            first, owner = header, path
    return pa.schema([(name, pa.string()) for name in first])


def _difference(first: str, known: Sequence[str], path: str, header: Sequence[str]) -> str:
    where = f"{source.basename(path)}: the columns are not those of {source.basename(first)}"
    if missing := [name for name in known if name not in header]:
        return f"{where}: {missing[0]!r} is missing"
    if more := [name for name in header if name not in known]:
        return f"{where}: {more[0]!r} is new"
    return f"{where}: the order differs"


def carry(
    spooled: pa.RecordBatch, schema: pa.Schema, keep: frozenset[str] | None
) -> list[pa.Array]:
    names = spooled.schema.names  # the file's own columns come first, also one called __line__
    return [spooled.column(names.index(field.name)) for field in schema]

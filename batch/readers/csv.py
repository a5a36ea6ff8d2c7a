"""CSV and TSV: a header, then records whose fields may hold quotes, delimiters and newlines.  All
strings, and null where a cell is empty.

A record can span lines, so a position is always the start of a record; the header is read again
wherever reading starts.  The spool has the file's columns and, last, the record's line and its
fault; a record with a fault has what could be read of it.
"""

from __future__ import annotations

import csv
from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from typing import NamedTuple

import msgspec
import pyarrow as pa

from batch.errors import InputError
from batch.model import Batch, Position, Row
from batch.readers import encodings, headers, lines, source
from batch.readers.reading import Dialect, Reading, TextOptions

SUFFIXES = (".csv", ".tsv")
GROWS = True
HAS_EXTRA = False

MAX_RECORD = 16 << 20  # the csv module holds a field at four bytes a character

BOOKS = ("__line__", "__fault__")
"""The columns of the spool behind those of the file."""
NOTES = len(BOOKS)

csv.field_size_limit(MAX_RECORD)


class Record(NamedTuple):
    """`line` is where it starts, `end` where the next one does.  With a fault, `fields` are those
    that could be read.
    """

    fields: Sequence[str | None]
    line: int
    end: Position
    fault: str | None


class _TooLong(Exception):
    """Leaves the csv module in the middle of a record."""


class _Feed:
    """Lines for the csv module, which tells neither where a record ends nor that a quote was
    left open.
    """

    def __init__(self, path: str, start: Position, dialect: Dialect) -> None:
        self.lines = lines.read(path, start, dialect)
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


def delimiter(said: str) -> str:
    """What a person says stands between fields.  Raises InputError where nothing of the kind can."""
    mark = {"\\t": "\t", "tab": "\t"}.get(said, said)
    if len(mark) != 1 or mark in '"\r\n ':
        raise InputError(f"delimiter {said!r}: it is one character, as in ';' or '\\t'")
    return mark


def detect(path: str, options: TextOptions) -> Dialect:
    """The dialect of the file, by its first bytes.  Raises InputError."""
    found, head = lines.detect(path, options)
    found = msgspec.structs.replace(found, any_end=True)
    first = next(lines.read(path, Position(), found), None)
    mark = first and headers.named_by_excel(encodings.legible(first.text or b""))
    if mark:
        found = msgspec.structs.replace(found, sep_line=True)
    delimiter = options.delimiter or mark
    if not delimiter:
        sample = head.decode(found.encoding, "replace").removeprefix("\ufeff")
        delimiter = headers.delimiter(sample, usual(path), cut=len(head) >= source.HEAD)
    return _named(path, msgspec.structs.replace(found, delimiter=delimiter))


def _named(path: str, found: Dialect) -> Dialect:
    """The dialect with names for the columns, where those of the header would not do."""
    record = _first(_records(path, Position(), found))
    if record is None or record.fault or not _is_text("".join(_texts(record))):
        return found  # `read` says so
    found = msgspec.structs.replace(found, spaced=headers.quoted_after_space(_texts(record)))
    names = headers.names(_own_names(path, record, found))
    return found if names == record.fields else msgspec.structs.replace(found, names=names)


def _own_names(path: str, record: Record, dialect: Dialect) -> list[str]:
    """The names in a header, without the spaces around those that are not quoted."""
    whole = islice(lines.read(path, Position(), dialect), record.line - 1, record.end.line)
    text = "".join(encodings.legible(line.text or b"") for line in whole)
    return headers.fields(text, dialect.delimiter or usual(path), dialect.spaced)


def renamed(path: str, dialect: Dialect) -> list[tuple[str, str]]:
    """The columns that are not called as the header has it: their names there, without the spaces
    around them, and those they got.
    """
    record = _first(_records(path, Position(), dialect))
    if record is None or record.fault or dialect.names is None:
        return []
    own = _own_names(path, record, dialect)
    three = zip(_texts(record), own, dialect.names, strict=True)
    return [(name, made) for field, name, made in three if field != made]


def usual(path: str) -> str:
    """What stands between fields where nobody says otherwise."""
    return "\t" if source.suffix(path) == ".tsv" else ","


def read(path: str, start: Position, reading: Reading) -> Iterator[Batch]:
    dialect = reading.dialect(start.file)
    records = _records(path, Position(start.file), dialect)
    header = _header(path, _first(records), dialect)
    if start.offset:
        records = _records(path, start, dialect)
    taken: list[Record] = []
    since, size_since, most = start, start.offset, source.about(len(header))
    for record in records:
        if len(header) > 1 and _is_blank(record):
            continue
        taken.append(_checked(record, len(header), dialect))
        if len(taken) >= source.ROWS or record.end.offset - size_since >= most:
            yield Batch(_spooled(header, taken, reading), since, record.end)
            taken, since, size_since = [], record.end, record.end.offset
    if taken:
        yield Batch(_spooled(header, taken, reading), since, taken[-1].end)


def _records(path: str, start: Position, dialect: Dialect) -> Iterator[Record]:
    """The records from `start` on, empty lines left out."""
    feed = _Feed(path, start, dialect)
    if dialect.sep_line and not start.offset:
        next(feed, None)
    delimiter = dialect.delimiter or usual(path)
    reader = csv.reader(feed, delimiter=delimiter, skipinitialspace=dialect.spaced)
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
            fault, fields = "a quote is opened here and never closed", fields[:-1]
        if fault or fields:
            yield Record(fields, line, feed.at, fault)


def _first(records: Iterator[Record]) -> Record | None:
    """The header: the first record that is more than spaces."""
    return next((record for record in records if not "".join(_texts(record)).isspace()), None)


def _is_blank(record: Record) -> bool:
    return record.fault is None and len(record.fields) == 1 and not _texts(record)[0].strip()


def _checked(record: Record, width: int, dialect: Dialect) -> Record:
    """The record with `width` fields, and with what is wrong with it."""
    fields, fault = record.fields, record.fault
    if not _is_text("".join(_texts(record))):
        texts = [_raw(text) for text in _texts(record)]
        fault = fault or encodings.fault(b" ".join(texts), dialect.probably)
        fields = [encodings.legible(text) for text in texts]
    if len(fields) != width:
        fault = fault or f"{_fields(len(fields))}, but the header has {width}"
        fields = [*fields[:width], *[None] * (width - len(fields))]
    return record if fault is None else record._replace(fields=fields, fault=fault)


def _is_text(value: str) -> bool:
    try:
        value.encode()
    except UnicodeEncodeError:
        return False
    return True


def _raw(text: str) -> bytes:
    return text.encode(errors="surrogateescape")


def _fields(count: int) -> str:
    return "1 field" if count == 1 else f"{count} fields"


def _texts(record: Record) -> list[str]:
    return [field or "" for field in record.fields]


def _header(path: str, record: Record | None, dialect: Dialect) -> list[str]:
    """The names of the columns; none for an empty file."""
    if record is None:
        return []
    names, fault, way = _texts(record), record.fault, None
    if fault is None and not _is_text("".join(names)):
        fault, way = encodings.problem(_raw(" ".join(names)), dialect.probably)
    if fault:
        raise InputError(f"{source.basename(path)}:{record.line}: {fault}", hint=way)
    return dialect.names or names


def _spooled(header: Sequence[str], records: Sequence[Record], reading: Reading) -> pa.RecordBatch:
    columns = zip(*(record.fields for record in records), strict=True)
    null = reading.empty == "null"
    arrays = [
        pa.array([cell or None for cell in column] if null else column, pa.string())
        for column in columns
    ]
    arrays.append(pa.array([record.line for record in records], pa.int64()))
    arrays.append(pa.array([record.fault for record in records], pa.string()))
    return pa.RecordBatch.from_arrays(arrays, names=[*header, *BOOKS])


def rows(
    spooled: pa.RecordBatch,
    start: Position,
    name: str,
    first_index: int,
    folder: str | None,
    offsets: Sequence[int] | None = None,
) -> list[Row]:
    header = spooled.schema.names[:-NOTES]
    *columns, numbers, faults = (column.to_pylist() for column in spooled.columns)
    found, behind = [], offsets or range(len(spooled))
    for index, (at, number, fault) in enumerate(zip(behind, numbers, faults, strict=True)):
        values = (
            {}
            if fault
            else {key: column[index] for key, column in zip(header, columns, strict=True)}
        )
        found.append(Row(first_index + at, values, f"{name}:{number}", fault, folder))
    return found


def schema(paths: Sequence[str], reading: Reading, first: Iterable[Batch]) -> pa.Schema:
    known: dict[str, None] = {}
    for file, path in enumerate(paths):
        dialect = reading.dialect(file)
        header = _header(path, _first(_records(path, Position(), dialect)), dialect)
        if known and header and known.keys().isdisjoint(header):
            message = f"{source.basename(path)}: no column of {source.basename(paths[0])} is in its header"
            raise InputError(message, hint="The first line must name the columns in every file.")
        known |= dict.fromkeys(header)
    return pa.schema([(name, pa.string()) for name in known])


def carry(
    spooled: pa.RecordBatch, schema: pa.Schema, keep: frozenset[str] | None
) -> list[pa.Array]:
    at = {name: index for index, name in enumerate(spooled.schema.names[:-NOTES])}
    return [spooled.column(at[field.name]) for field in schema]

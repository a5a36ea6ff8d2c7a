"""Files to rows.  A reader is a module; MODULES (in formats.py) is the list of them.

Reading has two halves, so that a part of the input that was once read can be resumed without the
input: `read` takes a file to Arrow batches that hold the rows exactly as they stand there (this is
what the spool of the run folder keeps), and `rows` and `carry` take such a batch to the values a
prompt sees and to the typed columns the output carries.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from functools import cached_property
from pathlib import Path

import msgspec
import pyarrow as pa

from batch.errors import InputError
from batch.model import Batch, Position, Row
from batch.readers import (
    detection,
    files,
    fingerprints,
    hive,
    jsonl,
    sampled,
    source,
    stretches,
    watched,
)
from batch.readers.fingerprints import Difference, Fingerprint
from batch.readers.formats import FORMATS, READERS, SIZED_IN_ROWS, Reader, Stretched
from batch.readers.head import Head
from batch.readers.input_columns import InputColumns
from batch.readers.notices import notices
from batch.readers.reading import DEFAULT, OF_RULES_1, Reading, TextOptions
from batch.readers.source import FIRST_BYTES, FIRST_ROWS
from batch.readers.stretches import Stretch
from batch.readers.watched import Changed, Seen, Watched
from batch.sampling import Chosen

__all__ = [
    "DEFAULT",
    "FIRST_BYTES",
    "FIRST_ROWS",
    "FORMATS",
    "OF_RULES_1",
    "READERS",
    "Batch",
    "Changed",
    "Difference",
    "Fingerprint",
    "Input",
    "Reader",
    "Reading",
    "TextOptions",
    "Watched",
    "compare",
    "contradicted",
    "resolve",
]


class Input(msgspec.Struct, frozen=True, dict=True):
    """The files of a job, in the order their rows are numbered."""

    files: tuple[str, ...]
    format: str
    reading: Reading = DEFAULT
    notices: tuple[str, ...] = ()
    """What was found out of the files, in words."""
    partitions: tuple[hive.Partition, ...] = ()
    """The values in the names of the folders of each file."""
    chosen: Chosen | None = None
    """The rows of a sample: no others are given, and each by its number in the files."""

    def __post_init__(self) -> None:
        self.seen  # noqa: B018  (as they are from now on)

    @cached_property
    def seen(self) -> Seen:
        """The files as they were when they were found."""
        return watched.seen(self.files, self.reader.GROWS)

    @property
    def reader(self) -> Reader:
        return READERS[self.format]

    @cached_property
    def names(self) -> tuple[str, ...]:
        """What messages call the files."""
        return source.names(self.files)

    def batches(self, start: Position = Position()) -> Iterator[Batch]:  # noqa: B008  (frozen)
        """The rows from `start` on, with the columns of all files.  Raises InputError."""
        for batch in self._from_the_start() if start == Position() else self._wanted(start):
            yield self._columns.fitted(batch)

    def count(self) -> int:
        """How many rows the files have.  Those that do not say are read.  Raises InputError."""
        if self.format in SIZED_IN_ROWS:
            return sum(self._sizes)
        return sum(len(batch.table) for batch in self._read(Position()))

    def sample(self, chosen: Chosen | None) -> Input:
        """The same files, of which only the chosen rows are given; all where None."""
        return msgspec.structs.replace(self, chosen=chosen)

    def forget(self) -> None:
        """Hold no first rows any more: nobody looks at them again."""
        self._head.forget()
        self._wanted_head.forget()

    def rows(self, batch: Batch, first_index: int) -> list[Row]:
        """The rows of a batch; `first_index` is the number of the first, which a sample knows itself."""
        file = batch.start.file
        path, name = self.files[file], self.names[file]
        folder = None if source.is_url(path) else os.path.dirname(path)  # noqa: PTH120  (once a batch)
        if batch.offsets is None:
            return self.reader.rows(batch.table, batch.start, name, first_index, folder)
        first = batch.start.row
        return self.reader.rows(batch.table, batch.start, name, first, folder, batch.offsets)

    def all_rows(self, limit: int | None = None) -> Iterator[Row]:
        """The rows from the start on, `limit` of them at most.  Raises InputError."""
        index = 0
        for batch in self.batches():
            rows = self.rows(batch, index)
            yield from rows if limit is None else rows[: limit - index]
            index += len(rows)
            if limit is not None and index >= limit:
                return

    def share_before(self, position: Position) -> float | None:
        """Which share of the input lies before `position`, by bytes as stored (Parquet: rows); None
        while that is unknown.
        """
        whole, text = sum(self._sizes), self._text_shares.get(position.file)
        if not whole or not text:
            return None
        share = (sum(self._sizes[: position.file]) + position.offset / text) / whole
        return min(share, 1.0) if share < 1.1 else None  # the first bytes did not tell the truth

    @cached_property
    def _sizes(self) -> list[int]:
        return list(map(self.reader.size, self.files))

    @cached_property
    def _text_shares(self) -> dict[int, float | None]:
        """How much a stored byte holds of what positions count, of the files that were opened."""
        return {}

    def _text_share(self, file: int) -> float | None:
        path, encoding = self.files[file], self.reading.dialect(file).encoding
        if source.is_sought(path, encoding):
            return 1.0
        return source.text_share(path, encoding)

    def schema(self, keep: tuple[str, ...] | None) -> pa.Schema:
        """The columns to carry: all, or those in `keep`.  Two have one name when JSONL has a key
        `extra`.
        """
        fields = [*self._columns.own, *self._columns.of_folders]
        if keep is not None:
            known = {field.name: field for field in fields}
            for name in keep:
                if name not in known:
                    raise InputError(self._unknown_column(name, list(known)))
            fields = [field for name, field in known.items() if name in keep]
        extra = [jsonl.EXTRA] if self.reader.HAS_EXTRA else []
        return pa.schema([*fields, *extra], self._columns.found.metadata)

    def found(self) -> Reading:
        """How the files are read, what was found out of them included."""
        if self.reading.files is not None:
            return self.reading
        types = {}
        if self.reader.HAS_EXTRA:
            types = {field.name: jsonl.kind_of(field) for field in self._columns.own}
        folders = {field.name: str(field.type) for field in self._columns.of_folders}
        return msgspec.structs.replace(
            self.reading, types=types, files=len(self.files), folders=folders
        )

    @cached_property
    def _columns(self) -> InputColumns:
        return InputColumns(
            self.reader, self.files, self.names, self.reading, self.partitions, self._head.batches
        )

    @cached_property
    def _head(self) -> Head:
        return Head(self._read)

    @cached_property
    def _wanted_head(self) -> Head:
        return self._head if self.chosen is None else Head(self._wanted)

    def _from_the_start(self) -> Iterator[Batch]:
        head = self._wanted_head
        yield from head.batches()
        if (end := head.end()) is not None:
            yield from self._wanted(end)

    def _wanted(self, start: Position) -> Iterator[Batch]:
        """The batches from `start` on, of the sample if there is one."""
        found = self._read(start)
        return found if self.chosen is None else sampled.batches(found, self.chosen, start.row)

    def _read(self, start: Position) -> Iterator[Batch]:
        """The batches from `start` on, as the reader gives them."""
        skip = start.skip
        for path, here in self._from_file_to_file(start):
            for batch in self.reader.read(path, here, self.reading):
                rows = len(batch.table)
                if skip < rows:
                    yield batch.cut(skip)[1] if skip else batch
                skip = max(0, skip - rows)

    def stretches(self, start: Position) -> Iterator[Stretch]:
        """The rows from `start` on, as far as possible without reading them.  Raises InputError."""
        found = stretches.without(self._stretches(start), start.skip)
        return found if self.chosen is None else stretches.sampled(found, self.chosen, start.row)

    def _stretches(self, start: Position) -> Iterator[Stretch]:
        """The stretches from `start` on, as the reader gives them."""
        reader = self.reader
        for path, here in self._from_file_to_file(start):
            if isinstance(reader, Stretched):
                yield from reader.stretches(path, here, self.reading)
            else:
                yield from stretches.of_batches(reader.read(path, here, self.reading))

    def _from_file_to_file(self, start: Position) -> Iterator[tuple[str, Position]]:
        """Each file, and where its reader is to start."""
        at = Position(start.file, start.offset, start.line)
        for file in range(start.file, len(self.files)):
            if file not in self._text_shares:
                self._text_shares[file] = self._text_share(file)
            yield self.files[file], at if file == start.file else Position(file)

    def column_notices(self) -> list[str]:
        """Lines about columns that some files lack, or that folders name, too."""
        return list(self._columns.notices())

    def new_file_notices(self) -> list[str]:
        """Lines about files that came after the run began, whose columns are those it has.  Raises
        InputError for one that does not fit them.
        """
        return list(self._columns.new_file_notices())

    def partition_of(self, file: int) -> dict[str, str | None]:
        """The partition columns of a file, and their values."""
        return self._columns.partition_of(file)

    def _unknown_column(self, name: str, known: list[str]) -> str:
        where = f" in the first {FIRST_ROWS:,} rows" if self.reader.HAS_EXTRA else ""
        return f"keep: no column {name!r}{where} (known: {', '.join(known)})"

    def fingerprints(self) -> list[Fingerprint]:
        """Reads every file once, at about the speed of the disk."""
        partitions = map(self.partition_of, range(len(self.files)))
        return [
            fingerprints.take(path, self.reader.GROWS, partition)
            for path, partition in zip(self.files, partitions, strict=True)
        ]


def resolve(
    input: str | list[str],
    base: Path,
    format: str | None = None,
    reading: Reading | None = None,
    options: TextOptions = TextOptions(),  # noqa: B008  (frozen)
) -> Input:
    """The files meant by a path, glob, folder or URL, or a list of them; relative paths start at
    `base`.  They are read by `reading`.  Without it, and for files that came later, it is detected
    from their first bytes.
    """
    entries = [input] if isinstance(input, str) else input
    found = files.find(entries, base, format, deep=reading is None or reading.files != 0)
    paths, kind = found.files, found.format
    if reading is not None and not reading.dialects:
        return Input(paths, kind, reading, found.notices, found.partitions)
    if reading is None:
        detection.check(paths, kind)
    known, options = reading or DEFAULT, detection.normalized(options, kind)
    detected = detection.dialects(paths[len(known.dialects) :], kind, options)
    dialects = [*known.dialects, *detected]
    if kind == "jsonl" and format is None and any(each.shape != "lines" for each in dialects):
        kind = "json"
    found_out = notices(paths, dialects, options) if dialects and reading is None else ()
    known = msgspec.structs.replace(known, dialects=dialects)
    return Input(paths, kind, known, (*found.notices, *found_out), found.partitions)


def contradicted(new: Input, format: str, options: TextOptions) -> str | None:
    """How the input as it is now, or the options, differ from how a run reads it, in words."""
    return detection.contradiction(new.format, new.reading.dialects, format, options)


def compare(old: Sequence[Fingerprint], new: Input) -> Difference:
    partitions = list(map(new.partition_of, range(len(new.files))))
    return fingerprints.compare(old, new.files, new.reader.GROWS, partitions)

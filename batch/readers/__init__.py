"""Files to rows.  A reader is a module; READERS is the list of them, and to add a format is to add
one.

Reading has two halves, so that a part of the input that was once read can be resumed without the
input: `read` takes a file to Arrow batches that hold the rows exactly as they stand there (this is
what the spool of the run folder keeps), and `rows` and `carry` take such a batch to the values a
prompt sees and to the typed columns the output carries.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property, partial
from pathlib import Path
from typing import Protocol

import msgspec
import pyarrow as pa

from batch.errors import InputError
from batch.model import Batch, Position, Row
from batch.readers import (
    arrow,
    csv,
    files,
    fingerprints,
    hive,
    json,
    jsonl,
    looks,
    parquet,
    plain,
    run,
    source,
    union,
)
from batch.readers.fingerprints import Difference, Fingerprint
from batch.readers.notices import notices
from batch.readers.reading import DEFAULT, OF_RULES_1, UTF8, Reading, Said
from batch.readers.source import FIRST_BYTES, FIRST_ROWS

__all__ = [
    "DEFAULT",
    "FIRST_BYTES",
    "FIRST_ROWS",
    "OF_RULES_1",
    "READERS",
    "Batch",
    "Difference",
    "Fingerprint",
    "Input",
    "Reader",
    "Reading",
    "Said",
    "compare",
    "contradicted",
    "resolve",
]


class Reader(Protocol):
    @property
    def NOTES(self) -> int | None:
        """How many columns of a spooled batch, the last ones, are the reader's own; None where all
        are, and the rows' columns are found in them.
        """

    def read(self, path: str, start: Position, reading: Reading) -> Iterator[Batch]:
        """The batches of one file from `start` on.  `start.file` is only carried through."""

    def rows(
        self,
        spooled: pa.RecordBatch,
        start: Position,
        name: str,
        first_index: int,
        folder: str | None,
    ) -> list[Row]:
        """The rows of a batch that starts at `start` in the file, which is in `folder`, and which a
        message calls `name`.
        """

    def size(self, path: str) -> int | None:
        """How far positions in the file go; None when that is not known before it is read."""

    def schema(self, paths: Sequence[str], reading: Reading) -> pa.Schema:
        """The columns to carry, under their own names."""

    def carry(
        self, spooled: pa.RecordBatch, schema: pa.Schema, keep: frozenset[str] | None
    ) -> list[pa.Array]:
        """One array a field of `schema` (what `schema()` gave, or a part of it).  Unreadable
        rows: null.
        """


READERS: dict[str, Reader] = {
    "jsonl": jsonl,
    "json": json,
    "parquet": parquet,
    "csv": csv,
    "arrow": arrow,
    "lines": plain,
    "run": run,
}


@dataclass(frozen=True)
class Input:
    """The files of a job, in the order their rows are numbered."""

    files: tuple[str, ...]
    format: str
    reading: Reading = DEFAULT
    notices: tuple[str, ...] = ()
    """What was found out of the files, in words."""
    told: tuple[hive.Told, ...] = ()
    """What the folders say of each file."""

    @property
    def reader(self) -> Reader:
        return READERS[self.format]

    @cached_property
    def names(self) -> tuple[str, ...]:
        """What messages call the files."""
        return source.names(self.files)

    def batches(self, start: Position = Position()) -> Iterator[Batch]:  # noqa: B008  (frozen)
        skip = start.skip
        at = Position(start.file, start.offset, start.line)
        for file in range(start.file, len(self.files)):
            for batch in self._read(file, at if file == start.file else Position(file)):
                rows = len(batch.table)
                if skip < rows:
                    yield batch.cut(skip)[1] if skip else batch
                skip = max(0, skip - rows)

    def rows(self, batch: Batch, first_index: int) -> list[Row]:
        file = batch.start.file
        path = self.files[file]
        folder = None if source.is_url(path) else os.path.dirname(path)  # noqa: PTH120  (once a batch)
        return self.reader.rows(batch.table, batch.start, self.names[file], first_index, folder)

    def share_before(self, position: Position) -> float | None:
        """Which share of the input lies before `position`, by bytes (Parquet: rows); None when
        that is unknown.
        """
        known = [size for size in self._sizes if size is not None]
        whole = sum(known)
        if len(known) < len(self.files) or not whole:
            return None
        return (sum(known[: position.file]) + position.offset) / whole

    @cached_property
    def _sizes(self) -> list[int | None]:
        return [
            self.reader.size(path) if self.reading.dialect(file).encoding == UTF8 else None
            for file, path in enumerate(self.files)
        ]

    def schema(self, keep: tuple[str, ...] | None) -> pa.Schema:
        """The columns to carry: all, or those in `keep`.  Two have one name when JSONL has a key
        `extra`.
        """
        fields = [*self._own, *self._of_folders]
        if keep is not None:
            known = {field.name: field for field in fields}
            for name in keep:
                if name not in known:
                    raise InputError(self._unknown_column(name, list(known)))
            fields = [field for name, field in known.items() if name in keep]
        extra = [jsonl.EXTRA] if self._open else []
        return pa.schema([*fields, *extra], self._found.metadata)

    @property
    def _open(self) -> bool:
        """Whether later rows may have more columns than the first."""
        return self.format in ("jsonl", "json")

    def found(self) -> Reading:
        """How the files are read, what was found out of them included."""
        if self.reading.files is not None:
            return self.reading
        types = {}
        if self._open:
            types = {field.name: jsonl.kind_of(field) for field in self._own}
        folders = {field.name: str(field.type) for field in self._of_folders}
        return msgspec.structs.replace(
            self.reading, types=types, files=len(self.files), folders=folders
        )

    @property
    def _first(self) -> tuple[str, ...]:
        """The files with which the run began."""
        return self.files[: self.reading.files or len(self.files)]

    @cached_property
    def _found(self) -> pa.Schema:
        return self.reader.schema(self._first, self.reading)

    @property
    def _own(self) -> list[pa.Field]:
        """The columns of the files themselves."""
        return list(self._found)[:-1] if self._open else list(self._found)

    @cached_property
    def _of_folders(self) -> list[pa.Field]:
        """The columns that the names of folders give; one that files have is theirs."""
        types = self.reading.folders
        if self.reading.files is None and any(self.told):
            own = {field.name for field in self._own}
            types = {key: type for key, type in hive.types(self.told).items() if key not in own}
        return [pa.field(name, hive.TYPES[type]) for name, type in types.items()]

    @cached_property
    def _united(self) -> pa.Schema | None:
        """The columns of the files in every batch; None where batches are as they are read."""
        if self.reading.files == 0 or (len(self.files) == 1 and not self._of_folders):
            return None
        if self.reader.NOTES is None:
            return pa.schema([]) if self._of_folders else None
        return self._found

    def _read(self, file: int, start: Position) -> Iterator[Batch]:
        batches = self.reader.read(self.files[file], start, self.reading)
        return batches if self._united is None else map(partial(self._fitted, file), batches)

    def _fitted(self, file: int, batch: Batch) -> Batch:
        """A batch with the columns of all files, those of the folders, and then the reader's own."""
        table, before = batch.table, batch.start.offset + batch.start.skip
        notes = table.num_columns if self.reader.NOTES is None else self.reader.NOTES
        end, united = table.num_columns - notes, self._united or pa.schema([])
        held = dict(zip(table.schema.names[:end], table.columns[:end], strict=True))
        made = union.fit(
            held, len(table), united, lambda row: f"{self.names[file]} row {before + row}"
        )
        told = self.told_of(file)
        made += [hive.column(each, told[each.name], len(table)) for each in self._of_folders]
        fields = [*united, *self._of_folders, *list(table.schema)[end:]]
        whole = pa.RecordBatch.from_arrays([*made, *table.columns[end:]], schema=pa.schema(fields))
        return msgspec.structs.replace(batch, table=whole)

    def told_of(self, file: int) -> dict[str, str | None]:
        """What the folders say of a file, as far as that is a column."""
        return {each.name: self.told[file].get(each.name) for each in self._of_folders}

    def together(self) -> list[str]:
        """Lines about what may be unexpected of the files together."""
        own = {field.name for field in self._own} if any(self.told) else ()
        lines = [
            f"the column {key} is that of the files, not what their folders say"
            for key in hive.types(self.told)
            if key in own
        ]
        if self._united is not None and self.reader.NOTES is not None:
            found = [self._columns_of(file).names for file in range(len(self.files))]
            lines += union.gaps(self._united.names, list(zip(self.names, found, strict=True)))
        return lines

    def newcomers(self) -> list[str]:
        """Lines about files that came after the run began, whose columns are those it has.  Raises
        InputError for one that does not fit them.
        """
        lines = []
        for file in range(len(self._first), len(self.files)):
            for each in self._of_folders:
                hive.column(each, self.told_of(file)[each.name], 0)
            if self._united is not None and self.reader.NOTES is not None:
                more = union.Columns(self.names[file], self._columns_of(file))
                lines += union.joins(self._united, more)
        return lines

    def _columns_of(self, file: int) -> pa.Schema:
        alone = msgspec.structs.replace(
            self.reading, dialects=self.reading.dialects[file : file + 1]
        )
        return self.reader.schema([self.files[file]], alone)

    def _unknown_column(self, name: str, known: list[str]) -> str:
        where = f" in the first {FIRST_ROWS:,} rows" if self._open else ""
        return f"keep: no column {name!r}{where} (known: {', '.join(known)})"

    def fingerprints(self) -> list[Fingerprint]:
        """Reads every file once, at about the speed of the disk."""
        told = map(self.told_of, range(len(self.files)))
        return [
            fingerprints.take(path, self.format, said)
            for path, said in zip(self.files, told, strict=True)
        ]


def resolve(
    input: str | list[str],
    base: Path,
    format: str | None = None,
    reading: Reading | None = None,
    said: Said = Said(),  # noqa: B008  (frozen)
) -> Input:
    """The files meant by a path, glob, folder or URL, or a list of them; relative paths start at
    `base`.  They are read by `reading`; without it, and where files came after it was made, they
    are looked at.
    """
    entries = [input] if isinstance(input, str) else input
    found = files.find(entries, base, format, deep=reading is None or reading.files != 0)
    paths, kind = found.files, found.format
    if reading is not None and not reading.dialects:
        return Input(paths, kind, reading, found.notices, found.told)
    if reading is None:
        looks.check(paths, kind)
    known, said = reading or DEFAULT, looks.heard(said, kind)
    looked = looks.dialects(paths[len(known.dialects) :], kind, said)
    dialects = [*known.dialects, *looked]
    if kind == "jsonl" and format is None and any(each.shape != "lines" for each in dialects):
        kind = "json"
    told = notices(paths, dialects, said) if dialects and reading is None else ()
    known = msgspec.structs.replace(known, dialects=dialects)
    return Input(paths, kind, known, (*found.notices, *told), found.told)


def contradicted(new: Input, format: str, said: Said) -> str | None:
    """What the input as it is now, or what was said, has against how a run reads it, in words."""
    return looks.contradiction(new.format, new.reading.dialects, format, said)


def compare(old: Sequence[Fingerprint], new: Input) -> Difference:
    told = list(map(new.told_of, range(len(new.files))))
    return fingerprints.compare(old, new.files, new.format, told)

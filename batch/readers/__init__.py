"""Files to rows.  A reader is a module; READERS (in formats.py) is the list of them, and to add a
format is to add one.

Reading has two halves, so that a part of the input that was once read can be resumed without the
input: `read` takes a file to Arrow batches that hold the rows exactly as they stand there (this is
what the spool of the run folder keeps), and `rows` and `carry` take such a batch to the values a
prompt sees and to the typed columns the output carries.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import pyarrow as pa

from batch.errors import InputError
from batch.model import Batch, Position, Row
from batch.readers import files, fingerprints, jsonl, source
from batch.readers.fingerprints import Difference, Fingerprint
from batch.readers.formats import FORMATS, READERS, Reader
from batch.readers.reading import DEFAULT, OF_RULES_1, Reading

__all__ = [
    "DEFAULT",
    "FORMATS",
    "OF_RULES_1",
    "READERS",
    "Batch",
    "Difference",
    "Fingerprint",
    "Input",
    "Reader",
    "Reading",
    "compare",
    "resolve",
]


@dataclass(frozen=True)
class Input:
    """The files of a job, in the order their rows are numbered."""

    files: tuple[str, ...]
    format: str
    reading: Reading = DEFAULT

    @property
    def reader(self) -> Reader:
        return READERS[self.format]

    @cached_property
    def names(self) -> tuple[str, ...]:
        """What messages call the files: the base name, or the whole path where base names clash."""
        names = [source.basename(path) for path in self.files]
        count = Counter(names)
        return tuple(
            name if count[name] == 1 else source.shown(path)
            for name, path in zip(names, self.files, strict=True)
        )

    def batches(self, start: Position = Position()) -> Iterator[Batch]:  # noqa: B008  (frozen)
        skip = start.skip
        at = Position(start.file, start.offset, start.line)
        for file in range(start.file, len(self.files)):
            for batch in self.reader.read(
                self.files[file], at if file == start.file else Position(file), self.reading
            ):
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
        return [self.reader.size(path) for path in self.files]

    def schema(self, keep: tuple[str, ...] | None) -> pa.Schema:
        """The columns to carry: all, or those in `keep`.  Two have one name when JSONL has a key
        `extra`.
        """
        found = self.reader.schema(self.files, self.reading)
        if keep is None:
            return found
        extra = list(found)[-1:] if self.reader.HAS_EXTRA else []
        known = {field.name: field for field in list(found)[: len(found) - len(extra)]}
        for name in keep:
            if name not in known:
                raise InputError(self._unknown_column(name, list(known)))
        return pa.schema([*(field for name, field in known.items() if name in keep), *extra])

    def _unknown_column(self, name: str, known: list[str]) -> str:
        where = f" in the first {jsonl.SCHEMA_ROWS:,} rows" if self.reader.HAS_EXTRA else ""
        return f"keep: no column {name!r}{where} (known: {', '.join(known)})"

    def fingerprints(self) -> list[Fingerprint]:
        """Reads every file once, at about the speed of the disk."""
        return [fingerprints.take(path, self.reader.GROWS) for path in self.files]


def resolve(
    input: str | list[str],
    base: Path,
    format: str | None = None,
    reading: Reading = DEFAULT,
) -> Input:
    """The files meant by a path, glob, folder or URL, or a list of them; relative paths start at
    `base`.
    """
    return Input(*files.find([input] if isinstance(input, str) else input, base, format), reading)


def compare(old: Sequence[Fingerprint], new: Input) -> Difference:
    return fingerprints.compare(old, new.files, new.reader.GROWS)

"""The list of the formats that are read, and what they have in common."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Protocol

import pyarrow as pa

from batch.model import Batch, Position, Row
from batch.readers import csv, jsonl, parquet, run
from batch.readers.reading import Reading


class Reader(Protocol):
    """What a module here offers."""

    @property
    def SUFFIXES(self) -> tuple[str, ...]:
        """Those of its files; none where nobody may ask for the format by name."""

    @property
    def TEXT(self) -> bool:
        """Whether a file of it may be compressed as a whole."""

    @property
    def GROWS(self) -> bool:
        """Whether a file of it that is longer may be the same file with more rows."""

    @property
    def HAS_EXTRA(self) -> bool:
        """Whether `schema` ends with a column of what fits no other."""

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
    "parquet": parquet,
    "csv": csv,
    "run": run,
}

SUFFIXES = {suffix: name for name, reader in READERS.items() for suffix in reader.SUFFIXES}
FORMATS = tuple(dict.fromkeys(SUFFIXES.values()))
"""Those that may be asked for by name."""

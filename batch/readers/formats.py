"""The list of the formats that are read, and what they have in common."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import cache
from importlib import import_module
from typing import Protocol, cast, runtime_checkable

import pyarrow as pa

from batch.model import Batch, Position, Row
from batch.readers.reading import Dialect, Reading, TextOptions
from batch.readers.stretches import Stretch


class Reader(Protocol):
    """What a module here offers."""

    @property
    def SUFFIXES(self) -> tuple[str, ...]:
        """Those of its files; none where only a person can tell."""

    @property
    def detect(self) -> Callable[[str, TextOptions], Dialect] | None:
        """Detects the dialect of a text file, which may be compressed as a whole, before it is read;
        None where files of the format are no text.
        """

    @property
    def GROWS(self) -> bool:
        """Whether a file of it that is longer may be the same file with more rows."""

    @property
    def HAS_EXTRA(self) -> bool:
        """Whether `schema` ends with a column of what fits no other: later rows may have
        more columns than the first.
        """

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
        offsets: Sequence[int] | None = None,
    ) -> list[Row]:
        """The rows of a batch that starts at `start` in the file, which is in `folder`, and which a
        message calls `name`.  `offsets` tells how many rows behind `start` each of them stands, where
        others were left out.
        """

    def size(self, path: str) -> int:
        """How much the file holds: rows where positions count those, else bytes as stored."""

    def schema(self, paths: Sequence[str], reading: Reading, first: Iterable[Batch]) -> pa.Schema:
        """The columns to carry, under their own names; `first` are the first rows of all, for a
        format whose columns are found in them.
        """

    def carry(
        self, spooled: pa.RecordBatch, schema: pa.Schema, keep: frozenset[str] | None
    ) -> list[pa.Array]:
        """One array a field of `schema` (what `schema()` gave, or a part of it).  Unreadable
        rows: null.
        """


@runtime_checkable
class Stretched(Protocol):
    """What a module here may offer besides: where the rows are, by other means than reading them."""

    def stretches(self, path: str, start: Position, reading: Reading) -> Iterator[Stretch]:
        """The rows of one file from `start` on.  Each place in them is one to `read` from."""


MODULES = {
    "jsonl": "jsonl",
    "json": "json",
    "csv": "csv",
    "parquet": "parquet",
    "arrow": "arrow",
    "lines": "plain",
    "run": "run",
}
"""A format, as it is asked for, and the module here that reads it: a line each."""


class _Readers(Mapping[str, Reader]):
    """The modules by their formats.  Each is imported when it is asked for."""

    def __getitem__(self, format: str) -> Reader:
        return cast(Reader, import_module(f"batch.readers.{MODULES[format]}"))

    def __iter__(self) -> Iterator[str]:
        return iter(MODULES)

    def __len__(self) -> int:
        return len(MODULES)


READERS = _Readers()

SIZED_IN_ROWS = frozenset({"parquet", "arrow"})
"""Those whose `size` is the number of rows."""
FORMATS = tuple(name for name in MODULES if name != "run")
"""Those that may be asked for by name; a run is one where its folder is named."""


@cache
def of_suffix(suffix: str) -> str | None:
    """The format of files of this suffix; None where no reader says it."""
    return next((name for name, reader in READERS.items() if suffix in reader.SUFFIXES), None)


def suffixes() -> list[str]:
    """Those of all readers."""
    return [suffix for reader in READERS.values() for suffix in reader.SUFFIXES]

"""Data in memory as an input: kept in a file, and known again by its values.

A file would not do to know it by: its bytes change with the library that writes it.  The hash is
over the columns' names and types, all kinds of text being one, and over the values, BLOCK rows at a
time; so it is the same however a library cuts the data into chunks, or lays it out.
"""

from __future__ import annotations

import hashlib
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Protocol

import pyarrow as pa
import pyarrow.parquet as pq

from batch.errors import InputError, UsageError
from batch.readers import dicts

BLOCK = 5_000
"""Rows that are hashed at a time."""

INDEX = re.compile(r"__index_level_\d+__")
"""What pandas calls an index without a name, which is no data."""

REFUSALS = (ValueError, OverflowError, pa.ArrowException)
"""How Arrow and Python refuse values; UnicodeError is one of them."""


class Data(Protocol):
    """Rows that may be hashed and written, as many as are wanted."""

    suffix: str

    @property
    def rows(self) -> int: ...

    def hash(self, rows: int) -> str:
        """Of the first rows.  Raises InputError."""

    def write(self, path: Path, first: int = 0) -> None:
        """Write the rows from `first` on.  Raises InputError, and OSError."""


def of(value: Any) -> Data:
    """Data from rows as dicts, or from anything that gives an Arrow stream: polars, pandas, pyarrow,
    DuckDB.  Raises UsageError for what is neither.
    """
    if hasattr(value, "__arrow_c_stream__"):
        return Table(_table(value))
    if isinstance(value, Iterable) and not isinstance(value, str | bytes | Mapping):
        return Records(value)
    raise UsageError(
        f"data: a {type(value).__name__} is neither a path, nor a list of dicts, nor a data frame"
        " (anything with __arrow_c_stream__)"
    )


class Table:
    """Columns of an Arrow table."""

    suffix = ".parquet"

    def __init__(self, table: pa.Table) -> None:
        self._table = table
        self._hashes: dict[int, str] = {}

    @property
    def rows(self) -> int:
        return int(self._table.num_rows)

    def hash(self, rows: int) -> str:
        if rows not in self._hashes:
            self._hashes[rows] = self._hash(rows)
        return self._hashes[rows]

    def _hash(self, rows: int) -> str:
        from batch.readers import arrow_values  # pyarrow's functions: 50 ms, at every start

        digest = hashlib.blake2b(digest_size=16)
        for field in self._table.schema:
            digest.update(f"{field.name}\0{field.type}\0".encode())
        for at in range(0, rows, BLOCK):
            block = self._table.slice(at, min(BLOCK, rows - at))
            for name, column in zip(block.column_names, block.columns, strict=True):
                with _told(name):
                    for piece in arrow_values.canonical(column.chunks):
                        digest.update(piece)
        return digest.hexdigest()

    def write(self, path: Path, first: int = 0) -> None:
        try:
            pq.write_table(self._table.slice(first), path, compression="zstd")
        except pa.ArrowException as error:
            raise InputError(f"data: {error}") from None


class Records:
    """Rows as dicts; a key that the first one lacks is a column, too."""

    suffix = ".jsonl"

    def __init__(self, rows: Iterable[Any]) -> None:
        self._lines: list[bytes] = []
        self._digests = bytearray()
        for number, row in enumerate(rows):
            self._lines.append(dicts.line(row, number))
            self._digests += dicts.digest(row)

    @property
    def rows(self) -> int:
        return len(self._lines)

    def hash(self, rows: int) -> str:
        return hashlib.blake2b(self._digests[: rows * dicts.SIZE], digest_size=16).hexdigest()

    def write(self, path: Path, first: int = 0) -> None:
        with path.open("wb") as file:
            file.writelines(self._lines[first:])


def _table(value: Any) -> pa.Table:
    """As columns of the types that files have: no index of pandas, one kind of text."""
    schema = getattr(value, "schema", None)
    for name, kind in schema.items() if isinstance(schema, Mapping) else ():
        if str(kind) == "Object":  # polars hands out the addresses of such values
            raise InputError(f"data: column {name!r} holds Python objects, which are no data")
    try:
        table = value if isinstance(value, pa.Table) else pa.table(_with_text_names(value))
    except (*REFUSALS, TypeError, KeyError) as error:
        raise InputError(f"data: {_words(error)}") from None
    names = [name for name in table.schema.names if not INDEX.fullmatch(name)]
    _refuse_twice(names)
    return pa.table({name: _column(name, table[name]) for name in names})


def _column(name: str, column: pa.ChunkedArray) -> pa.ChunkedArray:
    """The values, of their plain type."""
    from batch.readers import arrow_values

    with _told(name):
        kind = arrow_values.plain(column.type)
        pieces = [piece for chunk in column.chunks for piece in arrow_values.pieces(chunk)]
        return pa.chunked_array(pieces, kind)


@contextmanager
def _told(column: str) -> Iterator[None]:
    """What is wrong with a column names it."""
    try:
        yield
    except (*REFUSALS, InputError) as error:
        raise InputError(f"data: column {column!r}: {error}") from None


def _with_text_names(value: Any) -> Any:
    """A frame of pandas with texts as the names of its columns, which may be anything there; pyarrow
    would warn of those.
    """
    if not (hasattr(value, "set_axis") and hasattr(value, "rename_axis")):
        return value
    names = list(map(str, value.columns))
    levels = [None if name is None else str(name) for name in value.index.names]
    _refuse_twice(names)
    if names != list(value.columns):
        value = value.set_axis(names, axis="columns")
    return value if levels == list(value.index.names) else value.rename_axis(index=levels)


def _refuse_twice(names: list[str]) -> None:
    for name, count in Counter(names).items():
        if count > 1:
            raise InputError(f"data: more than one column is called {name!r}; rename all but one")


def _words(error: Exception) -> str:
    if isinstance(error, UnicodeEncodeError):
        return "half a surrogate pair is no character"
    return "; ".join(map(str, error.args))

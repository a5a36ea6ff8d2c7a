"""Data in memory as an input: kept in a file, and known again by its values.

A file would not do to know it by: its bytes change with the library that writes it.  The hash is
over the columns' names and types, all kinds of text being one, and over the values, BLOCK rows at a
time; so it is the same however a library cuts the data into chunks, or lays it out.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, Protocol

import pyarrow as pa
import pyarrow.parquet as pq

from batch import json_text
from batch.errors import InputError, UsageError
from batch.readers import arrow_values

BLOCK = 5_000
"""Rows that are hashed at a time."""

INDEX = re.compile(r"__index_level_\d+__")
"""What pandas calls an index without a name, which is no data."""


class Data(Protocol):
    """Rows that may be hashed and written, as many as are wanted."""

    suffix: str

    @property
    def rows(self) -> int: ...

    def hash(self, rows: int) -> str:
        """Of the first rows."""

    def write(self, path: Path, first: int = 0) -> None:
        """Write the rows from `first` on."""


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

    @property
    def rows(self) -> int:
        return int(self._table.num_rows)

    def hash(self, rows: int) -> str:
        digest = hashlib.blake2b(digest_size=16)
        for field in self._table.schema:
            digest.update(f"{field.name}\0{field.type}\0".encode())
        for at in range(0, rows, BLOCK):
            block = self._table.slice(at, min(BLOCK, rows - at))
            for column in block.columns:
                for piece in arrow_values.canonical(column.combine_chunks()):
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
        self._lines = [_line(row, number) for number, row in enumerate(rows)]

    @property
    def rows(self) -> int:
        return len(self._lines)

    def hash(self, rows: int) -> str:
        digest = hashlib.blake2b(digest_size=16)
        for line in self._lines[:rows]:
            digest.update(line)
        return digest.hexdigest()

    def write(self, path: Path, first: int = 0) -> None:
        with path.open("wb") as file:
            file.writelines(self._lines[first:])


def _line(row: Any, number: int) -> bytes:
    if not isinstance(row, Mapping):
        raise UsageError(f"data: row {number} is a {type(row).__name__} and no dict")
    return f"{json_text.encode(dict(row))}\n".encode()


def _table(value: Any) -> pa.Table:
    """As columns of the types that files have: no index of pandas, one kind of text."""
    try:
        table = value if isinstance(value, pa.Table) else pa.table(value)
        names = [name for name in table.schema.names if not INDEX.fullmatch(name)]
        table = table.select(names).replace_schema_metadata(None)
        return table.cast(pa.schema(list(_fields(table.schema))))
    except (pa.ArrowException, TypeError, KeyError) as error:
        raise InputError(f"data: {error}") from None


def _fields(schema: pa.Schema) -> Iterator[pa.Field]:
    for field in schema:
        yield pa.field(field.name, arrow_values.plain(field.type))

"""Hive partitions: names of folders that hold values of the rows inside, `dt=2026-01-01/part-0.parquet`."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from urllib.parse import unquote

import pyarrow as pa

from batch.errors import InputError

Partition = Mapping[str, str | None]
"""Column -> value, the same for all rows of a file.  None is null."""

NULL = "__HIVE_DEFAULT_PARTITION__"
TYPES = {"int64": pa.int64(), "string": pa.string()}

_INTEGER = re.compile(r"0|-?[1-9][0-9]{0,17}")


def partition(folders: Iterable[str]) -> dict[str, str | None]:
    """The values in the names of folders, from the outermost to the innermost."""
    found: dict[str, str | None] = {}
    for folder in folders:
        key, equals, value = folder.partition("=")
        if key and equals:
            found[unquote(key)] = None if value == NULL else unquote(value)
    return found


def types(files: Sequence[Partition]) -> dict[str, str]:
    """The partition columns of the files, and their types: int64 where all values are integers,
    written as such, else text.
    """
    values: dict[str, list[str]] = {}
    for one in files:
        for key, value in one.items():
            values.setdefault(key, []).extend([] if value is None else [value])
    return {
        key: "int64" if found and all(map(_INTEGER.fullmatch, found)) else "string"
        for key, found in values.items()
    }


def column(field: pa.Field, value: str | None, rows: int) -> pa.Array:
    """A column of one value.  Raises InputError for one that is none of its type."""
    if value is None:
        return pa.nulls(rows, field.type)
    if field.type != pa.int64():
        return pa.repeat(pa.scalar(value, field.type), rows)
    if not _INTEGER.fullmatch(value):
        words = f"{field.name}={value} is no integer, as all were before"
        raise InputError(f"a folder of the input says {words}")
    return pa.repeat(pa.scalar(int(value), field.type), rows)

"""The columns of several files, united by name.

Where all files agree, their exact type stays.  Nothing is rounded: what the type of all cannot hold
is refused, here or when its row is read.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import NamedTuple

import pyarrow as pa
from pyarrow import types

from batch import values
from batch.errors import InputError
from batch.readers.common_type import both, is_bytes, is_list, is_text, stored

HINT = "Run files of each kind on their own."

MOST_NAMED = 5


class Columns(NamedTuple):
    """Those of one file, and what messages call it."""

    file: str
    schema: pa.Schema


def schema(found: Sequence[Columns]) -> pa.Schema:
    """All columns, in the order in which they first appear, and what all files noted alike of their
    schema.  Raises InputError for one whose types have none in common.
    """
    known: dict[str, pa.Field] = {}
    owner: dict[str, str] = {}
    for file, columns in found:
        for field in columns:
            before = known.get(field.name, field)
            kind = both(before.type, field.type)
            if kind is None:
                raise InputError(_clash(field, file, before.type, owner[field.name]), hint=HINT)
            if field.name not in owner or kind != before.type:
                owner[field.name] = file
            known[field.name] = before.with_type(kind)
            if before.metadata != field.metadata:  # what only one says is not so of all
                known[field.name] = known[field.name].remove_metadata()
    return pa.schema(known.values(), _noted(columns.schema.metadata or {} for columns in found))


def _noted(all_: Iterable[dict[bytes, bytes]]) -> dict[bytes, bytes]:
    """What those that say it say alike."""
    said: dict[bytes, set[bytes]] = {}
    for metadata in all_:
        for key, value in metadata.items():
            said.setdefault(key, set()).add(value)
    return {key: texts.pop() for key, texts in said.items() if len(texts) == 1}


def _clash(field: pa.Field, file: str, before: pa.DataType, other: str) -> str:
    path, one, two = _where(field.name, field.type, before)
    return f"{file}: column {path!r} is {one}, but {two} in {other}, and no type holds both as they are"


def _where(path: str, one: pa.DataType, other: pa.DataType) -> tuple[str, pa.DataType, pa.DataType]:
    """The innermost fields that cannot be united."""
    if types.is_struct(one) and types.is_struct(other):
        for field in one:
            at = other.get_field_index(field.name)
            if at >= 0 and both(field.type, other.field(at).type) is None:
                return _where(f"{path}.{field.name}", field.type, other.field(at).type)
    if is_list(one) and is_list(other):
        return _where(path, one.value_type, other.value_type)
    return path, one, other


def joins(known: pa.Schema, more: Columns) -> list[str]:
    """A line about the columns of a file that comes later, which are not among the known.  Raises
    InputError for one of a type that is not held by the known.
    """
    new = []
    for field in more.schema:
        at = known.get_field_index(field.name)
        if at < 0:
            new.append(field.name)
        elif not _takes(known.field(at).type, field.type):
            words = f"column {field.name!r} is {field.type}, but was {known.field(at).type} before"
            raise InputError(f"{more.file}: {words}", hint=HINT)
    return [f"{more.file}: columns the run began without are left out: {_listed(new)}"] * bool(new)


def _takes(known: pa.DataType, more: pa.DataType) -> bool:
    kind = both(known, more)
    if kind is None or kind == stored(known):
        return kind is not None
    return any(belongs(kind) and belongs(stored(known)) for belongs in (is_text, is_bytes))


def gaps(names: Sequence[str], found: Sequence[tuple[str, Sequence[str]]]) -> list[str]:
    """A line about the columns that not all of the files have."""
    lacking: dict[str, list[str]] = {}
    for file, there in found:
        for name in set(names).difference(there):
            lacking.setdefault(name, []).append(file)
    said = [_gap(name, lacking[name]) for name in names if name in lacking]
    return [f"columns are null where a file has none of that name: {_listed(said)}"] * bool(said)


def _gap(name: str, files: Sequence[str]) -> str:
    return f"{name} ({files[0] if len(files) == 1 else f'{len(files):,} files'})"


def _listed(words: Sequence[str]) -> str:
    more = f" and {len(words) - MOST_NAMED:,} more" if len(words) > MOST_NAMED else ""
    return ", ".join(words[:MOST_NAMED]) + more


def fit(
    held: Mapping[str, pa.Array], rows: int, columns: pa.Schema, place: Callable[[int], str]
) -> list[pa.Array]:
    """One array a column, null where none of that name is held.  Raises InputError for a value that
    would be changed; `place` names the row of that number.
    """
    made = []
    for field in columns:
        column = held.get(field.name)
        if column is None:
            made.append(pa.nulls(rows, field.type))
            continue
        try:
            made.append(_cast(column, field.type))
        except pa.ArrowException as error:
            raise _misfit(column, field, place) from error
    return made


def _cast(column: pa.Array, kind: pa.DataType) -> pa.Array:
    if column.type == kind:
        return column
    return (column.storage if isinstance(column, pa.ExtensionArray) else column).cast(kind)


def _misfit(column: pa.Array, field: pa.Field, place: Callable[[int], str]) -> InputError:
    for index in range(len(column)):
        row = column.slice(index, 1)
        try:
            _cast(row, field.type)
        except pa.ArrowException:
            (shown,) = values.rows(pa.table({field.name: row}))
            words = f"{field.name!r} is {shown[field.name]}, which {field.type} cannot hold"
            return InputError(f"{place(index)}: {words}; other files make it that", hint=HINT)
    return InputError(f"{place(0)}: {field.name!r} cannot be made {field.type}", hint=HINT)

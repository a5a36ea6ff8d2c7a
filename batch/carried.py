"""The columns that a run carried, as a prompt sees them: that of the next run, or its own once more.

JSON text is what it says, what fitted no column is back in its own, and a column that was renamed is
found by the names it had before, too.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

import msgspec
import pyarrow as pa

from batch import columns, json_text

BEFORE = b"batchmill.before"
"""Field metadata: the names a column had in the inputs of earlier runs, as JSON, the latest first."""

ANSWER = b"batchmill.answer"
"""Field metadata of a column that an earlier run answered."""


def as_input(carried: Iterable[pa.Field], answers: Iterable[pa.Field]) -> pa.Schema:
    """Columns of a run as those of the next one's input."""
    return pa.schema([*map(_carried, carried), *map(_answered, answers)])


def _carried(field: pa.Field) -> pa.Field:
    role, before = columns.role(field), _names_before(field)
    metadata = {columns.ROLE: role} if role else {}
    if before:
        metadata[BEFORE] = msgspec.json.encode(before)
    return pa.field(field.name, field.type, metadata=metadata)


def _answered(field: pa.Field) -> pa.Field:
    metadata = {ANSWER: b"true"}
    if field.name == columns.PARSED and pa.types.is_string(field.type):
        metadata[columns.ROLE] = columns.JSON
    return pa.field(field.name, field.type, metadata=metadata)


def _names_before(field: pa.Field) -> list[str]:
    metadata = field.metadata or {}
    last = [metadata[columns.NAME].decode()] if columns.NAME in metadata else []
    return [*last, *msgspec.json.decode(metadata.get(BEFORE, b"[]"))]


def answered(schema: pa.Schema) -> bool:
    """Whether these are columns of a run's answers, among others."""
    return any(ANSWER in (field.metadata or {}) for field in schema)


class Carried:
    """Carried columns under their names in the input."""

    def __init__(self, schema: pa.Schema) -> None:
        self._roles = [(field.name, columns.role(field)) for field in schema]
        self._answers = {field.name for field in schema if ANSWER in (field.metadata or {})}
        self._now: dict[str, str] = {name: name for name in schema.names}  # by every name
        for before, now in _by_age(schema):
            self._now.setdefault(before, now)

    @property
    def nested(self) -> bool:
        """Whether there is JSON text."""
        return any(role == columns.JSON and name not in self._answers for name, role in self._roles)

    def row(self, cells: Iterable[Any]) -> dict[str, Any]:
        """What a prompt sees of a row, whose cells are those of the columns, in their order."""
        held: dict[str, Any] = {}
        misfits: list[tuple[str, Any]] = []  # no more than one
        for (name, role), cell in zip(self._roles, cells, strict=True):
            value = cell if role is None else _opened(cell)
            if role == columns.EXTRA:
                misfits.append((name, value))
            else:
                held[name] = value
        for name, found in misfits:
            self._put_back(found if isinstance(found, dict) else {}, held)
            held.setdefault(name, found)
        for before, now in self._now.items():
            held.setdefault(before, held.get(now))
        return held

    def _put_back(self, misfits: dict[str, Any], held: dict[str, Any]) -> None:
        for key, value in misfits.items():
            name = self._now.get(key, key)
            if name not in self._answers:
                held[name] = value


def _by_age(schema: pa.Schema) -> Iterator[tuple[str, str]]:
    """Names from before, and what the column is called now: the latest names first."""
    found = [
        (age, before, field.name)
        for field in schema
        for age, before in enumerate(_names_before(field))
    ]
    for _, before, now in sorted(found, key=lambda each: each[0]):
        yield before, now


def _opened(text: Any) -> Any:
    if not isinstance(text, str):
        return text
    try:
        return json_text.decode(text)
    except (msgspec.DecodeError, RecursionError):  # which is none of ours
        return text

"""Which values of a row are compared: columns, or what is in them, by dotted names (`parsed.stars`)."""

from __future__ import annotations

import difflib
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import pyarrow as pa
import pyarrow.compute as pc

from batch import json_text, values
from batch.columns import PARSED
from batch.errors import UsageError
from batch.outputs import picked

COMPLETION = "completion"
TEXT = pa.string()


class Field(NamedTuple):
    """One value of each row: `place` leads into structs, `keys` into what is JSON text."""

    column: str
    type: pa.DataType
    place: tuple[int, ...] = ()
    keys: tuple[str, ...] = ()

    def of(self, rows: pa.Table) -> pa.ChunkedArray:
        """The values as text, without white space around it."""
        column = rows[self.column]
        if self.place:
            column = pc.struct_field(column, list(self.place))
        if self.keys:
            texts = [_inside(text, self.keys) for text in column.to_pylist()]
            column = pa.chunked_array([pa.array(texts, TEXT)])
        return pc.utf8_trim_whitespace(values.texts(column).cast(pa.large_string()))


def chosen(names: Sequence[str], schemas: Sequence[pa.Schema]) -> tuple[str, ...]:
    """The names of what is compared where rows have these columns: those that are asked for; else
    all scalar fields of `parsed` that all have, or `completion`.
    """
    if names:
        return tuple(dict.fromkeys(names))
    parsed = [list(_scalars(schema)) for schema in schemas]
    told = [found for found in parsed if found != [PARSED]]
    if not all(parsed):
        return (COMPLETION,)
    if not told:
        return (PARSED,)
    common = tuple(name for name in told[0] if all(name in found for found in told))
    if not common:
        raise UsageError("the runs have no field of `parsed` in common; say --field completion")
    return common


def like(column: str, names: Sequence[str]) -> list[str]:
    """Those of `names` that are called like the column of the truth, whatever their case."""
    wanted = column.lower()
    return [name for name in names if wanted in (name.lower(), name.lower().rpartition(".")[2])]


def find(flag: str, name: str, schema: pa.Schema, where: str) -> Field:
    """The field of this name.  Raises UsageError, in the words of a flag, where `where` has none."""
    place = picked.place(schema, name)
    if place is None:
        column, _, rest = name.partition(".")
        if column == PARSED and rest and _is_json(schema):
            return Field(PARSED, TEXT, keys=tuple(rest.split(".")))
        raise UsageError(f"{flag} {name}: {where} has no such field ({hint(name, _names(schema))})")
    kind = picked.field(schema, place).type
    if not _is_scalar(kind):
        raise UsageError(f"{flag} {name}: is no single value, but {_words(kind)}")
    return Field(schema.names[place[0]], kind, place[1:])


def hint(name: str, known: Sequence[str]) -> str:
    """What may have been meant."""
    near = difflib.get_close_matches(name, known, 3) or [
        each for each in known if each.rpartition(".")[2] == name
    ]
    return f"did you mean {' or '.join(near)}?" if near else f"known: {', '.join(known)}"


def text(value: object) -> str | None:
    """A value of JSON as the text that the same value of a column is."""
    match value:
        case None | str():
            return value
        case float() if value.is_integer() and abs(value) < 2**53:
            return str(int(value))
    return json_text.encode(value)


def _scalars(schema: pa.Schema) -> Iterator[str]:
    """The names of the scalar fields of `parsed`; its own where it is JSON text, none without it."""
    if _is_json(schema):
        yield PARSED
    elif PARSED in schema.names:
        field = schema.field(schema.names.index(PARSED))
        for names, kind in picked.inside([field]):
            if _is_scalar(kind):
                yield ".".join(names)


def _names(schema: pa.Schema) -> list[str]:
    return [".".join(names) for names, kind in picked.inside(list(schema)) if _is_scalar(kind)]


def _is_json(schema: pa.Schema) -> bool:
    return PARSED in schema.names and schema.field(PARSED).type == TEXT


def _is_scalar(kind: pa.DataType) -> bool:
    return not (
        pa.types.is_nested(kind) or pa.types.is_binary(kind) or pa.types.is_large_binary(kind)
    )


def _words(kind: pa.DataType) -> str:
    if not pa.types.is_struct(kind):
        return f"a {kind}"
    return f"an object; name one of its fields: {', '.join(field.name for field in kind)}"


def _inside(held: str | None, keys: Sequence[str]) -> str | None:
    """What JSON text holds there, as text; None where there is nothing."""
    value = None if held is None else json_text.decode(held)
    for key in keys:
        value = value.get(key) if isinstance(value, dict) else None
    return text(value)

"""Rows of results as lines of JSON and of CSV.

Maps are objects, bytes base64, times and spans ISO 8601; decimals keep their digits, in JSON as text.
CSV has nested values as JSON.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Iterator
from decimal import Decimal
from typing import Any

import msgspec
import pyarrow as pa

from batch import json_text, values, words

_QUOTED = re.compile(r'[",\r\n]')

_encoder = msgspec.json.Encoder(enc_hook=str)


def rows(table: pa.Table) -> list[dict[str, Any]]:
    """The rows of a table as they are written down."""
    found = values.rows(table)
    for field in table.schema:
        if _holds(field.type, pa.types.is_map):
            for row in found:
                row[field.name] = _with_objects(row[field.name], field.type)
    return found


def _with_objects(value: Any, kind: pa.DataType) -> Any:
    """A value of this type in which maps, which are lists of pairs, are objects."""
    if value is None:
        return None
    if isinstance(kind, pa.BaseExtensionType):
        return _with_objects(value, kind.storage_type)
    if pa.types.is_dictionary(kind):
        return _with_objects(value, kind.value_type)
    if pa.types.is_map(kind):
        return _object([(key, _with_objects(item, kind.item_type)) for key, item in value])
    if pa.types.is_struct(kind):
        return {field.name: _with_objects(value[field.name], field.type) for field in kind}
    if pa.types.is_nested(kind):
        return [_with_objects(each, kind.value_type) for each in value]
    return value


def _object(pairs: list[tuple[Any, Any]]) -> Any:
    """Keys are text in JSON; where that is the same for two of them, the pairs stay."""
    keys = [msgspec.to_builtins(key, enc_hook=str) for key, _ in pairs]
    texts = [key if isinstance(key, str) else json_text.encode(key) for key in keys]
    if len(set(texts)) < len(texts):
        return [{"key": key, "value": item} for key, item in pairs]
    return {text: item for text, (_, item) in zip(texts, pairs, strict=True)}


def json_lines(table: pa.Table) -> Iterator[bytes]:
    """One object a row; NaN and Infinity as Python and DuckDB write them, which is no strict JSON."""
    if is_finite(table):
        yield from (_encoder.encode(row) + b"\n" for row in rows(table))
    else:
        yield from (json_text.encode(row).encode() + b"\n" for row in rows(table))


def is_finite(table: pa.Table) -> bool:
    """Whether strict JSON has a word for all its numbers."""
    return all(map(_all_finite, table.columns))


def _all_finite(column: pa.ChunkedArray | pa.Array) -> bool:
    import pyarrow.compute as pc  # 50 ms

    kind = column.type
    if column.null_count == len(column) or not _holds(kind, pa.types.is_floating):
        return True
    if isinstance(column, pa.ChunkedArray):
        return all(map(_all_finite, column.chunks))
    if isinstance(column, pa.ExtensionArray):
        return _all_finite(column.storage)
    if pa.types.is_dictionary(kind):
        return _all_finite(column.dictionary)
    if pa.types.is_map(kind):
        return _all_finite(column.keys) and _all_finite(column.items)
    if pa.types.is_struct(kind):
        return all(map(_all_finite, column.flatten()))
    if pa.types.is_nested(kind):
        return _all_finite(column.flatten())
    wide = column.cast(pa.float64())
    return pc.all(pc.is_finite(wide)).as_py() is not False


def _holds(kind: pa.DataType, wanted: Any) -> bool:
    """Whether there is a type like this in a type, at any depth."""
    if isinstance(kind, pa.BaseExtensionType):
        return _holds(kind.storage_type, wanted)
    if pa.types.is_dictionary(kind):
        return _holds(kind.value_type, wanted)
    inside = [kind.field(at).type for at in range(kind.num_fields)]
    return wanted(kind) or any(_holds(each, wanted) for each in inside)


def csv_line(cells: Iterable[Any], *, guarded: bool = False) -> str:
    """One line of CSV: null is nothing and an empty text is `""`, by which most tell them apart.
    `guarded` keeps a spreadsheet from running what a text says.
    """
    line = ",".join(_cell(value, guarded) for value in cells)
    return f"{line or chr(34) * 2}\r\n"  # a line of nothing would be passed over


def _cell(value: Any, guarded: bool) -> str:
    if value is None:
        return ""
    if isinstance(value, float) and math.isnan(value):
        return "NaN"
    if isinstance(value, bool | int | float | Decimal):
        return str(value)
    text = words.guarded(_text(value)) if guarded else _text(value)
    if not text or _QUOTED.search(text):
        return '"' + text.replace('"', '""') + '"'
    return text


def _text(value: Any) -> str:
    if isinstance(value, str):
        return value
    if isinstance(value, list | dict):
        return json_text.encode(value)
    return str(msgspec.to_builtins(value, enc_hook=str))

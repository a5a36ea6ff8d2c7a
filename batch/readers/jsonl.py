"""JSON Lines: one JSON object a line.

The spool keeps the bytes of each line, so a resumed part decodes exactly what was read.  The
carried columns are found in the first rows; whatever does not fit them later goes to the column
`extra`, so that columns and `extra` together give back the object.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from itertools import islice
from typing import Any

import msgspec
import pyarrow as pa

from batch.model import Batch, Position, Row
from batch.readers import lines, source
from batch.readers.reading import Reading

SUFFIXES = (".jsonl", ".ndjson")
TEXT = GROWS = HAS_EXTRA = True

SCHEMA_ROWS = 1_000
MAX_COLUMNS = 1_000

SPOOL = pa.schema([("line", pa.large_binary()), ("number", pa.int64())])

EXTRA = pa.field("extra", pa.string(), metadata={b"batchmill": b"extra"})

_SURROGATE = re.compile(rb"\\u[dD][89a-fA-F]")
_JSON = {b"batchmill": b"json"}
_NAMES = {list: "an array", str: "a string", bool: "a boolean", int: "a number", float: "a number"}


size = lines.size


def read(path: str, start: Position, reading: Reading) -> Iterator[Batch]:
    texts: list[bytes | None] = []
    numbers: list[int] = []
    size, since = 0, start
    for line in lines.read(path, start):
        if line.text is not None and not line.text.strip():
            continue
        text = None if line.text is None else line.text.rstrip(b"\r\n")
        texts.append(text)
        numbers.append(line.number)
        size += len(text or b"")
        end = Position(start.file, line.offset, line.number)
        if len(texts) >= source.ROWS or size >= source.BYTES:
            yield Batch(_spooled(texts, numbers), since, end)
            texts, numbers, size, since = [], [], 0, end
    if texts:
        yield Batch(_spooled(texts, numbers), since, end)


def _spooled(texts: Sequence[bytes | None], numbers: Sequence[int]) -> pa.RecordBatch:
    return pa.record_batch(
        [pa.array(texts, pa.large_binary()), pa.array(numbers, pa.int64())], schema=SPOOL
    )


def rows(
    spooled: pa.RecordBatch, start: Position, name: str, first_index: int, folder: str | None
) -> list[Row]:
    found = []
    numbers = spooled.column(1).to_pylist()
    for index, (number, (values, fault)) in enumerate(zip(numbers, _objects(spooled), strict=True)):
        found.append(Row(first_index + index, values or {}, f"{name}:{number}", fault, folder))
    return found


def _objects(spooled: pa.RecordBatch) -> Iterator[tuple[dict[str, Any] | None, str | None]]:
    return map(_object, spooled.column(0).to_pylist())


def _object(line: bytes | None) -> tuple[dict[str, Any] | None, str | None]:
    """The object of a line, or None and what is wrong with it."""
    if line is None:
        return None, f"the line is longer than {lines.MAX_LINE >> 20} MiB"
    try:
        value = msgspec.json.decode(line)
    except msgspec.DecodeError as error:
        return None, _fault(line, error)
    except UnicodeDecodeError:
        return None, "invalid UTF-8"
    except RecursionError:
        return None, "nested too deeply"
    if isinstance(value, dict):
        return value, None
    return None, f"not a JSON object but {_NAMES.get(type(value), 'null')}"


def _fault(line: bytes, error: msgspec.DecodeError) -> str:
    # msgspec takes half a surrogate pair for the end of the text; the json module reads on
    if _SURROGATE.search(line) and _is_json(line):
        return r"half of a surrogate pair (\ud800 to \udfff), which is no character"
    return str(error)


def _is_json(line: bytes) -> bool:
    try:
        json.loads(line)
    except (ValueError, RecursionError):
        return False
    return True


def schema(paths: Sequence[str], reading: Reading) -> pa.Schema:
    kinds: dict[str, Counter[str]] = {}
    for values in islice(_values(paths, reading), SCHEMA_ROWS):
        for key, value in values.items():
            if key in kinds or len(kinds) < MAX_COLUMNS:
                kinds.setdefault(key, Counter())[_kind(value)] += 1
    return pa.schema([*(_field(key, counts) for key, counts in kinds.items()), EXTRA])


def _values(paths: Sequence[str], reading: Reading) -> Iterator[dict[str, Any]]:
    """The objects of all files.  An unreadable row counts as an empty one, so that the search
    stays short.
    """
    for path in paths:
        for batch in read(path, Position(), reading):
            for values, _ in _objects(batch.table):
                yield values or {}


def _kind(value: Any) -> str:
    match value:
        case None:
            return "null"
        case bool():
            return "bool"
        case int():
            return "int64" if _fits_int64(value) else "null"
        case float():
            return "double"
        case str():
            return "string"
    return "json"


def _field(key: str, counts: Counter[str]) -> pa.Field:
    numbers = counts["int64"] + counts["double"]
    votes = {
        "string": counts["string"],
        "json": counts["json"],
        "bool": counts["bool"],
        "number": numbers,
    }
    match max(votes, key=lambda kind: votes[kind]):
        case "json":
            return pa.field(key, pa.string(), metadata=_JSON)
        case "bool":
            return pa.field(key, pa.bool_())
        case "number":
            return pa.field(key, pa.float64() if counts["double"] else pa.int64())
    return pa.field(key, pa.string())


def carry(
    spooled: pa.RecordBatch, schema: pa.Schema, keep: frozenset[str] | None
) -> list[pa.Array]:
    objects = [values or {} for values, _ in _objects(spooled)]
    fields = [field for field in schema if not _is_extra(field)]
    names = {field.name for field in fields}
    extras = [values.keys() - names for values in objects]  # the keys that no column holds
    columns = []
    for field in fields:
        column = [values.get(field.name) for values in objects]
        if not set(map(type, column)) <= _plain_types(field):
            _take_out_misfits(field, column, extras)
        columns.append(_array(field, column))
    rest = [
        {key: values[key] for key in values if key in extra and (keep is None or key in keep)}
        if extra
        else None
        for values, extra in zip(objects, extras, strict=True)
    ]
    return [*columns, pa.array([_json(values) if values else None for values in rest], pa.string())]


def _plain_types(field: pa.Field) -> set[type]:
    """The types all of whose values fit the field."""
    if field.metadata == _JSON:
        return {dict, list, type(None)}
    if pa.types.is_boolean(field.type):
        return {bool, type(None)}
    if pa.types.is_floating(field.type):
        return {float, type(None)}
    return set() if pa.types.is_integer(field.type) else {str, type(None)}


def _take_out_misfits(field: pa.Field, column: list[Any], extras: list[set[str]]) -> None:
    fits = _fits(field)
    for index, value in enumerate(column):
        if value is not None and not fits(value):
            extras[index].add(field.name)
            column[index] = None


def _is_extra(field: pa.Field) -> bool:
    return bool((field.metadata or {}).get(b"batchmill") == b"extra")


def _fits(field: pa.Field) -> Callable[[Any], bool]:
    if field.metadata == _JSON:
        return lambda value: isinstance(value, dict | list)
    if pa.types.is_boolean(field.type):
        return lambda value: isinstance(value, bool)
    if pa.types.is_integer(field.type):
        return _fits_int64
    if pa.types.is_floating(field.type):
        return _fits_double
    return lambda value: isinstance(value, str)


def _fits_int64(value: Any) -> bool:
    return type(value) is int and -(2**63) <= value < 2**63


def _fits_double(value: Any) -> bool:
    return isinstance(value, float) or (_fits_int64(value) and int(float(value)) == value)


def _array(field: pa.Field, values: list[Any]) -> pa.Array:
    if field.metadata == _JSON:
        values = [None if value is None else _json(value) for value in values]
    return pa.array(values, field.type)


def _json(value: Any) -> str:
    return msgspec.json.encode(value).decode()

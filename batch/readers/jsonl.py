"""JSON Lines: one JSON object a line.

The spool keeps the bytes of each line, so a resumed part decodes exactly what was read.  The types
of the carried columns are found in the first rows: a column has the type that all its values there
share, and holds JSON text where they share none.  Whatever does not fit later goes to the column
`extra`, so that columns and `extra` together give back the object.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import repeat
from typing import Any

import msgspec
import pyarrow as pa

from batch import columns, json_text
from batch.model import Batch, Position, Row
from batch.readers import encodings, json_faults, json_shapes, line_count, lines, source
from batch.readers.reading import Reading
from batch.readers.stretches import Stretch, of_batches

SUFFIXES = (".jsonl", ".ndjson")
GROWS = HAS_EXTRA = True

MAX_COLUMNS = 1_000

NOTES = None

SPOOL = pa.schema([("line", pa.large_binary()), ("number", pa.int64())])

EXTRA = pa.field("extra", pa.string(), metadata={columns.ROLE: columns.EXTRA})

_SURROGATE = re.compile(rb"\\u[dD][89a-fA-F]")
_NAMES = {list: "an array", str: "a string", bool: "a boolean", int: "a number", float: "a number"}


detect = json_shapes.detect_lines
size = lines.size


def read(path: str, start: Position, reading: Reading) -> Iterator[Batch]:
    texts: list[bytes | None] = []
    numbers: list[int | None] = []
    size, since = 0, start
    for line in lines.read(path, start, reading.dialect(start.file)):
        if line.text is not None and not line.text.strip():
            continue
        text = None if line.text is None else line.text.rstrip(b"\r\n")
        texts.append(text)
        numbers.append(line.number)
        size += len(text or b"")
        end = Position(start.file, line.offset, line.number)
        if len(texts) >= source.ROWS or size >= source.BYTES:
            yield Batch(spooled(texts, numbers), since, end)
            texts, numbers, size, since = [], [], 0, end
    if texts:
        yield Batch(spooled(texts, numbers), since, end)


def stretches(path: str, start: Position, reading: Reading) -> Iterator[Stretch]:
    """By the line ends, where those can be seen in the bytes as stored."""
    dialect = reading.dialect(start.file)
    if dialect.any_end or not source.is_sought(path, dialect.encoding):
        return of_batches(read(path, start, reading))
    return line_count.stretches(path, start)


def spooled(texts: Sequence[bytes | None], numbers: Sequence[int | None]) -> pa.RecordBatch:
    return pa.record_batch(
        [pa.array(texts, pa.large_binary()), pa.array(numbers, pa.int64())], schema=SPOOL
    )


def rows(
    spooled: pa.RecordBatch,
    start: Position,
    name: str,
    first_index: int,
    folder: str | None,
    offsets: Sequence[int] | None = None,
) -> list[Row]:
    found, told = [], _of_folders(spooled).to_pylist() or repeat(None, len(spooled))
    numbers = spooled.column(spooled.num_columns - 1).to_pylist()
    behind = offsets or range(len(spooled))
    for at, more, number, (values, fault) in zip(
        behind, told, numbers, _objects(spooled), strict=True
    ):
        if more and values is not None:
            values = {**values, **{key: more[key] for key in more if key not in values}}
        found.append(Row(first_index + at, values or {}, f"{name}:{number}", fault, folder))
    return found


def _of_folders(spooled: pa.RecordBatch) -> pa.RecordBatch:
    """The columns that the names of folders give, which stand before our own."""
    return spooled.select(range(spooled.num_columns - len(SPOOL)))


def _objects(spooled: pa.RecordBatch) -> Iterator[tuple[dict[str, Any] | None, str | None]]:
    return map(_object, spooled.column(spooled.num_columns - len(SPOOL)).to_pylist())


def _object(line: bytes | None) -> tuple[dict[str, Any] | None, str | None]:
    """The object of a line, or None and what is wrong with it."""
    if line is None:
        return None, f"the line is longer than {lines.MAX_LINE >> 20} MiB"
    try:
        value = json_text.decode(line)
    except msgspec.DecodeError:
        return None, _fault(line)
    except UnicodeDecodeError:
        return None, encodings.fault(line)
    except RecursionError:
        return None, "nested too deeply"
    if isinstance(value, dict):
        return value, None
    return None, f"not a JSON object but {_NAMES.get(type(value), 'null')}"


def _fault(line: bytes) -> str:
    # msgspec takes half a surrogate pair for the end of the text; the json module reads on
    if _SURROGATE.search(line) and _is_json(line):
        return r"half of a surrogate pair (\ud800 to \udfff), which is no character"
    return json_faults.fault(line.decode())


def _is_json(line: bytes) -> bool:
    try:
        json.loads(line)
    except (ValueError, RecursionError):
        return False
    return True


def schema(paths: Sequence[str], reading: Reading, first: Iterable[Batch]) -> pa.Schema:
    """The columns of all files, by their first rows."""
    words: dict[str, set[str]] = {}
    for values in _first(first):
        for key, value in values.items():
            found = words.get(key)
            if found is None:
                if len(words) >= MAX_COLUMNS:
                    continue
                found = words[key] = set()
            found.add(_WORDS[type(value)] if type(value) is not int else _of_integer(value))
    return pa.schema([*(_field(key, found) for key, found in words.items()), EXTRA])


def _first(batches: Iterable[Batch]) -> Iterator[dict[str, Any]]:
    """The objects of the first rows.  An unreadable row counts as an empty one, so that the search
    stays short.
    """
    for batch in source.first(batches):
        for values, _ in _objects(batch.table):
            yield values or {}


_WORDS = {type(None): "null", bool: "bool", float: "double", str: "string"}
_WORDS |= {list: "json", dict: "json"}


def _of_integer(value: int) -> str:
    return "int64" if _fits_int64(value) else "larger"


def _field(key: str, words: set[str]) -> pa.Field:
    """The column of a key under which values of these kinds were found."""
    words = words - {"null"}
    if "double" in words:  # which holds integers too
        words = words - {"int64"}
    if len(words) > 1:  # for an integer larger than all others `extra` is near enough
        words = words - {"larger"} if words <= {"double", "int64", "larger"} else {"json"}
    word = words.pop() if words else "json"
    kind = KINDS.get(word, KINDS["json"])
    return pa.field(key, kind.type, metadata=kind.metadata)


class _Kind(msgspec.Struct, frozen=True):
    """A kind of column.  All values of the types in `plain` fit it, others where `fits` says so."""

    type: pa.DataType
    plain: frozenset[type]
    fits: Callable[[Any], bool]
    metadata: dict[bytes, bytes] | None = None


def _fits_int64(value: Any) -> bool:
    return type(value) is int and -(2**63) <= value < 2**63


def _fits_double(value: Any) -> bool:
    """Whether a float says exactly this, and no other integer."""
    return type(value) is float or (type(value) is int and abs(value) <= 2**53)


_EVERY = frozenset({dict, list, str, bool, int, float})

KINDS = {
    "string": _Kind(pa.string(), frozenset({str}), lambda value: False),
    "bool": _Kind(pa.bool_(), frozenset({bool}), lambda value: False),
    "int64": _Kind(pa.int64(), frozenset(), _fits_int64),
    "double": _Kind(pa.float64(), frozenset({float}), _fits_double),
    "json": _Kind(pa.string(), _EVERY, lambda value: True, {columns.ROLE: columns.JSON}),
    "nested": _Kind(pa.string(), frozenset({dict, list}), lambda value: False),
}
"""By the word that a reading has for them; `nested` are those of older runs."""


def kind_of(field: pa.Field) -> str:
    """The word for what a carried column holds."""
    role = columns.role(field)
    return str(field.type) if role is None else role.decode()


def carry(
    spooled: pa.RecordBatch, schema: pa.Schema, keep: frozenset[str] | None
) -> list[pa.Array]:
    objects = [values or {} for values, _ in _objects(spooled)]
    fields = [field for field in schema if not columns.is_extra(field)]
    told = _of_folders(spooled)
    names = {field.name for field in fields}.difference(told.schema.names)
    extras = [values.keys() - names for values in objects]  # the keys that no column holds
    arrays = []
    for field in fields:
        if field.name not in names:
            arrays.append(told.column(field.name))
            continue
        kind = KINDS[kind_of(field)]
        column = [values.get(field.name) for values in objects]
        if not set(map(type, column)) <= kind.plain | {type(None)}:
            _take_out_misfits(field.name, kind, column, extras)
        arrays.append(_array(field, column))
    rest = [
        {key: values[key] for key in values if key in extra and (keep is None or key in keep)}
        if extra
        else None
        for values, extra in zip(objects, extras, strict=True)
    ]
    texts = [json_text.encode(values) if values else None for values in rest]
    return [*arrays, pa.array(texts, pa.string())]


def _take_out_misfits(name: str, kind: _Kind, column: list[Any], extras: list[set[str]]) -> None:
    for index, value in enumerate(column):
        if value is not None and type(value) not in kind.plain and not kind.fits(value):
            extras[index].add(name)
            column[index] = None


def _array(field: pa.Field, values: list[Any]) -> pa.Array:
    if columns.role(field) is not None:
        values = [None if value is None else json_text.encode(value) for value in values]
    return pa.array(values, field.type)

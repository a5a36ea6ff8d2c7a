"""The columns of several files, united by name: types that hold the values of all, to the digit.

Where all files agree, their exact type stays.  Else text is text however it is stored, null fits
all, the wider or finer type holds the other, and lists, structs and maps are united inside.
Nothing is rounded: what a type cannot hold is refused, here or when its row is read.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import NamedTuple

import pyarrow as pa
from pyarrow import types

from batch import values
from batch.errors import InputError

HINT = "Run files of each kind on their own."

UNITS = ("s", "ms", "us", "ns")
DECIMALS = (
    (9, types.is_decimal32, pa.decimal32),
    (18, types.is_decimal64, pa.decimal64),
    (38, types.is_decimal128, pa.decimal128),
    (76, types.is_decimal256, pa.decimal256),
)
MOST_NAMED = 5
EXACT_IN_DOUBLE = 2**53
EXACT_IN_INT64 = 2**63 - 1


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
    if _is_list(one) and _is_list(other):
        return _where(path, one.value_type, other.value_type)
    return path, one, other


def both(one: pa.DataType, other: pa.DataType) -> pa.DataType | None:
    """The type that holds every value of both as it is, None where there is none.  That of large
    integers among floats is double: `rounded` tells which do not fit.
    """
    if one == other or types.is_null(other):
        return one
    if types.is_null(one):
        return other
    one, other = _stored(one), _stored(other)
    if one == other:
        return one
    for belong, united in FAMILIES:
        if belong(one) and belong(other):
            return united(one, other)
    return None


def _stored(kind: pa.DataType) -> pa.DataType:
    if isinstance(kind, pa.BaseExtensionType):
        return kind.storage_type
    return kind.value_type if types.is_dictionary(kind) else kind


def _is_text(kind: pa.DataType) -> bool:
    return bool(types.is_string(kind) or types.is_large_string(kind) or types.is_string_view(kind))


def _text(one: pa.DataType, other: pa.DataType) -> pa.DataType:
    large = types.is_large_string(one) or types.is_large_string(other)
    return pa.large_string() if large else pa.string()


def _is_bytes(kind: pa.DataType) -> bool:
    held = (types.is_binary, types.is_large_binary, types.is_binary_view)
    return types.is_fixed_size_binary(kind) or any(belongs(kind) for belongs in held)


def _bytes(one: pa.DataType, other: pa.DataType) -> pa.DataType:
    large = types.is_large_binary(one) or types.is_large_binary(other)
    return pa.large_binary() if large else pa.binary()


def _integer(one: pa.DataType, other: pa.DataType) -> pa.DataType:
    """Signed beside unsigned is signed; those of 64 bits that do not fit are few."""
    signed = [each.bit_width for each in (one, other) if types.is_signed_integer(each)]
    unsigned = [each.bit_width for each in (one, other) if types.is_unsigned_integer(each)]
    if not signed or not unsigned:
        return max((one, other), key=lambda each: each.bit_width)
    width = min(64, max(*signed, *(2 * width for width in unsigned)))
    return {16: pa.int16(), 32: pa.int32(), 64: pa.int64()}[width]


def _is_number(kind: pa.DataType) -> bool:
    return bool(types.is_integer(kind) or types.is_floating(kind))


def _number(one: pa.DataType, other: pa.DataType) -> pa.DataType:
    if types.is_floating(one) and types.is_floating(other):
        return max((one, other), key=lambda each: each.bit_width)
    return pa.float64()


def _is_decimal(kind: pa.DataType) -> bool:
    return bool(types.is_decimal(kind) or types.is_integer(kind))


def _decimal(one: pa.DataType, other: pa.DataType) -> pa.DataType | None:
    scale = max(_digits(one)[1], _digits(other)[1])
    precision = max(_digits(one)[0], _digits(other)[0]) + scale
    least = max(rank for rank, (_, is_it, _) in enumerate(DECIMALS) if is_it(one) or is_it(other))
    for most, _, made in DECIMALS[least:]:
        if precision <= most:
            return made(precision, scale)
    return None


def _digits(kind: pa.DataType) -> tuple[int, int]:
    """Before the point, and after it."""
    if types.is_decimal(kind):
        return kind.precision - kind.scale, kind.scale
    bits = kind.bit_width - types.is_signed_integer(kind)
    return len(str(2**bits - 1)), 0


def _day(one: pa.DataType, other: pa.DataType) -> pa.DataType:
    return pa.date64()


def _moment(one: pa.DataType, other: pa.DataType) -> pa.DataType | None:
    """Moments of two zones are moments in UTC; those of none are no moments."""
    if (one.tz is None) != (other.tz is None):
        return None
    return pa.timestamp(_finer(one, other), one.tz if one.tz == other.tz else "UTC")


def _time(one: pa.DataType, other: pa.DataType) -> pa.DataType:
    unit = _finer(one, other)
    return pa.time32(unit) if unit in ("s", "ms") else pa.time64(unit)


def _span(one: pa.DataType, other: pa.DataType) -> pa.DataType:
    return pa.duration(_finer(one, other))


def _finer(one: pa.DataType, other: pa.DataType) -> str:
    return UNITS[max(UNITS.index(one.unit), UNITS.index(other.unit))]


def _is_list(kind: pa.DataType) -> bool:
    return bool(types.is_list(kind) or types.is_large_list(kind) or types.is_fixed_size_list(kind))


def _list(one: pa.DataType, other: pa.DataType) -> pa.DataType | None:
    inner = _field(one.value_field, other.value_field)
    if inner is None:
        return None
    if types.is_large_list(one) or types.is_large_list(other):
        return pa.large_list(inner)
    fixed = types.is_fixed_size_list(one) and types.is_fixed_size_list(other)
    same = fixed and one.list_size == other.list_size
    return pa.list_(inner, one.list_size if same else -1)


def _struct(one: pa.DataType, other: pa.DataType) -> pa.DataType | None:
    fields: dict[str, pa.Field | None] = {field.name: field for field in one}
    more = {field.name: field for field in other}
    if len(fields) < one.num_fields or len(more) < other.num_fields:  # two of one name
        return None
    for name, field in more.items():
        fields[name] = _field(fields[name], field) if name in fields else field.with_nullable(True)
    found = [field for field in fields.values() if field is not None]
    if len(found) < len(fields):
        return None
    return pa.struct(
        [field if field.name in more else field.with_nullable(True) for field in found]
    )


def _map(one: pa.DataType, other: pa.DataType) -> pa.DataType | None:
    key, item = _field(one.key_field, other.key_field), _field(one.item_field, other.item_field)
    if key is None or item is None:
        return None
    return pa.map_(key, item, one.keys_sorted and other.keys_sorted)


def _field(one: pa.Field, other: pa.Field) -> pa.Field | None:
    kind = both(one.type, other.type)
    if kind is None:
        return None
    return pa.field(one.name, kind, one.nullable or other.nullable)


FAMILIES: tuple[
    tuple[
        Callable[[pa.DataType], bool],
        Callable[[pa.DataType, pa.DataType], pa.DataType | None],
    ],
    ...,
] = (
    (_is_text, _text),
    (_is_bytes, _bytes),
    (types.is_integer, _integer),
    (_is_number, _number),
    (_is_decimal, _decimal),
    (types.is_date, _day),
    (types.is_timestamp, _moment),
    (types.is_time, _time),
    (types.is_duration, _span),
    (_is_list, _list),
    (types.is_struct, _struct),
    (types.is_map, _map),
)
"""Types that can be united, and how; the first family that both belong to is theirs."""


def leaves(before: pa.DataType, after: pa.DataType) -> Iterator[tuple[pa.DataType, pa.DataType]]:
    """The types without parts inside a type, in the order of a Parquet file, each with what it
    became in `after`.
    """
    before, after = _stored(before), _stored(after)
    if types.is_struct(before):
        for field in before:
            yield from leaves(field.type, after.field(field.name).type)
    elif types.is_map(before):
        yield from leaves(before.key_type, after.key_type)
        yield from leaves(before.item_type, after.item_type)
    elif _is_list(before):
        yield from leaves(before.value_type, after.value_type)
    else:
        yield before, after


def most(before: pa.DataType, after: pa.DataType) -> int | None:
    """The largest absolute value of an integer that is held as it is in another type, None when all
    are.
    """
    if not types.is_integer(before) or before.bit_width < 64:
        return None
    if types.is_floating(after):
        return EXACT_IN_DOUBLE
    return EXACT_IN_INT64 if types.is_uint64(before) and types.is_int64(after) else None


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
    if kind is None or kind == _stored(known):
        return kind is not None
    return any(belongs(kind) and belongs(_stored(known)) for belongs in (_is_text, _is_bytes))


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

"""The type that holds the values of two others, to the digit.

Text is text however it is stored, null fits all, the wider or finer type holds the other, and lists,
structs and maps are united inside.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pyarrow as pa
from pyarrow import types

UNITS = ("s", "ms", "us", "ns")
DECIMALS = (
    (9, types.is_decimal32, pa.decimal32),
    (18, types.is_decimal64, pa.decimal64),
    (38, types.is_decimal128, pa.decimal128),
    (76, types.is_decimal256, pa.decimal256),
)
EXACT_IN_DOUBLE = 2**53
EXACT_IN_INT64 = 2**63 - 1


def both(one: pa.DataType, other: pa.DataType) -> pa.DataType | None:
    """The type that holds every value of both as it is, None where there is none.  That of large
    integers among floats is double: `most` tells which it does not hold.
    """
    if one == other or types.is_null(other):
        return one
    if types.is_null(one):
        return other
    one, other = stored(one), stored(other)
    if one == other:
        return one
    for belong, united in FAMILIES:
        if belong(one) and belong(other):
            return united(one, other)
    return None


def stored(kind: pa.DataType) -> pa.DataType:
    if isinstance(kind, pa.BaseExtensionType):
        return kind.storage_type
    return kind.value_type if types.is_dictionary(kind) else kind


def is_text(kind: pa.DataType) -> bool:
    return bool(types.is_string(kind) or types.is_large_string(kind) or types.is_string_view(kind))


def _text(one: pa.DataType, other: pa.DataType) -> pa.DataType:
    large = types.is_large_string(one) or types.is_large_string(other)
    return pa.large_string() if large else pa.string()


def is_bytes(kind: pa.DataType) -> bool:
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


def is_list(kind: pa.DataType) -> bool:
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
    (is_text, _text),
    (is_bytes, _bytes),
    (types.is_integer, _integer),
    (_is_number, _number),
    (_is_decimal, _decimal),
    (types.is_date, _day),
    (types.is_timestamp, _moment),
    (types.is_time, _time),
    (types.is_duration, _span),
    (is_list, _list),
    (types.is_struct, _struct),
    (types.is_map, _map),
)
"""Types that can be united, and how; the first family that both belong to is theirs."""


def leaves(before: pa.DataType, after: pa.DataType) -> Iterator[tuple[pa.DataType, pa.DataType]]:
    """The types without parts inside a type, in the order of a Parquet file, each with what it
    became in `after`.
    """
    before, after = stored(before), stored(after)
    if types.is_struct(before):
        for field in before:
            yield from leaves(field.type, after.field(field.name).type)
    elif types.is_map(before):
        yield from leaves(before.key_type, after.key_type)
        yield from leaves(before.item_type, after.item_type)
    elif is_list(before):
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

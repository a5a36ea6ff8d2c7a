"""Rows of Arrow tables as Python values, also where Python has no such value.

Python knows the years 1 to 9999, microseconds, and text that is UTF-8; files hold more.  Where a
column fits, as nearly all do, it is converted as a whole; else value by value, at any depth.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import date, timedelta
from typing import Any

import pyarrow as pa

from batch.model import Unreadable

Rows = list[dict[str, Any]]
Instead = Callable[[str, pa.Scalar], Any]
"""What stands for a value that Python has not, of a column of that name."""

REFUSALS = (ValueError, OverflowError, KeyError, pa.ArrowException)
"""How pyarrow says so; KeyError is an unknown time zone."""

PER_SECOND = {"s": 1, "ms": 10**3, "us": 10**6, "ns": 10**9}
DAY = 86_400
FOUR_CENTURIES = 146_097
"""Days after which the calendar repeats itself."""
FIRST, LAST = -62_135_596_800, 253_402_300_799
"""The seconds of the years 1 to 9999."""


def rows(table: pa.Table | pa.RecordBatch) -> Rows:
    """The rows as they are written down: what Python cannot hold to the last digit is text, in ISO
    8601 where it is a time.
    """
    return _rows(table, lambda _, scalar: _text(scalar), exact=True)


def seen(batch: pa.Table | pa.RecordBatch) -> Rows:
    """The rows as a prompt sees them: times to the microsecond; a moment that only its zone pushes
    out of Python's years is text in UTC, and what else cannot be held is Unreadable.
    """
    return _rows(batch, _asked, exact=False)


def texts(column: pa.ChunkedArray) -> pa.ChunkedArray:
    """The values of a column that is not nested as text."""
    try:
        made = column.cast(pa.string())
        made.validate(full=True)
    except REFUSALS:
        found = rows(pa.table({"": column}))
        said = [None if row[""] is None else str(row[""]) for row in found]
        return pa.chunked_array([pa.array(said, pa.string())])
    return made


def _rows(table: pa.Table | pa.RecordBatch, instead: Instead, exact: bool) -> Rows:
    coarser = [_coarser(field.type) for field in table.schema]
    if coarser == table.schema.types:
        try:
            found: Rows = table.to_pylist()
        except REFUSALS:
            pass
        else:
            return found
    names = table.schema.names
    columns = [
        _column(column, kind, name, instead, exact)
        for name, column, kind in zip(names, table.columns, coarser, strict=True)
    ]
    return [dict(zip(names, values, strict=True)) for values in zip(*columns, strict=True)]


def _column(
    column: pa.Array | pa.ChunkedArray, kind: pa.DataType, name: str, instead: Instead, exact: bool
) -> list[Any]:
    try:
        held = column if kind == column.type else column.cast(kind, safe=exact)
        found: list[Any] = held.to_pylist()
    except REFUSALS:
        return [_value(scalar, name, instead, exact) for scalar in column]
    return found


def _value(scalar: pa.Scalar, name: str, instead: Instead, exact: bool) -> Any:
    def inside(scalar: pa.Scalar) -> Any:
        return _value(scalar, name, instead, exact)

    if not scalar.is_valid:
        return None
    match scalar:
        case pa.MapScalar():
            keys, items = scalar.values.field(0), scalar.values.field(1)
            return [(inside(key), inside(item)) for key, item in zip(keys, items, strict=True)]
        case pa.ListScalar():
            return [inside(item) for item in scalar.values]
        case pa.StructScalar():
            return {field.name: inside(scalar[at]) for at, field in enumerate(scalar.type)}
        case pa.DictionaryScalar():
            return inside(scalar.value)
    return _leaf(scalar, name, instead, exact)


def _leaf(scalar: pa.Scalar, name: str, instead: Instead, exact: bool) -> Any:
    kind = _coarser(scalar.type)
    try:
        return (scalar if kind == scalar.type else scalar.cast(kind, safe=exact)).as_py()
    except REFUSALS:
        if isinstance(scalar, pa.ExtensionScalar):
            return _value(scalar.value, name, instead, exact)
        return instead(name, scalar)


def _coarser(kind: pa.DataType) -> pa.DataType:
    """The type with microseconds for nanoseconds, at any depth."""
    match kind:
        case pa.TimestampType(unit="ns"):
            return pa.timestamp("us", kind.tz)
        case pa.DurationType(unit="ns"):
            return pa.duration("us")
        case pa.Time64Type(unit="ns"):
            return pa.time64("us")
        case pa.StructType():
            return pa.struct([field.with_type(_coarser(field.type)) for field in kind])
        case pa.MapType():
            key, item = kind.key_field, kind.item_field
            key, item = (field.with_type(_coarser(field.type)) for field in (key, item))
            return pa.map_(key, item, kind.keys_sorted)
        case pa.FixedSizeListType():
            return pa.list_(_coarser_inside(kind), kind.list_size)
        case pa.LargeListType():
            return pa.large_list(_coarser_inside(kind))
        case pa.ListType():
            return pa.list_(_coarser_inside(kind))
        case pa.ListViewType():
            return pa.list_view(_coarser_inside(kind))
        case pa.LargeListViewType():
            return pa.large_list_view(_coarser_inside(kind))
        case pa.DictionaryType():
            return pa.dictionary(kind.index_type, _coarser(kind.value_type), kind.ordered)
    return kind


def _coarser_inside(kind: pa.DataType) -> pa.Field:
    return kind.value_field.with_type(_coarser(kind.value_type))


def _asked(name: str, scalar: pa.Scalar) -> Any:
    text = _text(scalar)
    match scalar.type:
        case pa.TimestampType(unit=unit, tz=zone):
            if zone and FIRST <= scalar.value // PER_SECOND[unit] <= LAST:
                return text
            return Unreadable(f"column {name}: {text} is no moment of the years 1 to 9999")
        case kind if pa.types.is_date(kind):
            return Unreadable(f"column {name}: {text} is no day of the years 1 to 9999")
        case kind if pa.types.is_temporal(kind):
            return Unreadable(f"column {name}: {text} is more than can be shown")
    if isinstance(scalar, pa.StringScalar):
        return Unreadable(f"column {name}: invalid UTF-8")
    return Unreadable(f"column {name}: {text} that cannot be shown")


def _text(scalar: pa.Scalar) -> str:
    kind = scalar.type
    match kind:
        case pa.TimestampType():
            return _moment(scalar.value, PER_SECOND[kind.unit], "Z" if kind.tz else "")
        case pa.Time64Type():
            return _moment(scalar.value, PER_SECOND[kind.unit], "").partition("T")[2]
        case pa.DurationType():
            return _span(scalar.value, PER_SECOND[kind.unit])
    if pa.types.is_date32(kind):
        return _day(scalar.value)
    if pa.types.is_date64(kind):
        return _day(scalar.value // (DAY * 1000))
    if isinstance(scalar, pa.StringScalar):
        return bytes(scalar.as_buffer()).decode(errors="backslashreplace")
    return f"a value of {kind}"


def _moment(value: int, per_second: int, zone: str) -> str:
    if abs(value) == 2**63 - 1 and per_second < 10**9:  # as DuckDB and Postgres keep it
        return "infinity" if value > 0 else "-infinity"
    seconds, rest = divmod(value, per_second)
    days, second = divmod(seconds, DAY)
    minute, hour = second // 60 % 60, second // 3600
    return f"{_day(days)}T{hour:02}:{minute:02}:{second % 60:02}{_digits(rest, per_second)}{zone}"


def _day(days: int) -> str:
    if abs(days) == 2**31 - 1:
        return "infinity" if days > 0 else "-infinity"
    cycles, rest = divmod(days, FOUR_CENTURIES)
    found = date(1970, 1, 1) + timedelta(rest)
    year = found.year + 400 * cycles
    return f"{'-' if year < 0 else ''}{abs(year):04}-{found:%m-%d}"


def _span(value: int, per_second: int) -> str:
    seconds, rest = divmod(abs(value), per_second)
    return f"{'-' if value < 0 else ''}PT{seconds}{_digits(rest, per_second)}S"


def _digits(rest: int, per_second: int) -> str:
    return f".{rest:0{len(str(per_second)) - 1}}" if rest else ""

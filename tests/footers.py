"""The footer of a Parquet file, taken apart and put together again (Thrift's compact protocol), to
make files whose footer lies.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

Struct = dict[int, list[Any]]
"""Field -> [type, value]; a list is (type of its elements, elements)."""

NUM_ROWS, ROW_GROUPS = 3, 4
OF_GROUP = {"columns": 1, "rows": 3}
META_DATA, NUM_VALUES, SIZES, OF_LEVELS = 3, 5, 16, 3

TRUE, FALSE, BYTE, INTEGERS, DOUBLE, BINARY, LISTS, STRUCT = 1, 2, 3, (4, 5, 6), 7, 8, (9, 10), 12


def changed(path: Path, change: Callable[[Struct], object]) -> None:
    """Change the footer of a file, and nothing else."""
    whole = path.read_bytes()
    start = len(whole) - 8 - int.from_bytes(whole[-8:-4], "little")
    footer, _ = _struct(whole, start)
    change(footer)
    made = _written(footer)
    path.write_bytes(whole[:start] + made + len(made).to_bytes(4, "little") + b"PAR1")


def rows(footer: Struct, count: int) -> None:
    """Let the file say that it has so many rows."""
    footer[NUM_ROWS][1] = count


def rows_of_group(footer: Struct, group: int, count: int) -> None:
    """Let a row group, and so the file, say that it has so many rows."""
    about = _group(footer, group)[OF_GROUP["rows"]]
    footer[NUM_ROWS][1] += count - about[1]
    about[1] = count


def values(footer: Struct, group: int, column: int, count: int) -> None:
    """Let a column of a row group say that it has so many values."""
    columns(footer, group)[column][META_DATA][1][NUM_VALUES][1] = count


def level_more(footer: Struct, group: int, column: int) -> None:
    """Let a column of a row group count the values of a level that it has not."""
    about = columns(footer, group)[column][META_DATA][1]
    about[SIZES][1][OF_LEVELS][1][1].append(5)


def columns(footer: Struct, group: int) -> list[Struct]:
    """What a row group says of its columns."""
    found: list[Struct] = _group(footer, group)[OF_GROUP["columns"]][1][1]
    return found


def _group(footer: Struct, group: int) -> Struct:
    found: Struct = footer[ROW_GROUPS][1][1][group]
    return found


def _struct(text: bytes, at: int) -> tuple[Struct, int]:
    fields: Struct = {}
    number = 0
    while head := text[at]:
        at += 1
        if head >> 4:
            number += head >> 4
        else:
            number, at = _integer(text, at)
        value, at = _value(text, at, head & 15)
        fields[number] = [head & 15, value]
    return fields, at + 1


def _value(text: bytes, at: int, kind: int) -> tuple[Any, int]:
    if kind in (TRUE, FALSE):
        return None, at
    if kind == BYTE:
        return text[at], at + 1
    if kind in INTEGERS:
        return _integer(text, at)
    if kind == DOUBLE:
        return text[at : at + 8], at + 8
    if kind == BINARY:
        size, at = _unsigned(text, at)
        return text[at : at + size], at + size
    if kind == STRUCT:
        return _struct(text, at)
    return _list(text, at)


def _list(text: bytes, at: int) -> tuple[tuple[int, list[Any]], int]:
    size, kind = text[at] >> 4, text[at] & 15
    at += 1
    if size == 15:
        size, at = _unsigned(text, at)
    found = []
    for _ in range(size):
        value, at = _value(text, at, BYTE if kind in (TRUE, FALSE) else kind)
        found.append(value)
    return (kind, found), at


def _unsigned(text: bytes, at: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        value |= (text[at] & 127) << shift
        at, shift = at + 1, shift + 7
        if text[at - 1] < 128:
            return value, at


def _integer(text: bytes, at: int) -> tuple[int, int]:
    value, at = _unsigned(text, at)
    return (value >> 1) ^ -(value & 1), at


def _written(fields: Struct) -> bytes:
    made, before = b"", 0
    for number, (kind, value) in sorted(fields.items()):
        assert 0 < number - before < 16
        made += bytes([number - before << 4 | kind]) + _of(kind, value)
        before = number
    return made + b"\0"


def _of(kind: int, value: Any) -> bytes:
    if kind in (TRUE, FALSE):
        return b""
    if kind == BYTE:
        return bytes([value])
    if kind in INTEGERS:
        return _varint(value << 1 ^ value >> 63)
    if kind == DOUBLE:
        return bytes(value)
    if kind == BINARY:
        return _varint(len(value)) + bytes(value)
    if kind == STRUCT:
        return _written(value)
    inner, found = value
    size = len(found)
    head = bytes([size << 4 | inner]) if size < 15 else bytes([15 << 4 | inner]) + _varint(size)
    return head + b"".join(_of(BYTE if inner in (TRUE, FALSE) else inner, each) for each in found)


def _varint(value: int) -> bytes:
    made = bytearray()
    while value > 127:
        made.append(value & 127 | 128)
        value >>= 7
    return bytes([*made, value])

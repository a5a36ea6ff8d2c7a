"""Whether a row group of a Parquet file holds as many values as its footer says.

Readers believe the footer: of pages that hold more, they drop the rest without a word.  So the
headers of the pages are counted (Thrift's compact protocol), which are a few bytes before each.
What cannot be followed is left to the reader to judge.
"""

from __future__ import annotations

from typing import Any

import pyarrow.parquet as pq

HEADER = 256
"""Bytes of a header that are read at first: most are shorter, statistics can be longer."""
MOST_HEADER = 1 << 20

DATA, DATA_V2 = 0, 3
"""Types of pages that hold values; each says their number in a struct of its own."""
TYPE, COMPRESSED, OF_DATA, OF_DATA_V2 = 1, 3, 5, 8
VALUES, ROWS_V2 = 1, 3
"""Numbers of fields."""


def fault(file: Any | None, metadata: pq.FileMetaData, group: int) -> str | None:
    """What of a row group contradicts the footer, in words; None where nothing does.  `file` is the
    open file, None where its pages are not to be counted.
    """
    about = metadata.row_group(group)
    if about.num_columns != metadata.num_columns:
        return f"has {about.num_columns} columns, the schema {metadata.num_columns}"
    for index in range(about.num_columns):
        column = about.column(index)
        flat = metadata.schema.column(index).max_repetition_level == 0
        words = f"of column {column.path_in_schema!r}"
        if flat and column.num_values != about.num_rows:
            return f"has {about.num_rows} rows and {column.num_values} values {words}"
        found = None if file is None else _counted(file, column)
        if found is not None and found != column.num_values:
            return f"says {column.num_values} values {words}, its pages hold {found}"
    return None


def _counted(file: Any, column: pq.ColumnChunkMetaData) -> int | None:
    """The values in the pages of a column chunk; None where they cannot be followed."""
    at = column.data_page_offset
    if column.has_dictionary_page and 0 < column.dictionary_page_offset < at:
        at = column.dictionary_page_offset
    end, values = at + column.total_compressed_size, 0
    try:
        while at < end:
            header, size = _header(file, at)
            kind = header[TYPE]
            if kind in (DATA, DATA_V2):
                values += header[OF_DATA if kind == DATA else OF_DATA_V2][VALUES]
            at += size + max(0, header[COMPRESSED])
    except (IndexError, KeyError, TypeError, RecursionError):
        return None
    return values if at == end else None


def _header(file: Any, at: int) -> tuple[dict[int, Any], int]:
    """The header of the page at an offset, and its size.  Raises IndexError where it has no end."""
    length = HEADER
    while True:
        text = file.read_at(length, at)
        try:
            return _struct(text)
        except IndexError:
            if len(text) < length or length >= MOST_HEADER:
                raise
            length *= 16


def _struct(text: bytes, at: int = 0) -> tuple[dict[int, Any], int]:
    """The fields of a struct by number, and where it ends: Thrift's compact protocol, as far as headers
    of pages need it.  Raises IndexError at the end of the text.
    """
    fields: dict[int, Any] = {}
    number = 0
    while head := text[at]:
        at += 1
        kind, further = head & 15, head >> 4
        if further:
            number += further
        else:
            number, at = _integer(text, at)
        if kind in (4, 5, 6):
            fields[number], at = _integer(text, at)
        elif kind == 12:
            fields[number], at = _struct(text, at)
        elif kind in (1, 2):
            fields[number] = kind == 1
        elif kind == 3:
            fields[number], at = text[at], at + 1
        elif kind in (7, 8):
            size, at = (8, at) if kind == 7 else _unsigned(text, at)
            fields[number], at = None, at + size
            if at > len(text):
                raise IndexError
        else:
            raise KeyError(kind)  # lists, sets and maps are in no header of a page
    return fields, at + 1


def _unsigned(text: bytes, at: int) -> tuple[int, int]:
    """A number, and where it ends."""
    value = shift = 0
    while (byte := text[at]) > 127:
        value |= (byte & 127) << shift
        shift += 7
        at += 1
    return value | byte << shift, at + 1


def _integer(text: bytes, at: int) -> tuple[int, int]:
    value, at = _unsigned(text, at)
    return (value >> 1) ^ -(value & 1), at

"""Whether a row group of a Parquet file holds as many values as its footer says.

Readers believe the footer: of pages that hold more, they drop the rest without a word.  So the
headers of the pages are counted (Thrift's compact protocol), which are a few bytes before each.
What cannot be followed is left to the reader to judge.
"""

from __future__ import annotations

from collections.abc import Iterator
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
    except (IndexError, KeyError, TypeError):
        return None
    return values if at == end else None


def _header(file: Any, at: int) -> tuple[dict[int, Any], int]:
    """The header of the page at an offset, and its size.  Raises IndexError where it has no end."""
    length = HEADER
    while True:
        text = file.read_at(length, at)
        try:
            return _Compact(text).struct()
        except IndexError:
            if len(text) < length or length >= MOST_HEADER:
                raise
            length *= 16


class _Compact:
    """Thrift's compact protocol, as far as headers of pages need it."""

    def __init__(self, text: bytes) -> None:
        self._text = text
        self._at = 0

    def struct(self) -> tuple[dict[int, Any], int]:
        """The fields by number, and where the struct ends.  Raises IndexError at the end of the
        text.
        """
        return dict(self._fields()), self._at

    def _fields(self) -> Iterator[tuple[int, Any]]:
        number = 0
        while head := self._byte():
            number = number + (head >> 4) if head >> 4 else self._integer()
            yield number, self._value(head & 15)

    def _value(self, kind: int) -> Any:
        match kind:
            case 1 | 2:
                return kind == 1
            case 3:
                return self._byte()
            case 4 | 5 | 6:
                return self._integer()
            case 7:
                return self._skip(8)
            case 8:
                return self._skip(self._unsigned())
            case 12:
                return dict(self._fields())
        raise KeyError(kind)  # lists, sets and maps are in no header of a page

    def _skip(self, size: int) -> None:
        self._at += size
        if self._at > len(self._text):
            raise IndexError

    def _byte(self) -> int:
        self._at += 1
        return self._text[self._at - 1]

    def _unsigned(self) -> int:
        value = shift = 0
        while True:
            byte = self._byte()
            value |= (byte & 127) << shift
            shift += 7
            if byte < 128:
                return value

    def _integer(self) -> int:
        value = self._unsigned()
        return (value >> 1) ^ -(value & 1)

"""The lines of a text file, with the position after each: what JSONL and CSV have in common.

A line longer than MAX_LINE is passed over a piece at a time and never held; it arrives as None.
"""

from __future__ import annotations

import io
from collections.abc import Iterator
from typing import NamedTuple

from batch.errors import InputError
from batch.model import Position
from batch.readers import source

MAX_LINE = 64 << 20

_BOM = b"\xef\xbb\xbf"
_UTF16 = (b"\xff\xfe", b"\xfe\xff")


class Line(NamedTuple):
    """`text` has its end of line and no BOM; `offset` is where the next line starts."""

    text: bytes | None
    number: int
    offset: int


def read(path: str, start: Position) -> Iterator[Line]:
    offset, number = start.offset, start.line
    stream = _open(path, start)
    with stream:
        while True:
            text, size = _next(stream, path, number)
            if not size:
                return
            if offset == 0 and text is not None:
                text = _without_bom(text, path)
            offset, number = offset + size, number + 1
            yield Line(text, number, offset)


def _open(path: str, start: Position) -> io.BufferedReader:
    try:
        return source.open_text(path, start.offset)
    except source.READ_FAULTS as error:
        raise _unreadable(path, start.line, error) from error


def _next(stream: io.BufferedReader, path: str, number: int) -> tuple[bytes | None, int]:
    """A line and its size; None for one that is too long, size 0 at the end of the file."""
    try:
        text = stream.readline(MAX_LINE + 1)
        size = len(text)
        if size <= MAX_LINE:
            return text, size
        last, text = text[-1:], b""
        while last not in (b"", b"\n"):
            piece = stream.readline(source.BYTES)
            last, size = piece[-1:], size + len(piece)
        return None, size
    except source.READ_FAULTS as error:
        raise _unreadable(path, number, error) from error


def _without_bom(text: bytes, path: str) -> bytes:
    if text.startswith(_UTF16):
        raise InputError(
            f"{source.basename(path)}: UTF-16 text; the input must be UTF-8",
            hint="Convert it: iconv -f UTF-16 -t UTF-8 FILE > NEW_FILE",
        )
    return text.removeprefix(_BOM)


def _unreadable(path: str, number: int, error: BaseException) -> InputError:
    return InputError(f"{source.basename(path)}: {source.cause(error)}, near line {number + 1}")


def size(path: str) -> int | None:
    """Bytes of the text; unknown where it is compressed."""
    if source.compression(path):
        return None
    with source.open_seekable(path) as file:
        return int(file.size())

"""The lines of a text file, with the position after each: what JSONL, CSV and plain lines have in
common.

A line longer than MAX_LINE is passed over a piece at a time and never held; it arrives as None.
"""

from __future__ import annotations

import io
from collections.abc import Iterator

import msgspec

from batch.errors import InputError
from batch.model import Position
from batch.readers import encodings, kinds, source
from batch.readers.reading import OLD, Dialect, TextOptions

MAX_LINE = 64 << 20

_BOM = b"\xef\xbb\xbf"

_Sized = Iterator[tuple[bytes | None, int]]
"""Lines and their sizes; None for one that is too long."""


class Block(msgspec.Struct, frozen=True):
    """So many whole `lines`; `text` is UTF-8 without BOM, and None for a single one that is too long.
    `offset` and `number` are where it starts, and the lines before it; `end` is where the next one
    starts.
    """

    text: bytes | None
    lines: int
    number: int
    offset: int
    end: int


class Line(msgspec.Struct, frozen=True):
    """`text` is UTF-8, has its end of line and no BOM; `offset` is where the next line starts."""

    text: bytes | None
    number: int
    offset: int


def detect(path: str, options: TextOptions) -> tuple[Dialect, bytes]:
    """How the text of a file is encoded, and its first bytes.  Raises InputError."""
    head = source.head(path)
    if options.encoding is not None:
        return Dialect(options.encoding), head
    encoding, probably = encodings.found(head, source.basename(path))
    return Dialect(encoding, probably=probably), head


def read(path: str, start: Position, dialect: Dialect = OLD) -> Iterator[Line]:
    offset, number = start.offset, start.line
    try:
        with source.open_text(path, start.offset, dialect.encoding) as stream:
            for text, size in _any_end(stream) if dialect.any_end else _newline(stream):
                if offset == 0 and text is not None:
                    text = text.removeprefix(_BOM)
                offset, number = offset + size, number + 1
                yield Line(text, number, offset)
    except source.READ_FAULTS as error:
        raise _unreadable(path, number, error) from error


def blocks(path: str, start: Position) -> Iterator[Block]:
    """The same lines of plain UTF-8, where only a newline ends one, about BYTES at a time."""
    offset, number = start.offset, start.line
    try:
        with source.open_text(path, start.offset) as stream:
            for text, size in _whole(stream):
                end = offset + size
                if offset == 0 and text is not None:
                    text = text.removeprefix(_BOM)
                    offset = size - len(text)
                count = 1 if text is None else text.count(b"\n") + (not text.endswith(b"\n"))
                yield Block(text, count, number, offset, end)
                offset, number = end, number + count
    except source.READ_FAULTS as error:
        raise _unreadable(path, number, error) from error


def _unreadable(path: str, number: int, error: BaseException) -> InputError:
    place = f"{source.basename(path)}: {source.cause(error)}, near line {number + 1}"
    return InputError(place, hint=kinds.not_compressed(path))


def _newline(stream: io.BufferedReader) -> _Sized:
    while text := stream.readline(MAX_LINE + 1):
        size = len(text)
        if size <= MAX_LINE:
            yield text, size
            continue
        yield None, size + _passed_over(stream, text[-1:])


def _passed_over(stream: io.BufferedReader, last: bytes) -> int:
    """Go on to the end of a line of which `last` was read; gives how many bytes that were."""
    size = 0
    while last not in (b"", b"\n"):
        piece = stream.readline(source.BYTES)
        last, size = piece[-1:], size + len(piece)
    return size


def _whole(stream: io.BufferedReader) -> _Sized:
    """As many whole lines at a time as begin in BYTES; one that is too long comes alone."""
    while text := stream.read(source.BYTES):
        begin = text.rfind(b"\n") + 1
        held = len(text) - begin  # of a line that goes on
        more = stream.readline(MAX_LINE + 1 - held) if held else b""
        if held + len(more) <= MAX_LINE:
            text += more
            yield text, len(text)
            continue
        if begin:
            yield text[:begin], begin
        text = b""
        yield None, held + len(more) + _passed_over(stream, more[-1:])


def _any_end(stream: io.BufferedReader) -> _Sized:
    """As `_newline`, where a CR ends a line also without a newline."""
    held, passed = b"", 0  # what a line has so far, and how much of it was passed over
    while piece := stream.read1(source.BYTES):
        *whole, held = (held + piece).splitlines(keepends=True)
        if held.endswith(b"\n"):  # a CR may have its newline in the next piece
            whole.append(held)
            held = b""
        for text in whole:
            size, passed = len(text) + passed, 0
            yield None if size > MAX_LINE else text, size
        if len(held) > MAX_LINE:
            passed, held = passed + len(held) - 1, held[-1:]
    if held:
        yield None if passed else held, len(held) + passed


def size(path: str) -> int:
    """Bytes of the file as it is stored."""
    with source.open_seekable(path) as file:
        return int(file.size())

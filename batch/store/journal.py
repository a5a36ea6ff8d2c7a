"""The journal of an open part: one line a result, `crc32 json`, after a first line that says whose
it is.

A line counts when its CRC fits.  A torn tail is what a kill leaves; a bad line with good ones
behind it is damage that costs one row one more request, and is reported.
"""

from __future__ import annotations

import zlib
from array import array
from collections.abc import Iterator
from pathlib import Path

import msgspec

from batch.errors import Damaged
from batch.model import Position, Result
from batch.store import files

READ_AHEAD = 1 << 18
"""Bytes; the results of neighbouring rows lie near each other."""


class Header(msgspec.Struct, frozen=True):
    """Whose results these are: a part, and where its slice of the input begins.

    `generation` is that of the part which sealing will make.
    """

    part: int
    generation: int
    start_row: int
    start: Position


class Entry(msgspec.Struct, frozen=True, gc=False):
    """Where the result of `row` lies in the file, CRC excluded."""

    row: int
    offset: int
    length: int


class Scan(msgspec.Struct, frozen=True):
    """What a journal holds.  `bad_lines` have good ones behind them; a torn tail is not counted.

    `header` is None when the first line is not whole.
    """

    header: Header | None
    entries: list[Entry]
    bad_lines: int
    torn: bool = False


class _RowOnly(msgspec.Struct):
    row: int


_encoder = msgspec.json.Encoder()
_row_decoder = msgspec.json.Decoder(_RowOnly)
_result_decoder = msgspec.json.Decoder(Result)


def line(value: Header | Result) -> bytes:
    """One line of a journal."""
    encoded = _encoder.encode(value)
    return b"%08x %s\n" % (zlib.crc32(encoded), encoded)


class Index:
    """Where the results of a journal lie: what `scan` would find, in 24 bytes each."""

    def __init__(self) -> None:
        self._values = array("q")

    def add(self, row: int, offset: int, line: bytes) -> None:
        """A line that begins at `offset` holds the result of `row`."""
        self._values.extend((row, offset + 9, len(line) - 10))

    def entries(self) -> Iterator[Entry]:
        values = iter(self._values)
        return map(Entry, values, values, values)


def scan(path: Path) -> Scan:
    """The good lines of a journal, in order; of none when there is no such file."""
    header: Header | None = None
    entries: list[Entry] = []
    bad = bad_so_far = 0
    for offset, found in _lines(path):
        if found is None:
            bad_so_far += 1
        elif offset == 0 and _is_header(found):
            header = msgspec.json.decode(found, type=Header)
        else:
            bad, bad_so_far = bad + bad_so_far, 0
            entries.append(Entry(_row_decoder.decode(found).row, offset + 9, len(found)))
    return Scan(header, entries, bad, bad_so_far > 0)


def results(path: Path, entries: list[Entry]) -> Iterator[Result]:
    """The results at `entries`, in that order.  Raises Damaged."""
    with files.stored(path, READ_AHEAD) as file:
        for entry in entries:
            file.seek(entry.offset - 9)
            found = payload(file.read(entry.length + 10))
            if found is None:
                raise Damaged(
                    f"{path}: the result of row {entry.row} has changed since it was written"
                )
            yield _result_decoder.decode(found)


def good_results(path: Path) -> Iterator[bytes]:
    """The lines of results that count, as they stand."""
    for found in payloads(path):
        yield b"%08x %s\n" % (zlib.crc32(found), found)


def payloads(path: Path) -> Iterator[bytes]:
    """The JSON of the results that count."""
    for offset, found in _lines(path):
        if found is not None and (offset or not _is_header(found)):
            yield found


def damaged_lines(path: Path) -> Iterator[bytes]:
    """The lines that do not count, as they stand; not the torn tail that a kill leaves."""
    for offset, raw in _raw_lines(path):
        if raw[-1:] == b"\n" and _counted(offset, raw) is None:
            yield raw


def _is_header(payload: bytes) -> bool:
    return payload.startswith(b'{"part":')


def _lines(path: Path) -> Iterator[tuple[int, bytes | None]]:
    """(offset, payload) a line; payload None where the line does not count."""
    for offset, raw in _raw_lines(path):
        yield offset, _counted(offset, raw)


def _counted(offset: int, raw: bytes) -> bytes | None:
    """The JSON of a whole line, be it a result or, first of all, a header."""
    found = payload(raw)
    if found is None or (offset and _is_header(found)):
        return None
    return found


def _raw_lines(path: Path) -> Iterator[tuple[int, bytes]]:
    try:
        file = files.stored(path)
    except FileNotFoundError:
        return
    offset = 0
    with file, files.readable(path):
        for raw in file:
            yield offset, raw
            offset += len(raw)


def payload(raw: bytes) -> bytes | None:
    """The JSON of a line; None where the line is not whole."""
    found = raw[9:-1]
    return found if raw[:9] == b"%08x " % zlib.crc32(found) and raw[-1:] == b"\n" else None

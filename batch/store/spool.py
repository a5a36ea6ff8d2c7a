"""The spool of an open part: its slice of the input as read, so that it resumes without the input.

An Arrow IPC stream.  The schema's metadata say where the slice starts.  The metadata of each batch say
where it starts and ends in the input, and carry a CRC.  A torn tail is cut off at the next start.
"""

from __future__ import annotations

import io
import zlib
from collections.abc import Generator, Sequence
from pathlib import Path

import msgspec
import pyarrow as pa

from batch.errors import StorageError
from batch.model import Batch, Position
from batch.store import files

KEY = b"batchmill"

Batches = Generator[Batch, None, None]


class Start(msgspec.Struct, frozen=True):
    """Where a part's slice of the input begins, and the generation of its journal."""

    part: int
    generation: int
    start_row: int
    position: Position


class _Mark(msgspec.Struct, omit_defaults=True):
    start: Position
    end: Position
    crc: int
    offsets: Sequence[int] | None = None


class SpoolWriter:
    """Batches in, bytes out: what `add` returns is to be appended to the file."""

    def __init__(self, start: Start) -> None:
        self._start = start
        self._sink = _Sink()
        self._stream: pa.ipc.RecordBatchStreamWriter | None = None

    def add(self, batch: Batch) -> bytes:
        """The bytes of one more batch, preceded by the stream's head if it is the first."""
        if self._stream is None:
            head = {**(batch.table.schema.metadata or {}), KEY: msgspec.json.encode(self._start)}
            self._schema = batch.table.schema.with_metadata(head)
            self._stream = pa.ipc.new_stream(self._sink, self._schema)
        table = batch.table.replace_schema_metadata(self._schema.metadata)
        mark = _Mark(batch.start, batch.end, zlib.crc32(table.serialize()), batch.offsets)
        self._stream.write_batch(table, custom_metadata={KEY: msgspec.json.encode(mark)})
        return self._sink.taken()


def read(path: Path) -> tuple[Start, Batches] | None:
    """Where the slice starts and its whole batches, up to the first that is torn; None when
    there is no whole head.  The file is mapped until all batches are taken, or `close` is called.
    """
    try:
        stream = pa.ipc.open_stream(files.mapped(path))
        start = msgspec.json.decode((stream.schema.metadata or {})[KEY], type=Start)
    except (pa.ArrowException, OSError, StorageError, KeyError, ValueError):
        return None
    return start, _batches(stream)


def _batches(stream: pa.ipc.RecordBatchStreamReader) -> Batches:
    while True:
        try:
            table, metadata = stream.read_next_batch_with_custom_metadata()
            mark = msgspec.json.decode(metadata[KEY], type=_Mark)
            table.validate()
        except (StopIteration, pa.ArrowException, OSError, KeyError, TypeError, ValueError):
            return
        if zlib.crc32(table.serialize()) != mark.crc:
            return
        yield Batch(table, mark.start, mark.end, mark.offsets)


class _Sink(io.RawIOBase):
    """Keeps what Arrow writes until it is taken."""

    def __init__(self) -> None:
        self._pieces: list[bytes] = []

    def writable(self) -> bool:
        return True

    def write(self, data: object) -> int:
        piece = bytes(data)  # type: ignore[call-overload]
        self._pieces.append(piece)
        return len(piece)

    def taken(self) -> bytes:
        pieces, self._pieces = self._pieces, []
        return b"".join(pieces)

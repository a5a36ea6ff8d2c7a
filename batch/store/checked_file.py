"""A file for pyarrow to write a Parquet file into, under the eyes of the Disk."""

from __future__ import annotations

import io
from collections.abc import Callable
from typing import BinaryIO

AT_ONCE = 1 << 16
"""Bytes that are written together.  pyarrow gives some hundred small pieces for each row group."""


class CheckedFile(io.RawIOBase):
    """One whose writes pass `write_all`, which writes all of what it is given or raises.  Up to
    AT_ONCE bytes are held until `flush`, `seek` or a read; `close` drops them.
    """

    def __init__(self, write_all: Callable[[BinaryIO, memoryview], None], file: BinaryIO) -> None:
        self._write_all = write_all
        self._file = file
        self._held = bytearray()
        self.name = file.name

    def writable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def readable(self) -> bool:
        return True

    def write(self, data: object) -> int:
        self._checkClosed()
        view = memoryview(data).cast("B")  # type: ignore[arg-type]
        if len(self._held) + len(view) > AT_ONCE:
            self.flush()
        if len(view) > AT_ONCE:
            self._write_all(self._file, view)
        else:
            self._held += view
        return len(view)

    def flush(self) -> None:
        held, self._held = self._held, bytearray()
        if held:
            self._write_all(self._file, memoryview(held))

    def readinto(self, buffer: object) -> int:
        self.flush()
        return self._file.readinto(buffer)  # type: ignore[attr-defined,no-any-return]

    def seek(self, offset: int, whence: int = 0) -> int:
        self.flush()
        return self._file.seek(offset, whence)

    def tell(self) -> int:
        return self._file.tell() + len(self._held)

    def fileno(self) -> int:
        return self._file.fileno()

    def close(self) -> None:
        self._held = bytearray()
        self._file.close()
        super().close()

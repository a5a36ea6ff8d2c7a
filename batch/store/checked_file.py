"""A file for pyarrow to write a Parquet file into, under the eyes of the Disk."""

from __future__ import annotations

import io
from collections.abc import Callable
from typing import BinaryIO


class CheckedFile(io.RawIOBase):
    """One whose writes pass `write_all`, which writes all of what it is given or raises."""

    def __init__(self, write_all: Callable[[BinaryIO, memoryview], None], file: BinaryIO) -> None:
        self._write_all = write_all
        self._file = file
        self.name = file.name

    def writable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def readable(self) -> bool:
        return True

    def write(self, data: object) -> int:
        view = memoryview(data).cast("B")  # type: ignore[arg-type]
        self._write_all(self._file, view)
        return len(view)

    def readinto(self, buffer: object) -> int:
        return self._file.readinto(buffer)  # type: ignore[attr-defined,no-any-return]

    def seek(self, offset: int, whence: int = 0) -> int:
        return self._file.seek(offset, whence)

    def tell(self) -> int:
        return self._file.tell()

    def fileno(self) -> int:
        return self._file.fileno()

    def close(self) -> None:
        self._file.close()
        super().close()

"""The disk: every change of a run folder is made here (write, fsync, rename, unlink, mkdir), and every
file of it is opened here for reading.

A change is durable only when its bytes and the folder that names it are synced, so each method says
what is durable when it returns.  Tests hand in a Disk that fails at the k-th call, or forgets what
was not synced.
"""

from __future__ import annotations

import errno
import io
import os
from collections.abc import Callable, Iterable
from functools import partial
from pathlib import Path
from typing import BinaryIO, TypeVar

import pyarrow as pa
import pyarrow.parquet as pq

from batch.errors import StorageError

T = TypeVar("T")


class Disk:
    """The file system.  Raises StorageError for whatever it refuses, and from then on for everything:
    after a write or fsync that failed nobody knows what the kernel still holds.
    """

    def __init__(self) -> None:
        self._refusal: StorageError | None = None

    def append(self, path: Path, data: bytes) -> None:
        """Add `data` to the end of `path`, which exists; durable on return."""
        with self._open(path, "ab") as file:
            self.write_all(file, data)
            self._sync(file, path)

    def open_notes(self, path: Path) -> BinaryIO:
        """A file to add lines to, made if it is not there; the caller closes it."""
        return self._open(path, "ab")

    def note(self, file: BinaryIO, data: bytes) -> None:
        """Add `data` to what `open_notes` opened.  It survives a kill of the process, and is durable
        only when the system writes it.
        """
        if self._refusal is not None:
            raise self._refusal
        try:
            written = self.write(file, memoryview(data))
        except OSError as error:
            self._refusal = refused(error, Path(file.name))
            raise self._refusal from None
        if written < len(data):
            self.write_all(file, data[written:])

    def put(self, path: Path, pieces: Iterable[bytes], temporary: Path) -> None:
        """Make `pieces` the whole content of `path`, all or nothing; durable on return.

        `temporary` is a folder of the same file system for the bytes on their way.
        """
        draft = temporary / path.name
        with self._open(draft, "wb") as file:
            for piece in pieces:
                self.write_all(file, piece)
            self._sync(file, draft)
        self.rename(draft, path)

    def create(self, path: Path) -> BinaryIO:
        """A new file to write to piece by piece; `finish` makes it durable."""
        return _CheckedFile(self, self._open(path, "w+b"))  # type: ignore[return-value]

    def write_all(self, file: BinaryIO, data: bytes | memoryview) -> None:
        """Add `data` to what `create` opened."""
        view = memoryview(data)
        while view:
            view = view[self._try(partial(self.write, file, view), Path(file.name)) :]

    def finish(self, file: BinaryIO, path: Path) -> None:
        """Sync and close what `create` opened."""
        self._sync(file, path)
        file.close()

    def rename(self, old: Path, new: Path) -> None:
        """Move a file within the file system, over whatever was there; durable on return."""
        self._try(lambda: self._rename(old, new), new)
        self.sync_folder(new.parent)

    def remove(self, path: Path) -> None:
        """Remove a file, if it is there.  Durable with the next sync of its folder."""
        self._try(lambda: self._unlink(path), path)

    def remove_folder(self, folder: Path) -> None:
        """Remove a folder and the files in it; durable on return."""
        for path in sorted(folder.iterdir()):
            self.remove(path)
        self._try(lambda: self._rmdir(folder), folder)
        self.sync_folder(folder.parent)

    def make_folder(self, folder: Path) -> None:
        """Make a folder and its parents, if they are not there; durable on return."""
        if folder.is_dir():
            return
        if not folder.parent.is_dir():
            self.make_folder(folder.parent)
        self._try(lambda: self._mkdir(folder), folder)
        self.sync_folder(folder.parent)

    def sync_folder(self, folder: Path) -> None:
        """Make durable which files `folder` names."""
        if os.name == "nt":  # Windows has no handle to sync a folder by
            return
        self._try(lambda: self._fsync_folder(folder), folder)

    def _open(self, path: Path, mode: str) -> BinaryIO:
        return self._try(lambda: self.open(path, mode), path)

    def _sync(self, file: BinaryIO, path: Path) -> None:
        self._try(lambda: self.fsync(file), path)

    def _try(self, call: Callable[[], T], path: Path) -> T:
        if self._refusal is not None:
            raise self._refusal
        try:
            return call()
        except OSError as error:
            self._refusal = refused(error, path)
            raise self._refusal from None

    # What a test replaces.

    def open(self, path: Path, mode: str) -> BinaryIO:
        return open(path, mode, buffering=0)  # type: ignore[return-value]  # noqa: PTH123

    def write(self, file: BinaryIO, data: memoryview) -> int:
        return file.write(data)

    def fsync(self, file: BinaryIO) -> None:
        os.fsync(file.fileno())

    def _fsync_folder(self, folder: Path) -> None:
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)

    def _rename(self, old: Path, new: Path) -> None:
        old.replace(new)

    def _unlink(self, path: Path) -> None:
        path.unlink(missing_ok=True)

    def _mkdir(self, folder: Path) -> None:
        folder.mkdir(exist_ok=True)

    def _rmdir(self, folder: Path) -> None:
        folder.rmdir()


class _CheckedFile(io.RawIOBase):
    """A file whose writes pass the Disk, for pyarrow to write a Parquet file into."""

    def __init__(self, disk: Disk, file: BinaryIO) -> None:
        self._disk = disk
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
        self._disk.write_all(self._file, view)
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


# Reading, which changes nothing


def content(path: Path) -> bytes | None:
    """All that is in a file; None where there is none."""
    try:
        return path.read_bytes()
    except (FileNotFoundError, NotADirectoryError):
        return None


def stored(path: Path, buffering: int = -1) -> BinaryIO:
    """A file to read piece by piece.  Raises OSError."""
    return path.open("rb", buffering=buffering)


def mapped(path: Path) -> pa.MemoryMappedFile:
    """A file to read in place.  Raises OSError."""
    return pa.memory_map(str(path))


def parquet(path: Path, *, checked: bool = False) -> pq.ParquetFile:
    """A Parquet file to read, page by page; `checked` against its checksums.  Raises OSError and
    ArrowException.
    """
    return pq.ParquetFile(path, pre_buffer=False, page_checksum_verification=checked)


def refused(error: OSError, path: Path) -> StorageError:
    """What the operating system refused, as one line."""
    return StorageError(f"{path}: {error.strerror or error}", hint=_way_out(error))


def _way_out(error: OSError) -> str:
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return "free some space, then run the same command again"
    return "mend the disk or choose another folder with -o, then run the same command again"

"""The disk: every change of a run folder is made here (write, fsync, rename, unlink, mkdir), and every
file of it is opened here for reading.

A change is durable only when its bytes and the folder that names it are synced, so each method says
what is durable when it returns.  Tests hand in a Disk that fails at the k-th call, or forgets what
was not synced.
"""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any, BinaryIO, TypeVar

import pyarrow as pa
import pyarrow.parquet as pq

from batch import footer_hash
from batch.damage import damaged
from batch.errors import StorageError
from batch.run_folder import is_run, run_of
from batch.store.checked_file import CheckedFile
from batch.store.patience import patiently

T = TypeVar("T")


NO_LINKS = (errno.EPERM, errno.ENOSYS, errno.EOPNOTSUPP, errno.ENOTSUP, errno.EMLINK, errno.EXDEV)
"""How a file system says that a file has one name in it."""


class Disk:
    """The file system.  Raises StorageError for whatever it refuses, and from then on for everything:
    after a write or fsync that failed nobody knows what the kernel still holds.
    """

    def __init__(self) -> None:
        self._refusal: StorageError | None = None
        self._lock: Callable[[], StorageError | None] = lambda: None

    def guard(self, lock: Callable[[], StorageError | None]) -> None:
        """From now on change nothing once `lock` gives a reason not to."""
        self._lock = lock

    def open_notes(self, path: Path) -> BinaryIO:
        """A file to add lines to, made if it is not there; the caller closes it."""
        return self._open(path, "ab")

    def note(self, file: BinaryIO, data: bytes) -> None:
        """Add `data` to what `open_notes` opened.  It survives a kill of the process, and is durable
        only when the system writes it.
        """
        self._check()
        try:
            written = self.write(file, memoryview(data))
        except OSError as error:
            self._refusal = refused(error, Path(file.name))
            raise self._refusal from None
        if written < len(data):
            self.write_all(file, data[written:])

    def sync(self, path: Path) -> None:
        """Make durable what was noted in `path`."""
        with self._open(path, "ab") as file:
            self._sync(file, path)

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
        return CheckedFile(self.write_all, self._open(path, "w+b"))  # type: ignore[return-value]

    def write_all(self, file: BinaryIO, data: bytes | memoryview) -> None:
        """Add `data` to what `create` opened."""
        view = memoryview(data)
        while view:
            view = view[self._try(partial(self.write, file, view), Path(file.name)) :]

    def finish(self, file: BinaryIO, path: Path) -> None:
        """Sync and close what `create` opened."""
        file.flush()
        self._sync(file, path)
        file.close()

    def rename(self, old: Path, new: Path) -> None:
        """Move a file within the file system, over whatever was there; durable on return."""
        self._try(lambda: patiently(lambda: self._rename(old, new)), new)
        self.sync_folder(new.parent)

    def claim(self, old: Path, new: Path) -> None:
        """Move a file within the file system to where nothing lies; durable on return.  Raises
        StorageError where something does: another process has been there.
        """
        if not self._try(lambda: self._claim(old, new), new):
            self._refusal = StorageError(
                f"{new} is there already, from another worker: nothing more of this one is written"
            )
            raise self._refusal
        self.sync_folder(new.parent)

    def remove(self, path: Path) -> None:
        """Remove a file, if it is there.  Durable with the next sync of its folder."""
        self._try(lambda: patiently(lambda: self._unlink(path)), path)

    def remove_folder(self, folder: Path) -> None:
        """Remove a folder and the files in it.  Durable with the next sync of its parent."""
        for path in sorted(folder.iterdir()):
            self.remove(path)
        self._try(lambda: patiently(lambda: self._rmdir(folder)), folder)

    def make_folder(self, folder: Path) -> None:
        """Make a folder and its parents, if they are not there; durable on return."""
        if folder.is_dir():
            return
        if not folder.parent.is_dir():
            self.make_folder(folder.parent)
        self._try(lambda: self._mkdir(folder), folder)
        self.sync_folder(folder.parent)

    def make_folders(self, folders: Sequence[Path]) -> None:
        """As `make_folder`, each of them; what names them is synced once."""
        missing = [folder for folder in folders if not folder.is_dir()]
        for folder in missing:
            self.make_folder(folder.parent)
            self.name_folder(folder)
        for parent in dict.fromkeys(folder.parent for folder in missing):
            self.sync_folder(parent)

    def name_folder(self, folder: Path) -> None:
        """Make a folder, if it is not there.  Durable with the next sync of its parent."""
        if not folder.is_dir():
            self._try(lambda: self._mkdir(folder), folder)

    def sync_folder(self, folder: Path) -> None:
        """Make durable which files `folder` names."""
        if not hasattr(os, "O_DIRECTORY"):  # Windows has no handle to sync a folder by
            return
        self._try(lambda: self._fsync_folder(folder), folder)

    def _open(self, path: Path, mode: str) -> BinaryIO:
        return self._try(lambda: self.open(path, mode), path)

    def _sync(self, file: BinaryIO, path: Path) -> None:
        self._try(lambda: self.fsync(file), path)

    def _try(self, call: Callable[[], T], path: Path) -> T:
        self._check()
        try:
            return call()
        except OSError as error:
            self._refusal = refused(error, path)
            raise self._refusal from None

    def _check(self) -> None:
        """Raises what was refused before.  Looking at the lock takes 2 us."""
        self._refusal = self._refusal or self._lock()
        if self._refusal is not None:
            raise self._refusal

    # What a test replaces.

    def open(self, path: Path, mode: str) -> BinaryIO:
        return open(path, mode, buffering=0, opener=_regular)  # type: ignore[return-value]

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

    def _claim(self, old: Path, new: Path) -> bool:
        """Whether nothing lay there."""
        try:
            os.link(old, new)
        except FileExistsError:
            return False
        except OSError as error:
            if error.errno not in NO_LINKS:
                raise
            if os.path.lexists(new):
                return False
            old.replace(new)
        else:
            old.unlink()
        return True

    def _unlink(self, path: Path) -> None:
        path.unlink(missing_ok=True)

    def _mkdir(self, folder: Path) -> None:
        folder.mkdir(exist_ok=True)

    def _rmdir(self, folder: Path) -> None:
        folder.rmdir()


# Reading, which changes nothing


def content(path: Path) -> bytes | None:
    """All that is in a file; None where there is none.  Raises StorageError."""
    try:
        with stored(path) as file, readable(path):
            return file.read()
    except FileNotFoundError:
        return None


def stored(path: Path, buffering: int = -1) -> BinaryIO:
    """A file to read piece by piece.  Raises FileNotFoundError, and StorageError: Damaged where
    something else lies in its place.
    """
    try:
        return open(path, "rb", buffering, opener=_regular)
    except FileNotFoundError:
        raise
    except OSError as error:
        raise refused(error, path) from None


def mapped(path: Path) -> pa.MemoryMappedFile:
    """A file to read in place.  Raises what `stored` raises."""
    stored(path).close()
    with readable(path):
        return pa.memory_map(str(path))


def parquet(path: Path) -> pq.ParquetFile:
    """A Parquet file to read, page by page, against its checksums.  Opening and reading it raise what
    `stored` raises, and Damaged.
    """
    with stored(path) as file, readable(path):
        if not footer_hash.fits(file):
            raise damaged(path, "its footer is damaged")
    with readable(path):
        return _Parquet(path, pre_buffer=False, page_checksum_verification=True)


class _Parquet(pq.ParquetFile):  # type: ignore[misc]
    """One that tells damage in our words, wherever it is met."""

    def __init__(self, path: Path, **how: Any) -> None:
        self._path = path
        super().__init__(path, **how)

    def read(self, *args: Any, **named: Any) -> pa.Table:
        with readable(self._path):
            return super().read(*args, **named)

    def read_row_group(self, *args: Any, **named: Any) -> pa.Table:
        with readable(self._path):
            return super().read_row_group(*args, **named)

    def iter_batches(self, *args: Any, **named: Any) -> Iterator[pa.RecordBatch]:
        batches = super().iter_batches(*args, **named)
        while True:
            with readable(self._path):
                batch = next(batches, None)
            if batch is None:
                return
            yield batch


@contextmanager
def readable(path: Path) -> Iterator[None]:
    """Raises Damaged for what the system or pyarrow meet in reading a file that is there."""
    try:
        yield
    except FileNotFoundError:
        raise
    except (pa.ArrowException, OSError) as error:
        problem = (str(error).splitlines() or [type(error).__name__])[0]
        raise damaged(path, f"cannot be read: {problem}") from None


def _regular(path: str, flags: int) -> int:
    """Open a file and nothing else.  What else lies there (a FIFO, say) is not waited for."""
    try:
        descriptor = os.open(path, flags | getattr(os, "O_NONBLOCK", 0), 0o666)
    except PermissionError:
        if Path(path).is_dir():  # as Windows says it
            raise _no_file() from None
        raise
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise _no_file()
    return descriptor


def _no_file() -> OSError:
    return OSError(errno.EISDIR, "is no file")


def is_something_else(path: Path) -> bool:
    """Whether what lies there is no file."""
    return os.path.lexists(path) and not path.is_file()


def refused(error: OSError, path: Path) -> StorageError:
    """What the operating system refused, as one line."""
    if error.errno in MISPLACED and is_run(run_of(path)):
        return damaged(path, error.strerror or str(error))
    return StorageError(f"{path}: {error.strerror or error}", hint=_way_out(error))


MISPLACED = (errno.EISDIR, errno.ENOTDIR, errno.EEXIST, errno.ELOOP, errno.ENXIO)
"""What the system says where something else lies in the place of a file or folder."""


NAMES_REFUSED = (123, 267)
"""What Windows says of a name with `:` or `?` in it."""


def _way_out(error: OSError) -> str:
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return "free some space, then run the same command again"
    if error.errno == errno.EINVAL or getattr(error, "winerror", None) in NAMES_REFUSED:
        return "choose another name with -o, one that this system takes"
    return "mend the disk or choose another folder with -o, then run the same command again"

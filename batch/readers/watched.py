"""The input of a run, whose files are to stay what they were when the run began.

A file whose status changed (size, times, place on the disk) is asked for its fingerprint again before
what was read of it counts, and every file once more when all is read.  Only the content decides: a
file that was touched, or that grew, is the same.  URLs are not looked at; nor is a file that has
gone, which is read on where it is open.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING

import msgspec

from batch.errors import InputError
from batch.model import Batch, Position
from batch.readers import fingerprints, source

if TYPE_CHECKING:
    from batch.readers import Input

SHARE = 20
"""How many times as long as a comparison took no other is made, while a file keeps changing."""


class Status(msgspec.Struct, frozen=True):
    """What the system says of a file; it tells no other content, but that there may be one."""

    device: int
    number: int
    size: int
    written: int
    touched: int


class Seen(msgspec.Struct, frozen=True):
    """What was seen of files before they were looked at: of each its status, None where nothing is
    there; `head` are the first bytes of the last one if that may have more rows later.
    """

    each: tuple[Status | None, ...]
    head: bytes


def seen(files: Sequence[str], grows: bool) -> Seen:
    return Seen(tuple(map(_status, files)), source.head(files[-1], stored=True) if grows else b"")


class Changed(Exception):
    """A file is not what it was when the run began.  `until` is when that was last sure."""

    def __init__(self, text: str, until: float) -> None:
        super().__init__(text)
        self.until = until


class Watched:
    """The batches of an input, as long as its files are the same."""

    def __init__(self, source: Input, clock: Callable[[], float] = time.monotonic) -> None:
        """Reads all files once.  Raises InputError, also for one that has changed since its first rows
        were looked at.
        """
        self.source = source
        self._clock = clock
        self._stood = list(map(_status, source.files))  # before they are hashed
        _refuse_changed(source, self._stood)
        self._until = time.time()
        self._idle_until = clock()
        self._was_read = False
        self.fingerprints = source.fingerprints()

    def batches(self, start: Position) -> Iterator[Batch]:
        """The rows from `start` on.  Raises Changed, and InputError for a file that is the same."""
        batches, file = self.source.batches(start), start.file
        while True:
            self._look(file)  # what is mapped into memory must still be there
            try:
                batch = next(batches, None)
            except InputError:
                self._look_at_all()
                raise
            if batch is None:
                return
            file, self._was_read = batch.end.file, True
            self._look(file)
            yield batch

    def check(self) -> None:
        """Compare the content of all files, if anything was read.  Raises Changed."""
        for file, path in enumerate(self.source.files if self._was_read else ()):
            if (status := _status(path)) is not None:
                self._compare(file, status)

    def look_again(self) -> None:
        """Compare the content of files whose status has changed since, if any was read.  Raises
        Changed.
        """
        if self._was_read:
            self._look_at_all()

    def _look_at_all(self) -> None:
        for file in range(len(self.source.files)):
            self._idle_until = self._clock()
            self._look(file)

    def _look(self, file: int) -> None:
        """Compare the content of a file whose status has changed."""
        status = _status(self.source.files[file])
        if status is None:
            return
        if status != self._stood[file]:
            if self._clock() < self._idle_until:
                return
            self._compare(file, status)
        self._until = time.time()

    def _compare(self, file: int, status: Status) -> None:
        began, path = self._clock(), self.source.files[file]
        grows = self.source.reader.GROWS
        difference = fingerprints.compare_file(self.fingerprints, file, path, grows)
        if difference.kind == "changed":
            raise Changed(difference.text, self._until)
        self._stood[file] = status
        ended = self._clock()
        self._idle_until = ended + SHARE * (ended - began)


def _refuse_changed(source: Input, now: Sequence[Status | None]) -> None:
    for name, before, status in zip(source.names, source.seen.each, now, strict=True):
        if before != status and not (name == source.names[-1] and _grew(source, before, status)):
            message = f"{name}: was changed after its first rows were looked at; nothing was sent"
            raise InputError(message, hint="Run it again.")


def _grew(source: Input, before: Status | None, now: Status | None) -> bool:
    """Whether the last file seems to have more rows."""
    if before is None or now is None or not source.reader.GROWS:
        return False
    head = seen(source.files[-1:], grows=True).head
    return now.size > before.size and head.startswith(source.seen.head)


def _status(path: str) -> Status | None:
    if source.is_url(path):
        return None
    try:
        found = os.stat(path)  # noqa: PTH116  (twice a batch)
    except OSError:
        return None
    return Status(found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns)

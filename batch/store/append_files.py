"""Files that grow at their end: a few of them are held open, those that were used last."""

from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path
from typing import BinaryIO

from batch.store.files import Disk


class AppendFiles:
    """One file a part.  One thread may add while another closes those that are complete."""

    def __init__(self, disk: Disk, path_of: Callable[[int], Path], most: int) -> None:
        """At most `most` files are open."""
        self._disk = disk
        self._path_of = path_of
        self._most = most
        self._open: dict[int, BinaryIO] = {}  # the last used last
        self._turn = threading.Lock()

    def add(self, part: int, data: bytes) -> None:
        """Add `data` to the file of `part`, which is made if it is not there.  It survives a kill of
        the process; a sync makes it durable.  Raises StorageError.
        """
        self._disk.note(self._file(part), data)

    def close(self, part: int) -> None:
        """Let go of a file to which nothing more is added for now."""
        with self._turn:
            file = self._open.pop(part, None)
        if file is not None:
            file.close()

    def close_all(self) -> None:
        """Let go of all."""
        for part in [*self._open]:
            self.close(part)

    def _file(self, part: int) -> BinaryIO:
        with self._turn:
            file = self._open.pop(part, None)
            if file is None:
                if len(self._open) >= self._most:
                    self._open.pop(next(iter(self._open))).close()
                file = self._disk.open_notes(self._path_of(part))
            self._open[part] = file
            return file

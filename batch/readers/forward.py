"""Slices of an input in rising order, as a worker reads that has some of its parts.

What cannot be begun anywhere (compressed text, the middle of a row group) is read on, from where the
slice before ended, rather than once more from its beginning.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress

from batch.errors import InputError
from batch.model import Batch, Position
from batch.readers import source
from batch.readers.formats import Stretched
from batch.readers.watched import Watched


class Forward:
    """An input, of which at most one place is open."""

    def __init__(self, watched: Watched) -> None:
        self._watched = watched
        self._source = watched.source
        self._open: Iterator[Batch] | None = None
        self._held: Batch | None = None
        """What was read and is not passed yet."""
        self._at = Position()
        """Behind what is passed."""
        self._row = 0
        """The place of the row that comes next."""
        self._near: Position | None = None
        """The end of the rows that are read together, where that was asked for."""

    def batches(self, start: Position, start_row: int, rows: int) -> Iterator[Batch]:
        """The `rows` rows from `start` on, of which the first has the place `start_row`; fewer where
        the input ends.  To be read before others are asked for, though not to their end.  Raises
        Changed and InputError, as Watched does.
        """
        if not self._goes_on(start, start_row):
            self._begin(start, start_row)
        for _ in self._next(start_row - self._row):
            pass
        yield from self._next(rows)

    def _goes_on(self, start: Position, start_row: int) -> bool:
        if self._open is None or start_row < self._row:
            return False
        if start_row == self._row:
            return True
        return start.file == self._at.file and self._is_near(start)

    def _is_near(self, start: Position) -> bool:
        """Whether reading from `start`, further on in the same file, would begin before here."""
        reader, path = self._source.reader, self._source.files[start.file]
        if reader.detect is not None:
            return not source.is_sought(path, self._source.reading.dialect(start.file).encoding)
        if not isinstance(reader, Stretched):  # nobody knows
            return True
        here = Position(start.file, self._at.offset + self._at.skip)
        if self._near is None or self._near.file != here.file or self._near.offset <= here.offset:
            with suppress(InputError):  # whoever reads says so
                found = next(reader.stretches(path, here, self._source.reading), None)
                self._near = found.end if found and found.together else here
        return self._near is not None and start.offset + start.skip < self._near.offset

    def _begin(self, start: Position, start_row: int) -> None:
        self._open, self._held, self._near = self._watched.batches(start), None, None
        self._at, self._row = start, start_row

    def _next(self, rows: int) -> Iterator[Batch]:
        """The next `rows` rows."""
        while rows > 0 and (batch := self._read()) is not None:
            if rows < len(batch.table):
                batch, self._held = batch.cut(rows)
            rows -= len(batch.table)
            self._row += len(batch.table)
            self._at = batch.end
            yield batch

    def _read(self) -> Batch | None:
        """What is held, or else the next batch; None at the end."""
        if (batch := self._held) is not None:
            self._held = None
            return batch
        more, self._open = self._open, None  # what has raised or ended reads no more
        batch = None if more is None else next(more, None)
        if batch is not None:
            self._open = more
        return batch

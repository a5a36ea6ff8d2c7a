"""The first batches of an input, read once, however often they are looked at before a run begins."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from batch.model import Batch, Position
from batch.readers.source import FIRST_BYTES, FIRST_ROWS


class Head:
    """At least the first FIRST_ROWS rows, or FIRST_BYTES of them, as they stand in the files."""

    def __init__(self, read: Callable[[Position], Iterator[Batch]]) -> None:
        """`read` gives the batches of all files from a place on."""
        self._read = read
        self._more: Iterator[Batch] | None = None
        self._held: list[Batch] = []
        self._rows = 0
        self._bytes = 0
        self._ended = False
        self._forgotten = False

    def batches(self) -> Iterator[Batch]:
        """Those that are held, read as far as somebody looks; once they are forgotten, all there are.
        Raises what reading raises.
        """
        if self._forgotten:
            yield from self._read(Position())
            return
        at = 0
        while at < len(self._held) or self._extend():
            yield self._held[at]
            at += 1

    def end(self) -> Position | None:
        """Where the rows behind them begin; None where there are none.  To be asked after `batches`."""
        if self._ended or self._forgotten:
            return None
        return self._held[-1].end if self._held else Position()

    def forget(self) -> None:
        """Hold nothing any more."""
        self._forgotten = True
        self._held.clear()
        self._more = None

    def _extend(self) -> bool:
        """Read one batch more; False where there is none, or enough is held."""
        if self._ended or self._rows >= FIRST_ROWS or self._bytes > FIRST_BYTES:
            self._more = None
            return False
        if (batch := self._next()) is None:
            self._ended = True
            return False
        self._held.append(batch)
        self._rows += len(batch.table)
        self._bytes += batch.table.nbytes
        return True

    def _next(self) -> Batch | None:
        more, self._more = self._more, None  # what has raised reads no more
        if more is None:
            more = self._read(self._held[-1].end if self._held else Position())
        batch = next(more, None)
        self._more = more
        return batch

"""A file as stretches of rows: how many there are in each and where they begin, to plan parts by.

A reader that can tell this without reading the rows has a function of its own for it (`Stretched` in
formats.py); of other files the batches are read.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence

import msgspec
from msgspec.structs import replace

from batch.model import Batch, Position
from batch.sampling import Chosen


class Stretch(msgspec.Struct, frozen=True):
    """Consecutive rows of one file, and about how many bytes of input they are.  `behind` gives the
    place behind the first so many of them, which are not all.  `together` tells that whoever reads
    one of them has to read those before it, too.
    """

    rows: int
    size: int
    start: Position
    end: Position
    behind: Callable[[int], Position]
    together: bool = False

    def size_of(self, rows: int) -> int:
        """About how many bytes so many of its rows are."""
        return self.size * rows // self.rows


def of_batches(batches: Iterable[Batch]) -> Iterator[Stretch]:
    """Of a file that has to be read."""
    for batch in batches:
        yield Stretch(
            len(batch.table), batch.table.nbytes, batch.start, batch.end, _over(batch.start)
        )


def _over(start: Position) -> Callable[[int], Position]:
    return lambda rows: replace(start, skip=start.skip + rows)


def of_pieces(start: Position, pieces: Iterable[tuple[int, int]]) -> Iterator[Stretch]:
    """Of a file whose positions count rows: what lies behind `start` of its pieces, each so many rows
    and bytes.
    """
    first = 0
    for rows, size in pieces:
        begin, end = max(first, start.offset), first + rows
        if begin < end:
            share = size * (end - begin) // rows
            at = Position(start.file, begin)
            yield Stretch(end - begin, share, at, Position(start.file, end), _rows_on(at), True)
        first = end


def _rows_on(start: Position) -> Callable[[int], Position]:
    return lambda rows: Position(start.file, start.offset + rows)


def without(stretches: Iterable[Stretch], rows: int) -> Iterator[Stretch]:
    """The same without the first `rows` rows."""
    for stretch in stretches:
        if rows < stretch.rows:
            yield _rest(stretch, rows) if rows else stretch
        rows = max(0, rows - stretch.rows)


def _rest(stretch: Stretch, passed: int) -> Stretch:
    left = stretch.rows - passed
    return msgspec.structs.replace(
        stretch,
        rows=left,
        size=stretch.size_of(left),
        start=stretch.behind(passed),
        behind=lambda rows: stretch.behind(passed + rows),
    )


def sampled(stretches: Iterable[Stretch], chosen: Chosen, row: int) -> Iterator[Stretch]:
    """What a sample has of each, up to the last row of all; `row` is the number of the first row."""
    last = chosen.numbers[-1] if len(chosen) else -1
    if row > last:
        return
    for stretch in stretches:
        end = row + stretch.rows
        if numbers := chosen.between(row, end):
            yield msgspec.structs.replace(
                stretch,
                rows=len(numbers),
                size=stretch.size_of(len(numbers)),
                start=replace(stretch.start, row=row),
                end=replace(stretch.end, row=end),
                behind=_before_each(numbers, stretch, row),
            )
        if end > last:
            return
        row = end


def _before_each(numbers: Sequence[int], stretch: Stretch, row: int) -> Callable[[int], Position]:
    return lambda rows: replace(stretch.behind(numbers[rows] - row), row=numbers[rows])

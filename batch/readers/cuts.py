"""A whole input cut into parts before anything is asked, for processes that share a run.

Parquet and Arrow files are cut by their metadata, plain JSON Lines by their line ends; other files
are read once.  What values cannot be read is not looked at here.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, NamedTuple

from batch.model import Cut, Position
from batch.readers.stretches import Stretch

if TYPE_CHECKING:
    from batch.readers import Input

ENOUGH = 0.9
"""How full a part is that ends where rows which are read together do, though more would fit."""


class _Part(NamedTuple):
    """A part that is being filled."""

    start: Position
    rows: int = 0
    size: int = 0


class _Full(NamedTuple):
    """What a part holds at most; it may have some bytes more, and has one row at least."""

    rows: int
    size: int

    def room(self, part: _Part, stretch: Stretch) -> int:
        """How many rows like those of a stretch still fit in."""
        left = max(0, self.size - part.size)
        by_size = -(-left * stretch.rows // stretch.size) if stretch.size else self.rows
        return max(min(self.rows - part.rows, by_size), 0 if part.rows else 1)

    def is_enough(self, part: _Part) -> bool:
        return part.rows >= ENOUGH * self.rows or part.size >= ENOUGH * self.size


def cuts(source: Input, part_rows: int, part_bytes: int, ahead: Cut | None = None) -> Iterator[Cut]:
    """The parts of an input in order, of at most `part_rows` rows and about `part_bytes` bytes of input
    each: all of them, or those behind the one that is `ahead`.  In a sample they count its rows.
    Raises InputError.

    `source.share_before(cut.end)` tells how much of the input is cut.
    """
    first, row, start = 0, 0, Position()
    if ahead is not None:
        first, row, start = ahead.part + 1, ahead.start_row + ahead.rows, ahead.end
    parts = _filled(source.stretches(start), start, _Full(part_rows, part_bytes))
    for number, (part, end) in enumerate(parts, first):
        yield Cut(number, row, part.rows, part.start, end)
        row += part.rows


def _filled(
    stretches: Iterable[Stretch], start: Position, full: _Full
) -> Iterator[tuple[_Part, Position]]:
    """Each part, and where the next one begins."""
    part, end = _Part(start), start
    for stretch in stretches:
        room = full.room(part, stretch)
        parted = stretch.together and stretch.rows > room and full.is_enough(part)
        if part.rows and (room == 0 or parted):
            yield part, stretch.start
            part = _Part(stretch.start)
        passed = 0
        while (room := full.room(part, stretch)) < stretch.rows - passed:
            passed += room
            end = stretch.behind(passed)
            yield part._replace(rows=part.rows + room), end
            part = _Part(end)
        left = stretch.rows - passed
        part = _Part(part.start, part.rows + left, part.size + stretch.size_of(left))
        end = stretch.end
    if part.rows:
        yield part, end

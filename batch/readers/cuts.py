"""The parts of an input, planned before anything is asked."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from batch.model import Cut, Position

if TYPE_CHECKING:
    from batch.readers import Input


def cuts(source: Input, part_rows: int, part_bytes: int, ahead: Cut | None = None) -> Iterator[Cut]:
    """The parts behind `ahead`, in order."""
    number, first = (0, 0) if ahead is None else (ahead.part + 1, ahead.start_row + ahead.rows)
    start = end = Position() if ahead is None else ahead.end
    rows = size = 0
    for batch in source.batches(start):
        while len(batch.table):
            room = part_rows - rows
            piece, rest = (batch, None) if len(batch.table) <= room else batch.cut(room)
            rows += len(piece.table)
            size += piece.table.nbytes
            end = piece.end
            if rows == part_rows or size >= part_bytes:
                yield Cut(number, first, rows, start, end)
                number, first, start, rows, size = number + 1, first + rows, end, 0, 0
            if rest is None:
                break
            batch = rest
    if rows:
        yield Cut(number, first, rows, start, end)

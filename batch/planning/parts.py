"""The parts of a run that several workers share: so many that each has some, and so large that they are
few.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator

import msgspec

from batch.model import Cut
from batch.readers import Input, cuts
from batch.readers.formats import SIZED_IN_ROWS
from batch.store.writer import PART_BYTES

PARTS_A_WORKER = 64
"""So many at least, where parts do not become too small: the last ones end at about the same time."""
EVERY = 10.0
"""Seconds from one word about how far the planning is to the next."""
FEWEST_ROWS = 500
"""Rows of a part, below which it is made no smaller for that."""


def of(
    source: Input,
    part_rows: int,
    workers: int,
    ahead: Cut | None = None,
    say: Callable[[str], None] = lambda _: None,
    clock: Callable[[], float] = time.monotonic,
) -> list[Cut]:
    """The parts of the input behind the part `ahead`, if there is one: of `part_rows` rows at most."""
    least = min(part_rows, FEWEST_ROWS)
    if source.format in SIZED_IN_ROWS:  # how many there are costs next to nothing
        rows = source.count() if source.chosen is None else len(source.chosen)
        rows -= 0 if ahead is None else ahead.start_row + ahead.rows
        most = _most(rows, part_rows, workers)
        return list(cuts.cuts(source, most, PART_BYTES, ahead))
    pieces = part_rows // least
    small, told = [], clock()
    for cut in cuts.cuts(source, least, PART_BYTES // pieces, ahead):
        small.append(cut)
        if clock() - told > EVERY:
            told, share = clock(), source.share_before(cut.end)
            read = "" if share is None else f", {share:.0%} of the input is read"
            say(f"planning the parts: {cut.start_row + cut.rows:,} rows{read}")
    most = _most(sum(cut.rows for cut in small), part_rows, workers)
    return list(_joined(small, most, pieces, 0 if ahead is None else ahead.part + 1))


def _most(rows: int, part_rows: int, workers: int) -> int:
    """How many rows a part has at most."""
    return min(part_rows, max(FEWEST_ROWS, rows // (PARTS_A_WORKER * workers)))


def _joined(small: Iterable[Cut], most: int, pieces: int, number: int) -> Iterator[Cut]:
    """Neighbours put together, up to so many rows and pieces."""
    held: list[Cut] = []
    for cut in small:
        if held and (sum(each.rows for each in held) + cut.rows > most or len(held) == pieces):
            yield _one(held, number)
            number, held = number + 1, []
        held.append(cut)
    if held:
        yield _one(held, number)


def _one(held: list[Cut], number: int) -> Cut:
    rows = sum(cut.rows for cut in held)
    return msgspec.structs.replace(held[0], part=number, rows=rows, end=held[-1].end)

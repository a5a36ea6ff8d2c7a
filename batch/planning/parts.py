"""The parts of a run that several workers share: so many that each has some, and so large that they are
few.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator

import msgspec

from batch.model import Cut
from batch.readers import Input, cuts
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
    pieces = part_rows // least
    small, told = [], clock()
    for cut in cuts.cuts(source, least, PART_BYTES // pieces, ahead):
        small.append(cut)
        if clock() - told > EVERY:
            told, share = clock(), source.share_before(cut.end)
            read = "" if share is None else f", {share:.0%} of the input is read"
            say(f"planning the parts: {cut.start_row + cut.rows:,} rows{read}")
    wanted = sum(cut.rows for cut in small) // (PARTS_A_WORKER * workers)
    most = min(part_rows, max(least, wanted))
    return list(_joined(small, most, pieces, 0 if ahead is None else ahead.part + 1))


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

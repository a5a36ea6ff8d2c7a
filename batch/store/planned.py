"""parts.json: the parts of a run that were planned before anything was asked, so that several processes
can share them.

Every row belongs to a part from the start.  A part that has neither an open folder nor a sealed file
was not begun yet.
"""

from __future__ import annotations

import msgspec

from batch.damage import damaged
from batch.errors import StorageError
from batch.model import Cut
from batch.run_folder import PartFolder, RunFolder, part_name
from batch.store import parts
from batch.store.files import Disk, content
from batch.store.recover import Damage, Found, footer_of, opened, with_spool

_encoder = msgspec.json.Encoder()
_decoder = msgspec.json.Decoder(list[Cut])


def read(run: RunFolder) -> list[Cut] | None:
    """The parts in order; None where the run was not planned.  Raises Damaged."""
    found = content(run.parts)
    return None if found is None else _decoded(run, found)


def kept_twice(run: RunFolder) -> list[Cut] | None:
    """The parts that the copy holds; None where it holds none."""
    try:
        return _decoded(run, content(run.parts_copy) or b"")
    except StorageError:
        return None


def _decoded(run: RunFolder, found: bytes) -> list[Cut]:
    try:
        cuts = _decoder.decode(found)
    except ValueError as error:
        raise damaged(run.parts, str(error)) from None
    next_row = 0
    for number, cut in enumerate(cuts):
        if (cut.part, cut.start_row) != (number, next_row) or cut.rows < 1:
            raise damaged(run.parts, f"{part_name(number)} is not where the part before ends")
        next_row += cut.rows
    return cuts


def write(disk: Disk, run: RunFolder, cuts: list[Cut]) -> None:
    """Make these the parts of the run, durably; and keep them twice."""
    lines = [b"[\n", b",\n".join(map(_encoder.encode, cuts)), b"\n]\n"]
    for path in (run.parts_copy, run.parts):
        disk.put(path, lines, run.drafts)


def rows(cuts: list[Cut]) -> int:
    """How many rows all of them hold."""
    return cuts[-1].start_row + cuts[-1].rows if cuts else 0


def found(disk: Disk, run: RunFolder, cut: Cut, damages: list[Damage]) -> Found:
    """What there is of a planned part, put in order: what a finished seal left behind is removed, and
    the journal is rewritten with the lines that count; `damages` takes those that do not.  To be
    called by whoever holds the part.  Raises Damaged.
    """
    footer = footer_of(run, cut.part)
    if footer is not None and not fits(cut, footer):
        raise damaged(run.sealed(cut.part), f"does not hold what {run.parts.name} says")
    part = run.opened(cut.part)
    there = _opened(disk, run, part, footer, damages)
    if there is None:
        generation = results = 0
    else:
        if there.start_row != cut.start_row:
            raise damaged(part.path, f"does not begin where {run.parts.name} says")
        generation, results = there.generation, there.results
    planned = Found(
        cut.part, cut.start_row, cut.start, cut.end, cut.rows, generation, results, footer=footer
    )
    return with_spool(disk, run, planned) if generation else planned


def _opened(
    disk: Disk,
    run: RunFolder,
    part: PartFolder,
    footer: parts.Footer | None,
    damages: list[Damage],
) -> Found | None:
    if not part.path.exists():
        return None
    there = opened(disk, run, part, footer, damages)
    if there is None:
        disk.remove_folder(part.path)
    return there


def fits(cut: Cut, footer: parts.Footer) -> bool:
    """Whether a sealed part is that slice."""
    return (footer.start_row, footer.rows_planned) == (cut.start_row, cut.rows)

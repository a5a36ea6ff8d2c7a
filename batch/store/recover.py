"""What a run folder holds when a process comes to it, and what follows from it.

A finished row is in exactly one place that counts: the journal of its open part, or its sealed
part.
"""

from __future__ import annotations

import itertools
import os
from collections.abc import Iterable
from pathlib import Path

import msgspec

from batch.damage import damaged
from batch.model import Position, Result
from batch.outcome import TRANSIENT
from batch.run_folder import PartFolder, RunFolder, part_name
from batch.sampling import Chosen
from batch.store import journal, part_results, parts, spool
from batch.store.files import Disk
from batch.totals import Summary


class Redo(msgspec.Struct, frozen=True):
    """Which rows are asked again: finished ones that failed with one of `classes` or carry one of
    `flags`, and, if `missing`, those without a result.
    """

    classes: frozenset[str] = TRANSIENT
    flags: frozenset[str] = frozenset()
    missing: bool = True

    def wants(self, result: Result) -> bool:
        """Whether this row is asked again."""
        failed_so = result.status == "failed" and result.error_class in self.classes
        return failed_so or not self.flags.isdisjoint(result.flags)

    def anything_in(self, summary: Summary) -> bool:
        """Whether any of these rows may be."""
        return not (
            self.classes.isdisjoint(summary.failures) and self.flags.isdisjoint(summary.flags)
        )


class Found(msgspec.Struct, frozen=True):
    """One part as it was found.

    `start_row` is where its slice of the input begins (in a sample: the place in it), `rows` how long
    that is: None for the last part while it is open, as
    nobody knows yet.  `generation` is that of its journal, 0 if it has none, and `results` counts the
    lines there.  `spooled` says that its spool covers its slice.
    """

    number: int
    start_row: int
    start: Position
    end: Position
    rows: int | None
    generation: int = 0
    results: int = 0
    spooled: bool = False
    footer: parts.Footer | None = None


def end_of(found: list[Found]) -> tuple[Position, int]:
    """Where the input goes on behind these parts, and the ordinal of the row there."""
    if not found:
        return Position(), 0
    last = found[-1]
    return last.start if last.rows is None else last.end, last.start_row + (last.rows or 0)


class Damage(msgspec.Struct, frozen=True):
    """A journal line that was not what had been written; its row is asked again."""

    path: Path
    lines: int

    @property
    def words(self) -> str:
        """What is said of it."""
        return f"{self.path}: {self.lines} damaged lines; their rows are asked again"


def recover(disk: Disk, run: RunFolder) -> tuple[list[Found], list[Damage]]:
    """Put the folder in order and say what it holds, part by part.  Under the lock.  Raises
    Damaged.

    Empties tmp/, removes what a finished seal left behind, and rewrites every journal with the
    lines that count.
    """
    for path in run.drafts.iterdir():
        disk.remove(path)
    footers = sealed(run)
    damages: list[Damage] = []
    unsealed: dict[int, Found] = {}
    for number, part in run.open_parts().items():
        found = opened(disk, run, part, footers.get(number), damages)
        if found is None:
            disk.remove_folder(part.path)
        else:
            unsealed[number] = found
    found_parts = _tiled(run, footers, unsealed)
    return [
        with_spool(disk, run, part) if part.generation else part for part in found_parts
    ], damages


def sealed(run: RunFolder) -> dict[int, parts.Footer]:
    """The sealed parts' footers, by number.  Raises Damaged."""
    return {number: _footer(number, path) for number, path in run.sealed_parts().items()}


def footer_of(run: RunFolder, number: int) -> parts.Footer | None:
    """The footer of a part; None where it is not sealed.  Raises Damaged."""
    path = run.sealed(number)
    return _footer(number, path) if os.path.lexists(path) else None


def _footer(number: int, path: Path) -> parts.Footer:
    found = parts.footer(path)
    if found.part != number:
        raise damaged(path, f"holds {part_name(found.part)}")
    return found


def set_aside(disk: Disk, run: RunFolder, path: Path) -> Path:
    """A free name for what is damaged of a file; it tells where that lay."""
    disk.make_folder(run.damaged)
    name = "-".join(path.relative_to(run.path).parts)
    names = (run.damaged / f"{name}.{number}" for number in itertools.count(1))
    return next(name for name in names if not os.path.lexists(name))


def to_do(
    run: RunFolder, part: Found, redo: Redo, chosen: Chosen | None = None
) -> tuple[bytes, Summary, dict[int, int]]:
    """Which rows of a part are to be asked: one byte a row, 1 where it is.  Also what these rows' results
    add up to, which is taken back, and the attempts recorded of each.

    The last part's length may not be known yet.  Then there are bytes up to the last row with a
    result.
    """
    wanted: dict[int, bool] = {}
    taken_back = Summary()
    attempts: dict[int, int] = {}
    for result in finished(run, part):
        again = redo.wants(result)
        place = result.row if chosen is None else chosen.place(result.row)
        wanted[place - part.start_row] = again
        if again:
            taken_back.add(result)
            attempts[result.row] = result.attempts
    rows = 1 + max(wanted, default=-1) if part.rows is None else part.rows
    return bytes(wanted.get(row, redo.missing) for row in range(rows)), taken_back, attempts


def finished(run: RunFolder, part: Found) -> Iterable[Result]:
    """The results of a part."""
    return part_results.results(run, part.number)


def opened(
    disk: Disk,
    run: RunFolder,
    part: PartFolder,
    footer: parts.Footer | None,
    damages: list[Damage],
) -> Found | None:
    """What an open part is, whose journal then holds the lines that count, the others being among the
    `damages`; None when nothing in it counts.  Raises Damaged.
    """
    path = part.journal
    if not part.path.is_dir():
        raise damaged(part.path, "is no folder")
    scan = journal.scan(path)
    header = scan.header or _header_in_spool(part)
    sealed_generation = footer.generation if footer else 0
    if header is None and scan.entries:
        raise damaged(path, "its results belong to no part, the first line is damaged")
    if header is not None and part_name(header.part) != part.path.name:
        raise damaged(path, f"holds results of {part_name(header.part)}")
    if header is None or header.generation == sealed_generation or (footer and not scan.entries):
        return None
    if header.generation != sealed_generation + 1:
        why = f"is of generation {header.generation}, its sealed part of {sealed_generation}"
        raise damaged(path, why)
    if scan.bad_lines:
        damages.append(Damage(path, scan.bad_lines))
    keep_damaged_lines(disk, run, path)
    disk.put(path, itertools.chain([journal.line(header)], journal.good_results(path)), run.drafts)
    return Found(
        header.part,
        header.start_row,
        header.start,
        footer.end if footer else header.start,
        footer.rows_planned if footer else None,
        header.generation,
        len(scan.entries),
        footer=footer,
    )


def keep_damaged_lines(disk: Disk, run: RunFolder, path: Path) -> int:
    """Set the damaged lines of a journal aside, before it is written anew.  Gives how many."""
    lines = list(journal.damaged_lines(path))
    if lines:
        disk.put(set_aside(disk, run, path), lines, run.drafts)
    return len(lines)


def _header_in_spool(part: PartFolder) -> journal.Header | None:
    found = spool.read(part.spool)
    if found is None:
        return None
    start = found[0]
    return journal.Header(start.part, start.generation, start.start_row, start.position)


def with_spool(disk: Disk, run: RunFolder, part: Found) -> Found:
    """`part` with `spooled` set.  A spool that does not cover the slice is removed, to be made again."""
    path = run.opened(part.number).spool
    found = None if part.rows is None else spool.read(path)
    if found is not None and found[0].start_row != part.start_row:  # that of another part
        found = None
    if found is not None and sum(len(batch.table) for batch in found[1]) == part.rows:
        return msgspec.structs.replace(part, spooled=True)
    disk.remove(path)
    disk.sync_folder(path.parent)
    return part


def _tiled(
    run: RunFolder, footers: dict[int, parts.Footer], opened: dict[int, Found]
) -> list[Found]:
    """All parts in order, each ending where the next begins."""
    found: list[Found] = []
    for number in sorted(footers.keys() | opened.keys()):
        part = opened.get(number) or _closed(footers[number])
        if number != len(found):
            raise damaged(run.sealed(len(found)), "is missing")
        if found:
            found[-1] = _ending_at(run, found[-1], part)
        found.append(part)
    return found


def _ending_at(run: RunFolder, before: Found, part: Found) -> Found:
    rows = part.start_row - before.start_row
    if rows < 0 or before.rows not in (None, rows):
        why = f"does not begin where {part_name(before.number)} ends"
        raise damaged(run.sealed(part.number), why)
    return msgspec.structs.replace(before, rows=rows, end=part.start)


def _closed(footer: parts.Footer) -> Found:
    return Found(
        footer.part, footer.start_row, footer.start, footer.end, footer.rows_planned, footer=footer
    )

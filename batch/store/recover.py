"""What a run folder holds when a process comes to it, and what follows from it.

A finished row is in exactly one place that counts: the journal of its open part, or its sealed
part.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from pathlib import Path

import msgspec

from batch.errors import Damaged
from batch.model import Position, Result
from batch.outcome import TRANSIENT
from batch.store import journal, parts, seal, spool
from batch.store.files import Disk
from batch.totals import Summary


class Redo(msgspec.Struct, frozen=True):
    """Which finished rows are asked again: those that failed with one of `classes`, or carry one
    of `flags`.
    """

    classes: frozenset[str] = TRANSIENT
    flags: frozenset[str] = frozenset()
    missing: bool = True  # and those that have no result

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
    """One part as it lies there.

    `rows` is the length of its slice of the input, None while that is not known (the last part,
    still open). `generation` is that of its journal, 0 when it has none; `results` are the lines
    there.  `spooled` tells whether its spool covers its slice.
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

    def folder(self, run: Path) -> Path:
        """Where the open part lies."""
        return run / "open" / parts.name(self.number)

    def path(self, run: Path) -> Path:
        """Where the sealed part lies."""
        return run / "completions" / f"{parts.name(self.number)}.parquet"


class Damage(msgspec.Struct, frozen=True):
    """A journal line that was not what had been written; its row is asked again."""

    path: Path
    lines: int


def recover(disk: Disk, run: Path) -> tuple[list[Found], list[Damage]]:
    """Put the folder in order and say what it holds, part by part.  Under the lock.  Raises
    Damaged.

    Empties tmp/, removes what a finished seal left behind, and rewrites every journal with the
    lines that count.
    """
    for path in (run / "tmp").iterdir():
        disk.remove(path)
    footers = sealed(run)
    damages: list[Damage] = []
    opened: dict[int, Found] = {}
    for folder in sorted((run / "open").iterdir()):
        number = parts.number(folder)
        if number is None:
            continue
        found = _opened(disk, run, folder, footers.get(number), damages)
        if found is None:
            disk.remove_folder(folder)
        else:
            opened[number] = found
    found_parts = _tiled(run, footers, opened)
    return [
        _with_spool(disk, run, part) if part.generation else part for part in found_parts
    ], damages


def sealed(run: Path) -> dict[int, parts.Footer]:
    """The sealed parts' footers, by number."""
    paths = sorted((run / "completions").glob("part-*.parquet"))
    return {
        number: parts.footer(path) for path in paths if (number := parts.number(path)) is not None
    }


def to_do(run: Path, part: Found, redo: Redo) -> tuple[bytes, Summary, dict[int, int]]:
    """One byte a row of the part's slice, 1 where the row is to be asked, what is thereby taken
    back, and the attempts that were recorded of that, by row.
    """
    assert part.rows is not None
    wanted = bytearray(bytes([redo.missing]) * part.rows)
    taken_back = Summary()
    attempts: dict[int, int] = {}
    for result in finished(run, part):
        again = redo.wants(result)
        wanted[result.row - part.start_row] = again
        if again:
            taken_back.add(result)
            attempts[result.row] = result.attempts
    return bytes(wanted), taken_back, attempts


def finished(run: Path, part: Found) -> Iterator[Result]:
    """The result of every row of a part that has one, all that came to it together, as far as
    counting needs it; in no order.
    """
    latest: dict[int, Result] = {}
    if part.footer is not None:
        latest.update((result.row, result) for result in seal.results(part.path(run)))
    if part.generation:
        path = part.folder(run) / journal.NAME
        for result in journal.results(path, journal.scan(path).entries):
            earlier = latest.get(result.row)
            latest[result.row] = result if earlier is None else seal.after(earlier, result)
    yield from latest.values()


def _opened(
    disk: Disk, run: Path, folder: Path, footer: parts.Footer | None, damages: list[Damage]
) -> Found | None:
    """The open part in `folder`; None when nothing in it counts."""
    path = folder / journal.NAME
    scan = journal.scan(path)
    header = scan.header or _header_in_spool(folder)
    sealed_generation = footer.generation if footer else 0
    if header is None and scan.entries:
        raise Damaged(f"{folder}: its results belong to no part, the first line is damaged")
    if header is None or header.generation == sealed_generation or (footer and not scan.entries):
        return None
    if header.generation != sealed_generation + 1:
        raise Damaged(
            f"{folder}: its journal is of generation {header.generation},"
            f" its sealed part of {sealed_generation}"
        )
    if scan.bad_lines:
        damages.append(Damage(path, scan.bad_lines))
    disk.put(path, itertools.chain([journal.line(header)], journal.good_results(path)), run / "tmp")
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


def _header_in_spool(folder: Path) -> journal.Header | None:
    found = spool.read(folder / spool.NAME)
    if found is None:
        return None
    start = found[0]
    return journal.Header(start.part, start.generation, start.start_row, start.position)


def _with_spool(disk: Disk, run: Path, part: Found) -> Found:
    """`part`, knowing whether its spool covers its slice; one that does not is removed, to be
    made again.
    """
    path = part.folder(run) / spool.NAME
    found = None if part.rows is None else spool.read(path)
    if found is not None and sum(len(batch.table) for batch in found[1]) == part.rows:
        return msgspec.structs.replace(part, spooled=True)
    disk.remove(path)
    disk.sync_folder(path.parent)
    return part


def _tiled(run: Path, footers: dict[int, parts.Footer], opened: dict[int, Found]) -> list[Found]:
    """All parts in order, each ending where the next begins."""
    found: list[Found] = []
    for number in sorted(footers.keys() | opened.keys()):
        part = opened.get(number) or _closed(footers[number])
        if number != len(found):
            raise Damaged(f"{run}: {parts.name(len(found))} is missing")
        if found:
            found[-1] = _ending_at(run, found[-1], part)
        found.append(part)
    return found


def _ending_at(run: Path, before: Found, part: Found) -> Found:
    rows = part.start_row - before.start_row
    if rows < 0 or before.rows not in (None, rows):
        raise Damaged(
            f"{run}: {parts.name(part.number)} does not begin where {parts.name(before.number)} ends"
        )
    return msgspec.structs.replace(before, rows=rows, end=part.start)


def _closed(footer: parts.Footer) -> Found:
    return Found(
        footer.part, footer.start_row, footer.start, footer.end, footer.rows_planned, footer=footer
    )

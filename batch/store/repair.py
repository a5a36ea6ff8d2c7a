"""What can be made of a damaged run: what cannot be read is set aside under `damaged/`, never removed,
and what is lost with it is left so that the next start asks for it again.
"""

from __future__ import annotations

import itertools
import os
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pyarrow as pa

from batch.errors import Damaged, StorageError, UsageError
from batch.model import Position
from batch.run_folder import PLAN, PartFolder, RunFolder, is_run, part_name
from batch.sampling import Chosen
from batch.store import budget_file, folder, journal, lock, parts, plan, planned, spool, verify
from batch.store.files import Disk, is_something_else
from batch.store.recover import keep_damaged_lines, set_aside
from batch.totals import Summary


class Start(msgspec.Struct, frozen=True):
    """Where a part begins in the input, and how many rows it has; None while nobody knows."""

    row: int
    position: Position
    rows: int | None = None
    end: Position = Position()


def repair(run: RunFolder) -> Iterator[str]:
    """Mend a run, and say what was done, a line each.  Takes the lock.  Raises Damaged where nothing
    tells what the run was, and what the lock raises.
    """
    if not is_run(run.path):
        raise UsageError(f"{run.path} is no run: there is no {PLAN} in it")
    disk = Disk()
    if os.path.lexists(run.damaged) and not run.damaged.is_dir():
        disk.rename(run.damaged, folder.free_name(run.damaged))
    for path in filter(is_something_else, (run.lock, run.soft_lock)):
        yield _away(disk, run, path)
    with lock.held(run):
        disk.guard(lock.guard(run))
        yield from _folders(disk, run)
        yield from _plan(disk, run)
        yield from _files(disk, run)
        footers: dict[int, parts.Footer] = {}
        yield from _sealed(disk, run, footers)
        yield from _schema(disk, run, footers)
        yield from _parts(disk, run)
        yield from _open(disk, run, footers)


def _away(disk: Disk, run: RunFolder, path: Path) -> str:
    kept = set_aside(disk, run, path)
    disk.rename(path, kept)
    return f"{path}: set aside as {kept}"


def _folders(disk: Disk, run: RunFolder) -> Iterator[str]:
    for path in (run.completions, run.open, run.drafts):
        if os.path.lexists(path) and not path.is_dir():
            yield _away(disk, run, path)
    folder.make(disk, run)


def _plan(disk: Disk, run: RunFolder) -> Iterator[str]:
    copy = plan.kept_twice(run)
    try:
        known = plan.read(run.path)
    except Damaged:
        known = None
    if known is None and copy is None:
        raise Damaged(
            f"{run.plan}: cannot be read, and nothing else tells what the run was",
            hint=f"its sealed rows are Parquet files in {run.completions}; move {run.path} away to"
            " begin anew",
        )
    if known is not None and (copy is None or plan.is_same_run(known, copy)):
        if copy is None and os.path.lexists(run.plan_copy):
            yield _away(disk, run, run.plan_copy)
        return
    assert copy is not None
    if os.path.lexists(run.plan):
        yield _away(disk, run, run.plan)
    plan.write(disk, run, copy)
    yield f"{run.plan}: made anew from {run.plan_copy}"


def _files(disk: Disk, run: RunFolder) -> Iterator[str]:
    """What is for reading, or derived, or counts the money: the next start makes it anew."""
    for path in (
        run.log,
        run.schema_copy,
        *run.drafts.iterdir(),
        *run.all_sent(),
        *run.path.glob("input.*"),
    ):
        if is_something_else(path):
            yield _away(disk, run, path)
    if is_something_else(run.usage):
        yield _away(disk, run, run.usage)
    for path in run.budgets():
        try:
            budget_file.read_file(path)
        except StorageError:
            yield _away(disk, run, path)
            yield (
                "the cap counts by what the rows have cost from now on; one that --max-cost gave is"
                " to be given again"
            )


def _sealed(disk: Disk, run: RunFolder, footers: dict[int, parts.Footer]) -> Iterator[str]:
    """Keep the sealed parts that are whole; their footers go to `footers`."""
    known = plan.read(run.path)
    of_sample = None if known is None else plan.chosen(known)
    for number, path in run.sealed_parts().items():
        footer = _whole(number, path, of_sample)
        if footer is not None:
            footers[number] = footer
        else:
            yield _away(disk, run, path) + "; its rows are asked again"
    if known is not None and not run.open_parts():
        whole = Summary()
        for footer in footers.values():
            whole.merge(footer.summary)
        folder.write_usage(disk, run, known.run_id, whole)


def _whole(number: int, path: Path, of_sample: Chosen | None) -> parts.Footer | None:
    try:
        footer = parts.footer(path)
        whole = footer.part == number and not any(verify.part(path, footer, of_sample))
    except StorageError:
        return None
    return footer if whole else None


def _schema(disk: Disk, run: RunFolder, footers: dict[int, parts.Footer]) -> Iterator[str]:
    try:
        schema = folder.schema(run)
    except StorageError:
        if os.path.lexists(run.schema):
            yield _away(disk, run, run.schema)
        schema = _schema_elsewhere(run, footers)
        folder.write_schema(disk, run, run.schema, schema)
        yield f"{run.schema}: made anew"
    if not _tells_schema(run.schema_copy):
        if os.path.lexists(run.schema_copy):
            yield _away(disk, run, run.schema_copy)
        folder.write_schema(disk, run, run.schema_copy, schema)


def _schema_elsewhere(run: RunFolder, footers: dict[int, parts.Footer]) -> pa.Schema:
    """The schema by its copy, or by a sealed part that is whole."""
    for path in (run.schema_copy, *map(run.sealed, footers)):
        if _tells_schema(path):
            return parts.read_schema(path)
    raise Damaged(
        f"{run.schema}: cannot be made anew: no sealed part tells the columns",
        hint="begin anew with --new, which keeps what is here",
    )


def _tells_schema(path: Path) -> bool:
    try:
        parts.read_schema(path)
    except (FileNotFoundError, StorageError):
        return False
    return True


def _parts(disk: Disk, run: RunFolder) -> Iterator[str]:
    """The parts of a planned run, by their copy where they cannot be read.  Raises Damaged."""
    known, copy = plan.read(run.path), planned.kept_twice(run)
    if known is None or not known.is_planned:
        return
    try:
        if planned.read(run) is not None:
            if copy is None and os.path.lexists(run.parts_copy):
                yield _away(disk, run, run.parts_copy)
            return
    except StorageError:
        yield _away(disk, run, run.parts)
    if copy is None:
        raise Damaged(
            f"{run.parts}: cannot be read, and nothing else tells which rows each part has",
            hint="begin anew with --reuse, which takes the answers that are here",
        )
    planned.write(disk, run, copy)
    yield f"{run.parts}: made anew from {run.parts_copy}"


def _open(disk: Disk, run: RunFolder, footers: dict[int, parts.Footer]) -> Iterator[str]:
    """Keep what open parts hold, and fill the gaps that lost parts leave."""
    starts = {
        number: Start(each.start_row, each.start, each.rows_planned, each.end)
        for number, each in footers.items()
    }
    for number, part in run.open_parts().items():
        yield from _open_part(disk, run, part, footers.get(number), starts)
    if planned.read(run) is None:
        yield from _gaps(disk, run, starts)


def _open_part(
    disk: Disk,
    run: RunFolder,
    part: PartFolder,
    footer: parts.Footer | None,
    starts: dict[int, Start],
) -> Iterator[str]:
    number = int(part.path.name.rpartition("-")[2])
    if not part.path.is_dir():
        yield _away(disk, run, part.path)
        return
    for path in filter(is_something_else, (part.journal, part.spool)):
        yield _away(disk, run, path)
    scan = journal.scan(part.journal)
    header = _header(number, part, scan.header, footer, starts.get(number - 1))
    generation = 1 if footer is None else footer.generation + 1
    if header is None or header.generation < generation - 1:
        yield _away(disk, run, part.path) + "; its rows are asked again"
        return
    if footer is None:
        starts[number] = Start(header.start_row, header.start)
    elif header.generation == footer.generation:  # merged already
        return
    if lines := keep_damaged_lines(disk, run, part.journal):
        yield f"{part.journal}: {lines} damaged lines set aside; their rows are asked again"
    _rewrite(disk, run, part, msgspec.structs.replace(header, generation=generation))


def _rewrite(disk: Disk, run: RunFolder, part: PartFolder, header: journal.Header) -> None:
    """Give a journal a first line, and its good lines."""
    lines = itertools.chain([journal.line(header)], journal.good_results(part.journal))
    disk.make_folder(part.path)
    disk.put(part.journal, lines, run.drafts)


def _header(
    number: int,
    part: PartFolder,
    found: journal.Header | None,
    footer: parts.Footer | None,
    before: Start | None,
) -> journal.Header | None:
    """Whose results a journal holds: as it says itself, else as its spool, its sealed part or the
    part before tell; None where nothing does.
    """
    if found is not None:
        return found if found.part == number else None
    spooled = spool.read(part.spool)
    if spooled is not None and spooled[0].part == number:
        start = spooled[0]
        return journal.Header(number, start.generation, start.start_row, start.position)
    if footer is not None:
        return journal.Header(number, footer.generation + 1, footer.start_row, footer.start)
    if number == 0:
        return journal.Header(0, 1, 0, Position())
    if before is not None and before.rows is not None:
        return journal.Header(number, 1, before.row + before.rows, before.end)
    return None


def _gaps(disk: Disk, run: RunFolder, starts: dict[int, Start]) -> Iterator[str]:
    """Put parts where others are lost: the first takes all rows of the gap, the others have none."""
    schema = folder.schema(run)
    before = Start(0, Position(), 0)
    for number, start in sorted(starts.items()):
        gap = [each for each in range(number) if each not in starts]
        starts |= dict.fromkeys(gap, start)
        for each in gap:
            if each == gap[0] and before.rows is not None and before.row + before.rows < start.row:
                header = journal.Header(each, 1, before.row + before.rows, before.end)
                _rewrite(disk, run, run.opened(each), header)
            else:
                _write_empty(disk, run, each, start, schema)
            yield f"{part_name(each)} is lost; its rows are asked again"
        before = start


def _write_empty(disk: Disk, run: RunFolder, number: int, start: Start, schema: pa.Schema) -> None:
    """A sealed part of no rows."""
    footer = parts.Footer(
        part=number,
        generation=1,
        start_row=start.row,
        rows_planned=0,
        rows_present=0,
        complete=True,
        start=start.position,
        end=start.position,
        summary=Summary(),
    )
    draft = run.drafts / run.sealed(number).name
    file = disk.create(draft)
    try:
        parts.write(file, schema, iter(()), lambda: footer)
        disk.finish(file, draft)
    finally:
        file.close()
    disk.rename(draft, run.sealed(number))

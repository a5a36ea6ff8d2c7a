"""Whether a run is what was written: hashes, page checksums, CRCs, every row once, totals equal to
the rows.

Takes no lock and changes nothing (`repair` does).  A finding is a sentence; damage is told apart from what is
merely not there yet.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import msgspec

from batch.errors import StorageError
from batch.run_folder import PartFolder, RunFolder, part_name
from batch.sampling import Chosen
from batch.store import budget_file, folder, journal, parts, planned, seal
from batch.store.files import is_something_else, parquet
from batch.store.plan import Plan, chosen, is_same_run, kept_twice, read
from batch.totals import Summary


class Finding(msgspec.Struct, frozen=True):
    """One thing that is wrong.  `damage` is false for rows that have only not been asked yet."""

    text: str
    damage: bool = True


def verify(run: RunFolder, plan: Plan) -> Iterator[Finding]:
    """Everything that is wrong with a run."""
    whole = Summary()
    missing = 0
    yield from _misplaced(run)
    opened = list(run.open_parts().values())
    footers: dict[Path, parts.Footer] = {}
    for path in run.sealed_files():
        try:
            footer = parts.footer(path)
            yield from part(path, footer, chosen(plan))
            whole.merge(footer.summary)
        except StorageError as damage:
            yield Finding(str(damage))
            continue
        footers[path] = footer
        missing += footer.rows_planned - footer.rows_present
    yield from (_planned if plan.is_planned else _tiling)(run, plan, footers, opened)
    for each in opened:
        yield from _journal(each)
    if not opened:
        yield from _usage(run, plan, whole)
    if missing:
        yield Finding(f"{missing:,} rows of sealed parts have no result yet", damage=False)


def _tiling(
    run: RunFolder, plan: Plan, footers: dict[Path, parts.Footer], opened: list[PartFolder]
) -> Iterator[Finding]:
    """Where a part does not begin where the one before ends, or none is."""
    next_row = 0
    for path, footer in footers.items():
        if footer.start_row != next_row and not _covered(opened, next_row, footer.start_row):
            yield Finding(
                f"{path}: begins with row {footer.start_row}, the part before ends at {next_row}"
            )
        next_row = footer.start_row + footer.rows_planned
    if plan.rows is None:
        yield Finding("the input has not been read to its end", damage=False)
    elif not opened and next_row != plan.rows:
        yield Finding(
            f"{plan.rows - next_row:,} of {plan.rows:,} rows have no part", next_row > plan.rows
        )


def _planned(
    run: RunFolder, plan: Plan, footers: dict[Path, parts.Footer], opened: list[PartFolder]
) -> Iterator[Finding]:
    """Where a part is not what was planned; one that is not there has not been begun."""
    try:
        cuts = planned.read(run)
    except StorageError as damage:
        yield Finding(str(damage))
        return
    if cuts is None:
        yield Finding(f"{run.parts}: is missing")
        return
    if planned.rows(cuts) != plan.rows:
        yield Finding(
            f"{run.parts}: holds {planned.rows(cuts):,} rows, {run.plan.name} {plan.rows:,}"
        )
    there = {part.path.name for part in opened}
    not_begun = 0
    for cut in cuts:
        footer = footers.pop(run.sealed(cut.part), None)
        if footer is None:
            not_begun += 0 if part_name(cut.part) in there else cut.rows
        elif not planned.fits(cut, footer):
            yield Finding(f"{run.sealed(cut.part)}: does not hold what {run.parts.name} says")
    for path in footers:
        yield Finding(f"{path}: {run.parts.name} knows no such part")
    if not_begun:
        yield Finding(f"{not_begun:,} of {plan.rows:,} rows have no part yet", damage=False)


def _covered(opened: list[PartFolder], start: int, end: int) -> bool:
    """Whether open parts may hold the rows from `start` to `end`."""
    headers = (_header(part) for part in opened)
    return any(header is not None and start <= header.start_row < end for header in headers)


def _header(part: PartFolder) -> journal.Header | None:
    try:
        return journal.scan(part.journal).header
    except StorageError:  # told when it is its turn
        return None


def _misplaced(run: RunFolder) -> Iterator[Finding]:
    """Files and folders in whose place something else lies, and small files that say nothing."""
    of_files = (run.plan_copy, run.schema_copy, run.lock, run.log, *run.budgets(), *run.all_sent())
    for path in filter(is_something_else, of_files):
        yield Finding(f"{path}: is no file")
    known, copy = read(run.path), kept_twice(run)
    if known is not None and copy is not None and not is_same_run(known, copy):
        yield Finding(f"{run.plan}: is not what {run.plan_copy.name} holds")
    elif os.path.lexists(run.plan_copy) and copy is None:
        yield Finding(f"{run.plan_copy}: cannot be read")
    for path in run.budgets():
        try:
            budget_file.read_file(path)
        except StorageError as damage:
            yield Finding(str(damage))


def part(path: Path, footer: parts.Footer, of_sample: Chosen | None) -> Iterator[Finding]:
    """Everything that is wrong with a sealed part.  Raises StorageError."""
    if not parts.hash_fits(path, footer):
        yield Finding(f"{path}: its bytes have changed since it was sealed")
        return
    summary = Summary()
    try:
        with parquet(path) as file:
            rows = [
                row
                for batch in file.iter_batches(4096, columns=["row"])
                for row in batch[0].to_pylist()
            ]
        for result in seal.results(path):
            summary.add(result)
    except ValueError as error:
        yield Finding(f"{path}: cannot be read: {str(error).splitlines()[0]}")
        return
    slice_ = slice(footer.start_row, footer.start_row + footer.rows_planned)
    planned = range(slice_.stop)[slice_] if of_sample is None else of_sample.numbers[slice_]
    if rows != sorted(set(rows)) or not set(rows) <= set(planned):
        yield Finding(f"{path}: a row is there twice, out of order or from another part")
    if len(rows) != footer.rows_present:
        yield Finding(f"{path}: has {len(rows)} rows, its footer says {footer.rows_present}")
    if _counts(summary) != _counts(footer.summary):
        yield Finding(f"{path}: its footer's totals are not those of its rows")


def _counts(summary: Summary) -> object:
    groups = sorted(
        (key, msgspec.structs.astuple(totals)[:-3]) for key, totals in summary.groups.items()
    )
    return groups, sorted(summary.flags.items()), sorted(summary.failures.items())


def _journal(part: PartFolder) -> Iterator[Finding]:
    path = part.journal
    try:
        scan = journal.scan(path)
    except StorageError as damage:
        yield Finding(str(damage))
        return
    if scan.header is None and scan.entries:  # a kill may leave it empty
        yield Finding(f"{path}: its first line is damaged")
    if scan.bad_lines:
        yield Finding(f"{path}: {scan.bad_lines} lines are damaged; their rows will be asked again")
    if scan.torn:
        yield Finding(f"{path}: its last line is torn, as a kill leaves it", damage=False)
    yield Finding(
        f"{part.path}: is open, {len(scan.entries):,} results are not in Parquet yet",
        damage=False,
    )


def _usage(run: RunFolder, plan: Plan, whole: Summary) -> Iterator[Finding]:
    path = run.usage
    try:
        with parquet(path) as file:
            kept = file.read()
    except FileNotFoundError:
        yield Finding(f"{path}: is missing; the next start writes it", damage=False)
        return
    except StorageError as damage:
        yield Finding(str(damage))
        return
    totals = folder.usage_table(plan.run_id, whole)
    if "requests" not in kept.column_names:  # as it was written before there was one
        totals = totals.drop_columns(["requests"])
    if kept.to_pylist() != totals.to_pylist():
        yield Finding(
            f"{path}: its totals are not those of the parts; the next start writes it anew"
        )

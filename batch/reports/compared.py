"""Two runs side by side, or runs and the truth: how far they agree, and what each took.

Takes no lock and changes nothing, so it works beside running processes; a row of an open part counts
as it stands in its journal.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

import msgspec

from batch.errors import UsageError
from batch.planning import begun
from batch.reports import fields as choosing
from batch.reports import matches, report, sides
from batch.reports.groups import Numbers
from batch.reports.keys import ChosenRun
from batch.reports.matches import Match
from batch.reports.sides import CUSTOM_ID, ROW, Side, Truth


class InFolder(Protocol):
    """A run that knows where it lies."""

    @property
    def path(self) -> Path: ...


class Comparison(msgspec.Struct, frozen=True, kw_only=True):
    """Everything that is shown of one run or two: their names and `numbers`, whole runs being added up;
    how far they agree, the first being `a` (None of one run alone).  With a truth, `truths` has the
    match of each run with it, the truth being `a`.  `notes` are lines on what was found out.
    """

    runs: list[str]
    numbers: list[Numbers]
    match: Match | None
    against: str | None
    truths: list[Match]
    notes: list[str]


def compare(
    a: Path | InFolder,
    b: Path | InFolder | None = None,
    *,
    on: str | None = None,
    fields: Sequence[str] = (),
    against: str | None = None,
) -> Comparison:
    """Compare two runs, and each with `against` (`labels.csv:column`), for which one will do.

    Rows are joined by the column `on`, else by custom_id where both have one, else by row.  `fields`
    are columns or fields in them (`parsed.stars`); without them, all scalar fields of `parsed`, else
    `completion`.  Raises UsageError and StorageError.
    """
    if b is None and against is None:
        raise UsageError("one run alone: name another one, or the truth: --against FILE:COLUMN")
    runs = [_opened(each) for each in (a, b) if each is not None]
    names = choosing.chosen(fields, [run.layout.schema for run in runs])
    ids = [run.known.job.get("id_column") for run in runs]
    truth = None if against is None else sides.truth(against, ids)
    found = [sides.of_run(run, names, on) for run in runs]
    match, notes = (None, []) if len(found) == 1 else _match(found, names, on)
    truths: list[Match] = []
    if truth is not None:
        truths, more = _truths(truth, found, names, on, bool(fields))
        notes += [*truth.source.notices, *more]
    return Comparison(
        runs=[run.name for run in runs],
        numbers=[report.of([(run.path, run.known)], ()).totals for run in runs],
        match=match,
        against=None if truth is None else truth.name,
        truths=truths,
        notes=notes,
    )


def _opened(run: Path | InFolder) -> ChosenRun:
    path = run if isinstance(run, Path) else run.path
    known, layout = begun.opened(path)
    return ChosenRun(path, str(path), known, layout)


def _match(found: list[Side], names: Sequence[str], on: str | None) -> tuple[Match, list[str]]:
    """How far two runs agree, and a line where they are joined by less than might be."""
    a, b = found
    key, why = matches.key(a, b) if on is None else (on, None)
    return matches.match(a, b, key, names), [] if why is None else [why]


def _truths(
    truth: Truth, found: list[Side], names: Sequence[str], on: str | None, asked: bool
) -> tuple[list[Match], list[str]]:
    """How far each run agrees with the truth in the fields that it tells of, be they `asked` for or
    found out, and a line on those that were left out.
    """
    side = truth.side(names, on)
    made = _with_truth(side, found, names, on)
    told = list(names) if asked else _told(truth.column, made, names)
    left = [name for name in names if name not in told]
    if not left:
        return made, []
    note = f"{truth.name} is not about {', '.join(left)}; --field compares them all the same"
    return _with_truth(side, found, told, on), [note]


def _with_truth(side: Side, found: list[Side], names: Sequence[str], on: str | None) -> list[Match]:
    keys = [CUSTOM_ID if side.has(CUSTOM_ID) and run.has(CUSTOM_ID) else ROW for run in found]
    return [
        matches.match(side, run, on or key, names) for run, key in zip(found, keys, strict=True)
    ]


def _told(column: str, made: list[Match], names: Sequence[str]) -> list[str]:
    """The fields that a column tells of: those called like it, else those that are ever what it says,
    else all.
    """
    ever = [name for name in names if any(match.fields[name].agreed for match in made)]
    return choosing.like(column, names) or ever or list(names)

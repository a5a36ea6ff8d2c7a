"""Sums over the rows of runs, a line for each combination of keys.  A report is made from them.

Only the columns that are needed are read, a part at a time, so memory depends on the number of
combinations and not of rows.  A row counts on the day of its last attempt.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from datetime import datetime
from typing import NamedTuple

import pyarrow as pa
import pyarrow.compute as pc

from batch.reports import beginnings, counts, repricing
from batch.reports.counts import NEEDED, RECORDED, SUMS, Costing
from batch.reports.keys import OWN_KEYS, ChosenRun, Key
from batch.run_folder import RunFolder
from batch.store import contents
from batch.store.plan import Plan

HELD_ROWS = 50_000
"""Rows that are held before they are added up: about 30 MB."""

PARTS_AHEAD = 8
"""Parts that are read while others are counted."""


class Period(NamedTuple):
    """From `since` on, before `until`; None is open.  Rows that were never sent are in none."""

    since: datetime | None = None
    until: datetime | None = None

    def of(self, rows: pa.Table) -> pa.Table:
        """The rows of `rows` that lie in it."""
        if self.since is not None:
            rows = rows.filter(pc.greater_equal(rows["started_at"], self.since))
        if self.until is not None:
            rows = rows.filter(pc.less(rows["started_at"], self.until))
        return rows


ALWAYS = Period()


class Aggregation:
    """Sums by key, latencies by key, failures by class, of all that was added; `models` that were asked
    or have answered, at whatever time; `begin_with` are the columns that prompts begin with.
    """

    def __init__(self, by: Sequence[str], period: Period, costing: Costing) -> None:
        self.failures: dict[str, int] = {}
        self.examples: dict[str, str] = {}
        self.models: set[str] = set()
        self.begin_with: set[str] = set()
        self._by, self._period, self._costing = tuple(by), period, costing
        self._sums = _KeyedSums([(name, "sum") for name in SUMS])
        self._latencies = _KeyedSums([("rows", "sum")])
        self._prefixes = _KeyedSums(beginnings.SUMS)

    def add(self, run: ChosenRun) -> None:
        """Count the rows of a run."""
        keys = {f"by.{name}": run.key(name) for name in self._by}
        wanted = {**keys, **{f"of.{name}": key for name, key in OWN_KEYS.items()}}
        names = {*NEEDED, *self._costing.columns, *repricing.COLUMNS}
        names.update(name for key in wanted.values() if key for name in key.columns)
        begins = beginnings.columns_of(run)
        self.begin_with.update(begins.values())
        held: list[pa.Table] = []
        for rows in _ahead(run, sorted(names | begins.keys())):
            self.models.update(counts.models(rows))
            rows = beginnings.coded(rows, list(begins), names)
            held.append(self._period.of(rows))
            if sum(map(len, held)) >= HELD_ROWS:
                self._count(run.known, held, wanted)
                held = []
        self._count(run.known, held, wanted)

    def sums(self) -> pa.Table:
        """A line for every `by.…`, `of.model`, `of.day` and `source` (of the cost) there is."""
        return self._sums.whole()

    def latencies(self) -> pa.Table:
        """How many `rows` took so many `seconds`, by `kind` (an index of TIMES) and `by.…`."""
        return self._latencies.whole()

    def prefixes(self) -> pa.Table:
        """What `beginnings.of_rows` gives, added up."""
        return self._prefixes.whole()

    def _count(self, run: Plan, held: list[pa.Table], wanted: dict[str, Key | None]) -> None:
        if not sum(map(len, held)):
            return
        rows = pa.concat_tables(held).combine_chunks()
        values = {
            name: pa.nulls(len(rows), pa.string()) if key is None else key.of(rows)
            for name, key in wanted.items()
        }
        cost, source = self._costing.of(rows, run)
        keys = pa.table({**values, "source": source})
        saved = repricing.saved_by_caches(rows, run, self._costing)
        added = {**counts.counted(rows, cost), "cache_saved_usd": saved}
        self._sums.add(_with(keys, added))
        self._prefixes.add(beginnings.of_rows(rows, values["of.model"], added))
        anew = None if self._costing is RECORDED else self._costing
        for parents, lost in counts.lost(rows, run, anew):
            self._sums.add(_with(keys.take(parents), lost))
        for spread in counts.spreads(rows, keys.select([f"by.{name}" for name in self._by])):
            self._latencies.add(spread)
        self._fail(rows.filter(pc.equal(rows["status"], "failed")))

    def _fail(self, failed: pa.Table) -> None:
        for pair in pc.value_counts(failed["error_class"]).to_pylist():
            name = pair["values"]
            self.failures[name] = self.failures.get(name, 0) + pair["counts"]
            if name not in self.examples:
                first = pc.index(failed["error_class"], name).as_py()
                self.examples[name] = failed["error_message"][first].as_py() or ""


def _ahead(run: ChosenRun, names: list[str]) -> Iterator[pa.Table]:
    """Some columns of a run, part by part, the next ones being read while this one is counted."""
    coming: deque[Future[pa.Table]] = deque()
    with ThreadPoolExecutor(1) as reader:
        folder = RunFolder(run.path)
        for number in folder.numbers():
            coming.append(reader.submit(contents.chosen, folder, number, run.layout, names))
            if len(coming) > PARTS_AHEAD:
                yield coming.popleft().result()
        while coming:
            yield coming.popleft().result()


class _KeyedSums:
    """Tables with the same keys, added up whenever they have grown."""

    def __init__(self, sums: list[tuple[str, str]]) -> None:
        self._sums = sums
        self._tables: list[pa.Table] = []
        self._rows = 0
        self._enough = HELD_ROWS

    def add(self, table: pa.Table) -> None:
        self._tables.append(table)
        self._rows += len(table)
        if self._rows > self._enough:
            self._tables = [self.whole()]
            self._rows = len(self._tables[0])
            self._enough = max(HELD_ROWS, 2 * self._rows)

    def whole(self) -> pa.Table:
        """One line for every combination of keys; no columns when nothing was added."""
        if not self._tables:
            return pa.table({})
        return folded(pa.concat_tables(self._tables, promote_options="default"), self._sums)


def folded(
    table: pa.Table, sums: Iterable[tuple[str, str]], keys: Sequence[str] | None = None
) -> pa.Table:
    """`table` with one line for every combination of `keys` (all that is not added up)."""
    sums = list(sums)
    added = [name for name, _ in sums]
    kept = [name for name in table.column_names if name not in added] if keys is None else keys
    made = table.group_by(list(kept)).aggregate(sums)
    summed = [f"{name}_{how}" for name, how in sums]
    return made.select([*kept, *summed]).rename_columns([*kept, *added])


def _with(keys: pa.Table, sums: dict[str, pa.ChunkedArray | pa.Array]) -> pa.Table:
    for name in SUMS:
        kind = pa.float64() if name.endswith(("_usd", "_seconds")) else pa.int64()
        column = sums[name].cast(kind) if name in sums else pa.nulls(len(keys), kind)
        keys = keys.append_column(name, column)
    return keys

"""Sums over the rows of runs, a line for every combination of keys: what a report is folded from.

Only the columns that are needed are read, a part at a time, so memory depends on the number of
combinations and not of rows.  A row counts on the day of its last attempt.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from datetime import datetime
from pathlib import Path
from typing import NamedTuple

import pyarrow as pa
import pyarrow.compute as pc

from batch import values
from batch.run_folder import RunFolder
from batch.store import contents
from batch.store.plan import Plan
from batch.store.seal import Layout
from batch.totals import COUNTED, Facts, Totals

HELD_ROWS = 50_000
"""Rows that are held before they are added up: about 30 MB."""

PARTS_AHEAD = 8
"""Parts that are read while others are counted."""

SUMS = (
    *(*Totals.__struct_fields__, "reported_cost_usd"),
    *("usage_rows", "priced_answers", "unpriced_usage_rows", "unpriced_tokens", "cacheable_tokens"),
    *("timed_tokens", "timed_seconds", "lost_tokens", "lost_cost_usd", "lost_unpriced"),
)
"""What is added up.  Not in usage.parquet: `usage_rows` tell their tokens, `priced_answers` are
answered rows with a cost, `unpriced_usage_rows` tell their tokens (`unpriced_tokens`) and have no
cost,
`cacheable_tokens` are input of rows that tell what was cached, `timed_*` output and latency of rows
answered at the first attempt, `lost_*` belong to attempts whose answer is not the row's
(`lost_unpriced` counts those of them that tell tokens and no cost).
"""

NEEDED = (
    *("status", "reused", "flags", "attempts", "maybe_billed_attempts", "attempt_log"),
    *("unconfirmed_tokens", "unconfirmed_cost_usd", "unbounded_attempts"),
    *("input_tokens", "cached_tokens", "cache_write_tokens", "output_tokens", "reasoning_tokens"),
    *("reported_cost_usd", "latency_s", "ttft_s", "started_at", "model", "served_model"),
    *("error_class", "error_message"),
)


TIMES = ("latency_s", "ttft_s")
"""The columns whose percentiles are told."""


class Costing(NamedTuple):
    """Where costs come from: the columns it looks at; cost in USD and its source, row by row of a
    run; and, where that is not what was recorded, a word on it.
    """

    columns: tuple[str, ...]
    of: Callable[[pa.Table, Plan], tuple[pa.ChunkedArray, pa.ChunkedArray]]
    words: str | None = None


RECORDED = Costing(
    ("cost_usd", "cost_source"), lambda rows, _: (rows["cost_usd"], rows["cost_source"])
)
"""As they were when the row was asked."""


class Key(NamedTuple):
    """What rows are grouped by: the columns it looks at, and its value row by row."""

    columns: tuple[str, ...]
    of: Callable[[pa.Table], pa.ChunkedArray | pa.Array]


def _model(rows: pa.Table) -> pa.ChunkedArray:
    return pc.coalesce(rows["served_model"], rows["model"])


def _day(rows: pa.Table) -> pa.ChunkedArray:
    return rows["started_at"].cast(pa.date32())


def _month(rows: pa.Table) -> pa.ChunkedArray:
    return pc.floor_temporal(_day(rows), unit="month")


BUILT_IN = {
    "model": Key(("served_model", "model"), _model),
    "endpoint": Key(("endpoint",), lambda rows: rows["endpoint"]),
    "status": Key(("status",), lambda rows: rows["status"]),
    "day": Key(("started_at",), _day),
    "month": Key(("started_at",), _month),
}
"""Model: the one that answered, else the one asked for; days and months are UTC."""

OWN_KEYS = {"model": BUILT_IN["model"], "day": BUILT_IN["day"]}
"""Always there, as `of.model` and `of.day`."""


class Chosen(NamedTuple):
    """One run: its folder, what it is called, its plan, its layout."""

    path: Path
    name: str
    known: Plan
    layout: Layout

    def key(self, name: str) -> Key | None:
        """What `--by name` means in this run; None when it has no such thing."""
        kind, _, rest = name.partition(":")
        tags = self.known.job.get("tags", {})
        if name in BUILT_IN:
            return BUILT_IN[name]
        if name == "run":
            return _constant(self.name)
        if kind == "tag" and rest:
            return _constant(tags[rest]) if rest in tags else None
        if name in tags:
            return _constant(tags[name])
        return _column(self.layout.schema, rest if kind == "column" and rest else name)


def _constant(value: str) -> Key:
    return Key((), lambda rows: pa.repeat(pa.scalar(value, pa.string()), len(rows)))


def _column(schema: pa.Schema, name: str) -> Key | None:
    if name not in schema.names:
        return None
    kind = schema.field(name).type
    if pa.types.is_nested(kind) or pa.types.is_binary(kind) or pa.types.is_large_binary(kind):
        return None
    return Key((name,), lambda rows: values.texts(rows[name]))


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


class Cube:
    """Sums by key, latencies by key, failures by class, of all that was added."""

    def __init__(self, by: Sequence[str], period: Period, costing: Costing) -> None:
        self.failures: dict[str, int] = {}
        self.examples: dict[str, str] = {}
        self._by, self._period, self._costing = tuple(by), period, costing
        self._sums = _Pile([(name, "sum") for name in SUMS])
        self._latencies = _Pile([("rows", "sum")])

    def add(self, run: Chosen) -> None:
        """Count the rows of a run."""
        keys = {f"by.{name}": run.key(name) for name in self._by}
        wanted = {**keys, **{f"of.{name}": key for name, key in OWN_KEYS.items()}}
        names = {*NEEDED, *self._costing.columns}
        names.update(name for key in wanted.values() if key for name in key.columns)
        held: list[pa.Table] = []
        for rows in _ahead(run, sorted(names)):
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
        self._sums.add(_with(keys, counted(rows, cost)))
        anew = None if self._costing is RECORDED else self._costing
        for parents, lost in _lost(rows, run, anew):
            self._sums.add(_with(keys.take(parents), lost))
        for spread in _spreads(rows, keys.select([f"by.{name}" for name in self._by])):
            self._latencies.add(spread)
        self._fail(rows.filter(pc.equal(rows["status"], "failed")))

    def _fail(self, failed: pa.Table) -> None:
        for pair in pc.value_counts(failed["error_class"]).to_pylist():
            name = pair["values"]
            self.failures[name] = self.failures.get(name, 0) + pair["counts"]
            if name not in self.examples:
                first = pc.index(failed["error_class"], name).as_py()
                self.examples[name] = failed["error_message"][first].as_py() or ""


def _ahead(run: Chosen, names: list[str]) -> Iterator[pa.Table]:
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


class _Pile:
    """Tables of the same keys, added up now and then."""

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
    return made.select([*kept, *(f"{name}_sum" for name in added)]).rename_columns([*kept, *added])


def _with(keys: pa.Table, sums: dict[str, pa.ChunkedArray | pa.Array]) -> pa.Table:
    for name in SUMS:
        kind = pa.float64() if name.endswith(("_usd", "_seconds")) else pa.int64()
        column = sums[name].cast(kind) if name in sums else pa.nulls(len(keys), kind)
        keys = keys.append_column(name, column)
    return keys


def counted(rows: pa.Table, cost: pa.ChunkedArray) -> dict[str, pa.ChunkedArray]:
    """What each row adds; as Totals counts it, and more."""
    row = _facts(rows, cost)
    answered, used = row.ok & row.asked, row.asked & row.told
    tokens_in, tokens_out = rows["input_tokens"], rows["output_tokens"]
    unpriced = (used & row.costless).column
    tokens = pc.add(pc.fill_null(tokens_in, 0), pc.fill_null(tokens_out, 0))
    at_first = pc.and_(answered.column, pc.equal(rows["attempts"], 1))
    timed = pc.and_(at_first, pc.is_valid(tokens_out))
    return {
        **{name: rows[name] for name in SUMS if name in rows.column_names},
        **{name: rule(row).column for name, rule in COUNTED.items()},
        "cost_usd": pc.if_else(row.asked.column, cost, 0.0),
        "usage_rows": used.column,
        "priced_answers": pc.and_(answered.column, pc.is_valid(cost)),
        "unpriced_usage_rows": unpriced,
        "unpriced_tokens": pc.if_else(unpriced, tokens, 0),
        "cacheable_tokens": pc.if_else(pc.is_valid(rows["cached_tokens"]), tokens_in, None),
        "timed_tokens": pc.if_else(timed, tokens_out, None),
        "timed_seconds": pc.if_else(timed, rows["latency_s"], None),
    }


class _Mask(NamedTuple):
    """A column of bools, as rules take it."""

    column: pa.ChunkedArray

    def __and__(self, other: _Mask) -> _Mask:
        return _Mask(pc.and_(self.column, other.column))

    def __or__(self, other: _Mask) -> _Mask:
        return _Mask(pc.or_(self.column, other.column))


def _facts(rows: pa.Table, cost: pa.ChunkedArray) -> Facts:
    """What the rules of totals are about, row by row."""
    ok, reused = pc.equal(rows["status"], "ok"), pc.fill_null(rows["reused"], False)
    read, wrote = pc.is_valid(rows["input_tokens"]), pc.is_valid(rows["output_tokens"])
    most = pc.greater(pc.fill_null(rows["unconfirmed_tokens"], 0), 0)
    columns = {
        "ok": ok,
        "failed": pc.invert(ok),
        "asked": pc.invert(reused),
        "reused": reused,
        "doubtful": flagged(rows),
        "told": pc.or_(read, wrote),
        "untold": pc.invert(pc.and_(read, wrote)),
        "costless": pc.is_null(cost),
        "open_ended": pc.and_(most, pc.is_null(rows["unconfirmed_cost_usd"])),
    }
    return Facts(**{name: _Mask(column) for name, column in columns.items()})


def flagged(rows: pa.Table) -> pa.Array:
    """Whether a row has the flag `usage_unknown`."""
    flags = rows["flags"].combine_chunks()
    found = pc.equal(pc.list_flatten(flags), "usage_unknown")
    flagged = pc.list_parent_indices(flags).filter(found)
    return pc.is_in(pa.array(range(len(rows)), flagged.type), value_set=flagged)


def _lost(
    rows: pa.Table, run: Plan, anew: Costing | None
) -> Iterator[tuple[pa.Array, dict[str, pa.Array]]]:
    """Attempts whose answer is not the row's: the rows they belong to, and what they add, at the
    prices of `anew` where there are such.

    The row's own attempt is the last one that was accepted, else the last.
    """
    log = rows["attempt_log"].combine_chunks()
    if log.null_count == len(log):
        return
    parents, tries = pc.list_parent_indices(log), pc.list_flatten(log)
    place = pc.cumulative_sum(pa.repeat(1, len(tries)))
    accepted = pc.is_null(pc.struct_field(tries, "error_class"))
    rank = pc.if_else(accepted, pc.add(place, len(tries)), place)
    own = pa.table({"row": parents, "rank": rank}).group_by("row").aggregate([("rank", "max")])
    lost = pc.invert(pc.is_in(rank, value_set=own["rank_max"].combine_chunks()))
    parents, tries = parents.filter(lost), tries.filter(lost)
    tokens_in, tokens_out, cost = (
        pc.struct_field(tries, name) for name in ("input_tokens", "output_tokens", "cost_usd")
    )
    told = pc.or_(pc.is_valid(tokens_in), pc.is_valid(tokens_out))
    tokens = pc.add(pc.fill_null(tokens_in, 0), pc.fill_null(tokens_out, 0))
    if anew is not None:
        cost, _ = anew.of(_as_rows(rows, parents, tries), run)
    unpriced = pc.and_(told, pc.is_null(cost))
    yield parents, {"lost_tokens": tokens, "lost_cost_usd": cost, "lost_unpriced": unpriced}


def _as_rows(rows: pa.Table, parents: pa.Array, tries: pa.Array) -> pa.Table:
    """Attempts as rows of their own; which of their tokens were cached is not known."""
    of_tries = {field.name: pc.struct_field(tries, field.name) for field in tries.type}
    made = rows.take(parents)
    for place, field in enumerate(made.schema):
        if field.name in of_tries:
            made = made.set_column(place, field.name, of_tries[field.name].cast(field.type))
        elif field.name.endswith("_tokens"):
            made = made.set_column(place, field.name, pa.nulls(len(made), field.type))
    return made


def _spreads(rows: pa.Table, keys: pa.Table) -> Iterator[pa.Table]:
    """Latency and time to the first token of answered rows, to three digits."""
    ok = pc.equal(rows["status"], "ok")
    answered = pc.and_(ok, pc.invert(pc.fill_null(rows["reused"], False)))
    for kind, name in enumerate(TIMES):
        there = pc.and_(answered, pc.is_valid(rows[name]))
        seconds = _to_three_digits(rows[name].filter(there)).cast(pa.float32())
        count = len(seconds)
        if count:
            made = {"seconds": seconds, "kind": pa.repeat(pa.scalar(kind, pa.int8()), count)}
            values = dict(zip(keys.column_names, keys.filter(there).columns, strict=True))
            yield pa.table({**values, **made, "rows": pa.repeat(1, count)})


def _to_three_digits(seconds: pa.ChunkedArray) -> pa.ChunkedArray:
    """0.123456 -> 0.123; below 0.1 ms is 0.1 ms."""
    seconds = pc.max_element_wise(seconds, 1e-4)
    scale = pc.power(10.0, pc.subtract(2.0, pc.floor(pc.log10(seconds))))
    return pc.divide(pc.round(pc.multiply(seconds, scale)), scale)

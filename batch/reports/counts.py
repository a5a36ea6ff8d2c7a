"""What each row adds to the sums of a report, a column for each sum.  Pure."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import NamedTuple

import pyarrow as pa
import pyarrow.compute as pc

from batch.store.plan import Plan
from batch.totals import COUNTED, Facts, Totals

SUMS = (
    *(*Totals.__struct_fields__, "reported_cost_usd"),
    *("usage_rows", "priced_answers", "unpriced_usage_rows", "unpriced_tokens", "cacheable_tokens"),
    *("timed_tokens", "timed_seconds", "lost_tokens", "lost_cost_usd", "lost_unpriced"),
    "cache_saved_usd",
)
"""What is added up.  Not in usage.parquet: `usage_rows` tell their tokens, `priced_answers` are
answered rows with a cost, `unpriced_usage_rows` tell their tokens (`unpriced_tokens`) and have no
cost, `cacheable_tokens` are input of rows that tell what was cached, `timed_*` output and latency of rows
answered at the first attempt, `lost_*` belong to attempts whose answer is not the row's
(`lost_unpriced` counts those of them that tell tokens and no cost), `cache_saved_usd` is what rows would
have cost more without a cache, as far as prices are known.
"""

NEEDED = (
    *("status", "reused", "flags", "attempts", "requests", "maybe_billed_attempts", "attempt_log"),
    *("unconfirmed_tokens", "unconfirmed_cost_usd", "unbounded_attempts"),
    *("input_tokens", "cached_tokens", "cache_write_tokens", "output_tokens", "reasoning_tokens"),
    *("reported_cost_usd", "latency_s", "ttft_s", "started_at", "model", "served_model"),
    *("error_class", "error_message"),
)


TIMES = ("latency_s", "ttft_s")
"""The columns whose percentiles are told."""


class Costing(NamedTuple):
    """Where costs come from: the columns it looks at; cost in USD and its source, row by row of a
    run; where that is not what was recorded, a word on it, and the names that a file has prices of.
    `anew` computes costs from tokens, at the same prices; without it those of the run's job and lists do.
    """

    columns: tuple[str, ...]
    of: Callable[[pa.Table, Plan], tuple[pa.ChunkedArray, pa.ChunkedArray]]
    words: str | None = None
    priced: frozenset[str] = frozenset()
    anew: Callable[[pa.Table, Plan], pa.Array] | None = None


RECORDED = Costing(
    ("cost_usd", "cost_source"), lambda rows, _: (rows["cost_usd"], rows["cost_source"])
)
"""As they were when the row was asked."""


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
        "riding": pc.subtract(rows["attempts"], pc.coalesce(rows["requests"], rows["attempts"])),
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


def models(rows: pa.Table) -> Iterator[str]:
    """Every model that was asked or has answered, attempts that were tried again among them."""
    tries = pc.list_flatten(rows["attempt_log"].combine_chunks())
    for names in (rows["model"], rows["served_model"], pc.struct_field(tries, "served_model")):
        yield from pc.unique(names.drop_null()).to_pylist()


def flagged(rows: pa.Table) -> pa.Array:
    """Whether a row has the flag `usage_unknown`."""
    flags = rows["flags"].combine_chunks()
    found = pc.equal(pc.list_flatten(flags), "usage_unknown")
    flagged = pc.list_parent_indices(flags).filter(found)
    return pc.is_in(pa.array(range(len(rows)), flagged.type), value_set=flagged)


def lost(
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


def spreads(rows: pa.Table, keys: pa.Table) -> Iterator[pa.Table]:
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

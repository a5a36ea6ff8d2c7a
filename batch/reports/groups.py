"""The sums of a report's rows by group, in the numbers that people ask for: rates, shares, percentiles."""

from __future__ import annotations

import math
from collections.abc import Sequence
from datetime import date, datetime
from typing import Any

import msgspec
import pyarrow as pa

from batch.reports import aggregate
from batch.reports.counts import SUMS, TIMES
from batch.totals import add_known

Spread = list[tuple[float, int]]
"""How many rows took so many seconds, shortest first."""


class Numbers(msgspec.Struct, frozen=True, kw_only=True):
    """A set of rows, added up.  The names up to `unknown_usage_rows` are those of usage.parquet.

    Costs are USD, times seconds, shares of 1.  `cost_usd` is None when nothing is known of it,
    `input_tokens` and `output_tokens` when no row tells them though some were answered.
    `unconfirmed_*` is what may have been billed beyond it without being reported, at most, but for
    `unbounded_attempts`, of which nothing is known (unconfirmed cost: None when no price is).
    `cost_per_row_usd` is all cost by the answered rows that have a price; `lost_*` is what went
    into attempts whose answer is not the row's; `cache_hit_rate` is the cached share of input where
    the server tells it, `cache_saved_usd` what would have been paid beyond the cost without a cache
    (None where nothing was cached, or no price is known); `output_tokens_per_second` is that of a
    single answer; percentiles are of answered rows, to three digits.
    """

    rows_ok: int
    rows_failed: int
    rows_reused: int
    attempts: int
    maybe_billed_attempts: int
    requests: int
    input_tokens: int | None
    cached_tokens: int
    cache_write_tokens: int
    output_tokens: int | None
    reasoning_tokens: int
    cost_usd: float | None
    unpriced_rows: int
    unknown_usage_rows: int
    unconfirmed_tokens: int
    unconfirmed_cost_usd: float | None
    unbounded_attempts: int
    unpriced_tokens: int
    cost_sources: dict[str, float]
    reported_cost_usd: float | None
    cost_per_row_usd: float | None
    cache_hit_rate: float | None
    cache_saved_usd: float | None
    lost_tokens: int
    lost_tokens_share: float | None
    lost_cost_usd: float | None
    lost_cost_share: float | None
    output_tokens_per_second: float | None
    latency_p50_s: float | None
    latency_p95_s: float | None
    latency_p99_s: float | None
    ttft_p50_s: float | None
    ttft_p95_s: float | None


class Group(msgspec.Struct, frozen=True):
    """Rows that have the values of `by` in common."""

    by: dict[str, str | None]
    numbers: Numbers


class Groups:
    """The tables of an Aggregation, added up by fewer keys."""

    def __init__(self, sums: pa.Table, latencies: pa.Table) -> None:
        self._sums = sums
        self._latencies = latencies

    def by(self, columns: dict[str, str]) -> list[Group]:
        """A group for every combination of the columns' values; `columns` says what each is called.
        Without columns: one, of everything.
        """
        keys = list(columns.values())
        added: dict[tuple[Any, ...], dict[str, Any]] = {}
        sources: dict[tuple[Any, ...], dict[str, float]] = {}
        for line in self._lines(self._sums, [*keys, "source"], SUMS):
            key = tuple(line[name] for name in keys)
            sums = added.setdefault(key, dict.fromkeys(SUMS))
            for name in SUMS:
                sums[name] = add_known(sums[name], line[name])
            if line["source"] is not None:
                sources.setdefault(key, {})[line["source"]] = rounded(line["cost_usd"]) or 0.0
        if not columns and not added:
            added[()] = dict.fromkeys(SUMS)
        spreads = self._spreads(keys)
        return [
            Group(
                dict(zip(columns, map(_plain, columns.values(), key), strict=True)),
                _numbers(sums, sources.get(key, {}), spreads.get(key, {})),
            )
            for key, sums in added.items()
        ]

    def spread(self, kind: str) -> Spread:
        """How long answers took, over everything."""
        return self._spreads([]).get((), {}).get(kind, [])

    def unpriced_models(self) -> dict[str, tuple[int, int]]:
        """Models of rows that tell tokens and have no cost, most rows first: rows and tokens."""
        found = {
            line["of.model"] or "?": (line["unpriced_usage_rows"], line["unpriced_tokens"] or 0)
            for line in self._lines(self._sums, ["of.model"], SUMS)
            if line["unpriced_usage_rows"]
        }
        return dict(sorted(found.items(), key=lambda pair: -pair[1][0]))

    def _spreads(self, keys: list[str]) -> dict[tuple[Any, ...], dict[str, Spread]]:
        """By key and name of the time; they are kept by the keys that were asked for only."""
        spreads: dict[tuple[Any, ...], dict[str, Spread]] = {}
        if not set(keys) <= set(self._latencies.column_names):
            return spreads
        lines = self._lines(self._latencies, [*keys, "kind", "seconds"], ["rows"])
        for line in sorted(lines, key=lambda line: line["seconds"]):
            key = tuple(line[name] for name in keys)
            kinds = spreads.setdefault(key, {})
            kinds.setdefault(TIMES[line["kind"]], []).append((line["seconds"], line["rows"]))
        return spreads

    def _lines(self, table: pa.Table, keys: list[str], sums: Sequence[str]) -> list[dict[str, Any]]:
        if not table.num_columns:
            return []
        lines: list[dict[str, Any]] = aggregate.folded(
            table, [(name, "sum") for name in sums], keys
        ).to_pylist()
        return lines


def _plain(column: str, value: Any) -> str | None:
    """A key as it is shown; a month or a week is kept as its first day."""
    if isinstance(value, datetime):
        return value.isoformat(timespec="minutes")
    if not isinstance(value, date):
        return None if value is None else str(value)
    formats = {"by.month": "%Y-%m", "by.week": "%G-W%V"}
    return f"{value:{formats.get(column, '%Y-%m-%d')}}"


def _numbers(
    sums: dict[str, Any], sources: dict[str, float], spreads: dict[str, Spread]
) -> Numbers:
    """The sums of a set of rows as what is said of it."""
    count = {name: value or 0 for name, value in sums.items()}
    silent = count["unknown_usage_rows"] > 0 and not count["usage_rows"]
    unpriced = count["unpriced_rows"] > 0
    cost = None if unpriced and not count["cost_usd"] else rounded(count["cost_usd"])
    unconfirmed = rounded(float(count["unconfirmed_cost_usd"]))
    lost_cost = None if count["lost_unpriced"] else rounded(count["lost_cost_usd"])
    tokens = count["input_tokens"] + count["output_tokens"]
    latency, ttft = spreads.get("latency_s", []), spreads.get("ttft_s", [])
    percentiles: dict[str, Any] = {
        **{f"latency_p{at}_s": percentile(latency, at / 100) for at in (50, 95, 99)},
        **{f"ttft_p{at}_s": percentile(ttft, at / 100) for at in (50, 95)},
    }
    return Numbers(
        **{name: count[name] for name in Numbers.__struct_fields__[:5]},
        requests=count["attempts"] - count["riding"],
        input_tokens=None if silent else count["input_tokens"],
        cached_tokens=count["cached_tokens"],
        cache_write_tokens=count["cache_write_tokens"],
        output_tokens=None if silent else count["output_tokens"],
        reasoning_tokens=count["reasoning_tokens"],
        cost_usd=cost,
        unpriced_rows=count["unpriced_rows"],
        unknown_usage_rows=count["unknown_usage_rows"],
        unconfirmed_tokens=count["unconfirmed_tokens"],
        unconfirmed_cost_usd=None if count["unconfirmed_unpriced_rows"] else unconfirmed,
        unbounded_attempts=count["unbounded_attempts"],
        unpriced_tokens=count["unpriced_tokens"],
        cost_sources=dict(sorted(sources.items())),
        reported_cost_usd=rounded(sums["reported_cost_usd"]),
        cost_per_row_usd=None if cost is None else rounded(ratio(cost, count["priced_answers"])),
        cache_hit_rate=ratio(count["cached_tokens"], count["cacheable_tokens"]),
        cache_saved_usd=rounded(sums["cache_saved_usd"]),
        lost_tokens=count["lost_tokens"],
        lost_tokens_share=ratio(count["lost_tokens"], tokens),
        lost_cost_usd=lost_cost,
        lost_cost_share=None if lost_cost is None or unpriced else ratio(lost_cost, cost or 0.0),
        output_tokens_per_second=ratio(count["timed_tokens"], count["timed_seconds"]),
        **percentiles,
    )


def ratio(part: float, whole: float) -> float | None:
    """A share; None of nothing."""
    return round(part / whole, 12) if whole else None


def rounded(amount: float | None) -> float | None:
    """Without the noise of adding up binary fractions."""
    return None if amount is None else round(amount, 12)


def percentile(spread: Spread, share: float) -> float | None:
    """The shortest time within which that share of the rows was answered; None without rows."""
    rank = math.ceil(share * sum(rows for _, rows in spread))
    for seconds, rows in spread:
        rank -= rows
        if rank <= 0:
            return round(seconds, 6)
    return None

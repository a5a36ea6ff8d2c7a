"""What runs cost and how they went, as numbers: totals, groups, failures.

Takes no lock and changes nothing, so it works beside a running process.  Unknown is None, never 0:
a cost of which only a part is known is that part, with `unpriced_rows` telling of the rest.
"""

from __future__ import annotations

import difflib
import math
from collections.abc import Iterable, Sequence
from datetime import date
from pathlib import Path
from typing import Any

import msgspec
import pyarrow as pa

from batch.costs import prices
from batch.costs.prices import Price, Pricer
from batch.errors import UsageError
from batch.planning import begun
from batch.reports import aggregate
from batch.reports.aggregate import ALWAYS, RECORDED, SUMS, TIMES, Chosen, Costing, Cube, Period
from batch.run_folder import RunFolder
from batch.store import contents, part_results
from batch.store.plan import Plan
from batch.totals import add_known
from batch.transport import endpoint

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
    the server tells it; `output_tokens_per_second` is that of a single answer; percentiles are of
    answered rows, to three digits.
    """

    rows_ok: int
    rows_failed: int
    rows_reused: int
    attempts: int
    maybe_billed_attempts: int
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


class Failure(msgspec.Struct, frozen=True):
    """Rows that failed with one class, and what the first of them was told."""

    error_class: str
    rows: int
    example: str


class Unanswered(msgspec.Struct, frozen=True):
    """Requests that are in no result, be they in flight or lost in a kill; in no sum of rows.

    They may be billed with `tokens` at most, which cost `cost_usd` (None: no price is known), but
    for `unbounded` ones, of which nothing is known.
    """

    requests: int = 0
    tokens: int = 0
    cost_usd: float | None = 0.0
    unbounded: int = 0


class Run(msgspec.Struct, frozen=True):
    """A run that was counted; `state` as run.json says it (`running` may have been killed),
    `journalled_rows` were read from parts that are still open, `copies` were not counted again.
    """

    run: str
    run_id: str
    state: str
    journalled_rows: int
    copies: list[str]
    unanswered: Unanswered = Unanswered()


class Report(msgspec.Struct, frozen=True, kw_only=True):
    """Everything that a report shows; `unpriced_models` maps a model to its rows that tell tokens
    and have no cost, and to those tokens.  `costing` says so when costs are not those recorded.
    """

    by: tuple[str, ...]
    period: Period
    runs: list[Run]
    totals: Numbers
    groups: list[Group]
    models: list[Group]
    days: list[Group]
    failures: list[Failure]
    unpriced_models: dict[str, tuple[int, int]]
    costing: str | None
    latencies: Spread


def of(
    runs: Iterable[tuple[Path, Plan]],
    by: Sequence[str],
    period: Period = ALWAYS,
    costing: Costing = RECORDED,
) -> Report:
    """The report of `runs`, grouped by every combination of `by`.  Raises UsageError for a key that
    no run has.
    """
    counted = _once(runs)
    chosen = [
        Chosen(path, str(path), known, begun.layout(path, known)) for path, known, _ in counted
    ]
    for name in by:
        _check_key(name, chosen)
    sums = Cube(by, period, costing)
    for run in chosen:
        sums.add(run)
    folded = _Folded(sums.sums(), sums.latencies())
    models = folded.groups({"model": "of.model"})
    return Report(
        by=tuple(by),
        period=period,
        runs=[_run(path, known, copies) for path, known, copies in counted],
        totals=folded.groups({})[0].numbers,
        groups=_ordered(folded.groups({name: f"by.{name}" for name in by}), by) if by else [],
        models=_ordered(models, ("model",)),
        days=_ordered(folded.groups({"day": "of.day"}), ("day",)),
        failures=[
            Failure(name, rows, sums.examples[name])
            for name, rows in sorted(sums.failures.items(), key=lambda pair: (-pair[1], pair[0]))
        ],
        unpriced_models=folded.unpriced_models(),
        costing=costing.words,
        latencies=folded.spread("latency_s"),
    )


def _once(runs: Iterable[tuple[Path, Plan]]) -> list[tuple[Path, Plan, list[str]]]:
    """Every run once, and the paths of its copies: the copy that went furthest counts."""
    by_id: dict[str, dict[Path, tuple[Path, Plan]]] = {}
    for path, known in runs:
        by_id.setdefault(known.run_id, {}).setdefault(path.resolve(), (path, known))
    return [_furthest(list(same.values())) for same in by_id.values()]


def _furthest(same: list[tuple[Path, Plan]]) -> tuple[Path, Plan, list[str]]:
    path, known = same[0] if len(same) == 1 else max(same, key=lambda one: _results(*one))
    return path, known, [str(other) for other, _ in same if other != path]


def _results(path: Path, known: Plan) -> int:
    layout = begun.layout(path, known)
    run = RunFolder(path)
    return sum(len(contents.chosen(run, n, layout, ["row"])) for n in run.numbers())


def _check_key(name: str, chosen: list[Chosen]) -> None:
    if not chosen or any(run.key(name) is not None for run in chosen):
        return
    columns = {field for run in chosen for field in run.layout.schema.names if run.key(field)}
    tags = {tag for run in chosen for tag in run.known.job.get("tags", {})}
    known = [
        *aggregate.BUILT_IN,
        "run",
        *sorted(tags),
        *sorted(columns - aggregate.BUILT_IN.keys() - tags),
    ]
    near = difflib.get_close_matches(name, known, 3) or known[:12]
    raise UsageError(f"--by {name}: no run has such a tag or column (known: {', '.join(near)} …)")


def _run(path: Path, known: Plan, copies: list[str]) -> Run:
    run = RunFolder(path)
    entries = (part_results.journalled(run, number) for number in run.open_parts())
    journalled = sum(len({entry.row for entry in found}) for found in entries)
    unanswered = _unanswered(path, known)
    return Run(str(path), known.run_id, known.state, journalled, copies, unanswered)


def _unanswered(path: Path, known: Plan) -> Unanswered:
    sents = contents.unanswered(RunFolder(path), begun.layout(path, known))
    if not sents:
        return Unanswered()
    pricer = _pricer(known)
    bounds = [(sent, sent.output_tokens) for sent in sents]
    bounded = [(sent, output) for sent, output in bounds if output is not None]
    costs = [
        pricer.at_most(sent.model, sent.input_tokens, output, sent.at) for sent, output in bounded
    ]
    known_costs = [cost for cost in costs if cost is not None]
    return Unanswered(
        len(sents),
        sum(sent.input_tokens + output for sent, output in bounded),
        _usd(float(sum(known_costs))) if len(known_costs) == len(costs) else None,
        len(sents) - len(bounded),
    )


def _pricer(known: Plan) -> Pricer:
    """By the prices of the run's job and the list of whoever sells at its endpoint."""
    table = known.job.get("endpoint") or {}
    url, provider = table.get("base_url") or "", table.get("provider")
    own = msgspec.convert(known.job.get("prices") or {}, dict[str, Price])
    private = endpoint.is_private(endpoint.host_of(url))
    local = url == "local" or url.startswith("local:")
    return Pricer(own, prices.seller(url, provider, private=private, local=local))


class _Folded:
    """A cube's tables, folded to the keys that are asked for."""

    def __init__(self, sums: pa.Table, latencies: pa.Table) -> None:
        self._sums = sums
        self._latencies = latencies

    def groups(self, columns: dict[str, str]) -> list[Group]:
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
                sources.setdefault(key, {})[line["source"]] = _usd(line["cost_usd"]) or 0.0
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
    """A key as it is shown; a month is kept as its first day."""
    if isinstance(value, date):
        return value.isoformat()[:7] if column == "by.month" else value.isoformat()
    return None if value is None else str(value)


def _numbers(
    sums: dict[str, Any], sources: dict[str, float], spreads: dict[str, Spread]
) -> Numbers:
    """The sums of a set of rows as what is said of it."""
    count = {name: value or 0 for name, value in sums.items()}
    silent = count["unknown_usage_rows"] > 0 and not count["usage_rows"]
    unpriced = count["unpriced_rows"] > 0
    cost = None if unpriced and not count["cost_usd"] else _usd(count["cost_usd"])
    lost_cost = None if count["lost_unpriced"] else _usd(count["lost_cost_usd"])
    tokens = count["input_tokens"] + count["output_tokens"]
    latency, ttft = spreads.get("latency_s", []), spreads.get("ttft_s", [])
    return Numbers(
        **{name: count[name] for name in Numbers.__struct_fields__[:5]},
        input_tokens=None if silent else count["input_tokens"],
        cached_tokens=count["cached_tokens"],
        cache_write_tokens=count["cache_write_tokens"],
        output_tokens=None if silent else count["output_tokens"],
        reasoning_tokens=count["reasoning_tokens"],
        cost_usd=cost,
        unpriced_rows=count["unpriced_rows"],
        unknown_usage_rows=count["unknown_usage_rows"],
        unconfirmed_tokens=count["unconfirmed_tokens"],
        unconfirmed_cost_usd=(
            None
            if count["unconfirmed_unpriced_rows"]
            else _usd(float(count["unconfirmed_cost_usd"]))
        ),
        unbounded_attempts=count["unbounded_attempts"],
        unpriced_tokens=count["unpriced_tokens"],
        cost_sources=dict(sorted(sources.items())),
        reported_cost_usd=_usd(sums["reported_cost_usd"]),
        cost_per_row_usd=None if cost is None else _usd(_ratio(cost, count["priced_answers"])),
        cache_hit_rate=_ratio(count["cached_tokens"], count["cacheable_tokens"]),
        lost_tokens=count["lost_tokens"],
        lost_tokens_share=_ratio(count["lost_tokens"], tokens),
        lost_cost_usd=lost_cost,
        lost_cost_share=None if lost_cost is None or unpriced else _ratio(lost_cost, cost or 0.0),
        output_tokens_per_second=_ratio(count["timed_tokens"], count["timed_seconds"]),
        latency_p50_s=percentile(latency, 0.50),
        latency_p95_s=percentile(latency, 0.95),
        latency_p99_s=percentile(latency, 0.99),
        ttft_p50_s=percentile(ttft, 0.50),
        ttft_p95_s=percentile(ttft, 0.95),
    )


def _ratio(part: float, whole: float) -> float | None:
    return round(part / whole, 12) if whole else None


def _usd(amount: float | None) -> float | None:
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


def _ordered(groups: list[Group], by: Sequence[str]) -> list[Group]:
    """By time where time is a key, else what cost most first; unknown keys last."""
    if not {"day", "month"}.isdisjoint(by):
        return sorted(groups, key=lambda group: [(v is None, v or "") for v in group.by.values()])
    return sorted(
        groups,
        key=lambda group: (
            -(group.numbers.cost_usd or 0.0),
            -((group.numbers.input_tokens or 0) + (group.numbers.output_tokens or 0)),
            [(value is None, value or "") for value in group.by.values()],
        ),
    )

"""What runs cost and how they went, as numbers: totals, groups, failures.

Takes no lock and changes nothing, so it works beside a running process.  Unknown is None, never 0:
a cost of which only a part is known is that part, with `unpriced_rows` telling of the rest.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import msgspec

from batch import places
from batch.costs import prices
from batch.costs.prices import Price, Pricer, Seller
from batch.costs.sellers import Pricers
from batch.errors import StorageError, UsageError
from batch.planning import begun
from batch.reports import keys, prefixes
from batch.reports.aggregate import ALWAYS, Aggregation, Period
from batch.reports.counts import RECORDED, Costing
from batch.reports.groups import Group, Groups, Numbers, Spread, rounded
from batch.reports.keys import ChosenRun
from batch.reports.prefixes import Prefixes
from batch.run_folder import RunFolder
from batch.store import contents, part_results, plan
from batch.store.plan import Plan
from batch.transport import endpoint, hosts


class Failure(msgspec.Struct, frozen=True):
    """Rows that failed with one class, and what the first of them was told."""

    error_class: str
    rows: int
    example: str


class Unanswered(msgspec.Struct, frozen=True):
    """Requests that are in no result, be they in flight or lost in a kill; in no sum of rows.

    They are about so many `rows`: one for many texts is counted with the first of them, so that there
    may be rows and no request.  They may be billed with `tokens` at most, which cost `cost_usd` (None:
    no price is known), but for `unbounded` ones, of which nothing is known.
    """

    requests: int = 0
    tokens: int = 0
    cost_usd: float | None = 0.0
    unbounded: int = 0
    rows: int = 0


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


class Charted(msgspec.Struct, frozen=True):
    """What a chart shows: groups, and the keys they are by."""

    by: tuple[str, ...]
    groups: list[Group]


class Report(msgspec.Struct, frozen=True, kw_only=True):
    """Everything that a report shows; `unpriced_models` maps a model to its rows that tell tokens
    and have no cost, and to those tokens.  `costing` says so when costs are not those recorded, and
    `unused_prices` are names for which a job or a file has prices and that no model of the runs has.
    `kinds` are groups by the keys of `by` that are no times (else by model), `times` by the finest
    that is one (else by day).  `cache_unread_tokens` were written to a cache and never read, for certain;
    `prefixes` tell of them by how prompts begin, where several do and that is known.
    """

    by: tuple[str, ...]
    period: Period
    runs: list[Run]
    totals: Numbers
    groups: list[Group]
    kinds: Charted
    times: Charted
    days: list[Group]
    failures: list[Failure]
    unpriced_models: dict[str, tuple[int, int]]
    costing: str | None
    unused_prices: list[str]
    latencies: Spread
    cache_unread_tokens: int
    prefixes: Prefixes | None


def of_folders(
    folders: Iterable[Path], by: Sequence[str], period: Period, costing: Costing
) -> tuple[Report, list[StorageError]]:
    """The report of the runs in `folders` that can be read, and what is wrong with the others.  Raises
    what is wrong where none can be, and what `of` raises.
    """
    runs: list[tuple[Path, Plan]] = []
    damages: list[StorageError] = []
    for path in folders:
        try:
            known = plan.read(path)
        except StorageError as damage:
            damages.append(damage)
        else:
            runs += [] if known is None else [(path, known)]
    try:
        if runs:
            return of(runs, by, period, costing), damages
    except StorageError:
        runs = [run for run in runs if _is_whole(run, damages)]
    if not runs:
        raise damages[0]
    return of(runs, by, period, costing), damages


def _is_whole(run: tuple[Path, Plan], damages: list[StorageError]) -> bool:
    """Whether a run can be read; if not, what is wrong goes to `damages`."""
    try:
        of([run], ())
    except StorageError as damage:
        damages.append(damage)
        return False
    return True


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
        ChosenRun(path, str(path), known, begun.layout(path, known)) for path, known, _ in counted
    ]
    for name in by:
        _check_key(name, chosen)
    sums = Aggregation(by, period, costing)
    for run in chosen:
        sums.add(run)
    groups = Groups(sums.sums(), sums.latencies())
    unread, by_prefix = prefixes.told(sums.prefixes(), sorted(sums.begin_with))
    return Report(
        by=tuple(by),
        period=period,
        runs=[_run(path, known, copies) for path, known, copies in counted],
        totals=groups.by({})[0].numbers,
        groups=_ordered(groups.by({name: f"by.{name}" for name in by}), by) if by else [],
        kinds=_kinds(groups, by),
        times=_times(groups, by),
        days=_ordered(groups.by({"day": "of.day"}), ("day",)),
        failures=[
            Failure(name, rows, sums.examples[name])
            for name, rows in sorted(sums.failures.items(), key=lambda pair: (-pair[1], pair[0]))
        ],
        unpriced_models=groups.unpriced_models(),
        costing=costing.words,
        unused_prices=_unused_prices(chosen, costing, sums.models),
        latencies=groups.spread("latency_s"),
        cache_unread_tokens=unread,
        prefixes=by_prefix,
    )


def _kinds(groups: Groups, by: Sequence[str]) -> Charted:
    names = tuple(name for name in by if name not in keys.TIMES)
    columns = {name: f"by.{name}" for name in names} or {"model": "of.model"}
    return Charted(tuple(columns), _ordered(groups.by(columns), tuple(columns)))


def _times(groups: Groups, by: Sequence[str]) -> Charted:
    name = next((name for name in keys.TIMES if name in by), None)
    columns = {"day": "of.day"} if name is None else {name: f"by.{name}"}
    return Charted(tuple(columns), _ordered(groups.by(columns), tuple(columns)))


def _unused_prices(runs: Iterable[ChosenRun], costing: Costing, models: set[str]) -> list[str]:
    """Names that have prices and no rows; none where no row was sent yet."""
    priced = {name for run in runs for name in run.known.job.get("prices") or {}} | costing.priced
    return sorted(priced - models) if models else []


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


def _check_key(name: str, chosen: list[ChosenRun]) -> None:
    if not chosen or any(run.key(name) is not None for run in chosen):
        return
    columns = {field for run in chosen for field in run.layout.schema.names if run.key(field)}
    tags = {tag for run in chosen for tag in run.known.job.get("tags", {})}
    known = [
        *keys.BUILT_IN,
        "run",
        *sorted(tags),
        *sorted(columns - keys.BUILT_IN.keys() - tags),
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
        sum(not sent.rides for sent in sents),
        sum(sent.input_tokens + output for sent, output in bounded),
        rounded(float(sum(known_costs))) if len(known_costs) == len(costs) else None,
        len(sents) - len(bounded),
        len({sent.row for sent in sents}),
    )


def _pricer(known: Plan) -> Pricer:
    """By the prices of the run's job and the lists of those who sell at its endpoints."""
    own = msgspec.convert(known.job.get("prices") or {}, dict[str, Price])
    tables = places.each_of(known.job)
    return Pricers([Pricer(own, _seller(table), table.get("model")) for table in tables])


def _seller(table: dict[str, Any]) -> Seller:
    url, provider = table.get("base_url") or "", table.get("provider")
    private = hosts.is_private(endpoint.host_of(url))
    local = url == "local" or url.startswith("local:")
    return prices.seller(url, provider, private=private, local=local)


def _ordered(groups: list[Group], by: Sequence[str]) -> list[Group]:
    """By time where time is a key, else what cost most first; unknown keys last."""
    if not set(keys.TIMES).isdisjoint(by):
        return sorted(groups, key=lambda group: [(v is None, v or "") for v in group.by.values()])
    return sorted(
        groups,
        key=lambda group: (
            -(group.numbers.cost_usd or 0.0),
            -((group.numbers.input_tokens or 0) + (group.numbers.output_tokens or 0)),
            [(value is None, value or "") for value in group.by.values()],
        ),
    )

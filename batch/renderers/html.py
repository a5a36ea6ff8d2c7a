"""A report as one page."""

from __future__ import annotations

from typing import NamedTuple

from batch.renderers import charts, pages, table, words
from batch.renderers.charts import Chart, Point
from batch.renderers.table import Table
from batch.reports.groups import Group, Numbers
from batch.reports.report import Report
from batch.words import Kind, money, short

KIND: Kind = "html"

MOST_BARS = 12
MOST_DAYS = 62
NAME_LENGTH = 30
"""Characters of a bar's name that fit above it; the table has the whole."""


class Figure(NamedTuple):
    """A chart with its table; without a chart, what is said in its place."""

    id: str
    title: str
    about: str
    chart: Chart | None
    table: Table
    series: tuple[str, ...] = ()
    instead: str = ""
    hue: str = "cost"


def text(report: Report) -> str:
    """The page."""
    return pages.page(
        "report.html",
        "What it cost",
        words.heading(report),
        width=f"{charts.WIDTH:.0f}",
        left=f"{charts.PLOT_LEFT:.0f}",
        facts=words.facts(report)[1:],
        tiles=_tiles(report.totals),
        figures=_figures(report),
        groups=table.groups(report, None) if report.groups else None,
        runs=_runs(report),
    )


def _tiles(totals: Numbers) -> list[tuple[str, str, str]]:
    """The numbers that are looked for first: what, how much, and a word on it."""
    unpriced = f"{words.rows(totals.unpriced_rows)} unpriced" if totals.unpriced_rows else ""
    each = totals.cost_per_row_usd
    per_row = unpriced or ("" if each is None else f"{money(each)} a row")
    tried = totals.attempts
    p95 = f"p95 {words.seconds(totals.latency_p95_s)}"
    return [
        ("cost", words.cost(totals), per_row),
        ("rows answered", words.count(totals.rows_ok), f"{totals.rows_reused:,} reused"),
        ("rows failed", words.count(totals.rows_failed), f"{tried:,} attempts in all"),
        ("tokens in", _short(totals.input_tokens), f"{words.share(totals.cache_hit_rate)} cached"),
        (
            "tokens out",
            _short(totals.output_tokens),
            f"{_short(totals.reasoning_tokens)} reasoning",
        ),
        ("latency p50", words.seconds(totals.latency_p50_s), p95),
    ]


def _short(tokens: int | None) -> str:
    return "unknown" if tokens is None else short(tokens)


def _figures(report: Report) -> list[Figure]:
    days = [group for group in report.days if group.by["day"] is not None]
    days = days if len(days) <= MOST_DAYS else days[-MOST_DAYS:]
    made = [_cost_by_model(report.models), _tokens_by_model(report.models)]
    if len(days) > 1:
        more = len(report.days) > MOST_DAYS
        when = f"the last {MOST_DAYS} days with rows" if more else "days in UTC"
        made += [_cost_by_day(days, when), _tokens_by_day(days, when)]
    if report.latencies:
        made.append(_latency(report))
    if report.failures:
        made.append(_failures(report))
    return made


def _cost_by_model(models: list[Group]) -> Figure:
    points = [
        Point(_name(group), (group.numbers.cost_usd or 0.0,), words.cost(group.numbers))
        for group in models
    ]
    lines = [
        [
            words.name(group),
            words.cost(group.numbers),
            _each(group.numbers),
            words.count(group.numbers.unpriced_rows),
        ]
        for group in models
    ]
    known = any(group.numbers.cost_usd for group in models)
    return Figure(
        "cost-by-model",
        "Cost by model",
        "What was paid for the answers of each model, failed and repeated attempts included.",
        charts.bars(points[:MOST_BARS]) if known else None,
        Table(["model", "cost", "per row", "unpriced rows"], lines, 1),
        instead=_no_cost(models),
    )


def _each(numbers: Numbers) -> str:
    each = numbers.cost_per_row_usd
    return words.NOTHING if each is None else money(each)


def _no_cost(groups: list[Group]) -> str:
    unknown = any(group.numbers.unpriced_rows for group in groups)
    return "Unknown: no price is known." if unknown else "Nothing was paid."


def _tokens_by_model(models: list[Group]) -> Figure:
    points = [
        Point(_name(group), _tokens(group.numbers), _in_and_out(group.numbers)) for group in models
    ]
    lines = [
        [
            words.name(group),
            words.count(group.numbers.input_tokens),
            words.share(group.numbers.cache_hit_rate),
            words.count(group.numbers.output_tokens),
        ]
        for group in models
    ]
    return Figure(
        "tokens-by-model",
        "Tokens by model",
        "Tokens sent to and written by each model.",
        charts.bars(points[:MOST_BARS]) if any(sum(p.values) for p in points) else None,
        Table(["model", "in", "cached", "out"], lines, 1),
        ("in", "out"),
        "No server told its tokens.",
        "tokens",
    )


def _tokens(numbers: Numbers) -> tuple[float, float]:
    return float(numbers.input_tokens or 0), float(numbers.output_tokens or 0)


def _in_and_out(numbers: Numbers) -> str:
    return f"{_short(numbers.input_tokens)} in, {_short(numbers.output_tokens)} out"


def _cost_by_day(days: list[Group], when: str) -> Figure:
    points = [
        Point(words.name(day), (day.numbers.cost_usd or 0.0,), words.cost(day.numbers))
        for day in days
    ]
    scale = charts.scale(max(point.values[0] for point in points))
    grid = [(value, money(value) if value else "$0") for value in scale]
    lines = [
        [
            words.name(day),
            words.cost(day.numbers),
            words.count(day.numbers.rows_ok + day.numbers.rows_failed),
        ]
        for day in days
    ]
    known = any(point.values[0] for point in points)
    return Figure(
        "cost-by-day",
        "Cost by day",
        f"What the rows of a day cost; {when}.",
        charts.columns(points, grid) if known else None,
        Table(["day", "cost", "rows"], lines, 1),
        instead=_no_cost(days),
    )


def _tokens_by_day(days: list[Group], when: str) -> Figure:
    points = [
        Point(words.name(day), _tokens(day.numbers), _in_and_out(day.numbers)) for day in days
    ]
    scale = charts.scale(max(sum(point.values) for point in points))
    lines = [
        [
            words.name(day),
            words.count(day.numbers.input_tokens),
            words.count(day.numbers.output_tokens),
        ]
        for day in days
    ]
    return Figure(
        "tokens-by-day",
        "Tokens by day",
        f"Tokens sent and written; {when}.",
        charts.columns(points, [(value, short(round(value))) for value in scale])
        if any(sum(point.values) for point in points)
        else None,
        Table(["day", "in", "out"], lines, 1),
        ("in", "out"),
        "No server told its tokens.",
        "tokens",
    )


def _latency(report: Report) -> Figure:
    found = charts.bins(report.latencies)
    points = [
        Point(f"{_time(since)}–{_time(until)} s", (float(rows),), words.rows(rows))
        for since, until, rows in found
    ]
    scale = charts.scale(max(point.values[0] for point in points))
    totals = report.totals
    times = {
        "half within (p50)": totals.latency_p50_s,
        "95% within": totals.latency_p95_s,
        "99% within": totals.latency_p99_s,
        "first token, half within": totals.ttft_p50_s,
        "first token, 95% within": totals.ttft_p95_s,
    }
    lines = [[name, words.seconds(time)] for name, time in times.items() if time is not None]
    lines += [[point.name, point.words] for point in points if point.values[0]]
    return Figure(
        "latency",
        "How long answers took",
        "Answered rows by the seconds their last attempt took, in steps of equal ratio.",
        charts.columns(points, [(value, short(round(value))) for value in scale]),
        Table(["seconds", ""], lines, 1),
        hue="time",
    )


def _time(seconds: float) -> str:
    return f"{seconds:.2g}" if seconds < 100 else f"{seconds:.0f}"


def _failures(report: Report) -> Figure:
    points = [
        Point(words.line(failure.error_class), (float(failure.rows),), words.rows(failure.rows))
        for failure in report.failures
    ]
    return Figure(
        "failures",
        "Failures",
        "Rows that have no answer, by the class of the error.",
        charts.bars(points[:MOST_BARS]),
        table.failures(report),
        hue="failed",
    )


def _name(group: Group) -> str:
    return words.cut(words.name(group), NAME_LENGTH)


def _runs(report: Report) -> Table:
    lines = [
        [words.line(run.run), run.run_id, run.state, words.count(run.journalled_rows)]
        for run in report.runs
    ]
    return Table(["run", "id", "state", "rows of open parts"], lines, 3)

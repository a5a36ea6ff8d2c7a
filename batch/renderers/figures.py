"""The charts of a report, each with the table that holds the same numbers."""

from __future__ import annotations

from typing import NamedTuple

from batch.renderers import charts, table, words
from batch.renderers.charts import Chart, Point
from batch.renderers.table import Table
from batch.reports.groups import Group, Numbers
from batch.reports.report import Charted, Report
from batch.words import money, short

MOST_BARS = 12
MOST_COLUMNS = 62
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


def of(report: Report) -> list[Figure]:
    """Those of a report: what it has numbers for."""
    kinds, times = report.kinds, _known(report.times)
    made = [_cost_by_kind(kinds), _tokens_by_kind(kinds)]
    if len(times.groups) > 1:
        made += [_cost_over_time(times), _tokens_over_time(times)]
    if report.latencies:
        made.append(_latency(report))
    if report.failures:
        made.append(_failures(report))
    return made


def _known(times: Charted) -> Charted:
    """Without the rows that were never sent."""
    known = [group for group in times.groups if all(group.by.values())]
    return Charted(times.by, known)


def _cost_by_kind(kinds: Charted) -> Figure:
    of = _names(kinds)
    points = [
        Point(_name(group), (group.numbers.cost_usd or 0.0,), words.cost(group.numbers))
        for group in kinds.groups
    ]
    lines = [
        [
            words.name(group),
            words.cost(group.numbers),
            _each(group.numbers),
            words.count(group.numbers.unpriced_rows),
        ]
        for group in kinds.groups
    ]
    known = any(group.numbers.cost_usd for group in kinds.groups)
    return Figure(
        "cost-by-kind",
        f"Cost by {of}",
        f"What was paid, failed and repeated attempts included{_first_bars(points)}.",
        charts.bars(points[:MOST_BARS]) if known else None,
        Table([of, "cost", "per row", "unpriced rows"], lines, 1),
        instead=_no_cost(kinds.groups),
    )


def _names(charted: Charted) -> str:
    return ", ".join(words.line(name) for name in charted.by)


def _first_bars(points: list[Point]) -> str:
    """That not all of them are drawn."""
    return f"; the first {MOST_BARS} of {len(points):,}" if len(points) > MOST_BARS else ""


def _each(numbers: Numbers) -> str:
    each = numbers.cost_per_row_usd
    return words.NOTHING if each is None else money(each)


def _no_cost(groups: list[Group]) -> str:
    unknown = any(group.numbers.unpriced_rows for group in groups)
    return "Unknown: no price is known." if unknown else "Nothing was paid."


def _tokens_by_kind(kinds: Charted) -> Figure:
    of = _names(kinds)
    points = [
        Point(_name(group), _in_out(group.numbers), _in_and_out(group.numbers))
        for group in kinds.groups
    ]
    lines = [
        [
            words.name(group),
            words.count(group.numbers.input_tokens),
            words.share(group.numbers.cache_hit_rate),
            words.count(group.numbers.output_tokens),
        ]
        for group in kinds.groups
    ]
    return Figure(
        "tokens-by-kind",
        f"Tokens by {of}",
        f"Tokens sent and written{_first_bars(points)}.",
        charts.bars(points[:MOST_BARS]) if any(sum(p.values) for p in points) else None,
        Table([of, "in", "cached", "out"], lines, 1),
        ("in", "out"),
        "No server told its tokens.",
        "tokens",
    )


def _in_out(numbers: Numbers) -> tuple[float, float]:
    return float(numbers.input_tokens or 0), float(numbers.output_tokens or 0)


def _in_and_out(numbers: Numbers) -> str:
    return f"{tokens(numbers.input_tokens)} in, {tokens(numbers.output_tokens)} out"


def _cost_over_time(times: Charted) -> Figure:
    of, shown = _names(times), times.groups[-MOST_COLUMNS:]
    points = [
        Point(_moment(group), (group.numbers.cost_usd or 0.0,), words.cost(group.numbers))
        for group in shown
    ]
    scale = charts.scale(max(point.values[0] for point in points))
    grid = [(value, money(value) if value else "$0") for value in scale]
    lines = [
        [
            words.name(group),
            words.cost(group.numbers),
            words.count(group.numbers.rows_ok + group.numbers.rows_failed),
        ]
        for group in shown
    ]
    known = any(point.values[0] for point in points)
    return Figure(
        "cost-over-time",
        f"Cost by {of}",
        f"What the rows of {_a(of)} cost; {_which(times)}.",
        charts.columns(points, grid) if known else None,
        Table([of, "cost", "rows"], lines, 1),
        instead=_no_cost(shown),
    )


def _tokens_over_time(times: Charted) -> Figure:
    of, shown = _names(times), times.groups[-MOST_COLUMNS:]
    points = [
        Point(_moment(group), _in_out(group.numbers), _in_and_out(group.numbers)) for group in shown
    ]
    scale = charts.scale(max(sum(point.values) for point in points))
    lines = [
        [
            words.name(group),
            words.count(group.numbers.input_tokens),
            words.count(group.numbers.output_tokens),
        ]
        for group in shown
    ]
    return Figure(
        "tokens-over-time",
        f"Tokens by {of}",
        f"Tokens sent and written; {_which(times)}.",
        charts.columns(points, [(value, short(round(value))) for value in scale])
        if any(sum(point.values) for point in points)
        else None,
        Table([of, "in", "out"], lines, 1),
        ("in", "out"),
        "No server told its tokens.",
        "tokens",
    )


def _a(time: str) -> str:
    return f"an {time}" if time == "hour" else f"a {time}"


def _which(times: Charted) -> str:
    of = _names(times)
    if len(times.groups) > MOST_COLUMNS:
        return f"the last {MOST_COLUMNS} {of}s with rows, in UTC"
    return f"{of}s in UTC"


def _moment(group: Group) -> str:
    """As it has room below a column: an hour without its year."""
    day, hour, time = words.name(group).partition("T")
    return f"{day[5:]} {time}" if hour else day


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


def tokens(number: int | None) -> str:
    """A count as it has room in a chart."""
    return "unknown" if number is None else short(number)

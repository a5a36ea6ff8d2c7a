"""A report as one page."""

from __future__ import annotations

from batch.renderers import charts, figures, pages, table, words
from batch.renderers.table import Table
from batch.reports.groups import Numbers
from batch.reports.report import Report
from batch.words import Kind, money

KIND: Kind = "html"
OURS = pages.OURS


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
        figures=figures.of(report),
        groups=table.groups(report, None) if report.groups else None,
        prefixes=None if report.prefixes is None else table.prefixes(report.prefixes, None),
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
        (
            "tokens in",
            figures.tokens(totals.input_tokens),
            f"{words.share(totals.cache_hit_rate)} cached",
        ),
        (
            "tokens out",
            figures.tokens(totals.output_tokens),
            f"{figures.tokens(totals.reasoning_tokens)} reasoning",
        ),
        ("latency p50", words.seconds(totals.latency_p50_s), p95),
    ]


def _runs(report: Report) -> Table:
    lines = [
        [words.line(run.run), run.run_id, run.state, words.count(run.journalled_rows)]
        for run in report.runs
    ]
    return Table(["run", "id", "state", "rows of open parts"], lines, 3)

"""A report as aligned text for a terminal, and the tables that other formats show too."""

from __future__ import annotations

import textwrap
from collections.abc import Callable
from itertools import zip_longest
from typing import NamedTuple

from batch.renderers import words
from batch.reports.groups import Group, Numbers
from batch.reports.prefixes import Prefix, Prefixes
from batch.reports.report import Report
from batch.words import UP, Kind, money

KIND: Kind = "text"

WIDTH = 100
"""Characters of a terminal's line; columns that do not fit are left to the other formats."""

KEY_WIDTH = 40
GAP = 2


class Column(NamedTuple):
    """A column of the table of groups; `rank` tells which ones stay when there is no room."""

    title: str
    rank: int
    cell: Callable[[Numbers], str]
    holds: Callable[[Numbers], object] = lambda numbers: True


def _most(usd: float | None) -> str:
    return f"≤ {money(usd, UP)}"


def _saved(usd: float) -> str:
    return money(usd) if usd >= 0 else f"-{money(-usd)}"


COLUMNS = (
    Column("rows", 0, lambda n: words.count(n.rows_ok + n.rows_failed)),
    Column("failed", 4, lambda n: words.count(n.rows_failed), lambda n: n.rows_failed),
    Column("reused", 6, lambda n: words.count(n.rows_reused), lambda n: n.rows_reused),
    Column("attempts", 12, lambda n: words.count(n.attempts)),
    Column(
        "maybe billed",
        14,
        lambda n: words.count(n.maybe_billed_attempts),
        lambda n: n.maybe_billed_attempts,
    ),
    Column("tokens in", 2, lambda n: words.count(n.input_tokens)),
    Column("cached", 8, lambda n: words.share(n.cache_hit_rate), lambda n: n.cached_tokens),
    Column(
        "written", 14, lambda n: words.count(n.cache_write_tokens), lambda n: n.cache_write_tokens
    ),
    Column("tokens out", 3, lambda n: words.count(n.output_tokens)),
    Column(
        "reasoning", 13, lambda n: words.count(n.reasoning_tokens), lambda n: n.reasoning_tokens
    ),
    Column("cost", 1, words.cost),
    Column(
        "saved",
        11,
        lambda n: words.NOTHING if n.cache_saved_usd is None else _saved(n.cache_saved_usd),
        lambda n: n.cache_saved_usd is not None,
    ),
    Column(
        "per row",
        5,
        lambda n: words.NOTHING if n.cost_per_row_usd is None else money(n.cost_per_row_usd),
        lambda n: n.cost_per_row_usd is not None,
    ),
    Column(
        "unconfirmed",
        14,
        lambda n: words.NOTHING if n.unconfirmed_cost_usd == 0 else _most(n.unconfirmed_cost_usd),
        lambda n: n.unconfirmed_cost_usd,
    ),
    Column("lost", 9, lambda n: words.share(n.lost_tokens_share), lambda n: n.lost_tokens),
    Column(
        "tokens/s",
        10,
        lambda n: words.speed(n.output_tokens_per_second),
        lambda n: n.output_tokens_per_second,
    ),
    Column("p50", 7, lambda n: words.seconds(n.latency_p50_s), lambda n: n.latency_p50_s),
    Column("p95", 7, lambda n: words.seconds(n.latency_p95_s), lambda n: n.latency_p95_s),
    Column("p99", 11, lambda n: words.seconds(n.latency_p99_s), lambda n: n.latency_p99_s),
    Column("ttft p50", 15, lambda n: words.seconds(n.ttft_p50_s), lambda n: n.ttft_p50_s),
    Column("ttft p95", 16, lambda n: words.seconds(n.ttft_p95_s), lambda n: n.ttft_p95_s),
)


class Table(NamedTuple):
    """Titles and cells; the first `keys` columns are words, the others numbers."""

    titles: list[str]
    lines: list[list[str]]
    keys: int


def text(report: Report) -> str:
    """For a terminal: what is said of everything, then groups and failures."""
    sections = ["\n".join(_wrapped(word, said) for word, said in words.facts(report))]
    if report.groups:
        sections.append(aligned(groups(report, WIDTH)))
    if report.prefixes is not None:
        sections.append(aligned(prefixes(report.prefixes, KEY_WIDTH)))
    if report.failures:
        sections.append(aligned(_cut(failures(report))))
    return "\n\n".join(sections) + "\n"


def _wrapped(word: str, said: str) -> str:
    lines = textwrap.wrap(said, WIDTH - 10, break_long_words=False, break_on_hyphens=False)
    return "\n".join(f"{lead:<9} {line}" for lead, line in zip_longest([word], lines, fillvalue=""))


def groups(report: Report, width: int | None) -> Table:
    """The groups, and a line of everything below more than one; all columns that hold something, or
    as many as fit into `width` characters.
    """
    shown = report.groups
    if len(shown) > 1:
        total = dict.fromkeys(report.by, "") | {report.by[0]: "total"}
        shown = [*shown, Group(dict(total), report.totals)]
    most = 1_000 if width is None else KEY_WIDTH
    keys = [[words.cut(words.line(v), most) for v in group.by.values()] for group in shown]
    names = [words.line(name) for name in report.by]
    numbers = [group.numbers for group in shown]
    there = [c for c in COLUMNS if any(c.holds(each) for each in numbers)]
    room = None if width is None else width + GAP - sum(_widths(names, keys))
    fitting = there if room is None else _fitting(there, numbers, room)
    lines = [
        [*key, *(column.cell(each) for column in fitting)]
        for key, each in zip(keys, numbers, strict=True)
    ]
    return Table([*names, *(column.title for column in fitting)], lines, len(names))


def _fitting(columns: list[Column], numbers: list[Numbers], room: int) -> list[Column]:
    kept: list[Column] = []
    for column in sorted(columns, key=lambda column: column.rank):
        width = GAP + max(len(column.title), *(len(column.cell(each)) for each in numbers))
        if width > room:
            break
        kept.append(column)
        room -= width
    return [column for column in columns if column in kept]


def _widths(titles: list[str], lines: list[list[str]]) -> list[int]:
    return [GAP + max(map(len, cells)) for cells in zip(titles, *lines, strict=True)]


def prefixes(told: Prefixes, width: int | None) -> Table:
    """What caches did for prompts by how they begin, each in `width` characters; the last line is all
    that are not told one by one.
    """
    title = f"prompts by {words.line(', '.join(told.columns))}"
    lines = [[words.line(each.label), *_of_prefix(each)] for each in told.most]
    if told.others is not None:
        more = f"{told.count - len(told.most):,} others"
        lines.append([more, *_of_prefix(told.others)])
    most = 1_000 if width is None else width
    lines = [[words.cut(line[0], most), *line[1:]] for line in lines]
    titles = [words.cut(title, most), *TOLD_OF_PREFIXES]
    return Table(titles, lines, 1)


TOLD_OF_PREFIXES = ("rows", "cached", "written", "never read", "cost", "saved")


def _of_prefix(each: Prefix) -> list[str]:
    return [
        words.count(each.rows),
        words.share(each.cache_hit_rate),
        words.count(each.cache_write_tokens),
        words.count(each.cache_unread_tokens),
        words.cost(each),
        words.NOTHING if each.cache_saved_usd is None else _saved(each.cache_saved_usd),
    ]


def failures(report: Report) -> Table:
    """Failed rows by class."""
    lines = [
        [words.line(failure.error_class), words.line(failure.example), words.count(failure.rows)]
        for failure in report.failures
    ]
    return Table(["failed with", "for example", "rows"], lines, 2)


def _cut(table: Table) -> Table:
    first, _, last = _widths(table.titles, table.lines)
    room = WIDTH - first - last
    lines = [[name, words.cut(example, room), rows] for name, example, rows in table.lines]
    return table._replace(lines=lines)


def aligned(table: Table) -> str:
    """A table for a terminal."""
    title, *lines = padded(table)
    rule = ["-" * len(cell) for cell in title]
    return "\n".join((" " * GAP).join(line).rstrip() for line in [title, rule, *lines])


def padded(table: Table) -> list[list[str]]:
    """Titles and lines with cells of equal width, words to the left and numbers to the right."""
    lines = [table.titles, *table.lines]
    widths = [max(map(len, cells)) for cells in zip(*lines, strict=True)]
    return [
        [
            cell.ljust(width) if at < table.keys else cell.rjust(width)
            for at, (cell, width) in enumerate(zip(line, widths, strict=True))
        ]
        for line in lines
    ]

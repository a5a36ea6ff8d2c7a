"""The tables of a comparison, which the terminal and the page show."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from batch.renderers import words
from batch.renderers.table import Table
from batch.reports.agreement import Agreement, Confusion
from batch.reports.compared import Comparison
from batch.reports.groups import Numbers
from batch.reports.matches import Match
from batch.words import money

RUNS = ("A", "B")
TRUTH = "truth"


class Shown(NamedTuple):
    """Two sides that were joined, and what they are called."""

    a: str
    b: str
    match: Match

    @property
    def title(self) -> str:
        return f"{self.a} and {self.b}"


def shown(made: Comparison) -> list[Shown]:
    """The two runs, then the truth and each run."""
    pair = [] if made.match is None else [Shown(*RUNS, made.match)]
    return [*pair, *(Shown(TRUTH, *pair) for pair in zip(RUNS, made.truths, strict=False))]


def facts(made: Comparison) -> list[tuple[str, str]]:
    """What is compared: a word and a sentence."""
    found = [(name, words.line(run)) for name, run in zip(RUNS, made.runs, strict=False)]
    if made.against is not None:
        found.append((TRUTH, words.line(made.against)))
    found += [("joined", f"{pair.title}: {_joined(pair)}") for pair in shown(made)]
    return [*found, *(("note", words.line(note)) for note in made.notes)]


def _joined(pair: Shown) -> str:
    match = pair.match
    only = f"{match.only_a:,} only in {pair.a}, {match.only_b:,} only in {pair.b}"
    failed = f"; {match.failed:,} failed and count for nothing" if match.failed else ""
    return f"{words.rows(match.joined)} by {words.line(match.on)}; {only}{failed}"


def agreements(match: Match, most: int = 1_000) -> Table:
    """How far the sides agree, a line for each field."""
    lines = [
        [
            words.cut(words.line(name), most),
            words.share(found.agreement),
            interval(found),
            kappa(found),
            words.count(found.rows),
            words.count(found.null),
        ]
        for name, found in match.fields.items()
    ]
    return Table(["field", "agree", "95% interval", "kappa", "rows", "null"], lines, 1)


def interval(found: Agreement) -> str:
    """The Wilson interval: 76.3–90.5%."""
    low, high = found.agreement_low, found.agreement_high
    if low is None or high is None:
        return words.NOTHING
    return f"{low * 100:.1f}–{high:.1%}"


def kappa(found: Agreement) -> str:
    return words.NOTHING if found.kappa is None else f"{found.kappa:.3f}"


def confusion(pair: Shown, found: Confusion, most: int = 1_000) -> Table:
    """The labels of one side from top to bottom, those of the other from left to right."""
    labels = [words.cut(words.line(label), most) for label in found]
    lines = [
        [label, *map(words.count, row.values())]
        for label, row in zip(labels, found.values(), strict=True)
    ]
    return Table([f"{pair.a} \\ {pair.b}", *labels], lines, 1)


def confused(pair: Shown, found: Confusion, most: int) -> Table:
    """The labels that are most often one here and another there."""
    pairs = [(a, b, rows) for a, row in found.items() for b, rows in row.items() if a != b and rows]
    lines = [
        [words.cut(words.line(a), most), words.cut(words.line(b), most), words.count(rows)]
        for a, b, rows in sorted(pairs, key=lambda each: -each[2])[:10]
    ]
    return Table([pair.a, pair.b, "rows"], lines, 2)


def numbers(made: Comparison) -> Table:
    """What each run took."""
    lines = [[title, *cells] for title, *cells in zip(*_columns(made), strict=True)]
    return Table(["", *RUNS[: len(made.runs)]], lines, 1)


def _columns(made: Comparison) -> Iterator[list[str]]:
    yield ["rows answered", "rows failed", "cost", "per row", "tokens in", "tokens out", *_TIMES]
    for each in made.numbers:
        yield [
            words.count(each.rows_ok),
            words.count(each.rows_failed),
            words.cost(each),
            words.NOTHING if each.cost_per_row_usd is None else money(each.cost_per_row_usd),
            words.count(each.input_tokens),
            words.count(each.output_tokens),
            *_times(each),
        ]


_TIMES = ("latency p50", "latency p95")


def _times(each: Numbers) -> tuple[str, str]:
    return words.seconds(each.latency_p50_s), words.seconds(each.latency_p95_s)


def differences(pair: Shown, rows: int, most: int = 2_000) -> Table:
    """The first rows that differ, a line for each field in which they do; no cell has more than `most`
    characters.
    """
    lines = [
        [words.cut(words.line(cell), most) for cell in (row.key, name, *values)]
        for row in pair.match.differences[:rows]
        for name, values in row.values.items()
    ]
    return Table([words.cut(words.line(pair.match.on), most), "field", pair.a, pair.b], lines, 4)


def differing(match: Match, rows: int) -> str:
    """How many rows differ, and how many of them are shown."""
    count = f"{words.rows(match.differing)} differ{'s' if match.differing == 1 else ''}"
    return count if match.differing <= rows else f"{count}, the first {rows:,}"

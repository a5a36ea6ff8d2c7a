"""A comparison as aligned text for a terminal."""

from __future__ import annotations

import textwrap
from collections.abc import Iterator
from itertools import zip_longest

from batch.renderers import side_by_side, words
from batch.renderers.side_by_side import Shown
from batch.renderers.table import GAP, Table, aligned
from batch.reports.compared import Comparison
from batch.words import Kind

KIND: Kind = "text"

WIDTH = 80
"""Characters of a terminal's line."""

FIELD_WIDTH = 30
LABEL_WIDTH = 16
KEY_WIDTH = 16
ROWS = 5
"""Rows that differ of which the values are shown."""


def text(made: Comparison) -> str:
    """What is compared, how far it agrees, what it took, and the first rows that differ."""
    sections = ["\n".join(_wrapped(*fact) for fact in side_by_side.facts(made))]
    pairs = side_by_side.shown(made)
    for pair in pairs:
        sections += _agreement(pair, len(pairs) > 1)
    sections.append(aligned(side_by_side.numbers(made)))
    sections += [_differences(pair) for pair in pairs if pair.match.differing]
    return "\n\n".join(sections) + "\n"


def _wrapped(word: str, said: str) -> str:
    lines = textwrap.wrap(said, WIDTH - 8, break_on_hyphens=False)
    return "\n".join(f"{lead:<7} {line}" for lead, line in zip_longest([word], lines, fillvalue=""))


def _agreement(pair: Shown, titled: bool) -> Iterator[str]:
    title = f"{pair.title}\n" if titled else ""
    yield title + aligned(side_by_side.agreements(pair.match, FIELD_WIDTH))
    for name, found in pair.match.fields.items():
        if found.confusion and found.agreed < found.rows:
            table = side_by_side.confusion(pair, found.confusion, LABEL_WIDTH)
            if _width(table) > WIDTH:
                table = side_by_side.confused(pair, found.confusion, LABEL_WIDTH * 2)
            yield f"{_line(name)}\n{aligned(table)}"


def _line(name: str) -> str:
    return words.cut(words.line(name), WIDTH)


def _width(table: Table) -> int:
    return max(map(len, aligned(table).splitlines()))


def _differences(pair: Shown) -> str:
    title = f"{pair.title}: {side_by_side.differing(pair.match, ROWS)}"
    return f"{title}\n{aligned(_fitting(side_by_side.differences(pair, ROWS)))}"


def _fitting(table: Table) -> Table:
    """Keys and fields cut where they are long; the values share what is left."""
    keys, names, *_ = zip(table.titles, *table.lines, strict=True)
    key = min(KEY_WIDTH, max(map(len, keys)))
    name = min(FIELD_WIDTH, max(map(len, names)))
    value = (WIDTH - key - name - 3 * GAP) // 2
    cuts = (key, name, value, value)
    titles, *lines = (
        [words.cut(cell, most) for cell, most in zip(line, cuts, strict=True)]
        for line in (table.titles, *table.lines)
    )
    return Table(titles, lines, table.keys)

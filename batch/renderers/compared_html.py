"""A comparison as one page."""

from __future__ import annotations

from typing import NamedTuple

from batch.renderers import pages, side_by_side, words
from batch.renderers.side_by_side import Shown
from batch.renderers.table import Table
from batch.reports.compared import Comparison
from batch.reports.matches import MOST_DIFFERENCES
from batch.words import Kind

KIND: Kind = "html"

MOST_FACTS_OF_FIELDS = 3
"""Fields whose agreement stands in a tile."""


LABEL_WIDTH = 40
"""Characters of a value in a title; the rows that differ have the whole."""


class Part(NamedTuple):
    """What is said of two sides; `confusions` are tables with the field they are of."""

    title: str
    agreements: Table
    confusions: list[tuple[str, Table]]
    differing: str
    differences: Table | None


def text(made: Comparison) -> str:
    """The page."""
    pairs = side_by_side.shown(made)
    return pages.page(
        "compared.html",
        "How far they agree",
        " and ".join(words.line(name) for name in _names(made)),
        tiles=_tiles(pairs),
        facts=side_by_side.facts(made),
        parts=list(map(_part, pairs)),
        numbers=side_by_side.numbers(made),
    )


def _names(made: Comparison) -> list[str]:
    return [*made.runs, *([] if made.against is None else [made.against])]


def _tiles(pairs: list[Shown]) -> list[tuple[str, str, str]]:
    """The numbers that are looked for first: what, how much, and a word on it."""
    made = []
    for pair in pairs:
        match = pair.match
        for name, found in list(match.fields.items())[:MOST_FACTS_OF_FIELDS]:
            title = f"{pair.title}: {words.line(name)}"
            interval = side_by_side.interval(found)
            made.append((title, words.share(found.agreement), interval))
        of = f"of {words.rows(match.joined)} joined"
        made.append((f"{pair.title}: rows that differ", words.count(match.differing), of))
    return made


def _part(pair: Shown) -> Part:
    match = pair.match
    return Part(
        pair.title,
        side_by_side.agreements(match),
        [
            (words.line(name), side_by_side.confusion(pair, found.confusion, LABEL_WIDTH))
            for name, found in match.fields.items()
            if found.confusion
        ],
        side_by_side.differing(match, MOST_DIFFERENCES),
        side_by_side.differences(pair, MOST_DIFFERENCES) if match.differing else None,
    )

"""Which columns a template names, and what it calls what is none."""

from __future__ import annotations

import json
import re
import unicodedata
from collections.abc import Collection

import msgspec

MOST_NAMED = 30
"""Columns that a message tells by name."""

PLACE = re.compile(r"\{\{[-+]?(.*?)[-+]?\}\}", re.DOTALL)
"""What is written between double braces."""
NAME = re.compile(r"[\w\s.\-/:#&@$%?!]+")
"""What could be the name of a column, at a glance: no quotes, brackets, pipes or operators."""


class Named(msgspec.Struct, frozen=True):
    """The names of a template: those of columns, for all it can tell; among them those that need be
    none, as they are only called (`range(3)`); whether it looks into the row as a whole, through
    `row`, and if so, at more than the columns it names there.
    """

    columns: frozenset[str]
    words: frozenset[str]
    row: bool = False
    whole_row: bool = False


def of_row(name: str) -> str:
    """How any column is named."""
    return f"{{{{ row[{json.dumps(name, ensure_ascii=False)}] }}}}"


def place_of(name: str) -> str:
    """How a column is named, as short as it can be."""
    return f"{{{{ {name} }}}}" if name.isidentifier() and name not in RESERVED else of_row(name)


def places(source: str) -> list[str]:
    """What stands between double braces, as it is written."""
    return [place[1].strip() for place in PLACE.finditer(source)]


def meant(name: str, source: str, columns: Collection[str]) -> str | None:
    """How the column is named that a template means by `name`, which is none; None if nobody knows.

    It may be a part of what is written: `{{ product-desc }}` names `product` and `desc`.
    """
    for written in places(source):
        if written in columns and name in written and written != name:
            return of_row(written)
    alike = {_bare(column): column for column in columns}
    if _bare(name) in alike:
        return place_of(alike[_bare(name)])
    import difflib

    near = difflib.get_close_matches(name, columns, n=1, cutoff=0.8)
    return place_of(near[0]) if near else None


def _bare(name: str) -> str:
    """Letters and digits, in any case."""
    folded = unicodedata.normalize("NFKC", name).casefold()
    return "".join(letter for letter in folded if letter.isalnum()) or folded


def odd(source: str) -> str | None:
    """How the first column is named whose name is more than a word, by all looks."""
    for written in places(source):
        if NAME.fullmatch(written) and not (written.isidentifier() and written not in RESERVED):
            return of_row(written)
    return None


def listed(columns: Collection[str]) -> str:
    """Columns by name, not all of a thousand."""
    names = list(columns)
    more = f" … {len(names) - MOST_NAMED:,} more" if len(names) > MOST_NAMED else ""
    return ", ".join(names[:MOST_NAMED]) + more or "none"


RESERVED = frozenset(
    {
        *("and", "or", "not", "in", "is", "if", "else", "elif", "for", "self", "row", "loop"),
        *("caller", "super", "varargs", "kwargs"),
        *("true", "false", "none", "True", "False", "None"),
    }
)
"""Words that are no names of columns between double braces."""

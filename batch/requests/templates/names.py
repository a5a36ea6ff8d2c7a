"""Which columns a template names, and what it calls what is none."""

from __future__ import annotations

import json
import re
import unicodedata
from collections.abc import Collection, Iterator

import msgspec
from jinja2 import meta, nodes

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


def named(parsed: nodes.Template, words: Collection[str]) -> Named:
    """The names of a template.  `words` are those that mean something without a column."""
    names = meta.find_undeclared_variables(parsed)
    if not any(parsed.find_all(nodes.Block)):
        names |= {name.name for name in parsed.find_all(nodes.Name) if name.name == "self"}
    called = _only_called(parsed, names.intersection(words))
    if "row" not in names:
        return Named(frozenset(names), called)
    looked_up = dict(_of_row(parsed))
    uses = [name for name in parsed.find_all(nodes.Name) if name.name == "row"]
    columns = (names - {"row"}) | set(looked_up.values())
    return Named(frozenset(columns), called, True, len(uses) > len(looked_up))


def _only_called(parsed: nodes.Template, words: Collection[str]) -> frozenset[str]:
    """Those of `words` that stand nowhere but where something is called."""
    called = {id(call.node) for call in parsed.find_all(nodes.Call)}
    names = (name for name in parsed.find_all(nodes.Name) if id(name) not in called)
    return frozenset(words) - {name.name for name in names}


def _of_row(parsed: nodes.Template) -> Iterator[tuple[int, str]]:
    """The columns in `row["a"]` and `row.a`, each with its place in the template."""
    for node in parsed.find_all((nodes.Getattr, nodes.Getitem)):
        assert isinstance(node, nodes.Getattr | nodes.Getitem)
        if not isinstance(node.node, nodes.Name) or node.node.name != "row":
            continue
        if isinstance(node, nodes.Getattr):
            yield id(node), node.attr
        elif isinstance(node.arg, nodes.Const) and isinstance(node.arg.value, str):
            yield id(node), node.arg.value


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

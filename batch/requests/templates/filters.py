"""Filters and tests of templates: those of Jinja, held to the bounds.

What a filter does is left to Jinja.  Here it is given the text of a value where it wants text; items
that it goes through are counted; and one that can make much of little is asked how much before it
does.
"""

from __future__ import annotations

import operator
import re
from collections.abc import Callable, Mapping
from functools import wraps
from typing import TYPE_CHECKING, Any

from jinja2 import pass_environment
from jinja2.exceptions import FilterArgumentError
from jinja2.filters import FILTERS as GIVEN
from jinja2.filters import make_attrgetter
from jinja2.tests import TESTS as GIVEN_TESTS
from markupsafe import Markup

from batch.requests.templates import bounds, operations
from batch.requests.templates.lookups import Unread, is_undefined
from batch.requests.templates.texts import as_json, items, text

if TYPE_CHECKING:
    from jinja2 import Environment

Filter = Callable[..., Any]

MOST_PLACES = 400
"""Of a number that is rounded."""
MOST_INDENT = 16
LONGEST_ARGUMENT = 1_000
RUNS = re.compile(r"\s+|\S+")


def _held(name: str, ready: Filter) -> Filter:
    """A filter of Jinja's, given what `ready` makes of its value and arguments."""
    given = GIVEN[name]
    at = 1 if hasattr(given, "jinja_pass_arg") else 0  # what Jinja passes comes first

    @wraps(given)
    def held(*args: Any, **named: Any) -> Any:
        value = ready(*args[at:], **named)
        made = given(*args[:at], value, *args[at + 1 :], **named)
        if isinstance(made, str):
            bounds.make(len(made))
        return bounds.whole(made) if isinstance(made, int) else made

    return held


def _text(value: Any, *_: Any, **__: Any) -> str:
    said = value if isinstance(value, str) else text(value)  # what is marked as safe stays so
    bounds.read(len(said))
    return said


def _gone_through(value: Any, *_: Any, **__: Any) -> Any:
    bounds.look(value)
    return items(value)


def _portions(value: Any, size: int, *_: Any, **__: Any) -> Any:
    bounds.make(bounds.PLACE * size)
    return _gone_through(value)


def _centered(value: Any, width: int = 80) -> str:
    said = _text(value)
    bounds.make(max(len(said), width))
    return said


def _indented(value: Any, width: int | str = 4, *_: Any, **__: Any) -> str:
    said = _text(value)
    by = len(width) if isinstance(width, str) else width
    bounds.make(len(said) + (1 + said.count("\n")) * by)
    return said


def _wrapped(
    value: Any, width: int = 79, _: bool = True, wrapstring: str | None = None, **__: Any
) -> str:
    """Breaking a word copies what is left of it for every line."""
    said = _text(value)
    words, narrow = RUNS.findall(said), max(width, 1)
    longest = max(map(len, words), default=0)
    bounds.read(longest * longest // narrow)
    lines = len(words) + len(said) // narrow
    bounds.make(len(said) + lines * len(wrapstring or "\n"))
    return said


def _linked(value: Any, *args: Any, **named: Any) -> str:
    if any(len(text(each)) > LONGEST_ARGUMENT for each in (*args, *named.values()) if each):
        raise FilterArgumentError(f"urlize takes {LONGEST_ARGUMENT:,} characters at most")
    said = _text(value)
    longest = max(map(len, said.split()), default=0)
    bounds.make(longest * longest // 8)  # each bracket of a word may be sought from each
    return said


def _rounded(value: Any, precision: int = 0, *_: Any, **__: Any) -> Any:
    if abs(precision) > MOST_PLACES:
        raise FilterArgumentError(f"round takes {MOST_PLACES} places at most")
    return value


def _encoded(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {name: _text(item) for name, item in _gone_through(value).items()}
    if isinstance(value, list | tuple):
        return [(name, _text(item)) for name, item in _gone_through(value)]
    return _text(value)


def _attributes(value: Mapping[str, Any], *_: Any, **__: Any) -> dict[str, str]:
    given = _gone_through(value).items()
    return {name: _text(item) for name, item in given if not (item is None or is_undefined(item))}


def _as_it_is(value: Any, *_: Any, **__: Any) -> Any:
    bounds.make(0)
    return value


READY: dict[str, Filter] = {
    **dict.fromkeys(("capitalize", "e", "escape", "forceescape", "lower", "safe", "string"), _text),
    **dict.fromkeys(("title", "trim", "truncate", "upper", "wordcount"), _text),
    **dict.fromkeys(
        ("dictsort", "first", "groupby", "items", "list", "map", "max", "min"), _gone_through
    ),
    **dict.fromkeys(
        ("reject", "rejectattr", "reverse", "select", "selectattr", "sort"), _gone_through
    ),
    **dict.fromkeys(("abs", "count", "filesizeformat", "float", "int", "last"), _as_it_is),
    **dict.fromkeys(("length", "random"), _as_it_is),
    "batch": _portions,
    "center": _centered,
    "indent": _indented,
    "round": _rounded,
    "slice": _portions,
    "unique": _gone_through,
    "urlencode": _encoded,
    "urlize": _linked,
    "wordwrap": _wrapped,
    "xmlattr": _attributes,
}
"""Filter -> what makes its value ready.  One that is not here is not in a template."""


@pass_environment
def _attr(environment: Environment, value: Any, name: str) -> Any:
    return environment.getattr(value, name)


def _default(value: Any, default_value: Any = "", boolean: bool = False) -> Any:
    if isinstance(value, Unread):
        return value
    return default_value if is_undefined(value) or (boolean and not value) else value


def _format(value: Any, *args: Any, **named: Any) -> str:
    if args and named:
        raise FilterArgumentError("values by place and values by name cannot be mixed")
    return operations.percent(text(value), named or args)


@pass_environment
def _join(environment: Environment, value: Any, d: Any = "", attribute: Any = None) -> str:
    if attribute is not None:
        value = map(make_attrgetter(environment, attribute), items(value))
    return operations.joined(d, value)


def _pprint(value: Any) -> str:
    return as_json(value, 2)


def _replace(value: Any, old: Any, new: Any, count: int | None = None) -> Any:
    times = -1 if count is None else count
    return operations.called("replace", text(value), text(old), text(new), times)


def _striptags(value: Any) -> str:
    """As Jinja does it, but in one go: it copies the whole text for every tag."""
    said = _without(_without(_text(value), "<!--", "-->"), "<", ">")
    return str(Markup(" ".join(said.split())).unescape())


def _without(said: str, start: str, end: str) -> str:
    kept, at = [], 0
    while (begins := said.find(start, at)) >= 0 and (ends := said.find(end, begins)) >= 0:
        kept.append(said[at:begins])
        at = ends + len(end)
    return "".join([*kept, said[at:]])


@pass_environment
def _sum(environment: Environment, value: Any, attribute: Any = None, start: Any = 0) -> Any:
    of = make_attrgetter(environment, attribute)
    for item in items(value):
        start = operations.calculated("+", start, of(item))
    return start


def _tojson(value: Any, indent: int | None = None) -> str:
    if indent is not None and not 0 <= indent <= MOST_INDENT:
        raise FilterArgumentError(f"tojson indents by 0 to {MOST_INDENT} places")
    return as_json(value, indent)


def _within(value: Any, among: Any) -> bool:
    bounds.look(value)
    bounds.look(among)
    return operator.contains(among, value)


FILTERS: dict[str, Filter] = {
    **{name: _held(name, ready) for name, ready in READY.items()},
    "attr": _attr,
    "d": _default,
    "default": _default,
    "format": _format,
    "join": _join,
    "pprint": _pprint,
    "replace": _replace,
    "striptags": _striptags,
    "sum": _sum,
    "tojson": _tojson,
}

TESTS: dict[str, Any] = {
    **GIVEN_TESTS,
    "defined": lambda value: not is_undefined(value),
    "in": _within,
    "undefined": is_undefined,
}

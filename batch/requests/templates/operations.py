"""Operators, and methods of text, held to the bounds before they make anything."""

from __future__ import annotations

import operator
import re
from collections.abc import Callable, Iterator, Mapping
from datetime import date, time
from decimal import Decimal
from functools import partial
from typing import TYPE_CHECKING, Any

from jinja2.sandbox import SandboxedFormatter

from batch.requests.templates import bounds
from batch.requests.templates.texts import items, text

if TYPE_CHECKING:
    from jinja2.sandbox import SandboxedEnvironment

OPERATORS: dict[str, Callable[[Any, Any], Any]] = {
    "+": operator.add,
    "-": operator.sub,
    "*": operator.mul,
    "/": operator.truediv,
    "//": operator.floordiv,
    "**": operator.pow,
    "%": operator.mod,
}

SPEC = (
    r"(?s)%(?:\((?P<key>[^)]*)\))?(?P<flags>[#0\- +]*)(?P<width>\*|\d+)?"
    r"(?:\.(?P<precision>\*|\d*))?[hlL]?(?P<type>.)?"
)
"""A place of `%`: https://docs.python.org/3/library/stdtypes.html#printf-style-string-formatting"""


def calculated(operation: str, left: Any, right: Any) -> Any:
    if operation == "%" and isinstance(left, str):
        return percent(left, right)
    if isinstance(left, int) and isinstance(right, int):
        _hold_whole(operation, left, right)
    elif operation == "*":
        many, times = (right, left) if isinstance(left, int) else (left, right)
        if isinstance(times, int):
            bounds.make(_size(many) * times)
    elif operation == "+":
        bounds.make(_size(left) + _size(right))
    return OPERATORS[operation](left, right)


def _hold_whole(operation: str, left: int, right: int) -> None:
    bits = max(left.bit_length(), right.bit_length())
    if operation == "**":
        bits = left.bit_length() * max(right, 1)
    elif operation == "*":
        bits = left.bit_length() + right.bit_length()
    if bits > bounds.MOST_BITS:
        raise bounds.TooMuch(f"it makes a number of more than {bounds.MOST_BITS:,} bits")
    bounds.make(bits)  # which is about the time it takes


def _size(value: Any) -> int:
    if isinstance(value, str | bytes):
        return len(value)
    return bounds.PLACE * len(value) if isinstance(value, list | tuple) else 0


def percent(template: str, values: Any) -> str:
    """`template % values`, with values as they are put into a prompt."""
    named = values if isinstance(values, Mapping) else None
    given = iter(values if isinstance(values, tuple) else (values,))
    made, at = [], 0
    for place in re.finditer(SPEC, template):
        made.append(template[at : place.start()])
        at = place.end()
        piece = "%" if place["type"] == "%" else _placed(place, named, given)
        bounds.make(len(piece))
        made.append(piece)
    if named is None and any(True for _ in given):
        raise TypeError("there are more values than places for them")
    return bounds.concatenated([*made, template[at:]])


def _placed(place: re.Match[str], named: Mapping[Any, Any] | None, given: Iterator[Any]) -> str:
    sizes = []
    for size in (place["width"], place["precision"]):
        sizes.append(str(_next(given)) if size == "*" else size)
        if sizes[-1]:
            bounds.make(abs(int(sizes[-1])))
    if place["key"] is None:
        value = _next(given)
    elif named is None:
        raise TypeError("places with names want an object of values")
    else:
        value = named[place["key"]]
    what = place["type"] or ""
    if what in ("s", "r", "a"):
        what, value = "s", text(value)
    precision = "" if sizes[1] is None else f".{sizes[1]}"
    return f"%{place['flags']}{sizes[0] or ''}{precision}{what}" % (value,)


def _next(given: Iterator[Any]) -> Any:
    for value in given:
        return value
    raise TypeError("there are fewer values than places for them")


FORMATTED = (int, float, Decimal, date, time)
"""What has a format of its own, as in `{:.2f}` and `{:%Y}`."""


class Formatter(SandboxedFormatter):
    """`str.format`, with values as they are put into a prompt."""

    def convert_field(self, value: Any, conversion: str | None) -> Any:
        return value if conversion is None else text(value)

    def format_field(self, value: Any, format_spec: str) -> str:
        for size in re.findall(r"\d+", format_spec):
            bounds.make(int(size))
        if not format_spec or not isinstance(value, FORMATTED):
            value = text(value)
        made = format(value, format_spec)
        bounds.make(len(made))
        return made


def method(environment: SandboxedEnvironment, of: Any, name: str) -> Callable[..., Any]:
    """A method of a value of the row."""
    if not isinstance(of, str):
        return partial(_called, name, of)
    if name == "format":
        return lambda *args, **named: Formatter(environment).vformat(of, args, named)
    if name == "format_map":
        return lambda named: Formatter(environment).vformat(of, (), named)
    if name == "join":
        return partial(join, of)
    return partial(called, name, of)


def _called(name: str, of: Any, *args: Any, **named: Any) -> Any:
    """Looking for a value compares it, or hashes it, which goes through all that it holds."""
    for value in (of, *args):
        bounds.look(value)
    return getattr(of, name)(*args, **named)


def called(name: str, of: str, *args: Any, **named: Any) -> Any:
    bounds.read(len(of))
    if name in SIZES:
        bounds.make(SIZES[name](of, *args, **named))
        return getattr(of, name)(*args, **named)
    made = getattr(of, name)(*args, **named)
    bounds.make(_size(made))
    return made


def join(between: str, values: Any) -> str:
    """Texts, as `str.join` wants them."""
    return together(list(items(values)), between)


def joined(between: Any, values: Any) -> str:
    """Values of any kind, each as it is put into a prompt."""
    return together([text(value) for value in items(values)], text(between))


def together(texts: list[str], between: str = "") -> str:
    """Texts as one, also those of `a ~ b`."""
    bounds.make(sum(map(len, texts)) + len(between) * len(texts))
    return between.join(texts)


def _padded(of: str, width: int, *fill: str) -> int:
    return max(len(of), width)


def _expanded(of: str, tabsize: int = 8) -> int:
    return len(of) + of.count("\t") * max(tabsize, 0)


def _replaced(of: str, old: str, new: str, count: int = -1) -> int:
    times = of.count(old) if old else len(of) + 1
    return len(of) + len(new) * (times if count < 0 else min(times, count))


def _translated(of: str, table: Any) -> int:
    longest = max((len(to) for to in table.values() if isinstance(to, str)), default=1)
    return len(of) * max(longest, 1)


def _split(of: str, sep: str | None = None, maxsplit: int = -1) -> int:
    spaces = (" ", "\n", "\t") if sep is None else (sep,)
    return bounds.PLACE * (1 + sum(map(of.count, spaces)))


def _lines(of: str, keepends: bool = False) -> int:
    return bounds.PLACE * (1 + of.count("\n"))


SIZES: dict[str, Callable[..., int]] = {
    "center": _padded,
    "ljust": _padded,
    "rjust": _padded,
    "zfill": _padded,
    "expandtabs": _expanded,
    "replace": _replaced,
    "translate": _translated,
    "split": _split,
    "rsplit": _split,
    "splitlines": _lines,
}
"""Methods of text that can make much of little -> how much, before they do."""

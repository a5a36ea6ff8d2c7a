"""A value -> the text that stands for it: the only place where a template makes text of anything.

Text, numbers and true or false are as Python writes them, moments are ISO 8601, and all that holds
other values is JSON.  What is no data (a function, a macro, bytes) has no text.
"""

from __future__ import annotations

import json
from collections.abc import ItemsView, Iterator, KeysView, Mapping, ValuesView
from datetime import date, time, timedelta
from decimal import Decimal
from typing import Any
from uuid import UUID

from jinja2.runtime import LoopContext, Undefined

from batch.model import Unreadable
from batch.templates import bounds


class NoText(Exception):
    """Nothing can be put here.  The text says why."""


class Null(NoText):
    """A null where text is wanted; `path` is how the template names it, if it has a name."""

    def __init__(self, path: str | None = None) -> None:
        super().__init__(f"{path or 'a value'} is null here")
        self.path = path


def text(value: Any, path: str | None = None) -> str:
    """What stands for `value`, which the template calls `path`.  Raises NoText."""
    kind = type(value)
    if kind is str:
        return value  # type: ignore[no-any-return]
    if kind in PLAIN or isinstance(value, str):
        return str(value)
    if value is None:
        raise Null(path)
    if isinstance(value, date | time):
        return value.isoformat()
    if isinstance(value, Undefined):
        return str(value)  # raises, but for what an `if` without `else` leaves out
    if isinstance(value, NESTED) and not isinstance(value, LoopContext):
        return as_json(value)
    raise NoText(_why(value, path))


def items(values: Any, path: str | None = None) -> Any:
    """`values`, to be gone through.  Raises Null."""
    if values is None:
        raise Null(path)
    if isinstance(values, Unreadable):
        raise NoText(_why(values, path))
    return bounds.drawn(values)


def as_json(value: Any, indent: int | None = None) -> str:
    """JSON as it is sent: UTF-8, nothing escaped that need not be, keys in the order of the row."""
    bounds.weigh(value)
    if indent is None:
        said = json.dumps(value, ensure_ascii=False, allow_nan=False, default=_plain)
        bounds.make(len(said))
        return said
    encoder = json.JSONEncoder(ensure_ascii=False, allow_nan=False, default=_plain, indent=indent)
    said = bounds.concatenated(encoder.iterencode(value))
    bounds.make(len(said))
    return said


def _plain(value: Any) -> Any:
    """What JSON has for a value that it does not know."""
    if isinstance(value, Decimal):
        return _number(value)
    if isinstance(value, Mapping):
        return dict(value)
    if isinstance(value, NESTED) and not isinstance(value, LoopContext):
        made = list(bounds.drawn(value))
        bounds.weigh(made)
        return made
    return text(value)


def _number(value: Decimal) -> int | float | str:
    """A number where JSON's is the same one, else its digits as text."""
    if not value.is_finite():
        return str(value)
    if value == value.to_integral_value() and value.adjusted() < 300:
        return int(value)
    near = float(value)
    return near if Decimal(repr(near)) == value else str(value)


def _why(value: Any, path: str | None) -> str:
    if isinstance(value, Unreadable):
        return value.why
    name = path or "a value"
    if isinstance(value, bytes | bytearray | memoryview):
        return f"{name} holds bytes, which are no text"
    kind = "a function" if callable(value) else "a part of the template language"
    return f"{name} is {kind} and no data of the row"


PLAIN = frozenset({bool, int, float, Decimal, timedelta, UUID})
"""What Python writes as anybody would."""
NESTED = (Mapping, list, tuple, range, KeysView, ItemsView, ValuesView, Iterator)
"""What holds other values."""

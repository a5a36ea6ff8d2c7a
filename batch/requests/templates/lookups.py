"""What `a.b` and `a["b"]` mean in a template: the key of that name, in data of any kind.

A method is meant only where it is called and no key has its name.  What is not there is Missing: an
error in words as soon as it is used, so that no prompt has a hole.
"""

from __future__ import annotations

from collections.abc import ItemsView, KeysView, Mapping, ValuesView
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from typing import Any
from uuid import UUID

from jinja2.exceptions import TemplateRuntimeError, UndefinedError
from jinja2.runtime import StrictUndefined, Undefined
from jinja2.utils import missing

from batch.model import Unreadable

MOST_NAMED = 20
"""Keys that a message tells by name."""

NOTHING = object()
"""No such key."""

FIELDS = frozenset(
    {
        *("year", "month", "day", "hour", "minute", "second", "microsecond"),
        *("days", "seconds", "microseconds"),
    }
)
"""What moments and spans of time have, as if these were keys."""

LIST_METHODS = frozenset({"count", "index", "copy"})
DICT_METHODS = frozenset({"copy", "get", "items", "keys", "values"})
BYTES_METHODS = frozenset({"decode", "hex", "count", "find", "startswith", "endswith"})
NUMBER_METHODS = frozenset(
    {
        *("as_integer_ratio", "bit_count", "bit_length", "hex", "is_integer", "quantize"),
        "to_integral_value",
    }
)
MOMENT_METHODS = frozenset(
    {
        *("astimezone", "ctime", "date", "dst", "isocalendar", "isoformat", "isoweekday"),
        *("replace", "strftime", "time", "timestamp", "timetuple", "timetz", "toordinal"),
        *("total_seconds", "tzname", "utcoffset", "weekday"),
    }
)
TEXT_METHODS = frozenset(
    name for name in dir(str) if not name.startswith("_") and name != "maketrans"
)

KINDS: tuple[tuple[tuple[type, ...], str, frozenset[str]], ...] = (
    ((str,), "text", TEXT_METHODS),
    ((Mapping,), "an object", DICT_METHODS),
    ((list, tuple, range), "a list", LIST_METHODS),
    ((bool,), "true or false", frozenset()),
    ((int, float, Decimal), "a number", NUMBER_METHODS),
    ((datetime, date, time, timedelta), "a time", MOMENT_METHODS),
    ((bytes,), "bytes", BYTES_METHODS),
    ((UUID, KeysView, ItemsView, ValuesView), "a value", frozenset()),
    ((Unreadable,), "a value that cannot be read", frozenset()),
    ((type(None),), "null", frozenset()),
)
"""The kinds of data: types, what a message calls them, and the methods that may be called."""


class NoColumn(UndefinedError):
    """A name that is none of the row's columns; `message` is that name."""


class NoKey(UndefinedError):
    """A key that is not there, or a value that cannot be read; `message` says so."""


class Missing(StrictUndefined):
    """What is not there.  `path` is how the template names it."""

    __slots__ = ("path",)

    def __init__(
        self,
        hint: str | None = None,
        obj: Any = missing,
        name: str | None = None,
        exc: type[TemplateRuntimeError] = UndefinedError,
        path: str | None = None,
    ) -> None:
        if hint is None:
            exc = NoColumn if obj is missing else NoKey
        super().__init__(hint, obj, name, exc)
        self.path = path

    @property
    def _undefined_message(self) -> str:
        if self._undefined_hint is not None:
            return self._undefined_hint
        if self._undefined_obj is missing:
            return str(self._undefined_name)
        return lacking(self._undefined_obj, self._undefined_name, self.path)


class Unread(Missing):
    """A value that cannot be read."""

    __slots__ = ()


def unread(value: Unreadable) -> Unread:
    return Unread(value.why, exc=NoKey)


def key(value: Any, name: Any) -> Any:
    """What a value has under a key or index, or NOTHING."""
    if isinstance(value, Mapping):
        return value[name] if isinstance(name, str | int | float) and name in value else NOTHING
    if isinstance(name, int) and isinstance(value, str | list | tuple | range):
        return value[name] if -len(value) <= name < len(value) else NOTHING
    if not isinstance(name, str) or name.startswith("_"):
        return NOTHING
    if isinstance(value, tuple) and type(value) is not tuple:  # a group has `grouper` and `list`
        found = getattr(value, name, NOTHING)
        return NOTHING if callable(found) else found
    if isinstance(value, date | time | timedelta) and name in FIELDS:
        return getattr(value, name, NOTHING)
    return NOTHING


def is_data(value: Any) -> bool:
    """Whether it comes from a row or could, and is no part of the template language."""
    return kind(value) is not None


def kind(value: Any) -> tuple[str, frozenset[str]] | None:
    """What a message calls a value, and which methods it has; None for what is no data."""
    for types, words, methods in KINDS:
        if isinstance(value, types):
            return words, methods
    return None


def lacking(value: Any, name: Any, path: str | None) -> str:
    """In words: `value` has no `name`."""
    words, methods = kind(value) or ("no data of the row", frozenset())
    index = name if isinstance(name, int | float) else "…"  # a list may hold itself a million times
    called = path or (f".{name}" if isinstance(name, str) else f"[{index}]")
    base = path.removesuffix(f".{name}") if path and path.endswith(f".{name}") else None
    if isinstance(value, Mapping):
        known = f"which this row lacks (keys: {_listed(list(map(str, value)))})"
    elif isinstance(value, list | tuple | range) and not isinstance(name, str):
        known = f"which this row lacks (items: {len(value):,})"
    else:
        known = f"and {base or 'that'} is {words} here, which has no keys"
    if isinstance(name, str) and name in methods:
        known += f"; to call a method: {{{{ {base or '…'}.{name}() }}}}"
    return f"the prompt names {called}, {known}"


def _listed(names: list[str]) -> str:
    more = f" … {len(names) - MOST_NAMED:,} more" if len(names) > MOST_NAMED else ""
    return ", ".join(names[:MOST_NAMED]) + more or "none"


def calls_a_value(name: str, path: str | None) -> TemplateRuntimeError:
    """A key has the name of a method that is called."""
    filtered = f"; {{{{ … | {name} }}}} goes through all keys" if name == "items" else ""
    return TemplateRuntimeError(
        f"{path or name} is a value of the row, which cannot be called{filtered}"
    )


def is_undefined(value: Any) -> bool:
    """Whether nothing is there.  What cannot be read is there."""
    return isinstance(value, Undefined) and not isinstance(value, Unread)

"""Rows as dicts, each as a line of JSON, and what it is known by: its values, in whatever order its
keys come.

What numpy and pandas have for a number, a time or nothing is one here, too; a value that JSON has no
word for is an error that names its row and key.
"""

from __future__ import annotations

import datetime
import hashlib
import os
from collections.abc import Mapping, Sequence
from typing import Any

from batch import json_text
from batch.errors import UsageError

SIZE = 16
"""Bytes of what a row is known by."""

_PLAIN: tuple[type[Any], ...] = (str, bytes, int, float)
_NOTHING = ("NAType", "NaTType")
"""What pandas calls a value that is not there."""


class _NoJson(TypeError):
    """A value that JSON has no word for."""


def line(row: Any, number: int) -> bytes:
    """The line of a row.  Raises UsageError for what is no dict, or holds what is no JSON."""
    if not isinstance(row, Mapping):
        raise UsageError(f"data: row {number} is a {type(row).__name__} and no dict")
    try:
        return f"{json_text.encode(dict(row), _value)}\n".encode()
    except _REFUSALS as error:
        raise UsageError(f"data: row {number}, {_where(row)}: {_why(error)}") from None


def digest(row: Mapping[str, Any]) -> bytes:
    """What the values of a row are known by."""
    try:
        text = json_text.encode(dict(row), _value, in_order=True)
    except TypeError:  # keys that are no text, or a set of many kinds
        text = json_text.encode(json_text.decode(line(row, 0)), in_order=True)
    return hashlib.blake2b(text.encode(), digest_size=SIZE).digest()


_REFUSALS = (TypeError, ValueError, OverflowError, RecursionError)
"""How msgspec and json say that a value is none of theirs."""


def _value(value: Any) -> Any:
    """A value that JSON knows for one that it does not.  Raises _NoJson."""
    kind = type(value)
    if kind.__name__ in _NOTHING:
        return None
    if kind in (tuple, list, dict):
        raise _NoJson(f"a key is text, and no {kind.__name__}")
    for plain in _PLAIN:
        if isinstance(value, plain):
            return plain(value)
    if isinstance(value, datetime.date | datetime.time):
        return value.isoformat()
    if isinstance(value, datetime.timedelta):
        return datetime.timedelta(value.days, value.seconds, value.microseconds)
    if isinstance(value, os.PathLike):
        return os.fspath(value)
    if isinstance(value, Mapping):
        return dict(value)
    if isinstance(value, Sequence):
        return list(value)
    made = of_numpy(value)
    if type(made) is kind:
        raise _NoJson(f"{kind.__name__} is no type of JSON: give text, numbers, lists or dicts")
    return made


def of_numpy(value: Any) -> Any:
    """The Python value of a scalar or an array; anything else as it is."""
    if not (hasattr(value, "dtype") and hasattr(value, "tolist")):
        return value
    if getattr(value.dtype, "kind", "") in "Mm":  # it makes integers of nanoseconds
        value = value.astype(f"{value.dtype.kind}8[us]")
    return value.tolist()


def _where(row: Mapping[str, Any]) -> str:
    """The key whose value is no JSON."""
    for key, value in row.items():
        try:
            json_text.encode({key: value}, _value)
        except _REFUSALS:
            return f"key {key!r}"
    return "its keys"


def _why(error: Exception) -> str:
    if isinstance(error, RecursionError):
        return "it holds itself, or goes too deep"
    if isinstance(error, UnicodeEncodeError):
        return "half a surrogate pair is no character"
    return str(error)

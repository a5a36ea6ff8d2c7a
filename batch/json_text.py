"""JSON with NaN and Infinity, as Python's json module and DuckDB write and read it.

No such number is JSON, so msgspec refuses to read one and writes null for it.  The json module is
asked where that is the matter, and nowhere else.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable, Iterator
from typing import Any

import msgspec

_SURROGATE = re.compile(r"\\u[dD][89a-fA-F]")


def decode(text: bytes | str) -> Any:
    """What a JSON text says; a number too large for a float is infinite.  Raises
    msgspec.DecodeError, UnicodeDecodeError and RecursionError.
    """
    try:
        return msgspec.json.decode(text)
    except msgspec.DecodeError:
        found, value = _lenient(text if isinstance(text, str) else text.decode())
        if not found:
            raise
        return value


def _lenient(text: str) -> tuple[bool, Any]:
    """Whether the json module can read it, and what it says."""
    try:
        value = json.loads(text)
        if _SURROGATE.search(text):  # half a pair is no character
            json.dumps(value, ensure_ascii=False).encode()
    except ValueError:
        return False, None
    return True, value


def encode(value: Any, other: Callable[[Any], Any] = str, *, in_order: bool = False) -> str:
    """`value` as JSON text: bytes as base64, what JSON has no word for as what `other` makes of it.
    The keys of dicts come `in_order` of their names, if that is wanted.
    """
    text = msgspec.json.encode(value, enc_hook=other, order="sorted" if in_order else None)
    if b"null" not in text:
        return text.decode()
    if other is not str:  # which may make numbers
        value = msgspec.to_builtins(value, enc_hook=other, str_keys=True)
    if is_finite(value):
        return text.decode()
    found = msgspec.to_builtins(value, enc_hook=other)
    return json.dumps(found, ensure_ascii=False, separators=(",", ":"), sort_keys=in_order)


_NESTED = frozenset({dict, list, tuple})


def is_finite(value: Any) -> bool:
    """Whether all its numbers are; the others become null where JSON is strict."""
    waiting: list[Any] = [[value]]
    for held in waiting:  # which grows meanwhile
        inside = held.values() if type(held) is dict else held
        kinds = set(map(type, inside))
        if float in kinds:
            floats = inside if len(kinds) == 1 else [v for v in inside if type(v) is float]
            if not all(map(math.isfinite, floats)):
                return False
        if not kinds.isdisjoint(_NESTED):
            waiting += [inner for inner in inside if type(inner) in _NESTED]
    return True


def leaves(value: Any) -> Iterator[Any]:
    """What lists and dicts hold, at any depth, that is neither; in no order."""
    waiting = [value]
    while waiting:
        held = waiting.pop()
        if isinstance(held, dict):
            waiting.extend(held.values())
        elif isinstance(held, list | tuple):
            waiting.extend(held)
        else:
            yield held

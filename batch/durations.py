"""Durations as servers write them: `6s`, `1m30s`, `500ms`, `57 seconds`."""

from __future__ import annotations

import re

_PART = re.compile(r"(\d+(?:\.\d+)?)\s*([a-z]+)\s*")
WHOLE = r"(?:\d+(?:\.\d+)?\s*[a-z]+\s*)+"
"""What a duration looks like, in lower case."""

_UNITS = {
    **dict.fromkeys(("d", "day", "days"), 86400.0),
    **dict.fromkeys(("h", "hr", "hrs", "hour", "hours"), 3600.0),
    **dict.fromkeys(("m", "min", "mins", "minute", "minutes"), 60.0),
    **dict.fromkeys(("s", "sec", "secs", "second", "seconds"), 1.0),
    **dict.fromkeys(("ms", "millisecond", "milliseconds"), 0.001),
}


def seconds(text: str) -> float | None:
    """How long that is; None for what is no duration."""
    text = text.strip().lower()
    if not re.fullmatch(WHOLE, text):
        return None
    parts = [(float(number), _UNITS.get(unit)) for number, unit in _PART.findall(text)]
    if any(unit is None for _, unit in parts):
        return None
    return sum(number * (unit or 0.0) for number, unit in parts)


def leading(text: str) -> float | None:
    """The duration that a text begins with; None where it begins otherwise."""
    total, at, text = None, 0, text.lower()
    while (part := _PART.match(text, at)) and part[2] in _UNITS:
        total = (total or 0.0) + float(part[1]) * _UNITS[part[2]]
        at = part.end()
    return total

"""Bytes of an answer -> JSON values, forgiving what can be mended and saying that it was."""

from __future__ import annotations

import json
import math
import re
from typing import Any

import msgspec

MOST_DIGITS = 300
LONE_SURROGATE = re.compile("[\ud800-\udfff]")


def decode(raw: bytes) -> tuple[Any, bool]:
    """JSON of a body, and whether its text had to be repaired.  (None, False) when it is no JSON.

    Byte-order mark and padding are stripped.  NaN, infinity and numbers of absurd length become
    null; a lone surrogate or a broken character U+FFFD.  Duplicate keys: the last one wins.
    """
    raw = raw.removeprefix(b"\xef\xbb\xbf")
    try:
        return msgspec.json.decode(raw), False
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        pass
    try:
        lenient = json.loads(
            raw.decode("utf-8", "replace"),
            parse_constant=lambda _: None,
            parse_float=_finite,
            parse_int=_readable,
        )
        clean = LONE_SURROGATE.sub("\ufffd", json.dumps(lenient, ensure_ascii=False))
        return msgspec.json.decode(clean), True
    except (ValueError, RecursionError):
        return None, False


def _finite(text: str) -> float | None:
    number = float(text)
    return number if math.isfinite(number) else None


def _readable(digits: str) -> int | None:
    return int(digits) if len(digits) <= MOST_DIGITS else None

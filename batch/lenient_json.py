"""Bytes of an answer -> JSON values, forgiving what can be mended and saying that it was."""

from __future__ import annotations

import json
import math
import re
from typing import Any, NamedTuple

import msgspec

MOST_DIGITS = 300
SURROGATE = "[\ud800-\udfff]"
PAIR = "[\ud800-\udbff][\udc00-\udfff]"
"""A character in two halves, as UTF-16 has them."""
BYTES = "[\udc80-\udcff]+"
"""Bytes that are no UTF-8, or not yet, as Python has them in a text."""


def decode(raw: bytes) -> tuple[Any, bool]:
    """JSON of a body, and whether its text had to be repaired.  (None, False) when it is no JSON.

    Byte-order mark and padding are stripped.  NaN, infinity and numbers of absurd length become
    null; a lone surrogate or a broken character U+FFFD.  Duplicate keys: the last one wins.
    """
    try:
        return msgspec.json.decode(raw), False  # as nearly always
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        value, repaired, torn = decode_piece(raw)
    if not torn:
        return value, repaired
    try:
        return mended(value)[0], True
    except RecursionError:
        return None, False


class Piece(NamedTuple):
    """JSON of a piece of an answer.  `torn` tells that a text in it holds half a character, whose
    other half may be in another piece: join them, then have them `mended`.
    """

    value: Any
    repaired: bool = False
    torn: bool = False


def decode_piece(raw: bytes) -> Piece:
    """As `decode` does, but halves of characters are left as they are."""
    raw = raw.removeprefix(b"\xef\xbb\xbf")
    try:
        return Piece(msgspec.json.decode(raw))
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        pass
    try:
        value = json.loads(
            raw.decode("utf-8", "surrogateescape"),
            parse_constant=lambda _: None,
            parse_float=_finite,
            parse_int=_readable,
        )
        text = json.dumps(value, ensure_ascii=False)
        if re.search(SURROGATE, text):
            return Piece(value, torn=True)
        return Piece(msgspec.json.decode(text), repaired=True)
    except (ValueError, RecursionError):
        return Piece(None)


def mended(value: Any) -> tuple[Any, bool]:
    """`value` with the halves of characters joined, and whether some had to be replaced."""
    torn = json.dumps(value, ensure_ascii=False)
    joined = re.sub(
        PAIR, lambda pair: pair[0].encode("utf-16", "surrogatepass").decode("utf-16"), torn
    )
    whole = re.sub(
        BYTES,
        lambda found: found[0].encode("ascii", "surrogateescape").decode("utf-8", "replace"),
        joined,
    )
    clean = re.sub(SURROGATE, "\ufffd", whole)
    return msgspec.json.decode(clean), clean.count("\ufffd") > torn.count("\ufffd")


def _finite(text: str) -> float | None:
    number = float(text)
    return number if math.isfinite(number) else None


def _readable(digits: str) -> int | None:
    return int(digits) if len(digits) <= MOST_DIGITS else None

"""The hash that a Parquet file of ours holds of its own footer, which no checksum of a page covers.

It is taken with the digits blanked that are put in later.  Files of older versions hold none.
"""

from __future__ import annotations

import os
import re
from hashlib import blake2b
from typing import Any

BLANK = b"0" * 32
_END = 8
"""Bytes behind the footer: its length, and the mark of the format."""
_DIGITS = re.compile(rb'"(?:footer_)?hash":"(.{32})"', re.DOTALL)
_OWN = re.compile(rb'"footer_hash":"([0-9a-f]{32})"')


def of(file: Any) -> tuple[int, bytes]:
    """Where the footer of a Parquet file begins, and its bytes.  `file` is open to read."""
    size = file.seek(0, os.SEEK_END)
    file.seek(max(0, size - _END))
    length = int.from_bytes(file.read(4), "little")
    start = max(0, size - _END - length)
    file.seek(start)
    return start, bytes(file.read(size - _END - start))


def digest(footer: bytes) -> str:
    """The hash of a footer, whatever hashes stand in it."""
    blanked = _DIGITS.sub(lambda found: found[0].replace(found[1], BLANK), footer)
    return blake2b(blanked, digest_size=16).hexdigest()


def fits(file: Any) -> bool:
    """Whether the footer is what was written, as far as it tells."""
    _, footer = of(file)
    return not _OWN.search(footer) or fits_itself(footer)


def fits_itself(footer: bytes) -> bool:
    """Whether a footer holds its own hash."""
    return digest(footer).encode() in _OWN.findall(footer)

"""Numbers, money and time as a person reads them, and texts as a terminal may show them."""

from __future__ import annotations

import math
import re
from decimal import Decimal

_CONTROLS = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]")


def printable(text: str) -> str:
    """`text` without control characters but line break and tab: a server's words must not drive
    the terminal.
    """
    return _CONTROLS.sub("\ufffd", text)


def short(count: int) -> str:
    """1234567 -> 1.23M."""
    for size, unit in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if count >= size:
            return f"{count / size:.3g}{unit}"
    return str(count)


def money(usd: float | Decimal | None) -> str:
    """12.3 -> $12.30, 0.00123456 -> $0.00123: cents, and below a dollar three digits of at most
    six decimals.
    """
    if usd is None:
        return "unknown"
    if 0 < usd < 1e-6:
        return "<$0.000001"
    decimals = 2 if usd == 0 or usd >= 1 else min(6, max(2, 2 - math.floor(math.log10(usd))))
    whole, _, cents = f"{usd:,.{decimals}f}".partition(".")
    return f"${whole}.{cents[:2]}{cents[2:].rstrip('0')}"


def duration(seconds: float) -> str:
    """9000 -> 2 h 30 min."""
    if seconds < 10:
        return f"{seconds:.1f} s"
    if seconds < 120:
        return f"{seconds:.0f} s"
    if seconds < 7200:
        return f"{seconds / 60:.0f} min"
    return f"{seconds // 3600:.0f} h {seconds % 3600 / 60:.0f} min"

"""Words on their way to a person: nothing that others wrote drives the terminal, and what a stream
cannot encode is escaped instead of refused.

Everything that is printed goes through here.
"""

from __future__ import annotations

import codecs
import errno
import io
import math
import os
import re
from contextlib import suppress
from decimal import ROUND_CEILING, ROUND_FLOOR, ROUND_HALF_EVEN, Decimal
from pathlib import Path
from typing import Any, Literal, TextIO

Kind = Literal["text", "json", "html"]

DOWN, UP = ROUND_FLOOR, ROUND_CEILING
"""How a lower bound is rounded, and an upper one."""

_DRIVING = re.compile(
    "["
    "\x00-\x08\x0b-\x1f"  # C0, but for tab and line break
    "\x7f-\x9f"  # DEL and C1
    "\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069"  # these turn the direction of writing
    "\u2028\u2029"  # and these end a line
    "]"
)
"""Characters that a terminal obeys, or that show a text as another one."""

_HALF = re.compile("[\ud800-\udfff]")
"""Half of a surrogate pair: no character, but how Python reads a byte that is no UTF-8."""

_FORMULA = ("=", "+", "-", "@", "\t", "\r", "\n")

_OURS = {"─": "-", "…": "...", "→": "->", "≥": ">=", "≤": "<=", "–": "-", "•": "*"}
"""What stands for characters of our own where a stream has none."""


def printable(text: str) -> str:
    """`text` without control characters but line break and tab."""
    return _DRIVING.sub("\ufffd", text)


def one_line(text: str) -> str:
    """`text` on one line, so that nobody's line break passes for one of ours."""
    return printable(" ".join(text.splitlines()))


def storable(text: str, most: int) -> str:
    """What others wrote as any store takes it: one line of at most so many characters, without control
    characters and halves of surrogate pairs.
    """
    if len(text) <= most and text.isprintable():
        return text
    return _HALF.sub("\ufffd", one_line(text[:most].replace("\t", " ")))


def guarded(text: str) -> str:
    """`text` as a cell that no spreadsheet takes for a formula
    (https://owasp.org/www-community/attacks/CSV_Injection): one that begins like it gets an apostrophe.
    """
    return f"'{text}" if text.lstrip(" ").startswith(_FORMULA) else text


def fitting(text: str, kind: Kind, encoding: str | None) -> str:
    """`text` as a stream of this encoding may get it; JSON and HTML stay what they are."""
    text = printable(text) if kind != "json" else _DRIVING.sub(lambda it: _escapes(it[0]), text)
    if kind == "text" or _holds_all(encoding):
        return text
    return text.encode("ascii", _ESCAPED if kind == "json" else "xmlcharrefreplace").decode("ascii")


def _holds_all(encoding: str | None) -> bool:
    try:
        return codecs.lookup(encoding or "").name.startswith("utf")
    except LookupError:
        return False


def _escapes(text: str) -> str:
    """As JSON writes them: characters beyond U+FFFF in two."""
    units = text.encode("utf-16-be", "surrogatepass")
    return "".join(f"\\u{a:02x}{b:02x}" for a, b in zip(units[::2], units[1::2], strict=True))


def _escaped(error: UnicodeError) -> tuple[str, int]:
    if not isinstance(error, UnicodeEncodeError):
        raise error
    return _escapes(error.object[error.start : error.end]), error.end


def _escaped_or_ours(error: UnicodeError) -> tuple[str, int]:
    if not isinstance(error, UnicodeEncodeError):
        raise error
    letters = error.object[error.start : error.end]
    return "".join(_OURS.get(letter) or _escapes(letter) for letter in letters), error.end


_ESCAPED, _OURS_TOO = "batchmill.escaped", "batchmill.escaped-or-ours"
codecs.register_error(_ESCAPED, _escaped)
codecs.register_error(_OURS_TOO, _escaped_or_ours)


def encoded(text: str, kind: Kind) -> bytes:
    """`text` as a file of ours holds it."""
    return fitting(text, kind, "utf-8").encode("utf-8", _ESCAPED)


def stream(given: TextIO | None) -> TextIO:
    """`given`, which from now on refuses no character; nowhere, where a service or a window without
    a console has no such stream.
    """
    if given is None:
        return Path(os.devnull).open("w", encoding="utf-8")
    if isinstance(given, io.TextIOWrapper):
        given.reconfigure(errors=_OURS_TOO)
    return given


def put(text: str, stream: TextIO, kind: Kind = "text") -> None:
    """Print `text` and a line break.  Raises OSError where nobody takes it."""
    stream.write(fitting(text, kind, stream.encoding) + "\n")
    stream.flush()


def is_gone(error: OSError) -> bool:
    """Whether whoever read a pipe has gone; Windows calls that an invalid argument."""
    return isinstance(error, BrokenPipeError) or error.errno == errno.EINVAL


def remark(text: str, stream: TextIO, kind: Kind = "text") -> None:
    """Print `text` for whoever is watching; that nobody is any more is no reason to stop."""
    try:
        put(text, stream, kind)
    except OSError:
        let_go(stream)


class Terminal(io.RawIOBase):
    """Takes the bytes of a file of text, and shows on a terminal what that may show."""

    def __init__(self, stream: TextIO, kind: Kind) -> None:
        self._stream = stream
        self._kind = kind
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")

    def writable(self) -> bool:
        return True

    def write(self, data: Any) -> int:
        text = self._decoder.decode(bytes(data)).replace("\r\n", "\n")
        self._stream.write(fitting(text, self._kind, self._stream.encoding))
        return len(data)

    def flush(self) -> None:
        self._stream.flush()


def let_go(stream: TextIO) -> None:
    """From now on what is printed there goes nowhere, where nobody takes it: a reader goes, as `head`
    does, and a disk fills up.
    """
    with suppress(OSError):
        stream.flush()
        return
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, stream.fileno())
    os.close(nowhere)


def short(count: int) -> str:
    """1234567 -> 1.23M."""
    for size, unit in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if count >= size:
            return f"{count / size:.3g}{unit}"
    return str(count)


def money(usd: float | Decimal | None, rounding: str = ROUND_HALF_EVEN) -> str:
    """12.3 -> $12.30, 0.00123456 -> $0.00123: cents, and below a dollar three digits of at most
    six decimals.  A bound is rounded DOWN or UP, so that it stays one.
    """
    if usd is None:
        return "unknown"
    if 0 < usd < 1e-6 and rounding == ROUND_HALF_EVEN:
        return "<$0.000001"
    decimals = 2 if usd == 0 or usd >= 1 else min(6, max(2, 2 - math.floor(math.log10(usd))))
    exact = Decimal(usd) if rounding == ROUND_HALF_EVEN else Decimal(f"{usd:.12f}")
    rounded = exact.quantize(Decimal(1).scaleb(-decimals), rounding)
    whole, _, cents = f"{rounded:,f}".partition(".")
    return f"${whole}.{cents[:2]}{cents[2:].rstrip('0')}"


def at_least(usd: float | Decimal) -> str:
    """A lower bound, which is never above the amount."""
    return f"≥ {money(usd, DOWN)}"


def duration(seconds: float) -> str:
    """9000 -> 2 h 30 min."""
    if seconds < 10:
        return f"{seconds:.1f} s"
    if seconds < 120:
        return f"{seconds:.0f} s"
    if seconds < 7200:
        return f"{seconds / 60:.0f} min"
    return f"{seconds // 3600:.0f} h {seconds % 3600 / 60:.0f} min"

"""Text in any encoding, as UTF-8: readers see nothing else.

What cannot be decoded becomes MARK, which is no UTF-8, so that it is found where it stands.
"""

from __future__ import annotations

import codecs
import io
from typing import Any

from batch.errors import InputError
from batch.readers import likely
from batch.readers.reading import UTF8

MARK = b"\xff\xfe\xff"

_BEGINNINGS = {
    codecs.BOM_UTF8: UTF8,
    codecs.BOM_UTF32_LE: "utf-32",  # which begins as UTF-16 does
    codecs.BOM_UTF32_BE: "utf-32",
    codecs.BOM_UTF16_LE: "utf-16",
    codecs.BOM_UTF16_BE: "utf-16",
}


def _marked(error: UnicodeError) -> tuple[str | bytes, int]:
    """Both ways: what cannot be decoded is half a surrogate pair, and that is MARK."""
    if isinstance(error, UnicodeDecodeError):
        return "\udcff", error.end
    assert isinstance(error, UnicodeEncodeError)
    return MARK, error.end


codecs.register_error("batchmill", _marked)


def named(name: str) -> str:
    """The encoding of this name, as Python calls it.  Raises InputError for one that is none."""
    try:
        bytes(4).decode(name, "replace")
        return codecs.lookup(name).name.removesuffix("-sig")  # a mark is passed over anyhow
    except (LookupError, ValueError):  # of what is no encoding of text, or no name at all
        known = "utf-8, utf-16, cp1252, latin-1, cp1251, shift_jis, gbk …"
        raise InputError(f"unknown encoding {name!r} (as Python names them: {known})") from None


def found(head: bytes, name: str) -> tuple[str, str | None]:
    """The encoding of a file called `name` that begins with `head`, and what it probably is where
    it is no UTF-8.  Raises InputError for UTF-16 that does not say so.
    """
    for beginning, encoding in _BEGINNINGS.items():
        if head.startswith(beginning):
            return encoding, None
    if wide := _wide(head):
        way = f"say so with --encoding {wide}"
        raise InputError(f"{name}: probably UTF-16 text without a byte order mark; {way}")
    return UTF8, likely.encoding(head)


def _wide(head: bytes) -> str | None:
    """The UTF-16 in which these bytes would be mostly ASCII."""
    half = max(len(head) // 2, 1)
    first, second = head[0::2].count(0) / half, head[1::2].count(0) / half
    if max(first, second) < 0.4 or min(first, second) > 0.05:
        return None
    return "utf-16-le" if second > first else "utf-16-be"


def problem(text: bytes, probably: str | None = None) -> tuple[str, str | None]:
    """What is wrong with text that is no UTF-8, and the way out."""
    if MARK in text:
        return "bytes that are no text in this encoding", None
    probably = probably or likely.encoding(text)
    return "invalid UTF-8", probably and f"probably {probably}: --encoding {probably}"


def fault(text: bytes, probably: str | None = None) -> str:
    """The same in a few words."""
    return ", ".join(filter(None, problem(text, probably)))


def legible(text: bytes) -> str:
    """What can be read of it; U+FFFD stands for the rest."""
    return text.replace(MARK, "\N{REPLACEMENT CHARACTER}".encode()).decode(errors="replace")


class Recoded(io.RawIOBase):
    """The bytes of a stream in some encoding, as UTF-8."""

    def __init__(self, stream: Any, encoding: str) -> None:
        self._stream = stream
        self._decoder = codecs.getincrementaldecoder(encoding)("batchmill")
        self._ready = memoryview(b"")
        self._ended = False

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        while not self._ready and not self._ended:
            piece = bytes(self._stream.read(1 << 16))
            self._ended = not piece
            text = self._decoder.decode(piece, self._ended)
            self._ready = memoryview(text.encode(UTF8, "batchmill"))
        size = min(len(buffer), len(self._ready))
        buffer[:size] = self._ready[:size]
        self._ready = self._ready[size:]
        return size

    def close(self) -> None:
        self._stream.close()
        super().close()

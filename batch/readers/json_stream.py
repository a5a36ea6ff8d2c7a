"""The values of a JSON text one by one, whatever stands around them, and the bytes of each."""

from __future__ import annotations

import codecs
import json
import re
from typing import Any

from batch.errors import InputError
from batch.readers import json_faults, kinds, source
from batch.readers.reading import UTF8

MAX_VALUE = 64 << 20
"""Characters of one value."""

_SPACE = re.compile(r"[ \t\r\n]*")


class Stream:
    """A text from a place between two values on.  `offset` counts the bytes (of the text as UTF-8)
    before what comes next, `lines` the line ends passed since the text was opened.
    """

    def __init__(self, path: str, offset: int = 0, encoding: str = UTF8) -> None:
        self.offset, self.lines = offset, 0
        self._path, self._encoding = path, encoding
        self._decoder = codecs.getincrementaldecoder(UTF8)("surrogateescape")
        # numbers are not looked at, and one of 5,000 digits would be refused
        self._json = json.JSONDecoder(strict=False, parse_int=float)
        self._text, self._at, self._ended = "", 0, False

    def __enter__(self) -> Stream:
        try:
            self._stream = source.open_text(self._path, self.offset, self._encoding)
        except source.READ_FAULTS as error:
            raise self._unreadable(error) from error
        if not self.offset and self.peek() == "\ufeff":
            self._pass(self._at + 1)
        return self

    def __exit__(self, *_: object) -> None:
        self._stream.close()

    def peek(self) -> str:
        """The next character that is no space; nothing at the end."""
        while True:
            space = _SPACE.match(self._text, self._at)
            assert space is not None
            self._pass(space.end())
            if self._at < len(self._text) or self._ended:
                return self._text[self._at : self._at + 1]
            self._read()

    def take(self, mark: str) -> None:
        """Pass over a character, which must be this one.  Raises InputError."""
        if (found := self.peek()) != mark:
            what = f"{found!r}" if found else "the end of the file, as if it was cut off"
            raise self.fault(f"{mark!r} is missing before {what}")
        self._pass(self._at + 1)

    def value(self) -> tuple[Any, bytes]:
        """The next value, its integers as floats, and its text.  Raises InputError."""
        if not self.peek():
            raise self.fault("the end of the file comes too soon, as if it was cut off")
        while True:
            try:
                value, end = self._json.raw_decode(self._text, self._at)
            except RecursionError:
                raise self.fault("nested too deeply") from None
            except json.JSONDecodeError as error:
                if self._ended or len(self._text) - self._at > MAX_VALUE:
                    problem = json_faults.problem(self._text[self._at :], error.pos - self._at)
                    self._pass(error.pos)
                    raise self.fault(f"malformed JSON: {problem}") from None
            else:
                if end < len(self._text) or self._ended:  # a number may go on
                    return value, self._pass(end)
            self._read()

    def fault(self, problem: str, way: str | None = None) -> InputError:
        """That something is wrong here."""
        place = f"near line {self.lines + 1}"
        return InputError(f"{source.basename(self._path)}: {problem}, {place}", hint=way)

    def _unreadable(self, error: BaseException) -> InputError:
        return self.fault(source.cause(error), kinds.not_compressed(self._path))

    def _pass(self, end: int) -> bytes:
        """Go on to a place in the text; gives what was passed over."""
        passed = self._text[self._at : end].encode(UTF8, "surrogateescape")
        self.offset += len(passed)
        self.lines += passed.count(b"\n")
        self._at = end
        return passed

    def _read(self) -> None:
        """Have more of the text: at least as much again."""
        rest = self._text[self._at :]
        try:
            piece = self._stream.read(max(source.BYTES, len(rest)))
        except source.READ_FAULTS as error:
            raise self._unreadable(error) from error
        self._ended = not piece
        self._text, self._at = rest + self._decoder.decode(piece, self._ended), 0

"""The rows of a text whose rows are its lines that are more than space, counted by their ends: about as
fast as newlines are.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import cached_property

from batch.model import Position
from batch.readers import lines
from batch.readers.lines import Block
from batch.readers.stretches import Stretch

PIECE = 16 << 10
"""How many bytes are counted at a time where a line is looked for by its number."""

_EMPTY = re.compile(rb"\n[ \t\r\x0b\x0c]*(?=\n)")
"""A line without a word, but for the first and the last one of a text."""


def stretches(path: str, start: Position) -> Iterator[Stretch]:
    """The rows of plain UTF-8 from `start` on; a line that is too long is one."""
    since = start
    for block in lines.blocks(path, start):
        found = _Rows(block, start.file)
        if found.count:
            end, size = found.end(), block.end - block.offset
            yield Stretch(found.count, size, since, end, found.behind)
            since = end


class _Rows:
    """The rows of a block, and the places behind them."""

    def __init__(self, block: Block, file: int) -> None:
        self._block, self._file = block, file
        self._text = block.text or b""
        self._passed = self._passed_rows = 0  # of the last place that was looked for
        self._empty = 0 if block.text is None else _empty(self._text)
        self.count = block.lines - self._empty

    def end(self) -> Position:
        """The place behind the last of them."""
        if not self._empty:
            return Position(self._file, self._block.end, self._block.number + self._block.lines)
        newline = self._text.find(b"\n", len(self._text.rstrip()))
        if newline < 0:
            return self._place(len(self._text), self._block.lines)
        return self._place(newline + 1, self._text.count(b"\n", 0, newline + 1))

    def behind(self, rows: int) -> Position:
        """The place behind the first `rows`, which are not all.  Quickest in rising order."""
        if self._empty:
            return self._place(*self._ends[rows - 1])
        if rows < self._passed_rows:
            self._passed = self._passed_rows = 0
        self._passed = _behind(self._text, self._passed, rows - self._passed_rows)
        self._passed_rows = rows
        return self._place(self._passed, rows)

    @cached_property
    def _ends(self) -> list[tuple[int, int]]:
        """How many bytes and lines there are up to the end of each row, among which are empty lines."""
        found, size = [], 0
        for number, line in enumerate(self._text.split(b"\n"), 1):
            size += len(line) + 1
            if line.strip():
                found.append((size, number))
        return found

    def _place(self, size: int, count: int) -> Position:
        return Position(self._file, self._block.offset + size, self._block.number + count)


def _behind(text: bytes, at: int, count: int) -> int:
    """Where the next `count` lines end that begin at `at`."""
    while (found := text.count(b"\n", at, at + PIECE)) < count:
        at, count = at + PIECE, count - found
    for _ in range(count):
        at = text.index(b"\n", at) + 1
    return at


def _empty(text: bytes) -> int:
    """How many lines hold nothing but space."""
    first, last = text.find(b"\n"), text.rfind(b"\n")
    edges = [text if first < 0 else text[:first]]
    if 0 <= last < len(text) - 1:
        edges.append(text[last + 1 :])
    return len(_EMPTY.findall(text)) + sum(not line.strip() for line in edges)

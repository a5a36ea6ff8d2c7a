"""Rows that were ready when a pack was made up, and ask for something else than it.

They are bounded, and nothing is waited for: the kind that was first here leads the next pack, before any
row is taken from the feed.  Pure.
"""

from __future__ import annotations

from collections import deque
from typing import NamedTuple

from batch.apis.packs import Piece
from batch.engine.task import Task

MOST_KINDS, MOST_ROWS, MOST_BYTES = 128, 4_096, 8 << 20
"""Bodies without their texts, rows, and bytes of what these ask, beyond which no more is looked for."""


class Ready(NamedTuple):
    """A row, and what it asks; None where it goes alone."""

    task: Task
    piece: Piece | None

    @property
    def kind(self) -> bytes | None:
        """All it says but its text."""
        return None if self.piece is None else self.piece.rest


class SetAside:
    """Those rows, by kind."""

    def __init__(self) -> None:
        self._kinds: dict[bytes | None, deque[Ready]] = {}  # the one that was first here is first
        self.rows = 0
        """How many there are."""
        self._bytes = 0

    @property
    def has_room(self) -> bool:
        """Whether more may be set aside."""
        few = len(self._kinds) < MOST_KINDS and self.rows < MOST_ROWS
        return few and self._bytes < MOST_BYTES

    def put(self, row: Ready) -> int:
        """Set a row aside; how many of its kind there are now."""
        same = self._kinds.setdefault(row.kind, deque())
        same.append(row)
        self.rows += 1
        self._bytes += len(row.task.asked.body)
        return len(same)

    def first(self) -> Ready | None:
        """The row that is to lead the next pack."""
        return self.another(next(iter(self._kinds))) if self._kinds else None

    def another(self, kind: bytes | None) -> Ready | None:
        """The next one of a kind."""
        same = self._kinds.get(kind)
        if same is None:
            return None
        row = same.popleft()
        if not same:
            del self._kinds[kind]
        self.rows -= 1
        self._bytes -= len(row.task.asked.body)
        return row

"""The answers that a run has given itself, found by the hash of their request.

The index (hash -> part and row) is an SQLite file among the drafts, so that memory does not grow with
the run; answers are read from their part, a few of which are kept at hand, and those given last are
kept as they are.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable
from typing import TYPE_CHECKING, NamedTuple

import pyarrow as pa

from batch import columns
from batch.model import Result
from batch.run_folder import RunFolder
from batch.store import contents
from batch.store.recover import Found
from batch.store.seal import Layout

if TYPE_CHECKING:
    import sqlite3

AT_HAND_BYTES = 64 << 20
"""About so much of the parts that answers were read from last is kept in memory."""
RECENT_BYTES = 32 << 20
"""About so much of what was answered last is kept in memory."""
TOGETHER = 1_000
"""Entries that are written to the index at once."""
BITS = 1 << 23
"""Of the filter that tells most questions that are new: 1 MiB, which is right of 19 in 20 of a million."""
INDEXED = ("row", "status", "request_hash")


class Place(NamedTuple):
    """Where an answer lies."""

    part: int
    row: int


class _Part(NamedTuple):
    """The answers of a part, and where in them each row is."""

    table: pa.Table
    places: dict[int, int]


class OwnAnswers:
    """The `ok` answers of the run, those of earlier starts included.  For one thread at a time."""

    def __init__(self, run: RunFolder, layout: Layout, found: Iterable[Found]) -> None:
        """`found` are the parts of earlier starts; they are read when the first question is asked."""
        self._run, self._layout = run, layout
        self._found: Iterable[Found] | None = found
        self._index: sqlite3.Connection
        self._filter = bytearray(BITS >> 3)
        self._new: dict[bytes, Place] = {}  # not in the index yet
        self._recent: OrderedDict[bytes, Result] = OrderedDict()
        self._recent_bytes = 0
        self._at_hand: OrderedDict[int, _Part] = OrderedDict()

    @property
    def is_open(self) -> bool:
        """Whether what earlier starts answered has been looked at."""
        return self._found is None

    def open(self) -> None:
        """Look at what earlier starts answered: a million rows take some seconds."""
        if self._found is None:
            return
        import sqlite3

        self._index = sqlite3.connect(
            self._run.drafts / "answers.sqlite", isolation_level=None, check_same_thread=False
        )
        self._index.execute("PRAGMA journal_mode = OFF")
        self._index.execute("PRAGMA synchronous = OFF")
        self._index.execute(
            "CREATE TABLE answer (hash BLOB PRIMARY KEY, part INTEGER, place INTEGER) WITHOUT ROWID"
        )
        for part in self._found:
            if part.generation or part.footer is not None:
                self._look_at(part.number)
        self._found = None

    def add(self, result: Result, part: int) -> None:
        """An answer that was given now."""
        if result.request_hash is None or not self.is_open:
            return
        digest = bytes.fromhex(result.request_hash)
        self._enter(digest, part, result.row)
        if (before := self._recent.pop(digest, None)) is not None:
            self._recent_bytes -= _size(before)
        self._recent[digest] = result
        self._recent_bytes += _size(result)
        while self._recent_bytes > RECENT_BYTES:
            _, oldest = self._recent.popitem(last=False)
            self._recent_bytes -= _size(oldest)

    def find(self, question: str) -> Result | Place | None:
        """The answer to a question, or where it is to be `read`; None where there is none."""
        digest = bytes.fromhex(question)
        for at in _bits(digest):
            if not self._filter[at >> 3] >> (at & 7) & 1:
                return None
        if (recent := self._recent.get(digest)) is not None:
            return recent
        if (place := self._new.get(digest)) is not None:
            return place
        query = "SELECT part, place FROM answer WHERE hash = ?"
        found = self._index.execute(query, (digest,)).fetchone()
        return None if found is None else Place(*found)

    def read(self, place: Place) -> Result | None:
        """The answer that lies there, if it still does.  Takes 20 ms for a part that is not at hand."""
        for fresh in (False, True):  # what is at hand may be older than the answer
            if fresh:
                self._at_hand.pop(place.part, None)
            part = self._part(place.part)
            if (at := part.places.get(place.row)) is not None:
                return next(columns.results(part.table[at : at + 1]))
        return None

    def close(self) -> None:
        """Let the index go."""
        if self.is_open:
            self._index.close()

    def _look_at(self, number: int) -> None:
        table = contents.chosen(self._run, number, self._layout, INDEXED)
        for row, status, digest in zip(
            *(column.to_pylist() for column in table.columns), strict=True
        ):
            if status == "ok" and digest is not None:
                self._enter(bytes.fromhex(digest), number, row)

    def _enter(self, digest: bytes, part: int, row: int) -> None:
        for at in _bits(digest):
            self._filter[at >> 3] |= 1 << (at & 7)
        self._new[digest] = Place(part, row)
        if len(self._new) >= TOGETHER:
            rows = ((digest, *place) for digest, place in self._new.items())
            self._index.execute("BEGIN")
            self._index.executemany("INSERT OR IGNORE INTO answer VALUES (?, ?, ?)", rows)
            self._index.execute("COMMIT")
            self._new = {}

    def _part(self, number: int) -> _Part:
        if number not in self._at_hand:
            self._at_hand[number] = self._read(number)
        self._at_hand.move_to_end(number)
        held = sum(part.table.nbytes for part in self._at_hand.values())
        while held > AT_HAND_BYTES and len(self._at_hand) > 1:
            _, oldest = self._at_hand.popitem(last=False)
            held -= oldest.table.nbytes
        return self._at_hand[number]

    def _read(self, number: int) -> _Part:
        own = {column.name for column in self._layout.own}
        of_apis = [column for column in columns.OF_APIS if column.name in own]
        names = [column.name for column in (*columns.COLUMNS, *of_apis)]
        table = contents.chosen(self._run, number, self._layout, names)
        return _Part(table, {row: at for at, row in enumerate(table["row"].to_pylist())})


def _size(result: Result) -> int:
    """About how many bytes of memory it takes."""
    texts = (
        *(result.completion, result.reasoning, result.response_json, result.request_json),
        *(result.parsed, result.refusal, result.usage_json),
        *(choice.completion for choice in result.choices or ()),
        *(choice.reasoning for choice in result.choices or ()),
        *(call.arguments for call in result.tool_calls or ()),
    )
    return 1_000 + sum(len(text) for text in (*texts, result.embedding) if text)


def _bits(digest: bytes) -> tuple[int, int]:
    return (
        int.from_bytes(digest[:4], "little") % BITS,
        int.from_bytes(digest[4:8], "little") % BITS,
    )

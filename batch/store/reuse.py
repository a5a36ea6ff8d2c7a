"""Answers of earlier runs, found by the hash of their request.

The k-th row that asks a question takes the k-th answer to it, those of the newest run being the
first; of several workers that share a run each takes the answer of its own row first, where there is
one.  The index (hash -> run, part and place)
is an SQLite file in tmp/, so that memory does not grow with the old run; answers are read from its
parts, a few of which are kept at hand.  A part that a kill left open counts with its journal.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator, Sequence
from functools import lru_cache
from typing import Any

import msgspec
import pyarrow as pa

from batch import columns, results
from batch.model import Result, Usage
from batch.run_folder import RunFolder
from batch.store import contents, part_results
from batch.store.seal import Layout

PARTS_AT_HAND = 4
INDEXED = ("row", "status", "request_hash", "reused")

FIRST = (-1, -1, -1)
"""A place before all answers."""

_FREE = Usage(0, 0, 0, 0, 0)


class Old(msgspec.Struct, frozen=True):
    """A run whose answers are taken, and its layout."""

    run: RunFolder
    layout: Layout


class Reuse:
    """The `ok` answers of the runs `olds`, the newest of which is the first, for the run in `new`."""

    def __init__(self, olds: Sequence[Old], new: RunFolder) -> None:
        """Indexes the old runs, and passes over the answers that the new one has taken already."""
        self._olds, self._is_shared = olds, bool(new.worker)
        self._index = sqlite3.connect(new.drafts / "reuse.sqlite", isolation_level=None)
        self._index.execute("PRAGMA journal_mode = OFF")
        self._index.execute("PRAGMA synchronous = OFF")
        self._index.execute(
            "CREATE TABLE answer (hash TEXT, run INTEGER, part INTEGER, place INTEGER, row INTEGER)"
        )
        self._index.execute("BEGIN")
        for order, old in enumerate(olds):
            for number in old.run.numbers():
                answers = _answers(contents.chosen(old.run, number, old.layout, INDEXED))
                rows = ((digest, order, number, place, row) for digest, place, row in answers)
                self._index.executemany("INSERT INTO answer VALUES (?, ?, ?, ?, ?)", rows)
        self._index.execute("CREATE INDEX by_hash ON answer (hash, run, part, place)")
        if self._is_shared:
            self._index.execute("CREATE INDEX by_row ON answer (hash, row, run, part, place)")
        self._index.execute("COMMIT")
        self._taken: dict[str, int] = {}  # by earlier starts
        for digest in _taken(new):
            self._taken[digest] = self._taken.get(digest, 0) + 1
        self._behind: dict[
            str, tuple[int, int, int]
        ] = {}  # where the last answer lies that was taken
        self._part = lru_cache(PARTS_AT_HAND)(self._read)

    def take(self, row: int, custom_id: str | None, digest: str) -> Result | None:
        """The next answer to the question `digest`, as the result of `row`; None when there is
        none.
        """
        found = self._of_its_row(row, digest) if self._is_shared else None
        found = found or self._next(digest)
        if found is None:
            return None
        order, number, place = found
        [known] = columns.results(self._part(order, number)[place : place + 1])
        return results.given_again(
            known,
            row,
            custom_id,
            [flag for flag in known.flags if flag != columns.DUPLICATE],
            **msgspec.structs.asdict(_FREE),
        )

    def close(self) -> None:
        """Let the index go."""
        self._index.close()

    def _next(self, digest: str) -> Any:
        """Where the answer lies that comes behind those taken.  Sought from the last of them, as counting
        them anew for every row would take ever longer.
        """
        passed, behind = self._taken.get(digest, 0), self._behind.get(digest, FIRST)
        query = (
            "SELECT run, part, place FROM answer WHERE hash = ? AND (run, part, place) > (?, ?, ?)"
            " ORDER BY run, part, place LIMIT 1 OFFSET ?"
        )
        found = self._index.execute(query, (digest, *behind, passed)).fetchone()
        if found is not None:
            self._taken.pop(digest, None)
            self._behind[digest] = found
        return found

    def _of_its_row(self, row: int, digest: str) -> Any:
        query = (
            "SELECT run, part, place FROM answer WHERE hash = ? AND row = ? ORDER BY run LIMIT 1"
        )
        return self._index.execute(query, (digest, row)).fetchone()

    def _read(self, order: int, number: int) -> pa.Table:
        old = self._olds[order]
        own = {column.name for column in old.layout.own}
        of_apis = [column for column in columns.OF_APIS if column.name in own]
        names = [column.name for column in (*columns.COLUMNS, *of_apis)]
        return contents.chosen(old.run, number, old.layout, names)


def _answers(table: pa.Table) -> Iterator[tuple[str, int, int]]:
    """The hashes of the questions that were answered, where in the table, and of which rows."""
    columns = (table[name].to_pylist() for name in ("status", "request_hash", "row"))
    for place, (status, digest, row) in enumerate(zip(*columns, strict=True)):
        if status == "ok" and digest is not None:
            yield digest, place, row


def _taken(run: RunFolder) -> Iterator[str]:
    """The questions that the run has answered from the old one."""
    for number in run.numbers():
        for result in part_results.results(run, number, INDEXED):
            if result.reused and result.request_hash is not None:
                yield result.request_hash

"""The answers of earlier runs are found as quickly behind many as at the start."""

from __future__ import annotations

import sqlite3
from functools import partial

import pytest

from batch.planning import begun
from batch.run_folder import RunFolder
from batch.store import plan
from batch.store.reuse import Old, Reuse
from tests.reading import asking, rows, write

ROWS = 400


@pytest.fixture
def steps(monkeypatch):
    """What the index has worked, one entry for each step of its machine."""
    taken: list[int] = []
    connect = sqlite3.connect

    def counting(*words, **named):
        made = connect(*words, **named)
        made.set_progress_handler(partial(taken.append, 0), 1)
        return made

    monkeypatch.setattr(sqlite3, "connect", counting)
    return taken


@pytest.mark.parametrize("worker", ["", "0-of-2"])
def test_a_question_that_many_rows_ask_is_looked_up_as_quickly_at_the_end(
    api, batchmill, tmp_path, steps, worker
):
    write(tmp_path / "in.jsonl", ["a"] * ROWS)
    assert batchmill("run", "in.jsonl", *asking(api), "-o", "old").exit_code == 0
    old, known = tmp_path / "old", plan.read(tmp_path / "old")
    assert known is not None
    new = RunFolder(tmp_path / "new", worker)
    new.drafts.mkdir(parents=True)
    reuse = Reuse([Old(RunFolder(old), begun.layout(old, known))], new)
    digest, worked = rows(old)[0]["request_hash"], []
    for row in range(ROWS):
        del steps[:]
        assert reuse.take(row, None, digest) is not None
        worked.append(len(steps))
    assert max(worked) <= 2 * min(worked)
    reuse.close()

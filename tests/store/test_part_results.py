"""The results of a part are the same, whoever asks and wherever they lie."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pyarrow.parquet as pq
import pytest

from batch.errors import Damaged
from batch.model import Position, Result
from batch.planning import begun
from batch.reports import status
from batch.run_folder import RunFolder
from batch.store import contents, journal, part_results, parts, plan
from tests.reports.test_report import answered, recorded

FAILED = answered(status="failed", error_class="timeout", error_message="no answer")
LATER = answered(row=0, finished_at=1.8e9)


@pytest.fixture
def run(tmp_path: Path) -> RunFolder:
    """A run with one sealed part, in which row 0 failed and row 1 was answered."""
    return RunFolder(recorded(tmp_path / "run", [FAILED, answered()]))


def reopen(run: RunFolder, generation: int, *results: Result) -> None:
    """An open part 0, whose journal has these results."""
    opened = run.opened(0)
    opened.path.mkdir()
    header = journal.Header(0, generation, 0, Position())
    lines = [journal.line(header), *(journal.line(result) for result in results)]
    opened.journal.write_bytes(b"".join(lines))


def seen(run: RunFolder) -> list[tuple[int, str, int]]:
    """Row, status and attempts of every row, in order."""
    found = part_results.results(run, 0)
    return sorted((each.row, each.status, each.attempts) for each in found)


def test_what_a_journal_adds_wins_and_is_added_up(run):
    reopen(run, 2, LATER)
    assert seen(run) == [(0, "ok", 2), (1, "ok", 1)]

    counted = contents.counted(run.path)
    assert (counted.summary.totals().rows_ok, counted.summary.totals().attempts) == (2, 3)
    assert (counted.opened, counted.finished) == (1, [1.8e9])
    _, layout = begun.opened(run.path)
    names = ["row", "status", "attempts"]
    table = contents.chosen(run, 0, layout, names)
    assert [tuple(row.values()) for row in table.to_pylist()] == seen(run)
    known = plan.read(run.path)
    assert known is not None
    now = status.of(run.path, known)
    assert (now.ok, now.failed, now.attempts, now.open_parts) == (2, 0, 3, 1)


def test_a_journal_that_has_been_merged_adds_nothing(run):
    reopen(run, 1, LATER)
    assert seen(run) == [(0, "failed", 1), (1, "ok", 1)]
    assert contents.counted(run.path).summary.totals().rows_failed == 1
    assert part_results.journalled(run, 0) == []


def test_a_part_that_is_not_there_has_no_results(run):
    assert list(part_results.results(run, 7)) == []


def test_what_is_sealed_while_it_is_read_is_read_anew(run):
    reads: list[int] = []

    def read() -> int:
        reads.append(len(reads))
        if len(reads) == 1:
            recorded(run.path, [answered()] * 3)
            _reseal(run)
            raise FileNotFoundError
        return len(reads)

    assert part_results.steadily(run, 0, read) == 2


def _reseal(run: RunFolder) -> None:
    """The same part, a generation later."""
    path = run.sealed(0)
    later = msgspec.structs.replace(parts.footer(path), generation=2)
    table = pq.ParquetFile(path).read()
    with path.open("wb+") as file:
        parts.write(file, table.schema, iter([table]), lambda: later)
    assert parts.footer(path).generation == 2


def test_damage_is_not_read_for_ever(run):
    reopen(run, 2, LATER)
    run.opened(0).journal.write_bytes(b"")
    run.sealed(0).write_bytes(b"nothing")
    with pytest.raises(Damaged):
        part_results.results(run, 0)

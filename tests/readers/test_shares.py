"""How far reading has come is known in the middle of every input."""

from __future__ import annotations

import random
from pathlib import Path

import pytest

from batch.readers import resolve
from tests.readers.test_readers import NAMES, save

ROWS = 12_000  # of which the last are not looked at before a run begins
RECORDS = [
    {"id": str(row), "text": "".join(random.Random(row).choices("abcdefgh ", k=80))}
    for row in range(ROWS)
]


@pytest.mark.parametrize("name", NAMES)
def test_the_share_that_is_read_tells_how_many_rows_there_are(tmp_path: Path, name: str) -> None:
    found, read, said = resolve(str(save(tmp_path / name, RECORDS)), tmp_path), 0, []
    for batch in found.batches():
        read += len(batch.table)
        share = found.share_before(batch.end)
        said.append(None if share is None else read / share)
    assert len(said) > 10
    assert said == pytest.approx([ROWS] * len(said), rel=0.1)


def test_it_is_known_of_several_files_that_are_packed(tmp_path: Path) -> None:
    paths = [str(save(tmp_path / f"{n}.csv.gz", RECORDS[n::3])) for n in range(3)]
    found = resolve(paths, tmp_path)
    ends = [batch.end for batch in found.batches()]
    shares = [found.share_before(end) or 0.0 for end in ends]
    assert shares == sorted(shares)
    assert shares[len(shares) // 2] == pytest.approx(0.5, abs=0.05)


def test_of_a_file_that_is_not_opened_yet_nothing_is_said(tmp_path: Path) -> None:
    found = resolve(str(save(tmp_path / "in.csv.gz", RECORDS[:10])), tmp_path)
    end = next(resolve(list(found.files), tmp_path).batches()).end
    assert found.share_before(end) is None

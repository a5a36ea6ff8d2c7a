"""Ten thousand columns cost ten times what a thousand do, and arrive all."""

from __future__ import annotations

import csv
import sys
from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pyarrow.feather
import pyarrow.parquet as pq
import pytest

from batch import columns
from batch.readers import resolve
from tests.reading import asking, table

COUNT = 10_000


def saved(path: Path, count: int = COUNT, rows: int = 5) -> list[str]:
    """A file of so many columns; gives their names."""
    names = [f"c{number}" for number in range(count)]
    made = pa.table({name: [f"{name} {row}" for row in range(rows)] for name in names})
    if path.suffix == ".parquet":
        pq.write_table(made, path)
    elif path.suffix == ".arrow":
        pyarrow.feather.write_feather(made, str(path))
    else:
        with path.open("w", newline="") as file:
            writer = csv.writer(file)
            writer.writerow(names)
            writer.writerows(zip(*made.to_pydict().values(), strict=True))
    return names


@pytest.mark.second_lane
@pytest.mark.parametrize("suffix", ["parquet", "csv", "arrow"])
def test_ten_thousand_columns_are_carried_and_asked_about(api, batchmill, tmp_path, suffix):
    names = saved(tmp_path / f"in.{suffix}")
    prompt = "{{ c0 }}, {{ c9999 }}"

    ended = batchmill("run", f"in.{suffix}", *asking(api), "-p", prompt, timeout=100)

    assert ended.exit_code == 0, ended.stderr
    assert api.prompts() == {f"c0 {row}, c9999 {row}": 1 for row in range(5)}
    found = table(tmp_path / "runs/in")
    assert found.column_names[:COUNT] == names
    assert [found.column(at)[4].as_py() for at in (0, 5_000, 9_999)] == [
        "c0 4",
        "c5000 4",
        "c9999 4",
    ]


def test_wide_files_that_differ_are_united(tmp_path: Path) -> None:
    for file, first in enumerate((0, COUNT // 2)):
        numbers = range(first, first + COUNT)
        pq.write_table(pa.table({f"c{n}": [n] for n in numbers}), tmp_path / f"{file}.parquet")
    found = resolve("*.parquet", tmp_path)

    one, two = (batch.table for batch in found.batches())

    assert one.schema == two.schema == found.schema(None)
    assert one.num_columns == COUNT * 3 // 2
    assert [one.column(0).to_pylist(), one.column(COUNT).to_pylist()] == [[0], [None]]
    assert [two.column(0).to_pylist(), two.column(COUNT).to_pylist()] == [[None], [COUNT]]


def calls(work: Callable[[], object]) -> int:
    """How many functions are called, those written in C among them."""
    counted = 0

    def count(frame: object, event: str, argument: object) -> None:
        nonlocal counted
        counted += event in ("call", "c_call")

    before = sys.getprofile()
    sys.setprofile(count)
    try:
        work()
    finally:
        sys.setprofile(before)
    return counted


@pytest.mark.parametrize("suffix", ["parquet", "csv", "arrow"])
def test_a_column_costs_the_same_however_many_there_are(tmp_path: Path, suffix: str) -> None:
    def read(count: int) -> None:
        found = resolve(f"{count}.{suffix}", tmp_path)
        schema = found.schema(None)
        output, _ = columns.schema(schema, columns.COLUMNS)
        columns.carried(output, columns.of_run(output))
        found.column_notices()
        for batch in found.batches():
            found.rows(batch, 0)
            found.reader.carry(batch.table, schema, None)

    for count in (300, 3_000):
        saved(tmp_path / f"{count}.{suffix}", count, rows=10)
    read(300)  # what is looked up once

    few, many = (calls(lambda count=count: read(count)) for count in (300, 3_000))

    assert many < 13 * few

"""A run keeps the columns with which it began, whichever a newer version knows."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from batch.run_folder import RunFolder
from batch.store import parts as store
from tests.reading import asking, parts, table, texts, write

LACKING = ["unbounded_attempts", "cost_source", "response_json", "attempt_log", "endpoint"]
"""Columns that are counted, grouped by, nested, or none of these."""


def change(run: Path, changed: Callable[[pa.Table], pa.Table]) -> None:
    """Change the columns of what a run has written, as a version with others would have done."""
    first = RunFolder(run).schema
    schema = changed(pq.read_schema(first).empty_table()).schema
    with first.open("wb+") as file:
        store.write_schema(file, schema)
    for path in parts(run):
        footer = store.footer(path)
        table = changed(pq.read_table(path, partitioning=None)).cast(schema)
        with path.open("wb+") as file:
            store.write(file, schema, iter([table]), lambda footer=footer: footer)


@pytest.mark.parametrize("name", LACKING)
def test_a_run_that_began_without_a_column_goes_on_without_it(api, batchmill, tmp_path, name):
    write(tmp_path / "in.jsonl", texts(6))
    command = ("run", "in.jsonl", *asking(api, "--set", "output.part_rows=4"))
    assert batchmill(*command, "--limit", 2).exit_code == 0
    run = tmp_path / "runs/in"
    change(run, lambda read: read.drop_columns([name]))
    ended = batchmill(*command)
    assert ended.exit_code == 0, ended.stderr
    whole = table(run)
    assert name not in whole.column_names
    assert whole["completion"].null_count == 0 and len(whole) == 6
    for look in (["status"], ["report"], ["show"], ["export", "-o", "x.jsonl"]):
        said = batchmill(look[0], "runs/in", *look[1:])
        assert said.exit_code == 0, said.stderr


def test_a_run_of_a_version_with_more_columns_goes_on_with_them(api, batchmill, tmp_path):
    write(tmp_path / "in.jsonl", texts(6))
    command = ("run", "in.jsonl", *asking(api, "--set", "output.part_rows=4"))
    assert batchmill(*command, "--limit", 2).exit_code == 0
    run = tmp_path / "runs/in"
    change(
        run, lambda read: read.append_column("mood", pa.array(["good"] * len(read), pa.string()))
    )
    ended = batchmill(*command)
    assert ended.exit_code == 0, ended.stderr
    assert table(run)["mood"].to_pylist() == ["good", "good", None, None, None, None]

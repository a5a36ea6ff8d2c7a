"""A Parquet file whose footer and pages contradict each other is refused, and loses no row in
silence.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import duckdb
import polars
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from batch.errors import InputError
from batch.readers import resolve
from tests import footers
from tests.footers import Struct
from tests.readers.test_union import carried
from tests.reading import asking, rows, table

ROWS = 40
TEXTS = [f"text {row:02d}" for row in range(ROWS)]


def saved(path: Path, **how: Any) -> Path:
    """Two row groups of 20 rows; columns that are flat, null, and nested."""
    columns = {
        "text": TEXTS,
        "n": [None if row % 3 else row for row in range(ROWS)],
        "list": [[row] * (row % 4) for row in range(ROWS)],
    }
    pq.write_table(pa.table(columns), path, row_group_size=20, **how)
    return path


def all_of(footer: Struct, group: int, count: int) -> None:
    """A footer that agrees with itself."""
    footers.rows_of_group(footer, group, count)
    for column in (0, 1):
        footers.values(footer, group, column, count)


LIES: dict[str, Callable[[Struct], object]] = {
    "fewer rows in the file": lambda footer: footers.rows(footer, 39),
    "more rows in the file": lambda footer: footers.rows(footer, 41),
    "fewer rows in a group": lambda footer: footers.rows_of_group(footer, 0, 7),
    "fewer rows in the last group": lambda footer: footers.rows_of_group(footer, 1, 7),
    "no rows in a group": lambda footer: footers.rows_of_group(footer, 0, 0),
    "more rows in a group": lambda footer: footers.rows_of_group(footer, 0, 21),
    "fewer values in a column": lambda footer: footers.values(footer, 0, 0, 7),
    "more values in a column": lambda footer: footers.values(footer, 1, 1, 21),
    "fewer values in a nested column": lambda footer: footers.values(footer, 1, 2, 3),
    "fewer rows, and all columns say so": lambda footer: all_of(footer, 0, 7),
    "more rows, and all columns say so": lambda footer: all_of(footer, 1, 33),
    "a column that is not there": lambda footer: footers.columns(footer, 0).pop(),
    "a level that a column has not": lambda footer: footers.level_more(footer, 1, 0),
}


@pytest.mark.parametrize("how", [{}, {"data_page_version": "2.0", "data_page_size": 1}])
@pytest.mark.parametrize("lie", LIES)
def test_a_footer_that_its_pages_contradict_is_refused(
    tmp_path: Path, lie: str, how: dict[str, Any]
) -> None:
    path = saved(tmp_path / "r.parquet", **how)
    footers.changed(path, LIES[lie])
    found = resolve("r.parquet", tmp_path)

    with pytest.raises(InputError, match=r"^r\.parquet: damaged: ") as caught:
        carried(found)
    assert caught.value.hint


@pytest.mark.parametrize("lie", ["fewer rows in a group", "more rows in the file"])
def test_rows_are_counted_where_pages_are_not(tmp_path: Path, lie: str) -> None:
    footers.changed(saved(tmp_path / "r.parquet"), LIES[lie])

    with pytest.raises(InputError, match=r"^r\.parquet: damaged: "):
        carried(resolve((tmp_path / "r.parquet").as_uri(), tmp_path))


@pytest.mark.parametrize("lie", ["fewer rows in the last group", "more rows in the file"])
def test_a_run_over_such_a_file_sends_nothing(api, batchmill, tmp_path, lie):
    footers.changed(saved(tmp_path / "r.parquet"), LIES[lie])

    ended = batchmill("run", "r.parquet", *asking(api, "-o", "out"))

    assert (ended.exit_code, api.ledger) == (2, [])
    assert "r.parquet: damaged: " in ended.stderr


def test_a_contradiction_far_into_a_file_ends_the_run_and_keeps_what_was_asked(
    api, batchmill, tmp_path
):
    count = 10_300
    columns = pa.table({"text": [f"text {row:05d}" for row in range(count)]})
    pq.write_table(columns, tmp_path / "r.parquet", row_group_size=10_200)
    footers.changed(tmp_path / "r.parquet", LIES["fewer rows in the last group"])
    command = ("run", "r.parquet", *asking(api, "-o", "out", "-c", 200))

    ended = batchmill(*command)

    assert ended.exit_code == 2, ended.stderr
    assert "r.parquet: damaged: row group 1 " in ended.stderr
    assert {row["status"] for row in rows(tmp_path / "out")} == {"ok"}
    assert 10_000 <= table(tmp_path / "out").num_rows <= 10_200
    assert json.loads((tmp_path / "out/run.json").read_bytes())["state"] != "finished"


WRITERS: dict[str, Callable[[pa.Table, Path], object]] = {
    "pyarrow": lambda table, path: pq.write_table(table, path, row_group_size=300),
    "small pages": lambda table, path: pq.write_table(
        table, path, data_page_size=64, write_batch_size=8, write_page_index=True
    ),
    "pages of version 2": lambda table, path: pq.write_table(
        table, path, data_page_version="2.0", use_dictionary=False, write_page_checksum=True
    ),
    "no statistics": lambda table, path: pq.write_table(
        table, path, write_statistics=False, compression="none"
    ),
    "polars": lambda table, path: polars.from_arrow(table).write_parquet(path),
    "duckdb": lambda table, path: duckdb.from_arrow(table).write_parquet(str(path)),
    "duckdb, version 2": lambda made, path: duckdb.sql(
        f"COPY (FROM made) TO '{path}' (FORMAT parquet, PARQUET_VERSION v2)"
    ),
}


@pytest.mark.parametrize("writer", WRITERS)
def test_honest_files_of_any_writer_are_read(tmp_path: Path, writer: str) -> None:
    columns = {
        "text": [f"{row % 7}" * (row % 50) for row in range(1_000)],
        "null": pa.nulls(1_000, pa.int32()),
        "long": ["x" * 5_000 if row == 500 else None for row in range(1_000)],
        "deep": [{"a": [{"b": row}] * (row % 3)} if row % 5 else None for row in range(1_000)],
    }
    made = pa.table(columns)
    WRITERS[writer](made, tmp_path / "r.parquet")

    assert carried(resolve("r.parquet", tmp_path)).to_pylist() == made.to_pylist()


def test_a_file_of_no_rows_is_whole(tmp_path: Path) -> None:
    for group in (0, 1):
        with pq.ParquetWriter(tmp_path / "r.parquet", pa.schema([("x", pa.int8())])) as writer:
            for _ in range(group):
                writer.write_table(pa.table({"x": pa.array([], pa.int8())}))

        assert list(resolve("r.parquet", tmp_path).batches()) == []


NESTED, ENDLESS, LIST = b"\x1c", b"\x15" + b"\xff", b"\x19"
"""Of the header of a page: a struct begins in a struct, a number has no end, and a list."""


@pytest.mark.parametrize("header", [NESTED, ENDLESS, LIST], ids=["nested", "endless", "a list"])
def test_a_header_of_a_page_that_cannot_be_followed_is_left_to_the_reader(
    tmp_path: Path, header: bytes
) -> None:
    path = tmp_path / "r.parquet"
    small = {"use_dictionary": False, "compression": "none", "data_page_size": 20_000}
    pq.write_table(pa.table({"text": [f"{row:05d}" for row in range(20_000)]}), path, **small)
    found, whole = resolve("r.parquet", tmp_path), bytearray(path.read_bytes())
    whole[60_000:160_000] = (header * 100_000)[:100_000]  # the first pages are whole
    path.write_bytes(whole)

    with pytest.raises(InputError, match=r"^r\.parquet: "):
        carried(found)

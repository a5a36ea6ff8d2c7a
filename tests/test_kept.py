"""What a Parquet file holds beyond text and numbers is in the output as it was: nanoseconds at any
depth, and what its writer noted of the schema.
"""

from __future__ import annotations

import json
from typing import Any

import duckdb
import pandas
import polars
import pyarrow as pa
import pyarrow.dataset as ds
import pyarrow.parquet as pq
import pytest

from tests.fake_api import Step
from tests.reading import asking, parts, table, until

ROWS = 12
NS = [1_234_567_891, -1, None, 2**62 + 1]
"""Nanoseconds that no coarser unit holds."""


def nested(kind: pa.DataType) -> dict[str, pa.DataType]:
    """A type in everything that may hold it, and in two of them at once."""
    held = {
        "bare": kind,
        "list": pa.list_(kind),
        "large": pa.large_list(kind),
        "fixed": pa.list_(kind, 2),
        "struct": pa.struct([("at", kind)]),
        "map": pa.map_(pa.string(), kind),
        "key": pa.map_(kind, pa.string()),
    }
    inner = {f"list_{name}": pa.list_(each) for name, each in held.items()}
    return {**held, **inner, "deep": pa.struct([("a", pa.large_list(held["map"]))])}


def value(kind: pa.DataType, number: int) -> Any:
    """A value of a nested type with the leaf `number`; Arrow's integers, as Python rounds."""
    match kind:
        case pa.StructType():
            return {field.name: value(field.type, number) for field in kind}
        case pa.MapType():
            return [(value(kind.key_type, number or 0), value(kind.item_type, number))]
        case pa.FixedSizeListType():
            return [value(kind.value_type, number), None]
        case pa.ListType() | pa.LargeListType():
            return [value(kind.value_type, number), None]
    return "key" if pa.types.is_string(kind) else number


def of_integers(kind: pa.DataType) -> pa.DataType:
    """The type with integers in place of moments."""
    match kind:
        case pa.StructType():
            return pa.struct([field.with_type(of_integers(field.type)) for field in kind])
        case pa.MapType():
            return pa.map_(of_integers(kind.key_type), of_integers(kind.item_type))
        case pa.FixedSizeListType():
            return pa.list_(of_integers(kind.value_type), kind.list_size)
        case pa.LargeListType():
            return pa.large_list(of_integers(kind.value_type))
        case pa.ListType():
            return pa.list_(of_integers(kind.value_type))
    return kind if pa.types.is_string(kind) else pa.int64()


def moments() -> pa.Table:
    """Rows of nanoseconds in every nesting, and their text."""
    columns = {"text": pa.array([f"text {row:02d}" for row in range(ROWS)])}
    for unit, leaf in {"at": pa.timestamp("ns"), "zone": pa.timestamp("ns", "Asia/Tokyo")}.items():
        for name, kind in nested(leaf).items():
            plain = [value(of_integers(kind), NS[row % len(NS)]) for row in range(ROWS)]
            plain[-1] = None
            columns[f"{unit}_{name}"] = pa.array(plain, of_integers(kind)).cast(kind)
    return pa.table(columns)


@pytest.mark.parametrize("files", [1, 2])
def test_nanoseconds_are_carried_at_any_depth(api, start, batchmill, tmp_path, files):
    whole = moments()
    for file in range(files):
        size = ROWS // files
        pq.write_table(whole.slice(file * size, size), tmp_path / f"{file}.parquet")
    api.script = {"text 03": [Step(503), ...]}
    settings = ("--set", "output.part_rows=5", "--set", "retry.max_attempts=1")
    command = ("run", "?.parquet", *asking(api, "-o", "out", *settings))
    api.latency = 0.1
    process = start(*command, "-c", 1)
    until(lambda: len(api.ledger) >= 8, process)
    process.kill()
    process.wait()
    api.latency, api.script = 0, {}

    ended = batchmill(*command)

    assert ended.exit_code == 0, ended.stderr
    found = table(tmp_path / "out").select(whole.column_names)
    assert found.schema.types == pq.read_table(tmp_path / "0.parquet").schema.types
    assert found.equals(whole.cast(found.schema))
    exported = batchmill("export", "out", "-o", "one.parquet")
    assert exported.exit_code == 0, exported.stderr
    assert pq.read_table(tmp_path / "one.parquet").select(whole.column_names).equals(found)


# what writers note


FEATURES = {
    "info": {
        "features": {
            "text": {"dtype": "string", "_type": "Value"},
            "label": {"names": ["bad", "good"], "_type": "ClassLabel"},
        }
    }
}


def noted(**more: str) -> dict[str, str]:
    return {"huggingface": json.dumps(FEATURES), "source": "a survey", **more}


def saved(path: Any, metadata: dict[str, str], label: int = 1) -> pa.Schema:
    made = pa.table({"text": ["a"], "label": [label]})
    pq.write_table(made.replace_schema_metadata(metadata), path)
    return made.schema


def metadata(path: Any) -> dict[str, str]:
    """What a file notes, but for what Arrow and we do."""
    found = pq.read_schema(path).metadata or {}
    return {key.decode(): text.decode() for key, text in found.items() if key != b"batchmill"}


def test_what_the_writer_noted_of_the_schema_is_in_every_file_of_the_run(api, batchmill, tmp_path):
    saved(tmp_path / "in.parquet", noted())
    assert batchmill("run", "in.parquet", *asking(api)).exit_code == 0
    assert batchmill("export", "runs/in", "-o", "one.parquet").exit_code == 0
    run = tmp_path / "runs/in"

    for path in (run / "completions/_schema.parquet", *parts(run), tmp_path / "one.parquet"):
        assert metadata(path) == noted()
    assert ds.dataset(run / "completions").schema.metadata[b"huggingface"]
    chained = ("-m", "m", "-p", "{{ completion }}", "--base-url", api.url, "-o", "next")
    assert batchmill("run", "one.parquet", *chained).exit_code == 0
    assert metadata(parts(tmp_path / "next")[0]) == noted()


@pytest.mark.parametrize(
    "stale",
    [
        "pandas",
        "org.apache.spark.sql.parquet.row.metadata",
        "parquet.avro.schema",
        "iceberg.schema",
        "batchmill",
    ],
)
def test_what_describes_all_columns_is_left_out_as_there_are_more_now(
    api, batchmill, tmp_path, stale
):
    saved(tmp_path / "in.parquet", noted(**{stale: "{}"}))

    ended = batchmill("run", "in.parquet", *asking(api))

    assert ended.exit_code == 0, ended.stderr
    assert metadata(parts(tmp_path / "runs/in")[0]) == noted()
    assert batchmill("verify", "runs/in").exit_code == 0


def test_files_of_which_different_things_are_noted_keep_what_is_the_same(api, batchmill, tmp_path):
    saved(tmp_path / "a.parquet", noted(day="1"))
    saved(tmp_path / "b.parquet", noted(day="2"), label=0)
    pq.write_table(pa.table({"text": ["c"]}), tmp_path / "c.parquet")

    assert batchmill("run", "[abc].parquet", *asking(api, "-o", "out")).exit_code == 0

    assert metadata(parts(tmp_path / "out")[0]) == noted()


def test_a_frame_with_an_index_is_read_back_by_all(api, batchmill, tmp_path):
    frame = pandas.DataFrame(
        {"text": ["a", "b"], "n": pandas.array([1, None], "Int64")}, index=["x", "y"]
    )
    frame.rename_axis("id").to_parquet(tmp_path / "in.parquet")
    assert batchmill("run", "in.parquet", *asking(api)).exit_code == 0
    folder = tmp_path / "runs/in/completions"

    (paths,) = [[str(path) for path in parts(tmp_path / "runs/in")]]
    read = pandas.read_parquet(folder)
    assert list(read["id"]) == ["x", "y"] and list(read.columns)[:3] == ["text", "n", "id"]
    assert polars.read_parquet(paths)["id"].to_list() == ["x", "y"]
    assert duckdb.sql(f"SELECT id FROM read_parquet({paths})").fetchall() == [("x",), ("y",)]

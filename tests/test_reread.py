"""Every type and odd value, written in every form, is to whatever reads it what it was in the input."""

from __future__ import annotations

import base64
import datetime as dt
import json
import math
from decimal import Decimal
from typing import Any

import duckdb
import pandas as pd
import polars as pl
import pyarrow as pa
import pyarrow.csv as pc
import pyarrow.json as pj
import pyarrow.parquet as pq
import pytest

from batch.outputs import cells
from tests.reading import asking

MOMENT = dt.datetime(2026, 1, 2, 3, 4, 5, 6)
HELD: dict[str, pa.Array] = {
    "prompt": pa.array(["a", "b", "c"]),
    "truth": pa.array([True, False, None]),
    "tiny": pa.array([-128, 127, None], pa.int8()),
    "large": pa.array([2**53 + 1, -(2**63), None], pa.int64()),
    "huge": pa.array([2**64 - 1, 0, None], pa.uint64()),
    "half": pa.array([0.5, -2, None], pa.float16()),
    "single": pa.array([0.1, -0.0, None], pa.float32()),
    "double": pa.array([0.1, 1e300, None]),
    "odd": pa.array([math.nan, -math.inf, None]),
    "price": pa.array([Decimal("1.50"), Decimal("-0.01"), None], pa.decimal128(9, 2)),
    "words": pa.array(['a,"b"\r\n\tc', "", None]),
    "foreign": pa.array(["Привет 🚀 \u2028\x1b\x00", "NaN", None], pa.large_string()),
    "number": pa.array(["007", "1e5", None]),
    "raw": pa.array([b"\x00\xff", b"", None], pa.binary()),
    "fixed": pa.array([b"\x00\xff", b"ab", None], pa.binary(2)),
    "day": pa.array([dt.date(2026, 1, 2), dt.date(1, 1, 1), None]),
    "moment": pa.array([MOMENT, dt.datetime(1969, 12, 31, 23), None], pa.timestamp("us", "UTC")),
    "berlin": pa.array([MOMENT, dt.datetime(1969, 12, 31), None], pa.timestamp("us", "Europe/Berlin")),
    "local": pa.array([dt.datetime(2026, 1, 2), dt.datetime(9999, 12, 31), None], pa.timestamp("ms")),
    "nanos": pa.array([1_234_567_891, 0, None], pa.timestamp("ns")),
    "clock": pa.array([dt.time(3, 4, 5, 6), dt.time(0), None], pa.time64("us")),
    "span": pa.array([dt.timedelta(1, 0, 1), dt.timedelta(0, -1), None], pa.duration("us")),
    "list": pa.array([[1, None], [], None], pa.list_(pa.int64())),
    "struct": pa.array([{"a": 1, "b": {"c": "x"}}, {"a": None, "b": None}, None]),
    "structs": pa.array([[{"a": [1.5]}, None], [], None]),
    "map": pa.array([[("k", 1), ("l", None)], [], None], pa.map_(pa.string(), pa.int64())),
    "vector": pa.array([[0.5, 1], [2, 3], None], pa.list_(pa.float32(), 2)),
    "kind": pa.array(["x", "y", None]).dictionary_encode(),
    "nothing": pa.nulls(3),
}  # fmt: skip
NESTED = {"list", "struct", "structs", "map", "vector"}


@pytest.fixture
def folder(api, batchmill, tmp_path):
    """A folder with the input and its results in every form."""
    pq.write_table(pa.table(HELD), tmp_path / "in.parquet")
    names = ",".join(HELD)
    strict = ",".join(HELD.keys() - {"odd"})
    ended = batchmill("run", "in.parquet", *asking(api, "-p", "{{ prompt }}", "-o", "out.parquet"))
    assert ended.exit_code == 0, ended.stderr
    for name, chosen in (
        ("x.parquet", names),
        ("x.jsonl", names),
        ("x.csv", names),
        ("strict.jsonl", strict),
    ):
        ended = batchmill("export", "out.parquet", "-o", name, "--columns", chosen)
        assert ended.exit_code == 0, ended.stderr
        assert ("NaN or Infinity" in ended.stderr) == (name == "x.jsonl")
    return tmp_path


def test_every_type_and_odd_value_is_read_back_as_it_was(folder):
    read_by_pyarrow(folder)
    read_by_duckdb(folder)
    read_by_polars(folder)
    read_by_pandas(folder)


def same(found: Any, wanted: Any, name: str) -> None:
    assert repr(found) == repr(wanted), name


def read_by_pyarrow(folder):
    original = pq.read_table(folder / "in.parquet")
    for path in (folder / "x.parquet", folder / "out.parquet"):
        found = pq.read_table(path).select(list(HELD))
        assert found.schema.equals(original.schema)
        same(found.to_pylist(), original.to_pylist(), path.name)
    no_json = {"half", "fixed", "day", "clock", "span", "map", "vector", "kind"}
    no_csv = {"half", "fixed", "span", *NESTED}
    for name in HELD:
        kind = original.schema.field(name).type
        kind = pa.timestamp("us") if name == "local" else kind
        wanted = original[name].cast(kind).to_pylist()
        if name == "raw":
            wanted = [None if value is None else base64.b64encode(value) for value in wanted]
        if name not in no_json:
            options = pj.ParseOptions(
                explicit_schema=pa.schema([(name, kind)]), unexpected_field_behavior="ignore"
            )
            same(
                pj.read_json(folder / "x.jsonl", parse_options=options)[name].to_pylist(),
                wanted,
                name,
            )
        if name not in no_csv:
            options = pc.ConvertOptions(
                include_columns=[name],
                column_types={name: kind},
                strings_can_be_null=True,
                quoted_strings_can_be_null=False,
                null_values=[""],
            )
            lines = pc.ParseOptions(newlines_in_values=True)
            found = pc.read_csv(folder / "x.csv", parse_options=lines, convert_options=options)
            same(found[name].to_pylist(), wanted, name)


def read_by_duckdb(folder):
    original = duckdb.sql(f"FROM '{folder}/in.parquet'")
    types = dict(zip(original.columns, map(str, original.types), strict=True))
    for name in HELD.keys() - {"span"}:  # text of ISO 8601, which it has no cast for
        wanted = original.project(f'"{name}"').fetchall()
        text = name in ("raw", "fixed")
        column = f'from_base64("{name}")' if text else f'"{name}"'
        typed = json_typed = f"{{'{name}': '{'VARCHAR' if text else types[name]}'}}"
        cast = column
        if name == "map":  # in CSV it takes the JSON of all nested values but this
            typed, cast = "{'map': 'VARCHAR'}", f"json_transform(map, '\"{types[name]}\"')"
        for select in (
            f"SELECT \"{name}\" FROM '{folder}/x.parquet'",
            f"SELECT {column} FROM read_json('{folder}/x.jsonl', columns={json_typed})",
            f"SELECT {cast} FROM read_csv('{folder}/x.csv', types={typed}, allow_quoted_nulls=false)",
        ):
            same(duckdb.sql(select).fetchall(), wanted, select)


def read_by_polars(folder):
    original = pl.read_parquet(folder / "in.parquet")
    assert pl.read_parquet(folder / "x.parquet").equals(original)
    no_json = {"odd", "tiny", "price", "raw", "fixed", "clock", "span", "vector", "nothing"}
    no_csv = {"raw", "fixed", "span", "nothing", *NESTED}
    kinds = {name: original.schema[name] for name in HELD}
    found = pl.read_ndjson(
        folder / "strict.jsonl",
        schema_overrides={name: kind for name, kind in kinds.items() if name not in no_json},
    )
    for name in HELD.keys() - no_json:
        same(found[name].to_list(), original[name].to_list(), name)
    found = pl.read_csv(
        folder / "x.csv",
        schema_overrides={name: kind for name, kind in kinds.items() if name not in no_csv},
    )
    for name in HELD.keys() - no_csv:
        same(found[name].to_list(), original[name].to_list(), name)


def read_by_pandas(folder):
    original = pd.read_parquet(folder / "in.parquet")
    pd.testing.assert_frame_equal(pd.read_parquet(folder / "x.parquet"), original)
    frames = {
        "jsonl": pd.read_json(folder / "x.jsonl", lines=True, dtype=False, precise_float=True),
        "csv": pd.read_csv(
            folder / "x.csv", keep_default_na=False, na_values=[""], dtype={"number": str}
        ),
    }
    parse: dict[str, Any] = {
        "price": lambda text: Decimal(str(text)),
        "odd": float,
        "raw": base64.b64decode,
        "fixed": base64.b64decode,
        "day": dt.date.fromisoformat,
        "clock": dt.time.fromisoformat,
        "span": pd.Timedelta,
        **dict.fromkeys(("moment", "local", "nanos"), pd.Timestamp),
        "berlin": lambda text: pd.Timestamp(text).tz_convert("Europe/Berlin"),
        **dict.fromkeys(NESTED, lambda held: json.loads(held) if isinstance(held, str) else held),
    }
    for format_, frame in frames.items():
        for name in HELD.keys() - {"huge"}:  # a float in pandas, where it has a null
            wanted = [_plain(value) for value in original[name]]
            if name == "map":  # pairs in pandas
                wanted = [None if value is None else dict(value) for value in original[name]]
            found = [
                None
                if value is None or value != value
                else parse.get(name, lambda held: held)(value)
                for value in frame[name].astype(object)
            ]
            if format_ == "csv":  # to pandas both are missing
                wanted = [None if value in ("", b"") else value for value in wanted]
            assert [_plain(value) for value in found] == wanted, (format_, name)


def _plain(value: Any) -> Any:
    """A value of a frame as Python has it; what is missing is None."""
    if hasattr(value, "tolist"):
        value = value.tolist()
    if isinstance(value, list | tuple):
        pairs = value and all(isinstance(each, tuple) for each in value)
        return (
            {key: _plain(item) for key, item in value}
            if pairs
            else [_plain(each) for each in value]
        )
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    return None if value is pd.NaT or value != value else value


def test_a_map_whose_keys_would_be_the_same_text_keeps_its_pairs():
    inner = pa.map_(pa.string(), pa.int64())
    held = [[(1, [("k", 1)]), (2, [])], [(1, None), (1, [("k", 1), ("k", 2)])]]
    deep = pa.array([[{"m": [("a", 1)]}], []], pa.list_(pa.struct([("m", inner)])))
    table = pa.table({"map": pa.array(held, pa.map_(pa.int64(), inner)), "deep": deep})
    first, second = cells.rows(table)
    assert first == {"map": {"1": {"k": 1}, "2": {}}, "deep": [{"m": {"a": 1}}]}
    twice = [{"key": "k", "value": 1}, {"key": "k", "value": 2}]
    assert second["map"] == [{"key": 1, "value": None}, {"key": 1, "value": twice}]

"""Several files are one input: their columns are united by name, as pyarrow, DuckDB and polars do."""

from __future__ import annotations

import datetime
import decimal
import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import duckdb
import polars
import pyarrow as pa
import pyarrow.dataset as ds
import pyarrow.feather
import pyarrow.parquet as pq
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from batch.errors import InputError
from batch.model import Row
from batch.readers import Input, resolve, union
from batch.readers.common_type import both
from tests.fake_api import Step, answer_to
from tests.reading import asking, table, until

TEXT = pa.dictionary(pa.int8(), pa.string())


def saved(folder: Path, **files: pa.Table | dict[str, pa.Array]) -> Input:
    """An input of Parquet files of these names, in this order."""
    for name, columns in files.items():
        made = columns if isinstance(columns, pa.Table) else pa.table(columns)
        pq.write_table(made, folder / f"{name}.parquet")
    return resolve([f"{name}.parquet" for name in files], folder)


def rows(found: Input) -> list[Row]:
    taken: list[Row] = []
    for batch in found.batches():
        taken += found.rows(batch, len(taken))
    return taken


def carried(found: Input) -> pa.Table:
    schema = found.schema(None)
    batches = [
        pa.RecordBatch.from_arrays(found.reader.carry(batch.table, schema, None), schema=schema)
        for batch in found.batches()
    ]
    return pa.Table.from_batches(batches, schema)


def one(kind: pa.DataType, value: Any) -> pa.Array:
    return pa.array([value], pa.string()).cast(kind) if kind == TEXT else pa.array([value], kind)


# types

MOMENT = datetime.datetime(2026, 1, 2, 3, 4, 5, tzinfo=datetime.UTC)
BARE = MOMENT.replace(tzinfo=None)
DECIMAL = decimal.Decimal("1.50")

UNITED: list[tuple[pa.DataType, Any, pa.DataType, Any, pa.DataType]] = [
    (pa.string(), "a", pa.large_string(), "b", pa.large_string()),
    (pa.string(), "a", pa.string_view(), "b", pa.string()),
    (pa.string_view(), "a", pa.large_string(), "b", pa.large_string()),
    (pa.string(), "a", TEXT, "b", pa.string()),
    (TEXT, "a", pa.large_string(), "b", pa.large_string()),
    (TEXT, "a", pa.dictionary(pa.int16(), pa.string()), "b", pa.string()),
    (pa.null(), None, TEXT, "b", TEXT),
    (pa.null(), None, pa.int8(), 5, pa.int8()),
    (pa.binary(), b"a", pa.large_binary(), b"b", pa.large_binary()),
    (pa.binary(2), b"ab", pa.binary(3), b"abc", pa.binary()),
    (pa.int8(), -1, pa.int32(), 2**31 - 1, pa.int32()),
    (pa.uint8(), 255, pa.uint16(), 65535, pa.uint16()),
    (pa.uint8(), 255, pa.int8(), -1, pa.int16()),
    (pa.uint32(), 2**32 - 1, pa.int8(), -1, pa.int64()),
    (pa.uint64(), 2**63 - 1, pa.int64(), -1, pa.int64()),
    (pa.int64(), 2**53, pa.float64(), 0.5, pa.float64()),
    (pa.int16(), 7, pa.float32(), 0.5, pa.float64()),
    (pa.float32(), 0.5, pa.float64(), 0.1, pa.float64()),
    (pa.decimal128(5, 2), DECIMAL, pa.decimal128(9, 4), DECIMAL, pa.decimal128(9, 4)),
    (pa.decimal128(38, 2), DECIMAL, pa.decimal128(9, 4), DECIMAL, pa.decimal256(40, 4)),
    (pa.decimal128(5, 2), DECIMAL, pa.int64(), 2**62, pa.decimal128(21, 2)),
    (pa.timestamp("ms"), BARE, pa.timestamp("us"), BARE, pa.timestamp("us")),
    (pa.timestamp("s", "UTC"), MOMENT, pa.timestamp("us", "UTC"), MOMENT, None),
    (pa.timestamp("us", "Asia/Tokyo"), MOMENT, pa.timestamp("us", "UTC"), MOMENT, None),
    (pa.time32("ms"), BARE.time(), pa.time64("us"), BARE.time(), pa.time64("us")),
    (pa.duration("s"), MOMENT - MOMENT, pa.duration("us"), MOMENT - MOMENT, pa.duration("us")),
    (pa.list_(pa.int8()), [1], pa.large_list(pa.int64()), [2], pa.large_list(pa.int64())),
    (pa.list_(pa.string(), 1), ["a"], pa.list_(pa.string()), [], pa.list_(pa.string())),
    (pa.list_(pa.int8(), 1), [1], pa.list_(pa.int16(), 1), [2], pa.list_(pa.int16(), 1)),
    (
        pa.map_(pa.string(), pa.int8()),
        [("k", 1)],
        pa.map_(pa.large_string(), pa.int64()),
        [("k", 2)],
        pa.map_(pa.large_string(), pa.int64()),
    ),
    (
        pa.list_(pa.struct([("a", pa.int8()), ("b", pa.string())])),
        [{"a": 1, "b": "x"}],
        pa.list_(pa.struct([("c", pa.bool_()), ("b", pa.large_string()), ("a", pa.float64())])),
        [{"c": True, "b": "y", "a": 0.5}],
        pa.list_(
            pa.struct([("a", pa.float64()), ("b", pa.large_string()), ("c", pa.bool_())]),
        ),
    ),
]


@pytest.mark.parametrize(("kind", "value", "other", "more", "united"), UNITED)
def test_types_of_two_files_become_one_that_holds_the_values_of_both(
    tmp_path: Path, kind: pa.DataType, value: Any, other: pa.DataType, more: Any, united: Any
) -> None:
    united = united or pa.timestamp("us", "UTC")
    for name, first in (("ab", True), ("ba", False)):
        folder = tmp_path / name
        folder.mkdir()
        pair = [{"x": one(kind, value)}, {"x": one(other, more)}]
        found = saved(folder, **dict(zip(name, pair if first else pair[::-1], strict=True)))

        assert same(found.schema(None).field("x").type, united)
        held = carried(found)["x"].to_pylist()
        assert list(map(bare, held if first else held[::-1])) == list(map(bare, [value, more]))


def same(kind: pa.DataType, other: pa.DataType) -> bool:
    """Whether two types are one but for the order of fields."""
    if isinstance(kind, pa.StructType):
        names = sorted(field.name for field in kind)
        pairs = [(kind.field(name).type, other.field(name).type) for name in names]
        return names == sorted(f.name for f in other) and all(same(*pair) for pair in pairs)
    if isinstance(kind, pa.ListType):
        return isinstance(other, pa.ListType) and same(kind.value_type, other.value_type)
    return bool(kind == other)


def bare(value: Any) -> Any:
    """Without the fields of structs that are null."""
    if isinstance(value, dict):
        return {key: bare(inner) for key, inner in value.items() if inner is not None}
    # the pairs of a map are tuples
    return [bare(inner) for inner in value] if isinstance(value, list | tuple) else value


@pytest.mark.parametrize(
    ("kind", "value", "other", "more"),
    [
        (pa.string(), "a", pa.int64(), 1),
        (pa.bool_(), True, pa.int8(), 1),
        (pa.bool_(), True, pa.string(), "a"),
        (pa.string(), "a", pa.binary(), b"a"),
        (pa.decimal128(5, 2), DECIMAL, pa.float64(), 0.1),
        (pa.timestamp("us"), BARE, pa.timestamp("us", "UTC"), MOMENT),
        (pa.date32(), BARE.date(), pa.string(), "2026-01-02"),
        (pa.list_(pa.string()), ["a"], pa.string(), "a"),
        (pa.struct([("a", pa.int8())]), {"a": 1}, pa.list_(pa.int8()), [1]),
    ],
)
def test_types_that_have_none_in_common_are_refused_in_words(
    tmp_path: Path, kind: pa.DataType, value: Any, other: pa.DataType, more: Any
) -> None:
    found = saved(tmp_path, a={"x": one(kind, value)}, b={"x": one(other, more)})

    with pytest.raises(InputError) as caught:
        found.schema(None)
    kinds = [pq.read_schema(path).field("x").type for path in found.files]
    for word in ("b.parquet", "a.parquet", "'x'", *map(str, kinds)):
        assert word in str(caught.value)
    assert caught.value.hint


def test_the_inner_field_that_does_not_fit_is_named(tmp_path: Path) -> None:
    kinds = [pa.list_(pa.struct([("a", kind)])) for kind in (pa.string(), pa.bool_())]
    found = saved(
        tmp_path, a={"x": pa.array([None], kinds[0])}, b={"x": pa.array([None], kinds[1])}
    )

    with pytest.raises(InputError, match=r"^b\.parquet: column 'x\.a' is bool, but string in a\."):
        found.schema(None)


def test_types_on_which_all_files_agree_are_kept_exactly(tmp_path: Path) -> None:
    kinds = [TEXT, pa.large_string(), pa.uint8(), pa.float32(), pa.decimal128(9, 2), pa.binary(2)]
    kinds += [pa.timestamp("ns", "Asia/Tokyo"), pa.list_(pa.int8(), 2), pa.large_list(TEXT)]
    kinds += [pa.map_(pa.string(), pa.int8()), pa.struct([("a", TEXT)]), pa.null()]
    columns = {f"c{number}": pa.nulls(3, kind) for number, kind in enumerate(kinds)}

    found = saved(tmp_path, a=columns, b=columns)

    assert found.schema(None).types == pq.read_schema(tmp_path / "a.parquet").types == kinds
    assert [batch.table.schema.types for batch in found.batches()] == [kinds, kinds]


LEAVES = st.sampled_from(
    [
        *(pa.int8(), pa.int64(), pa.uint8(), pa.uint64(), pa.float32(), pa.float64(), pa.bool_()),
        *(pa.string(), pa.large_string(), pa.string_view(), TEXT, pa.null(), pa.date32()),
        *(pa.binary(), pa.large_binary(), pa.decimal128(7, 2), pa.decimal128(20, 0)),
        *(pa.timestamp("s"), pa.timestamp("ns"), pa.timestamp("us", "UTC"), pa.duration("ms")),
    ]
)


def nested(inner: st.SearchStrategy[pa.DataType]) -> st.SearchStrategy[pa.DataType]:
    names = st.lists(st.sampled_from("abc"), min_size=1, max_size=2, unique=True)
    structs = st.tuples(names, inner, inner)
    return st.one_of(
        inner.map(pa.list_),
        inner.map(pa.large_list),
        inner.map(lambda kind: pa.list_(kind, 2)),
        inner.map(lambda kind: pa.map_(pa.string(), kind)),
        structs.map(lambda drawn: pa.struct(list(zip(drawn[0], drawn[1:], strict=False)))),
    )


KINDS = st.recursive(LEAVES, nested, max_leaves=3)


def value_of(kind: pa.DataType) -> st.SearchStrategy[Any]:
    """Python values of a type, null among them."""
    if isinstance(kind, pa.StructType):
        return st.none() | st.fixed_dictionaries({each.name: value_of(each.type) for each in kind})
    if isinstance(kind, pa.MapType):
        return st.none() | st.lists(st.tuples(st.just("k"), value_of(kind.item_type)), max_size=1)
    if isinstance(kind, pa.FixedSizeListType):
        return st.none() | st.lists(value_of(kind.value_type), min_size=2, max_size=2)
    if isinstance(kind, pa.ListType | pa.LargeListType):
        return st.none() | st.lists(value_of(kind.value_type), max_size=2)
    inner = kind.value_type if isinstance(kind, pa.DictionaryType) else kind
    return st.sampled_from([None, *some(inner)])


def some(kind: pa.DataType) -> list[Any]:
    of_kind: list[tuple[Callable[[pa.DataType], bool], list[Any]]] = [
        (pa.types.is_signed_integer, [-1, 7]),
        (pa.types.is_unsigned_integer, [0, 255]),
        (pa.types.is_floating, [0.5, -2.0]),
        (pa.types.is_boolean, [True]),
        (pa.types.is_decimal, [decimal.Decimal(12)]),
        (pa.types.is_date, [BARE.date()]),
        (pa.types.is_timestamp, [MOMENT]),
        (pa.types.is_duration, [datetime.timedelta(seconds=1)]),
        (pa.types.is_null, []),
    ]
    for belongs, values in of_kind:
        if belongs(kind):
            return values
    return [b"x", b""] if "binary" in str(kind) else ["x", ""]


@given(KINDS, KINDS, st.data())
def test_no_value_is_another_in_the_type_of_both(
    kind: pa.DataType, other: pa.DataType, data: st.DataObject
) -> None:
    # pyarrow makes of these an array that its own validation refuses
    assume(not re.search(r"fixed_size_list<\w+: fixed_size_list<\w+: null", f"{kind} {other}"))
    assume(not re.search(r"struct<.*dictionary<", f"{kind} {other}"))  # of nulls alone
    united = both(kind, other)
    assert (united is None) == (both(other, kind) is None)
    if united is None:
        return
    for each in (kind, other):
        values = data.draw(st.lists(value_of(each), min_size=1, max_size=4))
        array = pa.array([None, *values], each)[1:]
        (made,) = union.fit({"x": array}, len(array), pa.schema([("x", united)]), str)
        made.validate(full=True)
        assert made.type == united
        before = pa.table({"x": array}).to_pylist()
        assert [bare(row["x"]) for row in before] == list(map(bare, made.to_pylist()))


# large numbers


@pytest.mark.parametrize("large", [2**53 + 1, -(2**53) - 1])
@pytest.mark.parametrize("noted", [True, False])
def test_an_integer_that_a_float_would_round_is_refused(
    tmp_path: Path, large: int, noted: bool
) -> None:
    table = pa.table({"n": pa.array([1, large, None]), "s": [[{"n": large}]] * 3})
    pq.write_table(table, tmp_path / "a.parquet", write_statistics=noted)
    pq.write_table(pa.table({"n": [0.5]}), tmp_path / "b.parquet")
    found = resolve("*.parquet", tmp_path)

    with pytest.raises(InputError) as caught:
        found.schema(None)
        rows(found)  # without statistics nobody knows before
    where = "a.parquet" if noted else "a.parquet row 1"
    assert str(caught.value).startswith(f"{where}: ")
    assert f"{large}" in str(caught.value) and "double" in str(caught.value)


def test_statistics_are_those_of_the_field_however_deep_it_lies(tmp_path: Path) -> None:
    deep = pa.array([{"a": [1], "b": [{"n": 2**60}]}])
    float_ = pa.array([{"b": [{"n": 0.5}]}])
    found = saved(tmp_path, a={"large": [2**60], "x": deep}, b={"x": float_, "large": [1]})

    with pytest.raises(InputError, match=f"^a.parquet: column 'x' holds {2**60}"):
        found.schema(None)


def test_an_unsigned_integer_beyond_the_signed_is_refused(tmp_path: Path) -> None:
    found = saved(tmp_path, a={"n": pa.array([2**63], pa.uint64())}, b={"n": pa.array([-1])})

    with pytest.raises(InputError, match=f"^a.parquet: column 'n' holds {2**63}, which int64"):
        found.schema(None)


def test_a_moment_that_finer_units_cannot_hold_is_refused_where_it_stands(tmp_path: Path) -> None:
    far = pa.array([0, 95617584000000], pa.timestamp("ms"))
    found = saved(tmp_path, a={"at": far}, b={"at": pa.array([1], pa.timestamp("ns"))})

    with pytest.raises(
        InputError, match=r"^a\.parquet row 1: 'at' is 5000-01-01.* timestamp\[ns\]"
    ):
        rows(found)


# whole files


def test_files_are_united_as_duckdb_pyarrow_and_polars_unite_them(tmp_path: Path) -> None:
    found = saved(
        tmp_path,
        a={"id": pa.array([1, 2], pa.int32()), "text": pa.array(["a", None])},
        b={
            "text": pa.array(["c"], pa.large_string()),
            "score": pa.array([0.5]),
            "id": pa.array([2**40]),
        },
        c={"score": pa.array([7], pa.int16()), "note": pa.nulls(1), "text": pa.array(["d"])},
        d={"meta": pa.array([{"k": 1}]), "id": pa.array([5], pa.int64())},
    )
    paths = list(found.files)

    united = carried(found)

    assert [row.values for row in rows(found)] == united.to_pylist()
    assert united.column_names == ["id", "text", "score", "note", "meta"]
    duck = duckdb.sql(f"FROM read_parquet({paths}, union_by_name = true)").fetchall()
    assert [tuple(row.values()) for row in united.to_pylist()] == duck
    tables = [pq.read_table(path) for path in paths]
    assert united.equals(pa.concat_tables(tables, promote_options="permissive"))
    frames = [polars.read_parquet(path) for path in paths]
    assert polars.concat(frames, how="diagonal_relaxed").to_dicts() == united.to_pylist()


def test_rows_of_jsonl_files_are_their_own(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_text('{"a": 1}\n')
    (tmp_path / "b.jsonl").write_text('{"b": "x"}\n')
    found = resolve("*.jsonl", tmp_path)

    assert [row.values for row in rows(found)] == [{"a": 1}, {"b": "x"}]
    assert found.column_notices() == []


def test_a_notice_says_which_columns_are_null_in_which_file(tmp_path: Path) -> None:
    columns = {"id": pa.array([1]), "text": pa.array(["x"])}
    found = saved(tmp_path, a=columns, b=columns, c={"id": pa.array([2]), "Text": pa.array(["y"])})

    (line,) = found.column_notices()

    assert "text (c.parquet)" in line and "Text (2 files)" in line
    assert saved(tmp_path, a=columns, b=columns).column_notices() == []


def test_arrow_files_are_united_too(tmp_path: Path) -> None:
    files = [
        {"a": pa.array([1]), "text": pa.array(["x"], pa.large_string())},
        {"text": ["y"], "day": pa.array([BARE.date()], pa.date64()), "a": [0.5]},
        {"day": pa.array([BARE.date()], pa.date32())},
    ]
    for number, columns in enumerate(files):
        pyarrow.feather.write_feather(pa.table(columns), str(tmp_path / f"{number}.arrow"))
    found = resolve("*.arrow", tmp_path)

    united = carried(found)

    assert united.equals(pa.concat_tables(map(pa.table, files), promote_options="permissive"))
    assert [row.values for row in rows(found)] == united.to_pylist()
    large = pa.table({"a": [1, 2**53 + 1]})
    pyarrow.feather.write_feather(large, str(tmp_path / "3.arrow"))
    with pytest.raises(InputError, match=r"^3\.arrow row 1: 'a' is 9007199254740993, which double"):
        rows(resolve("*.arrow", tmp_path))


# runs


def laid_out(tmp_path: Path) -> list[dict[str, Any]]:
    """Five files that differ in all that may differ; gives the rows that they are together."""
    texts = [pa.string(), pa.large_string(), TEXT, pa.string_view(), pa.string()]
    rows = []
    for file, kind in enumerate(texts):
        held = [f"text {file}{row}" for row in range(4)]
        columns = {"text": pa.array(held).cast(kind)}
        more = pa.array(range(4), [pa.int8(), pa.int64(), pa.float64()][file % 3])
        columns = {"n": more, **columns} if file % 2 else {**columns, f"only{file}": more}
        pq.write_table(pa.table(columns), tmp_path / f"{file}.parquet", row_group_size=3)
        only = {} if file % 2 else {f"only{file}": more.to_pylist()}
        for row in range(4):
            values = {"text": held[row], "n": more[row].as_py() if file % 2 else None}
            rows.append({**values, **{key: list_[row] for key, list_ in only.items()}})
    return rows


@pytest.mark.second_lane
def test_a_run_over_files_that_differ_survives_a_kill(api, start, batchmill, tmp_path):
    wanted = laid_out(tmp_path)
    command = ("run", "[0-9].parquet", *asking(api, "-o", "out", "--set", "output.part_rows=6"))
    assert batchmill(*command, "--limit", 5).exit_code == 0
    api.latency = 0.05
    process = start(*command, "-c", 2)
    until(lambda: len(api.ledger) >= 11, process)
    process.kill()
    process.wait()
    api.latency = 0

    ended = batchmill(*command)

    assert ended.exit_code == 0, ended.stderr
    found = table(tmp_path / "out").select(["text", "only0", "n", "only2", "only4"])
    assert [bare(row) for row in found.to_pylist()] == list(map(bare, wanted))
    assert found.schema.field("text").type == pa.large_string()
    paths = sorted(map(str, tmp_path.glob("*.parquet")))
    duck = duckdb.sql(f"FROM read_parquet({paths}, union_by_name = true)")
    assert [dict(zip(duck.columns, row, strict=True)) for row in duck.fetchall()] == (
        found.to_pylist()
    )
    assert batchmill("verify", "out", "--input").exit_code == 0


def test_a_file_that_comes_later_has_the_columns_the_run_began_with(api, batchmill, tmp_path):
    texts = pa.array(["a", "b"], pa.large_string())
    saved(tmp_path, a={"text": texts, "n": pa.array([1, 2])}, b={"n": pa.array([3]), "text": ["c"]})
    command = ("run", "*.parquet", *asking(api, "-o", "out"))
    assert batchmill(*command).exit_code == 0
    saved(tmp_path, c={"new": pa.array([True]), "text": ["d"], "n": pa.array([4], pa.int8())})

    ended = batchmill(*command)

    assert ended.exit_code == 0, ended.stderr
    assert "c.parquet: columns the run began without are left out: new" in ended.stderr
    found = table(tmp_path / "out").select(["text", "n"]).to_pylist()
    assert found == [{"text": text, "n": n} for n, text in enumerate("abcd", 1)]
    saved(tmp_path, d={"text": ["e"], "n": pa.array([0.5])})
    refused = batchmill(*command)
    assert refused.exit_code == 4
    assert "d.parquet: column 'n' is double, but was int64 before" in refused.stderr
    assert len(api.ledger) == 4


def test_runs_that_carried_other_columns_are_one_input(api, batchmill, tmp_path):
    saved(tmp_path, a={"text": ["a"], "n": [1]})
    (tmp_path / "b.jsonl").write_text('{"text": "b", "more": {"k": [1]}, "n": 0.5}\n')
    for name in ("a.parquet", "b.jsonl"):
        assert batchmill("run", name, *asking(api, "-o", name[0])).exit_code == 0
    template = "{{ text }} {{ n }} {{ more['k'] if more else '-' }} {{ completion }}"
    job = f'input = ["a", "b"]\n[prompt]\nuser = """{template}"""\n[request]\nmodel = "m"\n'
    (tmp_path / "job.toml").write_text(job)

    ended = batchmill("run", "job.toml", "--base-url", api.url, "-o", "both")

    assert ended.exit_code == 0, ended.stderr
    found = table(tmp_path / "both").to_pylist()
    assert [(row["text"], row["n"], row["more"]) for row in found] == [
        ("a", 1.0, None),
        ("b", 0.5, '{"k":[1]}'),
    ]
    assert set(api.prompts()) >= {
        f"a 1.0 - {answer_to('a')}",
        f"b 0.5 [1] {answer_to('b')}",
    }


def test_a_new_run_in_place_of_one_that_holds_nothing_begins_by_today_s_rules(
    api, batchmill, tmp_path
):
    saved(tmp_path, a={"text": ["a"]})
    api.always = Step(401, body={"error": {"message": "no"}})
    command = ("run", "[ab].parquet", *asking(api, "-o", "out"))
    assert batchmill(*command).exit_code == 3
    saved(tmp_path, a={"n": [1], "text": ["c"]}, b={"text": ["b"], "new": ["x"]})
    api.always = Step()

    ended = batchmill(*command)

    assert ended.exit_code == 0, ended.stderr
    assert table(tmp_path / "out")["new"].to_pylist() == [None, "x"]


def test_files_that_cannot_be_united_cost_nothing(api, batchmill, tmp_path):
    saved(tmp_path, a={"text": ["a"]}, b={"text": [1]})

    ended = batchmill("run", "*.parquet", *asking(api, "-o", "out"))

    assert (ended.exit_code, api.ledger) == (2, [])
    assert not (tmp_path / "out").exists()


def test_pyarrow_reads_a_folder_of_files_as_we_do(tmp_path: Path) -> None:
    saved(tmp_path, a={"x": [1], "y": ["a"]}, b={"y": ["b"], "z": [0.5]})
    found = resolve(".", tmp_path)

    schema = pa.unify_schemas([pq.read_schema(path) for path in found.files])
    assert carried(found).equals(ds.dataset(tmp_path, schema=schema).to_table())
    assert json.loads(json.dumps(carried(found).to_pylist())) == [r.values for r in rows(found)]

"""Every reader keeps the same promises; then what is special about each, files, and fingerprints."""

from __future__ import annotations

import bz2
import csv
import datetime
import decimal
import gzip
import io
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import duckdb
import msgspec
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from batch import columns
from batch.errors import InputError
from batch.model import Position, Row, Unreadable
from batch.readers import FIRST_ROWS, OF_RULES_1, READERS, Input, compare, resolve
from batch.readers.fingerprints import Fingerprint

FORMATS = ["jsonl", "json", "parquet", "csv", "arrow"]
NAMES = ["in.jsonl", "in.json", "in.parquet", "in.csv", "in.tsv", "in.arrow", "in.arrows"]
NAMES += [
    f"in.{kind}.{codec}" for kind in ("jsonl", "json", "csv") for codec in ("gz", "zst", "bz2")
]
NAMES += ["cr.csv", "semicolon.csv", "utf16.csv", "utf16.jsonl", "pretty.jsonl", "inside.json"]
BINARY = ("parquet", "arrow", "arrows")

RECORDS = [{"id": str(n), "text": f'line\n{n}, “quoted” "{"x" * (n % 50)}"'} for n in range(700)]


def save(path: Path, records: list[dict[str, Any]]) -> Path:
    kind = path.name.split(".")[1]
    if kind in BINARY:
        save_table(path, records, kind)
        return path
    if kind == "json":
        whole: Any = {"rows": records, "pages": 1} if "inside" in path.name else records
        text = json.dumps(whole, indent=1)
    elif kind == "jsonl":
        indent = 2 if "pretty" in path.name else None
        text = "".join(json.dumps(record, indent=indent) + "\n" for record in records)
    else:
        text = as_csv(path, records)
    encoding = "utf-16" if "utf16" in path.name else "utf-8"
    path.write_bytes(compressed(path, text.encode(encoding)))
    return path


def save_table(path: Path, records: list[dict[str, Any]], kind: str) -> None:
    table = pa.Table.from_pylist(records, pa.schema([("id", pa.string()), ("text", pa.string())]))
    if kind == "parquet":
        pq.write_table(table, path, row_group_size=300)
        return
    writer = pa.ipc.new_stream if kind == "arrows" else pa.ipc.new_file
    with writer(path, table.schema) as file:
        file.write_table(table, max_chunksize=300)


def as_csv(path: Path, records: list[dict[str, Any]]) -> str:
    text = io.StringIO()
    delimiter = "\t" if ".tsv" in path.name else ";" if "semicolon" in path.name else ","
    end = "\r" if path.name.endswith("cr.csv") else "\n"
    writer = csv.DictWriter(text, ["id", "text"], delimiter=delimiter, lineterminator=end)
    writer.writeheader()
    writer.writerows(records)
    return text.getvalue()


def compressed(path: Path, text: bytes) -> bytes:
    match path.suffix:
        case ".gz":
            return gzip.compress(text, 1)
        case ".bz2":
            return bz2.compress(text, 1)
        case ".zst":
            return pa.Codec("zstd").compress(text, asbytes=True)
    return text


def rows(found: Input, start: Position = Position()) -> list[Row]:  # noqa: B008
    taken: list[Row] = []
    for batch in found.batches(start):
        taken += found.rows(batch, len(taken))
    return taken


def written(tmp_path: Path, name: str, content: bytes) -> Input:
    (tmp_path / name).write_bytes(content)
    return resolve(name, tmp_path)


def carried(found: Input, keep: tuple[str, ...] | None = None) -> list[dict[str, Any]]:
    schema = found.schema(keep)
    chosen = None if keep is None else frozenset(keep)
    batches = [
        pa.RecordBatch.from_arrays(found.reader.carry(batch.table, schema, chosen), schema=schema)
        for batch in found.batches()
    ]
    return pa.Table.from_batches(batches, schema).to_pylist()


# every reader


@pytest.mark.parametrize("name", NAMES)
def test_reads_every_row_in_order(tmp_path: Path, name: str) -> None:
    found = resolve(save(tmp_path / name, RECORDS).name, tmp_path)

    taken = rows(found)

    assert [row.values for row in taken] == RECORDS
    assert [row.index for row in taken] == list(range(700))
    assert not any(row.fault for row in taken)


@pytest.mark.parametrize("name", NAMES)
def test_goes_on_from_any_batch_end(tmp_path: Path, name: str) -> None:
    save(tmp_path / f"b-{name}", RECORDS[:400])
    save(tmp_path / f"a-{name}", RECORDS[:300])
    found = resolve([f"a-{name}", f"b-{name}"], tmp_path)
    everything = rows(found)
    before = 0
    for batch in found.batches():
        before += len(batch.table)

        rest = rows(found, batch.end)

        assert [(row.values, row.where) for row in rest] == [
            (row.values, row.where) for row in everything[before:]
        ]
    assert before == 700


@pytest.mark.parametrize("name", NAMES)
def test_batches_join_and_stay_small(tmp_path: Path, name: str) -> None:
    long = [{"id": str(n), "text": str(n) * 2_000} for n in range(400)]
    batches = list(resolve(save(tmp_path / name, long).name, tmp_path).batches())

    assert [batch.start for batch in batches[1:]] == [batch.end for batch in batches[:-1]]
    assert batches[0].start == Position()
    assert all(len(batch.table) <= 256 and batch.table.nbytes < 1.5 * 2**20 for batch in batches)
    assert 1 < len(batches) < 10


@pytest.mark.parametrize("name", NAMES)
def test_carries_columns_of_the_schema(tmp_path: Path, name: str) -> None:
    found = resolve(save(tmp_path / name, RECORDS).name, tmp_path)
    schema = found.schema(None)

    for batch in found.batches():
        arrays = found.reader.carry(batch.table, schema, None)
        assert [array.type for array in arrays] == schema.types
        assert {len(array) for array in arrays} == {len(batch.table)}
    assert [{"id": row["id"], "text": row["text"]} for row in carried(found)] == RECORDS
    assert [next(iter(row)) for row in carried(found, ("text",))] == ["text"] * 700


@pytest.mark.parametrize("name", NAMES)
def test_spooled_rows_survive_an_arrow_stream(tmp_path: Path, name: str) -> None:
    save(tmp_path / f"a-{name}", RECORDS[:10])
    save(tmp_path / f"b-{name}", RECORDS[10:20])
    found = resolve([f"a-{name}", f"b-{name}"], tmp_path)
    batches = list(found.batches())
    sink = io.BytesIO()
    with pa.ipc.new_stream(sink, batches[0].table.schema) as stream:
        for batch in batches:
            stream.write_batch(batch.table)

    again = pa.ipc.open_stream(sink.getvalue()).read_all().to_batches()

    back = [
        found.reader.rows(read, batch.start, "x", 0, None)
        for read, batch in zip(again, batches, strict=True)
    ]
    assert [row.values for part in back for row in part] == RECORDS[:20]


@pytest.mark.parametrize("name", NAMES)
def test_empty_file_gives_no_batch(tmp_path: Path, name: str) -> None:
    found = resolve(save(tmp_path / name, []).name, tmp_path)

    assert list(found.batches()) == []
    assert found.schema(None) is not None


@pytest.mark.parametrize("name", [name for name in NAMES if name.split(".")[1] not in BINARY])
def test_file_without_a_byte_gives_no_batch(tmp_path: Path, name: str) -> None:
    found = written(tmp_path, name, compressed(Path(name), b""))

    assert list(found.batches()) == []
    assert found.schema(None).names == (["extra"] if "json" in found.format else [])


@pytest.mark.parametrize("name", NAMES)
def test_unknown_kept_column_names_the_known(tmp_path: Path, name: str) -> None:
    found = resolve(save(tmp_path / name, RECORDS).name, tmp_path)

    with pytest.raises(InputError, match=r"keep: no column 'titel'.*\(known: id, text\)"):
        found.schema(("titel",))


@pytest.mark.parametrize("name", [name for name in NAMES if name.count(".") == 2])
def test_cut_compressed_file_is_an_error_with_the_line(tmp_path: Path, name: str) -> None:
    whole = save(tmp_path / name, RECORDS * 30).read_bytes()
    found = written(tmp_path, name, whole[: len(whole) - 9])

    with pytest.raises(InputError, match=rf"^{name}: .+, near line \d+$"):
        rows(found)


@pytest.mark.parametrize("name", [name for name in NAMES if name.count(".") == 2])
def test_compressed_garbage_is_an_error(tmp_path: Path, name: str) -> None:
    with pytest.raises(InputError, match=rf"^{name}: .+, near line 1$"):
        rows(written(tmp_path, name, b"garbage" * 100))


def test_every_format_is_in_the_contract() -> None:
    # a run is no file, and lines have no columns: test_chain.py and test_kinds.py read them
    assert sorted(READERS) == sorted([*FORMATS, "lines", "run"])
    assert all(any(f".{format}" in name for name in NAMES) for format in FORMATS)


# JSON Lines


def test_jsonl_skips_blank_lines_and_counts_them(tmp_path: Path) -> None:
    found = written(
        tmp_path, "r.jsonl", b'\xef\xbb\xbf{"a":1}\r\n\r\n  \n{"a":"\xe2\x80\xa8"}\n{"a":3}'
    )

    assert [(row.values, row.where) for row in rows(found)] == [
        ({"a": 1}, "r.jsonl:1"),
        ({"a": "\u2028"}, "r.jsonl:4"),
        ({"a": 3}, "r.jsonl:5"),
    ]


@pytest.mark.parametrize(
    ("line", "fault"),
    [
        (b'{"a": 1', "ends in the middle of an object"),
        (b'{"a": 1,}', "a comma behind the last value, in column 8"),
        (b'{"a": 1} x', "there is more behind the end of an object, in column 10"),
        (b"[1]", "not a JSON object but an array"),
        (b"null", "not a JSON object but null"),
        (b'"text"', "not a JSON object but a string"),
        (b'{"a": NaN,}', "a comma behind the last value, in column 10"),
        (b'{"a": nan}', "'nan' is no value of JSON, in column 7"),
        (b'{"a": +Infinity}', "'+' stands where it may not, in column 7"),
        (b'{"NaN": "NaN}', "ends in the middle of a string"),
        (b"NaN", "not a JSON object but a number"),
        (b'{"a": "\xff"}', ""),
        (b'{"a": NaN, "b": "\xff"}', "invalid UTF-8"),
        (b"\xff", "invalid UTF-8"),
        (b'{"a": "\\ud83d"}', "half of a surrogate pair"),
        (b'{"a": NaN, "b": "\\ud83d"}', "half of a surrogate pair"),
        (b'{"a": ' + b"[" * 100_000, "nested too deeply"),
        (b'{"a": NaN, "b": ' + b"[" * 100_000, "nested too deeply"),
        (b"\x00", "a control character that is not escaped, in column 1"),
    ],
)
def test_jsonl_unreadable_line_is_a_row_with_a_fault(
    tmp_path: Path, line: bytes, fault: str
) -> None:
    found = written(tmp_path, "r.jsonl", b'{"a": 1}\n' + line + b'\n{"a": 3}\n')

    before, bad, after = rows(found)

    assert bad.fault
    assert fault in bad.fault
    assert (bad.values, bad.where, bad.index) == ({}, "r.jsonl:2", 1)
    assert (before.values, after.values) == ({"a": 1}, {"a": 3})
    assert carried(found)[1] == {"a": None, "extra": None}


def test_jsonl_numbers_that_are_none_are_read_as_json_dumps_writes_them(tmp_path: Path) -> None:
    nan, most = float("nan"), float("inf")
    values = [0.5, nan, most, -most, 3]
    objects = [{"n": value, "in": [value], "text": "NaN 1e400 \U0001f600"} for value in values]
    lines = [json.dumps(one) for one in objects]
    lines.append('{"n": 1e400, "in": {"x": -1e400}, "late": "Infinity"}')
    found = written(tmp_path, "r.jsonl", "\n".join(lines).encode())

    assert repr([row.values for row in rows(found)]) == repr([json.loads(line) for line in lines])
    assert found.found().types == {"n": "double", "in": "json", "text": "string", "late": "string"}
    back = carried(found)
    assert repr([row["n"] for row in back]) == repr([0.5, nan, most, -most, 3.0, most])
    texts = ["[0.5]", "[NaN]", "[Infinity]", "[-Infinity]", "[3]", '{"x":-Infinity}']
    assert [row["in"] for row in back] == texts
    duck = duckdb.sql("SELECT unnest($texts)::JSON->>0 AS n", params={"texts": texts[:4]})
    assert repr([float(n) for (n,) in duck.fetchall()]) == repr(values[:4])


@pytest.mark.second_lane
def test_jsonl_line_over_the_cap_is_skipped_in_bounded_memory(tmp_path: Path) -> None:
    path = tmp_path / "r.jsonl"
    with path.open("wb") as file:
        file.write(b'{"a": 1}\n{"a": "')
        for _ in range(200):
            file.write(b"x" * 2**20)
        file.write(b'"}\n{"a": 3}\n')
    program = (
        "import sys, resource, pathlib\n"
        "from batch.readers import resolve\n"
        "before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss\n"
        "found = resolve('r.jsonl', pathlib.Path(sys.argv[1]))\n"
        "print([(r.values, r.where, r.fault) for b in found.batches() for r in found.rows(b, 0)])\n"
        "print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)\n"
    )

    command = [sys.executable, "-c", program, str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)

    said, grown = done.stdout.splitlines()
    assert said == str(
        [
            ({"a": 1}, "r.jsonl:1", None),
            ({}, "r.jsonl:2", "the line is longer than 64 MiB"),
            ({"a": 3}, "r.jsonl:3", None),
        ]
    )
    unit = 1 if sys.platform == "darwin" else 1024
    assert int(grown) * unit < 180 << 20


JSON = {columns.ROLE: columns.JSON}


@pytest.mark.parametrize(
    ("values", "kind", "misfits"),
    [
        ([1, 2, None], "int64", []),
        ([1, 2.5], "double", []),
        ([1, 1, 1, 2.0], "double", []),
        ([1.5, 2**53 + 1, 2**53, -(2**53), 2**60], "double", [2**53 + 1, 2**60]),
        ([1, 2, 2**63], "int64", [2**63]),
        ([1.5, 10**30], "double", [10**30]),
        ([10**30, None], "json", []),
        ([True, False, None], "bool", []),
        (["a", "b", None], "string", []),
        ([None, None], "json", []),
        ([{"b": 1}, [1, 2.50], None], "json", []),
        ([True, False, 1], "json", []),
        ([1, 2, True], "json", []),
        ([1.5, True], "json", []),
        (["a", "b", 1], "json", []),
        (["a", 1.5], "json", []),
        (["a", True], "json", []),
        ([{"b": 1}, [1, 2.50], "x"], "json", []),
        ([[1], 2**63], "json", []),
        ([1, {}], "json", []),
    ],
)
def test_jsonl_column_has_the_type_that_all_its_values_share_else_json_text(
    tmp_path: Path, values: list[Any], kind: str, misfits: list[Any]
) -> None:
    found = written(
        tmp_path, "r.jsonl", b"".join(msgspec.json.encode({"a": v}) + b"\n" for v in values)
    )

    field = found.schema(None).field("a")
    assert str(field.type) == ("string" if kind == "json" else kind)
    assert field.metadata == (JSON if kind == "json" else None)
    assert found.found().types == {"a": kind}
    extras = [json.loads(row["extra"])["a"] for row in carried(found) if row["extra"]]
    assert extras == misfits
    assert rebuilt(found) == [{} if value is None else {"a": value} for value in values]


ONE_OF_EACH = {
    "null": None,
    "bool": True,
    "int": -7,
    "large int": 2**53 + 1,
    "larger int": 2**70,
    "float": 0.5,
    "text": "x",
    "list": [1, "x", None],
    "object": {"x": [0.5]},
}


@pytest.mark.parametrize("later", ONE_OF_EACH)
@pytest.mark.parametrize("earlier", ONE_OF_EACH)
def test_jsonl_gives_back_every_value_that_comes_after_any_other(
    tmp_path: Path, earlier: str, later: str
) -> None:
    values = [ONE_OF_EACH[earlier]] * 3 + [ONE_OF_EACH[later]]
    lines = "".join(f"{json.dumps({'a': value})}\n" for value in values)
    found = written(tmp_path, "r.jsonl", lines.encode())
    before = written(tmp_path, "b.jsonl", "".join(lines.splitlines(keepends=True)[:3]).encode())

    wanted = [{} if value is None else {"a": value} for value in values]
    assert rebuilt(found) == wanted
    assert rebuilt(found, before.schema(None)) == wanted  # of rows that nobody had seen


def test_jsonl_types_come_from_all_first_rows(tmp_path: Path) -> None:
    late = b'{"whole":0,"none":null}\n' * (FIRST_ROWS - 1) + b'{"whole":0.5,"none":0.5}\n'
    later = b'{"whole":"x","none":[1]}\n'

    found = written(tmp_path, "r.jsonl", late + later)

    assert found.found().types == {"whole": "double", "none": "double"}
    assert carried(found)[-2:] == [
        {"whole": 0.5, "none": 0.5, "extra": None},
        {"whole": None, "none": None, "extra": '{"whole":"x","none":[1]}'},
    ]


def test_jsonl_column_of_nulls_holds_any_value_later(tmp_path: Path) -> None:
    values = [5, "x", True, [1], {"b": None}]
    later = "".join(f"{json.dumps({'a': value})}\n" for value in values)

    found = written(tmp_path, "r.jsonl", b'{"a":null}\n' * FIRST_ROWS + later.encode())

    assert [row["a"] for row in carried(found)[-5:]] == ["5", '"x"', "true", "[1]", '{"b":null}']


def test_only_jsonl_finds_types(tmp_path: Path) -> None:
    for name in ("in.parquet", "in.csv"):
        assert resolve(save(tmp_path / name, RECORDS[:3]).name, tmp_path).found().types == {}


def test_jsonl_later_keys_go_to_extra_unless_keep_says_otherwise(tmp_path: Path) -> None:
    lines = [{"a": 1, "b": "x"}] * FIRST_ROWS + [{"a": "misfit", "late": 1}]
    found = written(
        tmp_path, "r.jsonl", "".join(json.dumps(line) + "\n" for line in lines).encode()
    )

    assert carried(found)[-1] == {"a": None, "b": None, "extra": '{"a":"misfit","late":1}'}
    assert carried(found, ("a",))[-1] == {"a": None, "extra": '{"a":"misfit"}'}
    assert carried(found, ("b",))[-1] == {"b": None, "extra": None}
    with pytest.raises(InputError, match="no column 'late' in the first 10,000 rows"):
        found.schema(("late",))


def test_jsonl_columns_of_older_runs_are_filled_as_they_were(tmp_path: Path) -> None:
    lines = b'{"choices":["a"],"nested":{"b":1}}\n{"choices":"x","nested":5}\n{"nested":null}\n'
    found = written(tmp_path, "r.jsonl", lines)
    output, _ = columns.schema(found.schema(None), columns.COLUMNS)
    schema = columns.by_rules_1(columns.carried(output, columns.COLUMNS))

    arrays = found.reader.carry(next(found.batches()).table, schema, None)

    assert schema.names == ["choices", "nested", "extra"]
    assert [array.to_pylist() for array in arrays] == [
        [None, "x", None],
        ['{"b":1}', None, None],
        ['{"choices":["a"]}', '{"nested":5}', None],
    ]


def test_jsonl_key_called_extra_is_a_column_before_ours(tmp_path: Path) -> None:
    found = written(tmp_path, "r.jsonl", b'{"extra": 18446744073709551615}\n{"extra": 1, "b": 2}\n')
    schema = found.schema(None)

    arrays = found.reader.carry(next(found.batches()).table, schema, None)

    assert schema.names == ["extra", "b", "extra"]
    assert schema.field(2).metadata == {b"batchmill": b"extra"}
    assert [array.to_pylist() for array in arrays] == [
        [None, 1],
        [None, 2],
        ['{"extra":18446744073709551615}', None],
    ]


NUMBERS = st.integers() | st.floats(allow_nan=False)
SCALARS = st.none() | st.booleans() | NUMBERS | st.text()
VALUES = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
)
OBJECTS = st.lists(
    st.dictionaries(st.sampled_from(["a", "b", "extra", ""]) | st.text(), VALUES), max_size=6
)


@settings(max_examples=60, suppress_health_check=[HealthCheck.too_slow])
@given(OBJECTS, st.booleans())
def test_jsonl_rows_are_the_objects_and_columns_with_extra_give_them_back(
    tmp_path_factory: pytest.TempPathFactory, objects: list[dict[str, Any]], escaped: bool
) -> None:
    text = "".join(json.dumps(one, ensure_ascii=escaped) + "\n" for one in objects)
    found = written(tmp_path_factory.mktemp("jsonl"), "r.jsonl", text.encode())

    assert [row.values for row in rows(found)] == [
        json.loads(line) for line in text.split("\n")[:-1]
    ]
    assert rebuilt(found) == [{k: v for k, v in one.items() if v is not None} for one in objects]


def rebuilt(found: Input, schema: pa.Schema | None = None) -> list[dict[str, Any]]:
    schema = found.schema(None) if schema is None else schema
    objects: list[dict[str, Any]] = []
    for batch in found.batches():
        arrays = found.reader.carry(batch.table, schema, None)
        for row in range(len(batch.table)):
            *values, extra = (array[row].as_py() for array in arrays)
            one = json.loads(extra) if extra else {}
            for field, value in zip(schema, values, strict=False):
                if value is not None:
                    one[field.name] = json.loads(value) if field.metadata else value
            objects.append({key: value for key, value in one.items() if value is not None})
    return objects


# CSV


def test_csv_keeps_quotes_newlines_and_line_numbers(tmp_path: Path) -> None:
    found = written(
        tmp_path, "r.csv", b'\xef\xbb\xbfid,text\r\n1,"a ""b""\r\nc, d"\r\n\r\n  \r\n2,\xc3\xa9'
    )

    assert [(row.values, row.where) for row in rows(found)] == [
        ({"id": "1", "text": 'a "b"\r\nc, d'}, "r.csv:2"),
        ({"id": "2", "text": "é"}, "r.csv:6"),
    ]


@pytest.mark.parametrize("name", ["r.csv", "r.tsv"])
def test_csv_empty_cell_is_null_quoted_or_not_but_text_in_older_runs(
    tmp_path: Path, name: str
) -> None:
    text = 'a,b\n,\n"",x\n" ","""" \n'.replace(",", "\t" if name == "r.tsv" else ",")
    found = written(tmp_path, name, text.encode())
    older = msgspec.structs.replace(found, reading=OF_RULES_1)

    values: list[dict[str, Any]] = [
        {"a": None, "b": None},
        {"a": None, "b": "x"},
        {"a": " ", "b": '" '},
    ]
    texts = [{key: value or "" for key, value in row.items()} for row in values]
    for read, wanted in ((found, values), (older, texts)):
        assert [row.values for row in rows(read)] == wanted
        assert carried(read) == wanted


def test_csv_empty_cell_of_the_only_column_is_a_row_where_it_is_quoted(tmp_path: Path) -> None:
    found = written(tmp_path, "r.csv", b'a\n\n""\nx\n')

    assert [row.values["a"] for row in rows(found)] == [None, "x"]


@pytest.mark.parametrize(
    ("record", "fault"),
    [
        (b"1", "1 field, but the header has 2"),
        (b"1,2,3", "3 fields, but the header has 2"),
        (b"1,\xff", "invalid UTF-8"),
    ],
)
def test_csv_unreadable_record_is_a_row_with_a_fault(
    tmp_path: Path, record: bytes, fault: str
) -> None:
    found = written(tmp_path, "r.csv", b"a,b\n0,x\n" + record + b"\n2,y\n")

    before, bad, after = rows(found)

    assert bad.fault and fault in bad.fault
    assert (bad.values, bad.where) == ({}, "r.csv:3")
    assert (before.values, after.values) == ({"a": "0", "b": "x"}, {"a": "2", "b": "y"})


def test_csv_quote_left_open_is_a_fault_where_it_opens(tmp_path: Path) -> None:
    *_, bad = rows(written(tmp_path, "r.csv", b'a,b\n0,x\n1,"y\n2,z\n'))

    assert (bad.where, bad.fault) == ("r.csv:3", "a quote is opened here and never closed")


def test_csv_record_without_end_is_given_up_after_a_while(tmp_path: Path) -> None:
    long = "z" * 2**20
    found = written(tmp_path, "r.csv", b'a,b\n1,"y\n' + f"2,{long}\n".encode() * 20)

    bad, *good = rows(found)

    assert (bad.where, bad.fault) == (
        "r.csv:2",
        "the record is longer than 16 MiB; is a quote left open?",
    )
    assert [row.where for row in good] == ["r.csv:19", "r.csv:20", "r.csv:21", "r.csv:22"]
    assert all(row.values == {"a": "2", "b": long} for row in good)


@pytest.mark.parametrize(
    ("header", "message"),
    [
        (b"id,\xff\n", "r.csv:1: invalid UTF-8"),
        (b'id,"text\n', "r.csv:1: a quote is opened here and never closed"),
    ],
)
def test_csv_header_must_be_readable(tmp_path: Path, header: bytes, message: str) -> None:
    found = written(tmp_path, "r.csv", header + b"1,2,3\n")

    with pytest.raises(InputError) as caught:
        found.schema(None)
    assert str(caught.value) == message


def test_csv_column_may_be_called_like_the_bookkeeping(tmp_path: Path) -> None:
    found = written(tmp_path, "r.csv", b"__line__,__fault__\nx,y\n")

    assert rows(found)[0].values == {"__line__": "x", "__fault__": "y"}
    assert carried(found) == [{"__line__": "x", "__fault__": "y"}]


def test_csv_files_are_united_by_name(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("id,text\n1,x\n")
    (tmp_path / "b.csv").write_text("body,id\ny,2\n")
    (tmp_path / "c.csv").write_text("")
    found = resolve("*.csv", tmp_path)

    united = [{"id": "1", "text": "x", "body": None}, {"id": "2", "text": None, "body": "y"}]
    assert carried(found) == [row.values for row in rows(found)] == united


def test_csv_file_without_a_header_is_no_file_of_other_columns(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("id,text\n1,x\n")
    (tmp_path / "b.csv").write_text("2,y\n3,z\n")

    with pytest.raises(InputError, match=r"^b\.csv: no column of a\.csv is in its header$"):
        resolve("*.csv", tmp_path).schema(None)


CHARACTERS = st.characters(exclude_categories=["Cs"]) | st.sampled_from('",\r\n\0')
FIELDS = st.text(CHARACTERS, max_size=8)


@given(st.lists(st.tuples(FIELDS, FIELDS)), st.sampled_from(["\n", "\r\n"]), st.integers(1, 2))
def test_csv_round_trip(
    tmp_path_factory: pytest.TempPathFactory, records: list[tuple[str, str]], end: str, width: int
) -> None:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator=end, quoting=csv.QUOTE_ALL)
    writer.writerow(["a", "b"][:width])
    writer.writerows(record[:width] for record in records)
    found = written(tmp_path_factory.mktemp("csv"), "r.csv", text.getvalue().encode())

    assert [tuple(row.values.values()) for row in rows(found)] == [
        tuple(cell or None for cell in record[:width]) for record in records
    ]


# Parquet


def test_parquet_keeps_types_and_gives_python_values(tmp_path: Path) -> None:
    moment = datetime.datetime(2026, 1, 2, 3, 4, 5, 678901, tzinfo=datetime.UTC)
    table = pa.table(
        {
            "price": pa.array([decimal.Decimal("1.50")], pa.decimal128(9, 2)),
            "at": pa.array([moment], pa.timestamp("us", "UTC")),
            "ns": pa.array([1_234_567_891], pa.timestamp("ns")),
            "raw": pa.array([b"\x00\xff"]),
            "small": pa.array([7], pa.uint8()),
            "kind": pa.array(["x"]).dictionary_encode(),
            "nested": pa.array(
                [{"t": [1_234_567_891]}], pa.struct([("t", pa.list_(pa.timestamp("ns")))])
            ),
        }
    )
    pq.write_table(table, tmp_path / "r.parquet")
    found = resolve("r.parquet", tmp_path)

    values = rows(found)[0].values

    second = datetime.datetime(1970, 1, 1, 0, 0, 1, 234567)
    assert values == {
        "price": decimal.Decimal("1.50"),
        "at": moment,
        "ns": second,
        "raw": b"\x00\xff",
        "small": 7,
        "kind": "x",
        "nested": {"t": [second]},
    }
    assert found.schema(None).types == table.schema.types
    assert next(found.batches()).table.schema.types == table.schema.types


def test_parquet_value_python_cannot_hold_is_no_fault_of_its_row(tmp_path: Path) -> None:
    table = pa.table({"id": [0, 1, 2], "at": pa.array([0, 2**61, 1], pa.timestamp("us"))})
    pq.write_table(table, tmp_path / "r.parquet")
    found = resolve("r.parquet", tmp_path)

    before, bad, after = rows(found)

    assert bad.fault is None
    assert bad.values["id"] == 1
    assert isinstance(bad.values["at"], Unreadable)
    assert bad.values["at"].why.startswith("column at: 75039-04-04T")
    assert bad.where == "r.parquet row 1"
    assert before.values["at"] < after.values["at"]
    (batch,) = found.batches()
    assert found.reader.carry(batch.table, found.schema(None), None)[1].equals(table["at"].chunk(0))


def test_parquet_dictionary_rows_larger_than_the_file_says_stay_small(tmp_path: Path) -> None:
    pq.write_table(pa.table({"t": ["x" * 100_000] * 2_000}), tmp_path / "r.parquet")

    batches = list(resolve("r.parquet", tmp_path).batches())

    assert max(batch.table.nbytes for batch in batches) <= 1 << 20
    assert sum(len(batch.table) for batch in batches) == 2_000


@pytest.mark.parametrize("content", [b"", b"PAR1", b"id,text\n1,hello hello\n"])
def test_other_file_called_parquet_is_refused(tmp_path: Path, content: bytes) -> None:
    found = written(tmp_path, "r.parquet", content)

    with pytest.raises(InputError, match=r"^r\.parquet: not a Parquet file"):
        found.schema(None)


def test_cut_parquet_file_is_refused(tmp_path: Path) -> None:
    whole = save(tmp_path / "r.parquet", RECORDS).read_bytes()
    found = written(tmp_path, "r.parquet", whole[:-40])

    with pytest.raises(
        InputError, match=r"^r\.parquet: not a Parquet file, or one that was cut off"
    ):
        rows(found)


def test_corrupt_parquet_page_is_an_error_near_a_row(tmp_path: Path) -> None:
    path = tmp_path / "r.parquet"
    pq.write_table(
        pa.table({"t": [os.urandom(64).hex() for _ in range(4_000)]}),
        path,
        row_group_size=1_000,
        use_dictionary=False,
        write_page_checksum=True,
    )
    whole = bytearray(path.read_bytes())
    middle = len(whole) * 5 // 8
    whole[middle : middle + 64] = bytes(64)
    path.write_bytes(whole)
    found = resolve("r.parquet", tmp_path)

    taken: list[Any] = []
    with pytest.raises(InputError, match=r"^r\.parquet: .*near row 2\d\d\d$"):
        for batch in found.batches():
            taken += found.rows(batch, len(taken))
    assert len(taken) >= 2_000


# finding the files


def names(found: Input) -> list[str]:
    return [Path(path).name for path in found.files]


def test_resolves_paths_lists_globs_and_folders(tmp_path: Path) -> None:
    folder = tmp_path / "d[1]"
    folder.mkdir()
    for name in ("b.jsonl", "a.jsonl.gz", "_notes.jsonl", ".hidden.jsonl", "readme.md"):
        (folder / name).touch()

    assert names(resolve("d[1]", tmp_path)) == ["a.jsonl.gz", "b.jsonl"]
    assert names(resolve("b.*", folder)) == ["b.jsonl"]
    assert names(resolve(["b.jsonl", "a.jsonl.gz"], folder)) == ["b.jsonl", "a.jsonl.gz"]
    assert resolve("../d[1]/b.jsonl", folder).files == (str(folder / "b.jsonl"),)
    assert resolve("readme.md", folder, "jsonl").format == "jsonl"
    assert resolve(str(folder / "b.jsonl"), tmp_path / "elsewhere").format == "jsonl"


def test_reads_a_url(tmp_path: Path) -> None:
    path = save(tmp_path / "in put.jsonl.gz", RECORDS[:3])

    assert [row.values for row in rows(resolve(path.as_uri(), Path("/")))] == RECORDS[:3]
    assert names(resolve(tmp_path.as_uri(), Path("/"))) == ["in%20put.jsonl.gz"]
    assert rows(resolve(tmp_path.as_uri() + "/in*.gz", Path("/")))[0].where == "in put.jsonl.gz:1"


@pytest.mark.parametrize(
    ("input", "message"),
    [
        ("reviews.jsonl", r"^no such file: reviews\.jsonl \(looked in /.*\)$"),
        ("r*.jsonl", r"^no file matches r\*\.jsonl \(looked in /.*\)$"),
        ("empty", r"^empty: no input file in this folder"),
        (
            "x.dat",
            r"^x\.dat: unknown suffix .* --input-format jsonl\|json\|csv\|parquet\|arrow\|lines$",
        ),
        (["x.csv", "y.jsonl"], r"^x\.csv and y\.jsonl are of different formats"),
        (["x.csv", "./x.csv"], r"^x\.csv is in the input twice"),
        ("pipe.jsonl", r"^pipe\.jsonl: not a regular file"),
        ("gone.jsonl", r"^gone\.jsonl: a link to a file that is not there"),
        ([], r"names no file"),
        ("https://user:secret@host/x.jsonl", r"^https://host/x\.jsonl: no way to read this URL"),
        ("file:///nowhere/x.jsonl", r"^no such file: file:///nowhere/x\.jsonl"),
    ],
)
def test_unusable_input_says_what_and_the_way_out(
    tmp_path: Path, input: str | list[str], message: str
) -> None:
    (tmp_path / "empty").mkdir()
    for name in ("x.dat", "x.csv", "y.jsonl"):
        (tmp_path / name).touch()
    os.mkfifo(tmp_path / "pipe.jsonl")
    (tmp_path / "gone.jsonl").symlink_to(tmp_path / "nothing")

    with pytest.raises(InputError, match=message):
        resolve(input, tmp_path)


def test_unknown_input_format_lists_the_known(tmp_path: Path) -> None:
    with pytest.raises(
        InputError, match=r"unknown input format 'xml' \(known: jsonl, json, csv, parquet, arrow"
    ):
        resolve("x", tmp_path, "xml")


def test_files_of_one_name_are_called_by_their_paths(tmp_path: Path) -> None:
    for folder in ("a", "b"):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "r.jsonl").write_text("{}\n")

    assert rows(resolve(["a/r.jsonl", "b/r.jsonl"], tmp_path))[1].where == f"{tmp_path}/b/r.jsonl:1"


def test_file_that_vanished_is_an_input_error(tmp_path: Path) -> None:
    found = written(tmp_path, "r.jsonl", b"{}\n")
    (tmp_path / "r.jsonl").unlink()

    with pytest.raises(InputError, match=r"^r\.jsonl: no such file"):
        rows(found)
    with pytest.raises(InputError, match=r"^r\.jsonl: no such file"):
        found.fingerprints()


# fingerprints

LINES = b'{"a":1}\n{"a":2}\n'
OTHER = b'{"a":1}\n{"a":3}\n'
MORE = LINES + b"{}\n"


@pytest.mark.parametrize(
    ("before", "after", "kind", "text"),
    [
        ({"a": LINES}, {"a": LINES}, "same", ""),
        ({"a": LINES}, {"b": LINES}, "same", ""),
        ({"a": LINES}, {"a": LINES + b"{}\n"}, "grown", "a.jsonl grew (16 bytes before, 19 now)"),
        (
            {"a": LINES[:-1]},
            {"a": LINES + b"{}\n"},
            "changed",
            "a.jsonl differs (15 bytes before, 19 now)",
        ),
        ({"a": LINES}, {"a": LINES[:-8]}, "changed", "a.jsonl differs (16 bytes before, 8 now)"),
        ({"a": LINES}, {"a": OTHER}, "changed", "a.jsonl differs (16 bytes, other content)"),
        (
            {"a": LINES},
            {"a": b"{}\n" + LINES},
            "changed",
            "a.jsonl differs (16 bytes before, 19 now)",
        ),
        ({"a": LINES}, {"a": LINES, "b": b""}, "grown", "b.jsonl came after the file before"),
        (
            {"a": LINES[:-1]},
            {"a": LINES[:-1], "b": b""},
            "grown",
            "b.jsonl came after the file before",
        ),
        ({"a": LINES, "b": b""}, {"a": LINES}, "changed", "2 files before, 1 now"),
        (
            {"a": LINES, "b": OTHER},
            {"a": MORE, "b": OTHER},
            "changed",
            "a.jsonl differs (16 bytes before, 19 now)",
        ),
        (
            {"a": LINES, "b": b""},
            {"a": LINES, "b": LINES},
            "grown",
            "b.jsonl grew (0 bytes before, 16 now)",
        ),
        (
            {"a": LINES, "b": MORE},
            {"a": MORE, "b": LINES},
            "changed",
            "a.jsonl differs (16 bytes before, 19 now)",
        ),
    ],
)
def test_compares_inputs(
    tmp_path: Path, before: dict[str, bytes], after: dict[str, bytes], kind: str, text: str
) -> None:
    old = lay_out(tmp_path / "old", before).fingerprints()

    found = compare(old, lay_out(tmp_path / "new", after))

    assert (found.kind, found.text) == (kind, text)


def lay_out(folder: Path, contents: dict[str, bytes]) -> Input:
    folder.mkdir()
    for name, content in contents.items():
        (folder / f"{name}.jsonl").write_bytes(content)
    return resolve("*.jsonl", folder)


def test_parquet_never_grows_but_files_may_follow(tmp_path: Path) -> None:
    path = save(tmp_path / "a.parquet", RECORDS[:3])
    old = resolve("*.parquet", tmp_path).fingerprints()
    save(tmp_path / "b.parquet", RECORDS[3:6])
    assert compare(old, resolve("*.parquet", tmp_path)).kind == "grown"

    path.write_bytes(path.read_bytes() + b"more")

    assert compare(old, resolve("*.parquet", tmp_path)).kind == "changed"


def test_fingerprint_survives_json_and_says_how_it_was_taken(tmp_path: Path) -> None:
    (one,) = written(tmp_path, "r.jsonl", LINES).fingerprints()

    assert msgspec.json.decode(msgspec.json.encode(one), type=Fingerprint) == one
    assert (one.size, one.sampled, one.ends_line, len(one.hash)) == (16, False, True, 32)


def test_file_beyond_a_gibibyte_is_sampled(tmp_path: Path) -> None:
    path = tmp_path / "r.jsonl"
    size = (1 << 30) + 12_345_678
    with path.open("wb") as file:
        file.truncate(size - 1)
        file.seek(size - 1)
        file.write(b"\n")
    found = resolve("r.jsonl", tmp_path)
    old = found.fingerprints()

    assert old[0].sampled
    assert compare(old, found).kind == "same"
    with path.open("ab") as file:
        file.write(LINES)
    assert compare(old, found).kind == "grown"
    with path.open("r+b") as file:
        file.seek(1 << 20)
        file.write(b"x")
    assert compare(old, found).kind == "changed"


def test_schema_search_stops_after_its_rows(tmp_path: Path) -> None:
    found = written(tmp_path, "r.jsonl", b'{"a":1}\n' * FIRST_ROWS + b'{"b":1}\n')

    assert found.schema(None).names == ["a", "extra"]

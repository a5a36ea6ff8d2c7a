"""What the input held comes back: every value, under every name, from whatever reads the output."""

from __future__ import annotations

import csv
import json
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import duckdb
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from batch import columns
from tests.fake_api import FakeAPI, Step, answer_to
from tests.reading import asking, rows
from tests.reading import table as read

OWN = [column.name for column in columns.COLUMNS]
ALL_OWN = [*OWN, columns.EMBEDDING.name, columns.REQUEST_JSON.name, columns.PARSED]
KINDS: dict[str, list[Any]] = {
    "number": [1, None, 3],
    "float": [0.5, 2, None],
    "text": ["x", "", None],
    "truth": [True, None, False],
    "list": [["3", "4"], [], None],
    "object": [{"a": 1}, {}, None],
    "mixed": [1, "x", {"a": None}],
    "nothing": [None, None, None],
}


def save(path: Path, lines: list[dict[str, Any]]) -> None:
    path.write_text("".join(f"{json.dumps(line)}\n" for line in lines))


def held(run: Path, names: Sequence[str]) -> dict[str, list[list[Any]]]:
    """These columns of the output, by row, each as pyarrow, pandas and DuckDB read it."""
    every = rows(run)
    frame = pd.read_parquet(run / "completions").sort_values("row")
    output = f"'{run}/completions/part*.parquet'"
    found = duckdb.sql(f'SELECT {quoted(names)} FROM {output} ORDER BY "row"').fetchall()
    return {
        name: [
            [row[name] for row in every],
            without_nan(frame[name]),
            [row[place] for row in found],
        ]
        for place, name in enumerate(names)
    }


def quoted(names: Sequence[str]) -> str:
    """As SQL names columns."""
    return ", ".join(f'"{name}"' for name in names)


def without_nan(series: Any) -> list[Any]:
    plain = series.astype(object)
    found: list[Any] = plain.where(plain.notna(), None).tolist()
    return found


@pytest.mark.parametrize("kind", KINDS)
def test_a_column_whose_name_we_take_keeps_its_values(
    api: FakeAPI, batchmill: Any, tmp_path: Path, kind: str
) -> None:
    values = KINDS[kind]
    save(
        tmp_path / "in.jsonl",
        [{"text": f"{n}", **dict.fromkeys(ALL_OWN, value)} for n, value in enumerate(values)],
    )
    api.always = Step(content='{"n":1}')
    more = ("-o", "run", "--set", "output.request=true", "--schema", '{"n": "integer"}')
    ended = batchmill("run", "in.jsonl", *asking(api, *more))

    assert ended.exit_code == 0, ended.stderr
    assert "extra" not in ended.stderr
    is_text = kind in ("list", "object", "mixed", "nothing")
    names = [name if name == "embedding" else f"input_{name}" for name in ALL_OWN]
    for column, readings in held(tmp_path / "run", names).items():
        for found in readings:
            back = [json.loads(one) if is_text and one is not None else one for one in found]
            assert back == values, column
    assert {row["extra"] for row in rows(tmp_path / "run")} == {None}


@pytest.mark.parametrize("kind", ["number", "text", "list", "object"])
def test_a_parquet_column_whose_name_we_take_keeps_its_values_and_type(
    api: FakeAPI, batchmill: Any, tmp_path: Path, kind: str
) -> None:
    values = pa.array([value or None for value in KINDS[kind]])
    table = pa.table({"text": ["0", "1", "2"], **dict.fromkeys(ALL_OWN, values)})
    pq.write_table(table, tmp_path / "in.parquet")
    assert batchmill("run", "in.parquet", *asking(api, "-o", "run")).exit_code == 0

    assert_same(tmp_path / "run", tmp_path / "in.parquet", {f"input_{name}": name for name in OWN})


def test_a_csv_column_whose_name_we_take_keeps_its_values(
    api: FakeAPI, batchmill: Any, tmp_path: Path
) -> None:
    cells = ['a "b", c\n', "", "3"]
    with (tmp_path / "in.csv").open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["text", *ALL_OWN])
        writer.writerows([f"{n}", *[cell] * len(ALL_OWN)] for n, cell in enumerate(cells))
    assert batchmill("run", "in.csv", *asking(api, "-o", "run")).exit_code == 0

    original = pd.read_csv(tmp_path / "in.csv", dtype=str)
    found = held(tmp_path / "run", [f"input_{name}" for name in OWN])
    for name in OWN:
        assert found[f"input_{name}"] == [without_nan(original[name])] * 3, name


def assert_same(run: Path, original: Path, names: dict[str, str]) -> None:
    """Columns of the output are those of the original, to whatever reads them both."""
    there, before = read(run).sort_by("row"), pq.read_table(original)
    frame = pd.read_parquet(run / "completions").sort_values("row", ignore_index=True)
    series = pd.read_parquet(original)
    output = f"'{run}/completions/part*.parquet'"
    found = duckdb.sql(f'SELECT {quoted([*names])} FROM {output} ORDER BY "row"')
    wanted = duckdb.sql(f"SELECT {quoted([*names.values()])} FROM '{original}'")
    for column, name in names.items():
        assert there[column].combine_chunks().equals(before[name].combine_chunks())
        pd.testing.assert_series_equal(frame[column], series[name], check_names=False)
    assert found.types == wanted.types
    assert repr(found.fetchall()) == repr(wanted.fetchall())


EACH: dict[str, Any] = {
    "null": None,
    "truth": True,
    "whole": 7,
    "float": 0.25,
    "text": "x",
    "list": [1, None],
    "object": {"a": {"b": 1.5}},
}
PAIRS = [(one, other) for one in EACH for other in EACH]
TYPED = {"truth": "BOOLEAN", "whole": "BIGINT", "float": "DOUBLE", "text": "VARCHAR"}


def test_every_pair_of_kinds_in_a_column_comes_back_from_whatever_reads_the_output(
    api: FakeAPI, batchmill: Any, tmp_path: Path
) -> None:
    """As DuckDB, too, takes a column of several kinds for JSON."""
    lines = [
        {"text": f"{n}", **{f"{pair[0]} {pair[1]}": EACH[pair[n]] for pair in PAIRS}}
        for n in range(2)
    ]
    save(tmp_path / "in.jsonl", lines)
    assert batchmill("run", "in.jsonl", *asking(api, "-o", "run")).exit_code == 0

    output = f"'{tmp_path}/run/completions/part*.parquet'"
    original = f"read_json('{tmp_path}/in.jsonl')"
    names = [" ".join(pair) for pair in PAIRS]
    found = duckdb.sql(f"SELECT {quoted(names)} FROM {output}")
    types = dict(zip(names, found.types, strict=True))
    before = duckdb.sql(f"SELECT {quoted(names)} FROM {original}")
    types_before = dict(zip(names, before.types, strict=True))
    there = held(tmp_path / "run", names)
    for one, other in PAIRS:
        name, values = f"{one} {other}", [EACH[one], EACH[other]]
        kinds = {one, other} - {"null"}
        kind = "float" if kinds == {"whole", "float"} else "".join(kinds)
        assert str(types[name]) == TYPED.get(kind, "VARCHAR")
        for back in there[name]:
            texts = kind not in TYPED
            assert [json.loads(c) if texts and c is not None else c for c in back] == values, name
        if kind in TYPED:
            assert types_before[name] == types[name]


def test_parquet_of_every_type_comes_back_as_it_was(
    api: FakeAPI, batchmill: Any, tmp_path: Path
) -> None:
    select = """
        'a' AS text, 1::UTINYINT AS small, 2::UBIGINT AS large, 1.50::DECIMAL(9, 2) AS price,
        'NaN'::FLOAT AS nan, 'x'::BLOB AS raw, uuid() AS id, DATE '9999-12-31' AS day,
        'infinity'::DATE AS never, 'infinity'::TIMESTAMP AS endless, TIME '23:59:59.999999' AS clock,
        TIMESTAMPTZ '9999-12-31 23:59:59+00' AS late, TIMESTAMP_NS '2026-01-02 03:04:05.678901234' AS ns,
        [TIMESTAMP_NS '2026-01-02 03:04:05.678901234', NULL] AS list, MAP {'k': 'infinity'::DATE} AS map,
        {'a': [{'b': '-infinity'::TIMESTAMP}], 'c': NULL::INTEGER} AS nested, 'x'::ENUM ('x', 'y') AS kind,
        NULL::BOOLEAN AS nothing, 'true'::JSON AS json
    """
    duckdb.sql(f"COPY (SELECT {select}) TO '{tmp_path}/in.parquet'")
    ended = batchmill("run", "in.parquet", *asking(api, "-o", "run"))

    assert ended.exit_code == 0, ended.stderr
    output, original = f"'{tmp_path}/run/completions/part*.parquet'", f"'{tmp_path}/in.parquet'"
    names = pq.read_schema(tmp_path / "in.parquet").names
    chosen = quoted(names)
    found, wanted = (duckdb.sql(f"SELECT {chosen} FROM {file}") for file in (output, original))
    assert [str(kind).replace("JSON", "VARCHAR") for kind in found.types] == [
        str(kind).replace("JSON", "VARCHAR") for kind in wanted.types
    ]
    texts = ", ".join(f'"{name}"::VARCHAR' for name in names)
    for what in (chosen, texts):
        found, wanted = (duckdb.sql(f"SELECT {what} FROM {file}") for file in (output, original))
        assert repr(found.fetchall()) == repr(wanted.fetchall())
    for format_ in ("jsonl", "csv"):
        assert batchmill("export", "run", "-o", f"out.{format_}").exit_code == 0
    assert batchmill("show", "run").exit_code == 0


def test_values_that_fit_no_column_are_counted_at_the_end(
    api: FakeAPI, batchmill: Any, tmp_path: Path
) -> None:
    lines: list[dict[str, Any]] = [{"text": f"{n}", "n": 0.5} for n in range(20)]
    for n in (3, 4, 11):
        lines[n]["n"] = 2**53 + n
    save(tmp_path / "in.jsonl", lines)
    command = ("run", "in.jsonl", *asking(api, "-o", "run", "--set", "output.part_rows=4"))

    assert "extra" not in batchmill(*command, "--limit", 3).stderr
    one = batchmill(*command, "--limit", 4)
    assert "1 row holds values that fit no column: see `extra`" in one.stderr
    ended = batchmill(*command)

    assert ended.exit_code == 0
    assert "3 rows hold values that fit no column: see `extra`" in ended.stderr
    found = rows(tmp_path / "run")
    extras = {row["row"]: json.loads(row["extra"]) for row in found if row["extra"]}
    assert extras == {n: {"n": 2**53 + n} for n in (3, 4, 11)}
    assert [row["completion"] for row in found] == [answer_to(f"{n}") for n in range(20)]
    assert batchmill("verify", "run").exit_code == 0


def test_nan_is_text_to_a_prompt_and_a_number_in_the_output(
    api: FakeAPI, batchmill: Any, tmp_path: Path
) -> None:
    lines = '{"n": 0.5}\n{"n": NaN}\n{"n": -Infinity}\n{"n": 1e400}\n{"n": 7}\n'
    (tmp_path / "in.jsonl").write_text(lines)
    ended = batchmill("run", "in.jsonl", *asking(api, "-p", "n is {{ n }}", "-o", "run"))

    assert ended.exit_code == 0, ended.stderr
    said = ["0.5", "nan", "-inf", "inf", "7"]
    assert set(api.prompts()) == {f"n is {text}" for text in said}
    values = [0.5, math.nan, -math.inf, math.inf, 7.0]
    assert repr([row["n"] for row in rows(tmp_path / "run")]) == repr(values)


@pytest.mark.parametrize(
    "asked",
    [
        '{"body": {"messages": [{"role": "user", "content": "hi"}], "temperature": NaN}}',
        '{"body": {"messages": [{"role": "user", "content": "hi"}], "seed": 1e400}}',
        '{"messages": [{"role": "user", "content": [{"type": "text", "x": -Infinity}]}]}',
        r'{"body": "{\"prompt\": \"hi\", \"top_p\": NaN}", "url": "/v1/completions"}',
    ],
)
def test_a_request_of_a_row_that_holds_nan_is_not_sent_as_null(
    api: FakeAPI, batchmill: Any, tmp_path: Path, asked: str
) -> None:
    good = '{"messages": [{"role": "user", "content": "hi", "name": null}]}'
    (tmp_path / "in.jsonl").write_text(f"{good}\n{asked}\n")
    command = ("run", "in.jsonl", "-m", "m", "--base-url", api.url, "-o", "run", "--no-preflight")

    refused = batchmill(*command)
    assert refused.exit_code == 2
    assert "in.jsonl:2" in refused.stderr
    assert "which is no JSON" in refused.stderr
    assert batchmill(*command, "--on-bad-row", "record").exit_code == 1
    assert [row["error_class"] for row in rows(tmp_path / "run")] == [None, "invalid_row"]
    assert set(api.prompts()) == {"hi"}


def test_an_empty_cell_is_null_to_a_prompt_and_in_the_output(
    api: FakeAPI, batchmill: Any, tmp_path: Path
) -> None:
    text = 'id,name,review\n1,Ann,good\n2,,""\n3,Eve,\n'
    (tmp_path / "in.csv").write_text(text)
    command = ("run", "in.csv", *asking(api, "-p", "{{ review }}", "-o", "run"))

    refused = batchmill(*command)
    assert refused.exit_code == 2
    assert "in.csv:3: review is null here" in refused.stderr
    assert batchmill(*command, "--on-bad-row", "record").exit_code == 1
    assert dict(api.prompts()) == {"good": 1}
    original = pd.read_csv(tmp_path / "in.csv")
    found = held(tmp_path / "run", ["name", "review"])
    for column in ("name", "review"):
        assert found[column] == [without_nan(original[column])] * 3


LATE = 253_402_300_799_000_000  # 9999-12-31T23:59:59Z
LARGEST = 2**63 - 1
AT = pa.timestamp("us", "Europe/Berlin")


def odd_table() -> pa.Table:
    """A row as others are, then two with values that Python cannot hold."""
    bad = pa.array([b"plain", b"caf\xe9", b"\xff"], pa.binary()).view(pa.string())
    moments = pa.array([0, LATE, LATE + 10**9], AT)
    nested = pa.StructArray.from_arrays([moments], ["at"])
    return pa.table(
        {
            "text": ["a", "b", "c"],
            "late": moments,
            "endless": pa.array([0, LARGEST, -LARGEST], pa.timestamp("us")),
            "day": pa.array([0, 2**31 - 1, -800_000], pa.date32()),
            "bytes": bad,
            "kind": bad.dictionary_encode(),
            "exact": pa.array([0, 1, 10**9 + 1], pa.timestamp("ns", "UTC")),
            "span": pa.array([0, 2**62, -1], pa.duration("s")),
            "nested": nested,
            "all": pa.ListArray.from_arrays([0, 1, 2, 3], nested),
            "score": [0.5, math.nan, math.inf],
        }
    )


WRITTEN: list[dict[str, Any]] = [
    {
        "late": "1970-01-01T01:00:00+01:00",
        "endless": "1970-01-01T00:00:00",
        "day": "1970-01-01",
        "bytes": "plain",
        "kind": "plain",
        "exact": "1970-01-01T00:00:00Z",
        "span": "P0D",
    },
    {
        "late": "9999-12-31T23:59:59Z",
        "endless": "infinity",
        "day": "infinity",
        "bytes": "caf\\xe9",
        "kind": "caf\\xe9",
        "exact": "1970-01-01T00:00:00.000000001Z",
        "span": f"PT{2**62}S",
    },
    {
        "late": "10000-01-01T00:16:39Z",
        "endless": "-infinity",
        "day": "-0221-09-04",
        "bytes": "\\xff",
        "kind": "\\xff",
        "exact": "1970-01-01T00:00:01.000000001Z",
        "span": "-PT1S",
    },
]


def test_what_python_cannot_hold_neither_fails_a_row_nor_what_looks_at_the_run(
    api: FakeAPI, batchmill: Any, tmp_path: Path
) -> None:
    table = odd_table()
    pq.write_table(table, tmp_path / "in.parquet")
    command = ("run", "in.parquet", *asking(api, "-o", "run", "--set", "output.part_rows=2"))
    ended = batchmill(*command)

    assert ended.exit_code == 0, ended.stderr
    assert set(api.prompts()) == {"a", "b", "c"}
    assert_holds(tmp_path / "run", table)
    assert batchmill("validate", "in.parquet", *asking(api)).exit_code == 0
    assert batchmill("verify", "run", "--input").exit_code == 0
    more: tuple[str, ...]
    for more in ((), ("--json",)):
        shown = batchmill("show", "run", *more)
        assert shown.exit_code == 0, shown.stderr
    seen = [json.loads(line) for line in shown.stdout.splitlines()]
    for format_ in ("jsonl", "csv", "openai-batch"):
        more = ("--format", format_, "-o", f"out.{format_}")
        exported = batchmill("export", "run", *more)
        assert exported.exit_code == 0, exported.stderr
    lines = [json.loads(line) for line in (tmp_path / "out.jsonl").read_text().splitlines()]
    with (tmp_path / "out.csv").open(newline="") as file:
        cells = list(csv.DictReader(file))
    for found in (seen, lines, cells):
        assert [{name: row[name] for name in WRITTEN[0]} for row in found] == WRITTEN
        assert [str(row["score"]).lower() for row in found] == ["0.5", "nan", "inf"]
    for row, wanted in zip(lines, WRITTEN, strict=True):
        assert row["nested"] == {"at": wanted["late"]}
        assert row["all"] == [{"at": wanted["late"]}]
    for column in table.column_names:
        report = batchmill("report", "run", "--by", f"column:{column}", "--format", "json")
        assert report.exit_code == (2 if column in ("nested", "all") else 0), report.stderr


def assert_holds(run: Path, table: pa.Table) -> None:
    found = read(run).sort_by("row")
    for name in table.column_names:
        assert found.schema.field(name).type == table.schema.field(name).type
        column = found[name]
        if name == "score":  # NaN is equal to nothing, not even to itself
            assert repr(column.to_pylist()) == repr(table[name].to_pylist())
        else:
            assert column.equals(table[name]), name


def test_a_row_whose_prompt_names_what_python_cannot_hold_fails_by_itself(
    api: FakeAPI, batchmill: Any, tmp_path: Path
) -> None:
    pq.write_table(odd_table(), tmp_path / "in.parquet")

    def run(name: str, *more: str) -> list[tuple[str | None, str | None]]:
        command = ("run", "in.parquet", *asking(api, "-o", name, "-p", f"{{{{ {name} }}}}", *more))
        first = batchmill(*command)
        if first.exit_code == 2:
            assert f"column {name}: " in first.stderr
            batchmill(*command, "--on-bad-row", "record")
        found = read(tmp_path / name).sort_by("row").select(["error_class", "error_message"])
        return [tuple(row.values()) for row in found.to_pylist()]

    assert [error for error, _ in run("late")] == [None, None, "invalid_row"]
    assert api.asked("9999-12-31T23:59:59Z") == 1
    for name in ("endless", "day", "bytes", "kind", "all"):
        good, *bad = run(name)
        assert good == (None, None)
        assert [error for error, _ in bad][-1] == "invalid_row"
        assert all(f"column {name}: " in (message or "") for _, message in bad if message)


def test_a_run_on_what_python_cannot_hold_is_the_input_of_the_next(
    api: FakeAPI, batchmill: Any, tmp_path: Path
) -> None:
    table = odd_table()
    pq.write_table(table, tmp_path / "in.parquet")
    assert batchmill("run", "in.parquet", *asking(api, "-o", "first")).exit_code == 0
    asked = asking(api, "-p", "{{ text }} {{ completion }}", "-o", "second")
    ended = batchmill("run", "in.jsonl", *asked, "--set", 'input="first"')

    assert ended.exit_code == 0, ended.stderr
    assert_holds(tmp_path / "second", table)

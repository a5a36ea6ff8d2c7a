"""What the input held comes back: every value, under every name, from whatever reads the output."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import duckdb
import pandas as pd
import pytest

from batch import columns
from tests.fake_api import FakeAPI, Step, answer_to
from tests.reading import asking, rows

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


def held(run: Path, column: str) -> list[list[Any]]:
    """A column of the output, by row, as pyarrow, pandas and DuckDB read it."""
    frame = pd.read_parquet(run / "completions").sort_values("row")
    series = frame[column].astype(object)
    found = duckdb.sql(
        f"""SELECT "{column}" FROM '{run}/completions/part*.parquet' ORDER BY "row" """
    )
    return [
        [row[column] for row in rows(run)],
        series.where(series.notna(), None).tolist(),
        [value for (value,) in found.fetchall()],
    ]


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
    for name in ALL_OWN:
        column = name if name == "embedding" else f"input_{name}"
        for found in held(tmp_path / "run", column):
            back = [json.loads(one) if is_text and one is not None else one for one in found]
            assert back == values, column
    assert {row["extra"] for row in rows(tmp_path / "run")} == {None}


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
    original = pd.read_csv(tmp_path / "in.csv").astype(object)
    for column in ("name", "review"):
        wanted = original[column].where(original[column].notna(), None).tolist()
        assert held(tmp_path / "run", column) == [wanted] * 3

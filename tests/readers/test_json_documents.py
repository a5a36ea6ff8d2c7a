"""JSON as people have it: the rows of a document are found, whatever is around them, and read one by
one from any place.
"""

from __future__ import annotations

import contextlib
import io
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pandas
import pytest

from batch.errors import InputError
from batch.model import Position, Row
from batch.readers import Input, resolve

ROWS = [{"id": n, "text": f"text {n}, “{'é' * (n % 5)}”", "score": n / 2} for n in range(5)]


def rows(found: Input, start: Position = Position()) -> list[Row]:  # noqa: B008
    taken: list[Row] = []
    for batch in found.batches(start):
        taken += found.rows(batch, len(taken))
    return taken


def values(found: Input) -> list[dict[str, Any]]:
    return [row.values for row in rows(found)]


def written(tmp_path: Path, text: str, name: str = "r.json") -> Input:
    (tmp_path / name).write_text(text, encoding="utf-8")
    return resolve(name, tmp_path)


ARRAYS = {
    "one line": json.dumps(ROWS),
    "pretty": json.dumps(ROWS, indent=4),
    "a row a line": "[\n" + ",\n".join(map(json.dumps, ROWS)) + "\n]\n",
    "commas first": "[" + "\n,".join(map(json.dumps, ROWS)) + "]",
    "crlf": json.dumps(ROWS, indent=2).replace("\n", "\r\n"),
    "not escaped": json.dumps(ROWS, ensure_ascii=False),
    "spaces around": f"\n\n \t{json.dumps(ROWS)} \n ",
    "one row": json.dumps(ROWS[:1], indent=1),
    "no row": " [ ] ",
}


@pytest.mark.parametrize("name", ["r.json", "r.jsonl", "r.ndjson"])
@pytest.mark.parametrize("text", ARRAYS.values(), ids=ARRAYS)
def test_an_array_is_read_as_pandas_reads_it(tmp_path: Path, text: str, name: str) -> None:
    found = written(tmp_path, text, name)

    assert values(found) == pandas.read_json(io.StringIO(text)).to_dict("records")
    assert [row.where for row in rows(found)] == [f"{name}[{n}]" for n in range(len(rows(found)))]
    assert found.notices == ()


LINES = {
    "lines": "".join(json.dumps(row) + "\n" for row in ROWS),
    "crlf": "\r\n".join(map(json.dumps, ROWS)),
    "blank lines": "\n\n" + "\n\n".join(map(json.dumps, ROWS)),
    "one": json.dumps(ROWS[0]),
}


@pytest.mark.parametrize("name", ["r.json", "r.jsonl"])
@pytest.mark.parametrize("text", LINES.values(), ids=LINES)
def test_lines_are_read_as_pandas_reads_them(tmp_path: Path, text: str, name: str) -> None:
    found = written(tmp_path, text, name)

    assert values(found) == pandas.read_json(io.StringIO(text), lines=True).to_dict("records")


@pytest.mark.parametrize("name", ["r.json", "r.jsonl"])
@pytest.mark.parametrize("between", ["\n", "\n\n", "", " "])
@pytest.mark.parametrize("indent", [None, 2])
def test_objects_may_follow_one_another(
    tmp_path: Path, name: str, between: str, indent: int | None
) -> None:
    text = between.join(json.dumps(row, indent=indent) for row in ROWS)

    assert values(written(tmp_path, text, name)) == ROWS


def test_a_pretty_object_larger_than_what_is_looked_at(tmp_path: Path) -> None:
    large = [{"id": n, "text": ["x" * 100] * 2_000} for n in range(3)]
    text = "\n".join(json.dumps(row, indent=1) for row in large)

    assert values(written(tmp_path, text, "r.jsonl")) == large


@pytest.mark.parametrize(
    ("document", "within"),
    [
        ({"data": ROWS}, "data"),
        ({"count": 5, "next": None, "data": ROWS, "meta": {"page": 1}}, "data"),
        ({"columns": ["id", "text"], "rows": ROWS}, "rows"),
        ({"errors": [], "rows": ROWS}, "rows"),
        ({"hits": {"total": 5, "hits": ROWS}}, "hits.hits"),
        ({"schema": {"fields": [{"name": "id"}]}, "data": ROWS}, "data"),
        ({"a key": {"with.dots": ROWS}}, "a key.with.dots"),
    ],
)
@pytest.mark.parametrize("indent", [None, 2])
def test_an_array_inside_an_object_is_found(
    tmp_path: Path, document: Any, within: str, indent: int | None
) -> None:
    found = written(tmp_path, json.dumps(document, indent=indent))

    assert values(found) == ROWS
    assert found.notices == (f"r.json: its rows are those of {within!r}",)


def test_an_array_inside_an_object_may_be_empty(tmp_path: Path) -> None:
    assert values(written(tmp_path, '{"data": [], "count": 0}')) == []


@pytest.mark.parametrize("row", [{"id": 1, "text": "a"}, {"text": "a", "tags": ["x"]}, {}])
def test_one_object_is_a_row(tmp_path: Path, row: dict[str, Any]) -> None:
    assert values(written(tmp_path, json.dumps(row, indent=2))) == [row]


def test_a_bad_line_among_lines_is_the_fault_of_its_row(tmp_path: Path) -> None:
    one, bad, three = rows(written(tmp_path, '{"a": 1}\nnonsense\n{"a": 3}\n'))

    assert (one.values, bad.where, three.values) == ({"a": 1}, "r.json:2", {"a": 3})
    assert bad.fault


def test_a_line_with_one_array_stays_a_row_of_json_lines(tmp_path: Path) -> None:
    row = {"messages": [{"role": "user", "content": "Hi"}]}

    assert values(written(tmp_path, json.dumps(row), "r.jsonl")) == [row]


@pytest.mark.parametrize(
    ("text", "said", "way"),
    [
        (
            '{"id": {"0": 1, "1": 2}, "text": {"0": "a", "1": "b"}}',
            "columns",
            "read_json('r.json')",
        ),
        ('{"id": [1, 2], "text": ["a", "b"]}', "columns", "read_json('r.json')"),
        (
            '{"columns": ["id"], "index": [0], "data": [[1]]}',
            "columns",
            "read_json('r.json', orient='split')",
        ),
        ('{"k1": {"text": "a"}, "k2": {"text": "b"}}', "an object a key", "jq -c 'to_entries[]"),
        ('{"a": [{"x": 1}], "b b": [{"x": 2}]}', "several arrays", """jq -c '.["a"][]' r.json"""),
        ('["a", "b"]', "must be objects; the first is a string", None),
        ("[[1, 2]]", "must be objects; the first is an array", None),
        ("[null]", "must be objects; the first is null", None),
        ('"text"', "neither JSON Lines nor a JSON document", None),
        ("id,text\n1,a\n", "neither JSON Lines nor a JSON document", None),
        ('[{"a": 1}', "the end of the file, as if it was cut off", None),
        ('[{"a": 1} {"a": 2}]', "',' is missing before '{'", None),
        ('[{"a": 1}] x', "more behind the end of the array", None),
        ('{"a": 1} x', "more behind the end of the object", None),
        ('[{"a": 1},\n{"a": }]', "malformed JSON", None),
        ('[{"a": 1},\n{"a": 1', "malformed JSON", None),
        ('[{"a": ' + "[" * 100_000, "nested too deeply", None),
    ],
)
def test_a_document_without_rows_says_why(
    tmp_path: Path, text: str, said: str, way: str | None
) -> None:
    with contextlib.chdir(tmp_path), pytest.raises(InputError) as caught:
        rows(written(tmp_path, text))

    assert str(caught.value).startswith("r.json: ")
    assert said in str(caught.value)
    assert (way or "") in (caught.value.hint or "")


@pytest.mark.parametrize(
    "document",
    [
        '{"id": {"0": 1, "1": 2}, "text": {"0": "a", "1": "b"}}',
        '{"id": [1, 2], "text": ["a", "b"]}',
    ],
)
def test_the_way_out_of_columns_works(tmp_path: Path, document: str) -> None:
    with pytest.raises(InputError) as caught:
        written(tmp_path, document)
    _, _, command = str(caught.value.hint).partition("turn it: python")

    subprocess.run(f"{sys.executable}{command}", shell=True, cwd=tmp_path, check=True)

    assert values(resolve("rows.parquet", tmp_path)) == [
        {"id": 1, "text": "a"},
        {"id": 2, "text": "b"},
    ]


def test_numbers_and_odd_text_stay_as_they_are(tmp_path: Path) -> None:
    text = (
        '[{"i": 12345678901234567890123, "f": 1.0, "e": 1e5, "n": NaN, "d": 0.1},'
        ' {"long": ' + "9" * 5_000 + '}, {"half": "\\ud83d"}, {"i": 1}]'
    )
    first, long, half, last = rows(written(tmp_path, text))

    assert first.values["i"] == 12345678901234567890123 and type(first.values["i"]) is int
    assert (type(first.values["f"]), first.values["e"]) == (float, 100_000.0)
    assert first.values["n"] != first.values["n"]
    assert first.values["d"] == 0.1
    assert (long.where, half.where, last.values) == ("r.json[1]", "r.json[2]", {"i": 1})
    assert "surrogate" in (half.fault or "")


def test_bytes_that_are_no_text_are_the_fault_of_their_row(tmp_path: Path) -> None:
    (tmp_path / "r.json").write_bytes(b'[{"a": "x"}, {"a": "caf\xe9"}, {"a": "y"}]')

    before, bad, after = rows(resolve("r.json", tmp_path))

    assert bad.fault == "invalid UTF-8, probably cp1252: --encoding cp1252"
    assert (before.values, after.values) == ({"a": "x"}, {"a": "y"})


def test_files_of_both_kinds_are_one_input(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_text('{"a": 1}\n')
    (tmp_path / "b.json").write_text('[{"a": 2}, {"b": 3}]')
    (tmp_path / "c.jsonl").write_text('{\n"a": 4}\n')

    found = resolve(["a.jsonl", "b.json", "c.jsonl"], tmp_path)

    assert [(row.where, row.values) for row in rows(found)] == [
        ("a.jsonl:1", {"a": 1}),
        ("b.json[0]", {"a": 2}),
        ("b.json[1]", {"b": 3}),
        ("c.jsonl[0]", {"a": 4}),
    ]
    assert found.schema(None).names == ["a", "b", "extra"]


def test_rows_of_any_size_are_read_on_from_any_place(tmp_path: Path) -> None:
    large = [{"n": n, "text": "é" * (1 << (n % 22))} for n in range(44)]
    found = written(tmp_path, json.dumps(large, ensure_ascii=False, indent=1))

    assert values(found) == large
    for batch in found.batches():
        one = rows(found, batch.end)
        first = batch.end.line
        assert [row.where for row in one] == [f"r.json[{n}]" for n in range(first, 44)]
        assert [row.values for row in one] == large[first:]


def test_what_was_found_out_is_kept(tmp_path: Path) -> None:
    found = written(tmp_path, json.dumps({"pages": 1, "data": ROWS}))

    again = resolve("r.json", tmp_path, found.format, found.found())

    assert again.reading.dialects == found.reading.dialects
    assert values(again) == ROWS


@pytest.mark.second_lane
def test_an_array_streams_in_flat_memory(tmp_path: Path) -> None:
    row = json.dumps({"text": "x" * 1_000})
    for name, count in (("small.json", 1_000), ("large.json", 100_000)):
        with (tmp_path / name).open("w") as file:
            file.write("[" + row)
            for _ in range(count - 1):
                file.write(",\n" + row)
            file.write("]")
    program = (
        "import sys, resource, pathlib\n"
        "from batch.readers import resolve\n"
        "found = resolve(sys.argv[1], pathlib.Path(sys.argv[2]))\n"
        "print(sum(len(batch.table) for batch in found.batches()))\n"
        "print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)\n"
    )

    def read(name: str) -> tuple[int, int]:
        command = [sys.executable, "-c", program, name, str(tmp_path)]
        done = subprocess.run(command, capture_output=True, text=True, check=True)
        count, peak = done.stdout.split()
        return int(count), int(peak) * (1 if sys.platform == "darwin" else 1024)

    (few, small), (many, large) = read("small.json"), read("large.json")

    assert (few, many) == (1_000, 100_000)
    assert large - small < 16 << 20  # of 100 MB

"""Rows in memory, by every way that people have them, and what is the same data."""

from __future__ import annotations

import datetime
import decimal
import json
import subprocess
import sys
import tempfile
from pathlib import Path

import duckdb
import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest

import batch
from batch.errors import Different, InputError, StorageError, UsageError
from tests.fake_api import answer_to
from tests.reading import completions, texts

FRAMES = {
    "polars": pl.DataFrame,
    "pandas": pd.DataFrame,
    "pyarrow": pa.table,
    "duckdb": lambda columns: duckdb.from_arrow(pa.table(columns)),
    "record batches": lambda columns: pa.table(columns).to_reader(max_chunksize=3),
}


def columns(count: int) -> dict[str, list]:
    return {"text": texts(count), "n": list(range(count))}


def records(count: int) -> list[dict]:
    return [{"text": text, "n": n} for n, text in enumerate(texts(count))]


@pytest.mark.parametrize("first", FRAMES)
def test_the_same_data_from_any_library_asks_nothing_again(api, job, first):
    batch.run(job, FRAMES[first](columns(7)), to="run")
    for second, frame in FRAMES.items():
        run = batch.run(job, frame(columns(7)), to="run")
        assert len(api.ledger) == 7, second
        assert completions(run.path) == [(n, answer_to(text)) for n, text in enumerate(texts(7))]


@pytest.mark.parametrize("kind", [*FRAMES, "records"])
def test_more_rows_at_the_end_are_growth_and_only_they_are_asked(api, job, kind):
    def data(count):
        return records(count) if kind == "records" else FRAMES[kind](columns(count))

    for count, asked in ((5, 5), (5, 5), (8, 8), (8, 8), (9, 9)):
        run = batch.run(job, data(count), to="run")
        assert len(api.ledger) == asked
    assert completions(run.path) == [(n, answer_to(text)) for n, text in enumerate(texts(9))]
    assert run.verify() == []
    assert batch.run("run").status().ok == 9  # by its folder alone
    assert len(api.ledger) == 9


@pytest.mark.parametrize("kind", [*FRAMES, "records"])
def test_other_data_is_another_input_and_changes_nothing(api, job, kind):
    def data(count, last):
        changed = [*texts(count)[:-1], last]
        if kind == "records":
            return [{"text": text} for text in changed]
        return FRAMES[kind]({"text": changed})

    run = batch.run(job, data(5, "end"), to="run")
    before = sorted(path.name for path in run.path.iterdir())
    for other in (data(5, "other end"), data(4, "end"), data(9, "end")):
        with pytest.raises(Different, match="another input"):
            batch.run(job, other, to="run")
    assert len(api.ledger) == 5
    assert sorted(path.name for path in run.path.iterdir()) == before


def test_other_columns_are_other_data(api, job):
    batch.run(job, pa.table({"text": ["a"], "n": [1]}), to="run")
    for other in ({"text": ["a"], "m": [1]}, {"text": ["a"], "n": [1.0]}, {"text": ["a"]}):
        with pytest.raises(Different):
            batch.run(job, pa.table(other), to="run")


def test_how_data_lie_in_memory_makes_no_difference(api, job):
    plain = pa.table(
        {
            "text": ["a", None, "ccc", "dd"],
            "large": pa.array(["x", "y", None, "z"], pa.large_string()),
            "word": pa.array(["x", "y", "x", None]).dictionary_encode(),
            "raw": [b"\0", None, b"", b"abc"],
            "yes": [True, False, None, True],
            "tags": [["a", None], [], None, ["b"]],
            "pair": [{"x": 1, "y": "b"}, None, {"x": None, "y": "b"}, {"x": 3, "y": None}],
            "map": pa.array([[("a", 1)], [], None, []], pa.map_(pa.string(), pa.int64())),
            "day": [datetime.date(2024, 2, 29)] * 4,
            "price": [decimal.Decimal("1.10"), None, decimal.Decimal("2.00"), None],
            "nothing": pa.nulls(4),
        }
    )
    chunked = pa.concat_tables([plain.slice(0, 1), plain.slice(1, 2), plain.slice(3)])
    padded = pa.concat_tables([plain, plain]).slice(4)
    for data in (plain, chunked, padded):
        run = batch.run(job, data, to="run", on_bad_row="record")
    assert run.plan.resumed == 2
    assert run.plan.data.rows == 4


def test_the_index_of_pandas_is_left_out_unless_it_is_named(api, job):
    frame = pd.DataFrame({"text": ["a", "b"]}, index=[7, 9])
    run = batch.run(job, frame, to="run")
    assert "__index_level_0__" not in next(iter(run))
    assert batch.run(job, frame.reset_index(drop=True), to="run").plan.resumed == 1
    named = batch.run(job, frame.rename_axis("key"), to="named")
    assert [row["key"] for row in named] == [7, 9]


WORDS = ["x", "y", "x", None]
OF_POLARS = {
    "categories": pl.Series(WORDS, dtype=pl.Categorical),
    "enums": pl.Series(WORDS, dtype=pl.Enum(["x", "y"])),
    "lists": pl.Series([["x", None], [], None, ["y"]], dtype=pl.List(pl.Categorical)),
    "structs": pl.Series([{"a": word} for word in WORDS], dtype=pl.Struct({"a": pl.Enum("xy")})),
    "arrays": pl.Series(
        [["x", "y"], None, ["y", "x"], ["x", None]], dtype=pl.Array(pl.Enum("xy"), 2)
    ),
}


@pytest.mark.parametrize("kind", OF_POLARS)
def test_categories_are_their_words_at_any_depth(api, job, kind):
    frame = pl.DataFrame({"text": texts(4), "word": OF_POLARS[kind]})
    run = batch.run(job, frame, to="run")
    assert [row["word"] for row in run] == frame["word"].to_list()
    words = pa.array(frame["word"].to_list(), pa.table(run)["word"].type)
    assert batch.run(job, pa.table({"text": texts(4), "word": words}), to="run").plan.resumed == 1
    assert len(api.ledger) == 4


def test_lists_of_every_layout_are_lists(api, job):
    numbers = [[1, 2], None, []]
    for kind in (pa.list_, pa.large_list, pa.list_view, pa.large_list_view):
        data = pa.table({"text": ["a", "b", "c"], "n": pa.array(numbers, kind(pa.int64()))})
        run = batch.run(job, data, to="run")
        assert [row["n"] for row in run] == numbers
    assert (run.plan.resumed, len(api.ledger)) == (3, 3)


def test_what_numpy_and_pandas_have_in_dicts_is_what_json_has(api, job):
    moment = pd.Timestamp("2024-02-29T12:00:00")
    values = {
        "integer": (np.int64(3), 3),
        "number": (np.float32(1.5), 1.5),
        "double": (np.float64(0.1), 0.1),
        "claim": (np.bool_(True), True),
        "word": (np.str_("é"), "é"),
        "vector": (np.array([1.0, 2.0]), [1.0, 2.0]),
        "moment": (moment, moment.to_pydatetime()),
        "other moment": (np.datetime64("2024-02-29T12:00:00"), moment.to_pydatetime()),
        "path": (Path("a.png"), "a.png"),
        "none": ([pd.NaT, pd.NA, np.datetime64("NaT")], [None, None, None]),
    }
    row = {"text": "a", **{key: given for key, (given, _) in values.items()}}
    plain = {"text": "a", **{key: meant for key, (_, meant) in values.items()}}
    run = batch.run(job, [row, {"text": "b", "integer": pd.NA}], to="run")
    assert batch.run(job, [plain, {"text": "b", "integer": None}], to="run").plan.resumed == 1
    assert [each["integer"] for each in run] == [3, None]
    assert next(iter(run))["vector"] == "[1.0,2.0]"
    assert len(api.ledger) == 2


def test_the_order_of_keys_makes_no_difference(api, job):
    rows = [{"text": "a", "n": {"x": 1, "y": float("nan")}}, {"text": "b", "n": None}]
    turned = [{"n": {"y": float("nan"), "x": 1}, "text": "a"}, {"n": None, "text": "b"}]
    batch.run(job, rows, to="run")
    assert batch.run(job, turned, to="run").plan.resumed == 1
    with pytest.raises(Different):
        batch.run(job, [{"text": "a", "n": {"x": float("nan"), "y": 1}}, rows[1]], to="run")
    assert len(api.ledger) == 2


ITSELF: dict = {}
ITSELF["inner"] = ITSELF


@pytest.mark.parametrize(
    "value",
    [object(), int, 1 + 2j, ITSELF, "\ud800", [{"deep": object()}], {(1, 2): 3}, (n for n in "a")],
    ids=["object", "type", "complex", "itself", "half", "deep", "keys", "generator"],
)
def test_a_value_that_is_no_json_names_its_row_and_key(api, job, value, tmp_path):
    with pytest.raises(UsageError, match="data: row 1, key 'wrong': "):
        batch.run(job, [{"text": "a"}, {"text": "b", "wrong": value}], to="run")
    assert not (tmp_path / "run").exists()


UNTAKEN = {
    "two columns of a name": (pd.DataFrame([["a", "b"]], columns=["text", "text"]), "'text'"),
    "two names of a text": (pd.DataFrame([["a", "b"]], columns=[5, "5"]), "'5'"),
    "two columns in arrow": (pa.table([["a"], ["b"]], names=["text", "text"]), "'text'"),
    "half a pair": (pd.DataFrame({"text": ["\ud800"]}, dtype=object), "surrogate"),
    "mixed values": (pd.DataFrame({"text": ["a", 1]}, dtype=object), "text"),
    "objects": (pl.DataFrame({"text": ["a"], "o": [object()]}), "'o'"),
    "a union": (
        pa.table(
            {
                "text": ["a"],
                "u": pa.UnionArray.from_sparse(pa.array([0], "int8"), [pa.array(["x"])]),
            }
        ),
        "union",
    ),
    "an interval": (
        pa.table({"text": ["a"], "i": pa.array([(1, 2, 3)], pa.month_day_nano_interval())}),
        "interval",
    ),
}


@pytest.mark.parametrize("kind", UNTAKEN)
def test_a_frame_that_cannot_be_kept_is_an_error_before_there_is_a_folder(api, job, kind, tmp_path):
    data, word = UNTAKEN[kind]
    with pytest.raises(InputError, match=f"data: .*{word}"):
        batch.run(job, data, to="run")
    assert not (tmp_path / "run").exists() and not api.ledger


def test_names_of_pandas_that_are_no_texts_are_taken_without_a_word(api, job, recwarn):
    frame = pd.DataFrame([["a", 1]], columns=["text", 7], index=pd.Index(["x"], name=3))
    run = batch.run(job, frame, to="run")
    (row,) = run
    assert (row["7"], row["3"]) == (1, "x")
    assert batch.run(job, frame, to="run").plan.resumed == 1
    assert [str(each.message) for each in recwarn] == []


def test_no_place_for_what_is_kept_is_an_error_of_the_disk(api, job, monkeypatch, tmp_path):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "missing"))
    with pytest.raises(StorageError, match="missing") as raised:
        batch.run(job, [{"text": "a"}], to="run")
    assert "TMPDIR" in (raised.value.hint or "")
    assert not (tmp_path / "run").exists()


FULL = """
import resource, signal
import polars as pl
import batch
resource.setrlimit(resource.RLIMIT_FSIZE, (4096, 4096))
texts = [str(n) * 9 for n in range(9_000)]
job = batch.job(prompt={"user": "{{ text }}"}, request={"model": "m"})
for data in (pl.DataFrame({"text": texts}), [{"text": text} for text in texts]):
    try:
        batch.run(job, data, to="run")
    except batch.errors.StorageError as error:
        print(error)
"""


@pytest.mark.skipif(sys.platform == "win32", reason="no limit on the size of files there")
def test_data_for_which_there_is_no_room_are_an_error_of_the_disk(tmp_path):
    ended = subprocess.run(
        [sys.executable, "-c", FULL], cwd=tmp_path, capture_output=True, text=True, timeout=60
    )
    assert (ended.returncode, ended.stderr) == (0, "")
    assert "input.parquet" in ended.stdout and "input.jsonl" in ended.stdout
    assert not (tmp_path / "run").exists()


def test_keys_that_the_first_dict_lacks_are_there(api, job):
    run = batch.run(job, [{"text": "a"}, {"text": "b", "more": 1}], to="run")
    assert [row["more"] for row in run] == [None, 1]
    assert (run.path / "input.jsonl").read_text().splitlines() == [
        json.dumps(row, separators=(",", ":")) for row in ({"text": "a"}, {"text": "b", "more": 1})
    ]


def test_data_moved_with_its_run_goes_on(api, job, tmp_path):
    run = batch.run(job, pl.DataFrame(columns(4)), to="run")
    run.path.rename(tmp_path / "moved")
    run = batch.run(job, pl.DataFrame(columns(6)), to="moved")
    assert len(api.ledger) == 6
    assert run.status().ok == 6


def test_a_new_run_of_a_run_of_data_has_its_data(api, job, tmp_path):
    batch.run(job, pl.DataFrame(columns(3)), to="run")
    batch.run(job, pl.DataFrame(columns(5)), to="run")
    run = batch.run("run", new=True)
    assert len(api.ledger) == 10
    assert [row["n"] for row in run] == [0, 1, 2, 3, 4]
    assert (tmp_path / "run~1").is_dir()
    assert batch.run(job, pl.DataFrame(columns(5)), to="run").plan.resumed == 1
    assert batch.run(job, pl.DataFrame(columns(6)), to="run").status().ok == 6
    assert len(api.ledger) == 11
    run = batch.run("run", reuse="run")
    assert (run.plan.data.rows, run.status().reused) == (6, 6)
    assert batch.run(job, pl.DataFrame(columns(6)), to="run").plan.resumed == 1
    assert len(api.ledger) == 11


def test_reuse_takes_answers_for_data_that_changed(api, job):
    batch.run(job, pl.DataFrame(columns(5)), to="run")
    changed = pl.DataFrame(columns(6)).reverse()
    run = batch.run(job, changed, to="other", reuse="run")
    assert len(api.ledger) == 6
    assert run.status().reused == 5


@pytest.mark.parametrize(
    "data", [42, {"text": ["a"]}, [1, 2], [{"text": "a"}, ["b"]], object(), b"text"]
)
def test_what_is_no_data_is_said_in_words(api, job, data, tmp_path):
    with pytest.raises(UsageError, match="data: "):
        batch.run(job, data, to="run")
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("data", [[], pa.table({"text": pa.array([], pa.string())})])
def test_no_rows_are_no_input(api, job, data):
    with pytest.raises(InputError, match="no rows"):
        batch.run(job, data, to="run")


def test_data_without_a_name_needs_a_place(api, job, tmp_path):
    with pytest.raises(UsageError, match="to="):
        batch.run(job, [{"text": "a"}])
    assert list(tmp_path.iterdir()) == []

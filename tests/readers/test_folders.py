"""A folder is read to the bottom, and what its folders are called is a column."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import duckdb
import polars
import pyarrow as pa
import pyarrow.dataset as ds
import pyarrow.feather
import pyarrow.parquet as pq
import pytest

from batch.errors import InputError
from batch.readers import Input, resolve
from tests.readers.test_union import carried, rows
from tests.reading import asking, table, texts

FORMATS = ["parquet", "csv", "jsonl", "json", "arrow"]
NULL = "__HIVE_DEFAULT_PARTITION__"


def put(path: Path, **columns: list[Any]) -> Path:
    """A file of these columns, in the format its name tells."""
    path.parent.mkdir(parents=True, exist_ok=True)
    made = pa.table(columns)
    if path.suffix == ".parquet":
        pq.write_table(made, path)
    elif path.suffix == ".arrow":
        pyarrow.feather.write_feather(made, str(path))
    elif path.suffix == ".json":
        path.write_text(json.dumps(made.to_pylist()))
    elif path.suffix == ".csv":
        lines = [columns, *(row.values() for row in made.to_pylist())]
        path.write_text("".join(",".join(map(str, line)) + "\n" for line in lines))
    else:
        path.write_text("".join(f"{json.dumps(row)}\n" for row in made.to_pylist()))
    return path


def inside(found: Input, folder: Path) -> list[str]:
    """The files, by their paths in a folder."""
    return [str(Path(path).relative_to(folder)) for path in found.files]


# to the bottom


def test_a_folder_in_a_folder_is_read_in_the_order_of_the_paths(tmp_path: Path) -> None:
    files = ["a.csv", "b/c.csv", "b/d/e.csv", "b.csv", "z/y.csv"]
    for name in (*files, "_notes/n.csv", ".git/g.csv", "b/_old/o.csv", "b/.h.csv"):
        put(tmp_path / "in" / name, text=[name])
    (tmp_path / "in/b/readme.md").touch()

    found = resolve("in", tmp_path)

    assert inside(found, tmp_path / "in") == sorted(files)
    assert [row.values["text"] for row in rows(found)] == sorted(files)
    url = resolve((tmp_path / "in").as_uri(), tmp_path)
    assert [Path(path).name for path in url.files] == [Path(path).name for path in found.files]


def test_a_glob_of_folders_means_the_files_below_them(tmp_path: Path) -> None:
    for name in ("a/1.csv", "a/b/2.csv", "c/3.csv"):
        put(tmp_path / "in" / name, text=["x"])
    for entry in ("in/*", (tmp_path / "in").as_uri() + "/**/*.csv", "in/**/*.csv"):
        assert [Path(path).name for path in resolve(entry, tmp_path).files] == [
            "1.csv",
            "2.csv",
            "3.csv",
        ]
    put(tmp_path / "in/4.csv", text=["x"])
    assert inside(resolve("in/*", tmp_path), tmp_path) == ["in/4.csv"]


def test_links_to_folders_are_followed_once_and_never_back(tmp_path: Path) -> None:
    put(tmp_path / "in/a/x.csv", text=["x"])
    put(tmp_path / "other/y.csv", text=["y"])
    put(tmp_path / "beside.csv", text=["z"])
    for name, target in {
        "a/loop": "in",
        "a/up": ".",
        "0_same": "in/a",
        "far": "other",
        "far2": "other",
    }.items():
        (tmp_path / "in" / name).symlink_to(tmp_path / target)
    (tmp_path / "other/round").symlink_to(tmp_path / "other")

    assert inside(resolve("in", tmp_path), tmp_path) == ["in/a/x.csv", "in/far/y.csv"]


def test_files_of_other_formats_further_down_are_refused(tmp_path: Path) -> None:
    put(tmp_path / "in/a.csv", text=["x"])
    put(tmp_path / "in/b/c.jsonl", text=["x"])

    with pytest.raises(InputError, match=r"^a\.csv and c\.jsonl are of different formats"):
        resolve("in", tmp_path)


@pytest.mark.skipif(os.name == "nt" or os.geteuid() == 0, reason="permissions bind nobody here")
def test_a_folder_that_may_not_be_read_is_an_error(tmp_path: Path) -> None:
    put(tmp_path / "in/a.csv", text=["x"])
    put(tmp_path / "in/b/c.csv", text=["x"]).parent.chmod(0)

    with pytest.raises(InputError, match="permission denied"):
        resolve("in", tmp_path)


def test_runs_inside_a_folder_are_left_out_and_named(api, batchmill, tmp_path):
    put(tmp_path / "in/a.csv", text=["x"])
    command = ("run", "in", *asking(api, "-o", "in/out"))

    for _ in range(2):
        ended = batchmill(*command)
        assert ended.exit_code == 0, ended.stderr
    assert len(api.ledger) == 1
    (line,) = batchmill("validate", "in", "-m", "m", "-p", "{{ text }}").stdout.splitlines()[:-1]
    assert line.startswith("runs inside the input are left out: ") and "in/out" in line
    (tmp_path / "in/a.csv").unlink()
    refused = batchmill("validate", "in", "-m", "m", "-p", "{{ text }}")
    assert refused.exit_code == 2
    assert "in: no input file in this folder" in refused.stderr and "in/out" in refused.stderr


def test_a_run_of_before_does_not_go_deeper_into_its_folder(api, batchmill, tmp_path):
    put(tmp_path / "in/b.csv", text=["x"])
    command = ("run", "in", *asking(api, "-o", "out"))
    assert batchmill(*command).exit_code == 0
    kept = json.loads((tmp_path / "out/run.json").read_bytes())
    (tmp_path / "out/run.json").write_text(json.dumps({**kept, "reading": {"empty": "null"}}))
    put(tmp_path / "in/a/dt=1/z.csv", text=["y"])

    ended = batchmill(*command)

    assert ended.exit_code == 0, ended.stderr
    assert len(api.ledger) == 1
    assert batchmill("verify", "out", "--input").exit_code == 0


# names of folders


def partitioned(folder: Path, suffix: str) -> None:
    """Three files in folders of three kinds of keys."""
    told = [("2026-01-01", "1", "a b%2Fc"), ("2026-01-02", "-20", NULL), (NULL, "0", "%C3%A9")]
    for number, (day, count, text) in enumerate(told):
        name = f"dt={day}/n={count}/t={text}/part-0.{suffix}"
        put(folder / name, id=[str(number)] * 2, text=["x", "y"])


HIVE: list[dict[str, Any]] = [
    {"dt": "2026-01-01", "n": 1, "t": "a b/c"},
    {"dt": "2026-01-02", "n": -20, "t": None},
    {"dt": None, "n": 0, "t": "é"},
]


@pytest.mark.parametrize("suffix", FORMATS)
@pytest.mark.parametrize("entry", ["in", "in/*", "in/*/*/*/*", "in/**/*.{}", "list", "url", "glob"])
def test_folders_called_key_value_give_columns(tmp_path: Path, suffix: str, entry: str) -> None:
    partitioned(tmp_path / "in", suffix)
    entries: Any = entry.format(suffix)
    match entry:
        case "list":
            entries = sorted(map(str, (tmp_path / "in").rglob("*.*")))
        case "url":
            entries = (tmp_path / "in").as_uri()
        case "glob":
            entries = (tmp_path / "in").as_uri() + "/*/*/*/*.*"
    found = resolve(entries, tmp_path)

    wanted = [
        {"id": str(number), "text": text, **told}
        for number, told in enumerate(HIVE)
        for text in ("x", "y")
    ]
    assert [row.values for row in rows(found)] == wanted
    assert carried(found).select(list(wanted[0])).to_pylist() == wanted
    assert [found.schema(None).field(key).type for key in HIVE[0]] == [
        pa.string(),
        pa.int64(),
        pa.string(),
    ]
    assert [field.name for field in found.schema(("t", "id")) if field.name != "extra"] == [
        "id",
        "t",
    ]


def test_pyarrow_duckdb_and_polars_see_the_same_in_the_folder(tmp_path: Path) -> None:
    partitioned(tmp_path, "parquet")
    united = carried(resolve(".", tmp_path))

    schema = pa.unify_schemas([pq.read_schema(next(tmp_path.rglob("*.parquet"))), united.schema])
    parts = ds.partitioning(united.schema.remove(0).remove(0), flavor="hive")
    assert ds.dataset(tmp_path, schema, partitioning=parts).to_table().equals(united)
    pattern = f"{tmp_path}/**/*.parquet"
    types = "{'dt': VARCHAR, 'n': BIGINT, 't': VARCHAR}"
    duck = duckdb.sql(f"FROM read_parquet('{pattern}', hive_types = {types}) ORDER BY id, text")
    assert duck.fetchall() == [tuple(row.values()) for row in united.to_pylist()]
    frame = polars.read_parquet(tmp_path, try_parse_hive_dates=False)
    assert frame.sort("id", "text").to_dicts() == united.to_pylist()


@pytest.mark.parametrize(
    ("values", "kind"),
    [
        (["1", "-2", "0"], "int64"),
        (["1", NULL], "int64"),
        (["01", "02"], "string"),
        (["1", "1.5"], "string"),
        (["1", ""], "string"),
        ([str(2**70)], "string"),
        (["2026-01-01"], "string"),
        ([NULL], "string"),
    ],
)
def test_a_key_whose_values_are_all_integers_is_a_number(
    tmp_path: Path, values: list[str], kind: str
) -> None:
    for value in values:
        put(tmp_path / f"k={value}/part-0.csv", text=["x"])

    assert str(resolve(".", tmp_path).schema(None).field("k").type) == kind


def test_only_folders_below_what_is_named_count(tmp_path: Path) -> None:
    put(tmp_path / "a=1/b=2/x.csv", text=["x"])
    put(tmp_path / "a=1/b=3/x.csv", text=["x"])

    for entry, keys in {
        ".": ["a", "b"],
        "a=1": ["b"],
        "a=1/b=*/x.csv": ["b"],
        "a=1/b=2/x.csv": [],
        "a=1/b=2": [],
    }.items():
        assert resolve(entry, tmp_path).schema(None).names == ["text", *keys]
    for entry in ("../b=*/*.csv", "../b=2/../*", "..", "../../a=1/b=*"):
        assert resolve(entry, tmp_path / "a=1/b=2").schema(None).names == ["text", "b"]
    both = resolve(["a=1/b=2", "a=1/b=3/x.csv"], tmp_path)
    assert [row.values["b"] for row in rows(both)] == [2, 3]


def test_a_glob_that_the_shell_resolves_is_the_same(api, batchmill, tmp_path):
    for day in (1, 2):
        put(tmp_path / f"dt={day}/a.csv", text=["x"])
    asked = ("-m", "m", "-p", "{{ text }} {{ dt }}", "--base-url", api.url, "-o", "out")

    for entries in (["dt=1/a.csv", "dt=2/a.csv"], ["dt=1", "dt=2"], ["dt=*"]):
        ended = batchmill("run", *entries, *asked, "--new")
        assert ended.exit_code == 0, ended.stderr
        assert api.prompts() == {"x 1": 1, "x 2": 1}
        api.reset_ledger()


def test_a_folder_without_a_key_that_others_have_is_null(tmp_path: Path) -> None:
    put(tmp_path / "in/x.csv", text=["x"])
    put(tmp_path / "in/k=1/x.csv", text=["x"])
    put(tmp_path / "in/k=1/l=a/x.csv", text=["x"])

    found = carried(resolve("in", tmp_path)).to_pylist()

    assert [(row["k"], row["l"]) for row in found] == [(1, "a"), (1, None), (None, None)]


@pytest.mark.parametrize("suffix", FORMATS)
def test_a_column_of_the_files_is_theirs_and_a_notice_says_so(tmp_path: Path, suffix: str) -> None:
    put(tmp_path / f"dt=1/k=7/a.{suffix}", text=["x"], dt=["own"])
    put(tmp_path / f"dt=2/k=8/a.{suffix}", text=["y"])
    found = resolve(".", tmp_path)

    assert [row.get("dt") for row in carried(found).to_pylist()] == ["own", None]
    assert [row.values.get("dt") for row in rows(found)] == ["own", None]
    assert [row.values["k"] for row in rows(found)] == [7, 8]
    assert any("the column dt is that of the files" in line for line in found.column_notices())


def test_a_key_of_jsonl_that_comes_late_is_what_the_prompt_sees(tmp_path: Path) -> None:
    first = put(tmp_path / "dt=1/a.jsonl", text=["x"])
    first.write_text(first.read_text() * 10_000 + '{"text": "y", "dt": "own"}\nbroken\n')
    put(tmp_path / "dt=2/a.jsonl", text=["z"])
    found = resolve(".", tmp_path)

    assert [row.values for row in rows(found)[-3:]] == [
        {"text": "y", "dt": "own"},
        {},
        {"text": "z", "dt": 2},
    ]
    assert carried(found).to_pylist()[-3:] == [
        {"text": "y", "dt": 1, "extra": '{"dt":"own"}'},
        {"text": None, "dt": 1, "extra": None},
        {"text": "z", "dt": 2, "extra": None},
    ]


@pytest.mark.parametrize("suffix", FORMATS)
def test_a_run_over_hive_folders_resumes_grows_and_notices_a_move(api, batchmill, tmp_path, suffix):
    for day in (1, 2):
        put(tmp_path / f"in/dt=2026-01-0{day}/n={day}/part-0.{suffix}", text=texts(3))
    asked = ("-m", "m", "-p", "{{ text }} {{ dt }} {{ n }}", "--base-url", api.url)
    command = ("run", "in", *asked, "-o", "out", "--set", "output.part_rows=4")
    assert batchmill(*command, "--limit", 4).exit_code == 0
    more = put(tmp_path / f"in/dt=2026-01-03/n=3/part-0.{suffix}", text=texts(1)).parent

    ended = batchmill(*command)

    assert ended.exit_code == 0, ended.stderr
    wanted = [(day, row) for day in (1, 2) for row in range(3)] + [(3, 0)]
    assert api.prompts() == {f"{texts(3)[row]} 2026-01-0{day} {day}": 1 for day, row in wanted}
    found = table(tmp_path / "out").select(["dt", "n"]).to_pylist()
    assert found == [{"dt": f"2026-01-0{day}", "n": day} for day, _ in wanted]
    assert batchmill("verify", "out", "--input").exit_code == 0
    put(more / f"late=1/part-1.{suffix}", text=texts(1))
    late = batchmill(*command)
    assert late.exit_code == 0, late.stderr
    assert "columns the run began without are left out: late" in late.stderr
    more.rename(more.parent / "n=x")
    assert batchmill(*command).exit_code == 4
    (more.parent / "n=x").rename(more)
    (tmp_path / "in/dt=2026-01-01").rename(tmp_path / "in/dt=2026-01-00")
    refused = batchmill(*command)
    assert refused.exit_code == 4
    assert "the folders say dt=2026-01-00, n=1" in refused.stderr


def test_plain_lines_have_the_columns_of_their_folders(tmp_path: Path) -> None:
    for day in (1, 2):
        put(tmp_path / f"day={day}/log.csv", text=[f"line {day}"])
    found = resolve("day=*/log.csv", tmp_path, "lines")

    lines = [("text", 1), ("line 1", 1), ("text", 2), ("line 2", 2)]
    assert [tuple(row.values.values()) for row in rows(found)] == lines
    assert [tuple(row.values()) for row in carried(found).to_pylist()] == lines


def test_places_in_messages_name_the_folders(tmp_path: Path) -> None:
    partitioned(tmp_path, "csv")
    (tmp_path / "dt=1").mkdir()
    (tmp_path / "dt=1/bad.parquet").write_bytes(b"no")

    assert rows(resolve("dt=2026*", tmp_path))[0].where == (
        "dt=2026-01-01/n=1/t=a b%2Fc/part-0.csv:2"
    )
    with pytest.raises(InputError, match=r"^dt=1/bad\.parquet: not a Parquet file"):
        resolve("dt=1", tmp_path).schema(None)

"""What `-o` and `export` write: which file, in what form, and that all of it can be read again."""

from __future__ import annotations

import codecs
import contextlib
import csv
import gzip
import io
import json
import os
import pty
import re
import subprocess
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from batch.errors import UsageError
from batch.outputs import form
from tests.fake_api import Step, answer_to
from tests.reading import asking, in_shell, rows, texts, tree, write


def decoded(path):
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


OURS = [".jsonl", ".csv", ".parquet", ".jsonl.gz", ".csv.gz", ".jsonl.zst", ".csv.zst"]
OTHERS = [
    *(".json", ".ndjson", ".xlsx", ".xls", ".tsv", ".txt", ".arrow", ".feather", ".ipc", ".db"),
    *(".sqlite", ".duckdb", ".avro", ".orc", ".pq", ".html", ".md", ".pdf", ".zip", ".gz", ".zst"),
    *(".json.gz", ".parquet.gz", ".csv.bz2", ".jsonl.xz", ".XLSX", ".Json"),
]
FOLDERS = ["gpt-5.4", "v1.2", "out", "qwen2.5-7b", "llama-3.1-8b.Q4_K_M", "a.b/c"]


@pytest.mark.parametrize("suffix", [*OURS, ".JSONL", ".Csv.GZ", ".PARQUET"])
def test_a_suffix_of_ours_in_any_case_is_a_file(suffix):
    found = form.named(f"some/out{suffix}")
    assert found is not None
    assert f".{found.format}" in suffix.lower()
    assert (found.compression is None) == (not suffix.lower().endswith((".gz", ".zst")))


@pytest.mark.parametrize("suffix", OTHERS)
def test_a_suffix_of_another_format_is_refused_naming_ours(suffix):
    with pytest.raises(UsageError) as refused:
        form.named(f"some/out{suffix}")
    assert all(f"{ours}" in str(refused.value) for ours in OURS)


@pytest.mark.parametrize("name", FOLDERS)
def test_any_other_name_is_a_folder(name):
    assert form.named(name) is None


def test_a_file_of_another_format_is_refused_before_anything_is_sent(api, batchmill, tmp_path):
    write(tmp_path / "in.jsonl", texts(3))
    (tmp_path / "job.toml").write_text(
        'input = "in.jsonl"\noutput.path = "out.tsv"\nprompt.user = "{{ text }}"\n'
        f'request.model = "m"\nendpoint.base_url = "{api.url}"\n'
    )
    before = tree(tmp_path)
    for command in (
        ("run", "in.jsonl", *asking(api, "-o", "out.xlsx")),
        ("run", "in.jsonl", *asking(api, "-o", "out.JSON")),
        ("run", "job.toml"),
        ("run", "in.jsonl", *asking(api, "--format", "csv")),
        ("run", "in.jsonl", *asking(api, "--format", "csv", "-o", "out/")),
        ("estimate", "in.jsonl", *asking(api, "-o", "out.db", "--probe", 1)),
    ):
        refused = batchmill(*command)
        assert refused.exit_code == 2, command
    assert tree(tmp_path) == before
    assert api.ledger == []


def test_what_is_written_as_a_folder_or_is_a_run_is_one(api, batchmill, tmp_path):
    write(tmp_path / "in.jsonl", texts(2))
    for name in ("runs/gpt-5.4", "runs/v1.2", "out.csv/", "out.json/"):
        assert batchmill("run", "in.jsonl", *asking(api, "-o", name)).exit_code == 0
        assert len(rows(tmp_path / name)) == 2
    again = batchmill("run", "in.jsonl", *asking(api, "-o", "out.json"))
    assert (again.exit_code, len(api.ledger)) == (0, 8)
    assert "resuming" in again.stderr
    assert batchmill("run", "out.csv").exit_code == 0


@pytest.mark.parametrize("name", ["OUT.JSONL", "out.jsonl.gz", "out.jsonl.zst"])
def test_a_compressed_file_holds_the_same(api, batchmill, tmp_path, name):
    prompts = texts(5)
    write(tmp_path / "in.jsonl", prompts)
    assert batchmill("run", "in.jsonl", *asking(api, "-o", name)).exit_code == 0
    assert len(rows(tmp_path / f"{name}.run")) == 5
    exported = "again" + name.removeprefix("OUT").removeprefix("out")
    assert batchmill("export", name, "-o", exported).exit_code == 0
    for path in (tmp_path / name, tmp_path / exported):
        with pa.input_stream(str(path), compression="detect") as file:
            found = [json.loads(line) for line in file.read().splitlines()]
        assert [row["completion"] for row in found] == [answer_to(text) for text in prompts]


def test_a_compressed_file_is_an_input_again(api, batchmill, tmp_path):
    write(tmp_path / "in.jsonl", texts(3))
    assert batchmill("run", "in.jsonl", *asking(api, "-o", "out.csv.gz")).exit_code == 0
    assert gzip.decompress((tmp_path / "out.csv.gz").read_bytes()).startswith(b"id,text,")
    again = batchmill("run", "out.csv.gz", *asking(api, "-o", "next"))
    assert again.exit_code == 0, again.stderr
    assert len(rows(tmp_path / "next")) == 3


def test_a_format_that_is_said_wins_over_the_name(api, batchmill, tmp_path):
    write(tmp_path / "in.jsonl", texts(3))
    command = ("run", "in.jsonl", *asking(api, "-o", "out.ndjson", "--format", "jsonl"))
    assert batchmill(*command).exit_code == 0
    assert len((tmp_path / "out.ndjson").read_text().splitlines()) == 3
    (tmp_path / "out.ndjson").unlink()
    assert batchmill("run", "out.ndjson.run").exit_code == 0
    assert len((tmp_path / "out.ndjson").read_text().splitlines()) == 3
    assert batchmill("export", "out.ndjson", "-o", "o.txt", "--format", "csv").exit_code == 0
    assert batchmill("export", "out.ndjson", "-o", "o.tsv").exit_code == 2


SCHEMA = {
    "stars": "integer",
    "author": {"name": "string", "age": "integer"},
    "topics": "string[]",
}
ANSWER = {"stars": 4, "author": {"name": "Ann, =1", "age": 7}, "topics": ["a", "b"]}
FLAT = ["parsed.stars", "parsed.author.name", "parsed.author.age", "parsed.topics"]


@pytest.fixture
def shaped(api, batchmill, tmp_path):
    """A run of two answers in a shape; the second does not fit it."""
    write(tmp_path / "in.jsonl", ["good", "bad"])
    api.script = {
        "good": [Step(content=json.dumps(ANSWER)), ...],
        "bad": [Step(content="no"), ...],
    }

    def run(*more):
        schema = ("--schema", json.dumps({"type": "object", **_object(SCHEMA)}), "--yes")
        return batchmill("run", "in.jsonl", *asking(api, *schema, *more))

    return run


def _object(fields):
    types = {"integer": {"type": "integer"}, "string": {"type": "string"}}
    made = {
        name: {"type": "object", **_object(kind)}
        if isinstance(kind, dict)
        else types.get(kind, {"type": "array", "items": {"type": "string"}})
        for name, kind in fields.items()
    }
    return {"properties": made, "required": list(made), "additionalProperties": False}


def test_chosen_columns_are_written_in_their_order(shaped, batchmill, tmp_path):
    names = "text,parsed.stars, parsed.author,parsed.author.name,row"
    assert shaped("-o", "out.jsonl", "--columns", names).exit_code == 1
    wanted = [
        {
            "text": "good",
            "parsed.stars": 4,
            "parsed.author": ANSWER["author"],
            "parsed.author.name": "Ann, =1",
            "row": 0,
        },
        {
            "text": "bad",
            "parsed.stars": None,
            "parsed.author": None,
            "parsed.author.name": None,
            "row": 1,
        },
    ]
    assert decoded(tmp_path / "out.jsonl") == wanted
    assert [*decoded(tmp_path / "out.jsonl")[0]] == [*wanted[0]]
    for name in ("again.jsonl", "again.parquet", "again.csv"):
        assert batchmill("export", "out.jsonl", "-o", name, "--columns", names).exit_code == 0
    assert decoded(tmp_path / "again.jsonl") == wanted
    assert pq.read_table(tmp_path / "again.parquet").to_pylist() == wanted
    assert (tmp_path / "again.csv").read_bytes() == (
        b"text,parsed.stars,parsed.author,parsed.author.name,row\r\n"
        b'good,4,"{""name"":""Ann, =1"",""age"":7}","Ann, =1",0\r\n'
        b"bad,,,,1\r\n"
    )


def test_what_was_parsed_is_flat_where_that_is_wanted(shaped, batchmill, tmp_path):
    assert shaped("-o", "out.csv", "--flat").exit_code == 1
    with (tmp_path / "out.csv").open(newline="") as file:
        good, bad = csv.DictReader(file)
    assert [name for name in good if name.startswith("parsed")] == FLAT
    assert [good[name] for name in FLAT] == ["4", "Ann, =1", "7", '["a","b"]']
    assert [bad[name] for name in FLAT] == [""] * 4
    command = ("export", "out.csv", "--flat", "--columns", "id,parsed", "-o", "out.parquet")
    assert batchmill(*command).exit_code == 0
    found = pq.read_table(tmp_path / "out.parquet")
    assert found.column_names == ["id", *FLAT]
    assert found.column("parsed.topics").to_pylist() == [["a", "b"], None]


def test_a_run_goes_on_with_the_columns_it_began_with(shaped, batchmill, tmp_path):
    assert shaped("-o", "out.jsonl", "--columns", "id,completion").exit_code == 1
    first = (tmp_path / "out.jsonl").read_bytes()
    (tmp_path / "out.jsonl").unlink()
    assert batchmill("retry", "out.jsonl.run", "--yes").exit_code == 1
    assert (tmp_path / "out.jsonl").read_bytes() == first


@pytest.mark.parametrize(
    ("names", "said"),
    [
        ("complet", "did you mean completion"),
        ("parsed.star", "did you mean parsed.stars"),
        ("text.length", "there is no column 'text.length'"),
        ("zzzzzzzz", "known: id, text"),
        ("id,id", "two columns would be named 'id'"),
        ("", "there is no column ''"),
    ],
)
def test_a_column_that_there_is_not_is_said_before_anything_is_sent(
    shaped, api, batchmill, tmp_path, names, said
):
    before = tree(tmp_path)
    refused = shaped("-o", "out.jsonl", "--columns", names)
    assert refused.exit_code == 2
    assert said in refused.stderr
    assert (tree(tmp_path), api.ledger) == (before, [])


def test_export_names_the_column_that_there_is_not(shaped, batchmill, tmp_path):
    assert shaped("-o", "run").exit_code == 1
    refused = batchmill("export", "run", "-o", "out.csv", "--columns", "completions")
    assert (refused.exit_code, "did you mean completion" in refused.stderr) == (2, True)
    assert not (tmp_path / "out.csv").exists()
    for more in (
        ("-o", "x.jsonl", "--format", "openai-batch", "--flat"),
        ("-o", "x.jsonl", "--excel"),
    ):
        assert batchmill("export", "run", *more).exit_code == 2


def test_names_with_dots_and_commas_are_found(api, batchmill, tmp_path):
    table = pa.table({"text": ["a"], "a.b": [1], "c,d": [{"e.f": 2, "e": {"f": 3}}]})
    pq.write_table(table, tmp_path / "in.parquet")
    command = ("run", "in.parquet", *asking(api, "-o", "out.jsonl"))
    assert batchmill(*command, "--columns", 'a.b,"c,d.e.f","c,d.e"').exit_code == 0
    assert decoded(tmp_path / "out.jsonl") == [{"a.b": 1, "c,d.e.f": 2, "c,d.e": {"f": 3}}]


def test_csv_for_a_spreadsheet_runs_nothing(api, batchmill, tmp_path):
    formulas = ["=1+1", "+1", "-1", "@a", "\t=1", "\r=1", " =1", "plain", "1-1"]
    rows_ = [{"text": text, "=n": -1.5, "k": [text]} for text in formulas]
    (tmp_path / "in.jsonl").write_text("".join(f"{json.dumps(row)}\n" for row in rows_))
    assert batchmill("run", "in.jsonl", *asking(api)).exit_code == 0
    command = ("export", "runs/in", "--columns", "text,=n,k", "-o")
    assert batchmill(*command, "safe.csv", "--excel").exit_code == 0
    assert batchmill(*command, "plain.csv").exit_code == 0
    safe, plain = (tmp_path / "safe.csv").read_bytes(), (tmp_path / "plain.csv").read_bytes()
    assert safe.startswith(codecs.BOM_UTF8)
    found = list(csv.DictReader(io.StringIO(safe.decode("utf-8-sig"), newline="")))
    guarded = [f"'{text}" for text in formulas[:7]] + formulas[7:]
    assert [row["text"] for row in found] == guarded
    assert {row["'=n"] for row in found} == {"-1.5"}
    assert not plain.startswith(codecs.BOM_UTF8)
    found = list(csv.DictReader(io.StringIO(plain.decode("utf-8"), newline="")))
    assert [row["text"] for row in found] == formulas


def test_standard_output_is_the_rows_and_nothing_else(api, batchmill, tmp_path):
    prompts = texts(12)
    api.script = {"text 00004": [Step(400, body={"error": {"message": "no"}}), ...]}
    write(tmp_path / "in.jsonl", prompts)
    ended = batchmill("run", "in.jsonl", *asking(api, "-o", "-"))
    assert ended.exit_code == 1
    found = [json.loads(line) for line in ended.stdout.splitlines()]
    assert [row["row"] for row in found] == list(range(12))
    assert found[7]["completion"] == answer_to(prompts[7])
    assert found[4]["status"] == "failed"
    assert "results   runs/in/completions" in ended.stderr
    assert rows(tmp_path / "runs/in")[7]["completion"] == answer_to(prompts[7])
    again = batchmill("run", "in.jsonl", *asking(api, "-o", "-", "--quiet", "--format", "csv"))
    assert list(csv.DictReader(io.StringIO(again.stdout, newline="")))[7]["row"] == "7"
    (tmp_path / "job.toml").write_text('input = "in.jsonl"\noutput.path = "-"\nname = "mine"')
    assert batchmill("run", "job.toml", *asking(api)).stdout.count("\n") == 12
    assert len(rows(tmp_path / "runs/mine")) == 12
    to_device = ("run", "in.jsonl", *asking(api, "-o", "/dev/stdout", "--format", "jsonl"))
    assert in_shell(tmp_path, "| cat", *to_device).stdout.count(b"\n") == 12


@pytest.mark.parametrize("format_", ["jsonl", "csv", "parquet"])
def test_export_to_a_pipe_is_the_file(api, batchmill, start, tmp_path, format_):
    write(tmp_path / "in.jsonl", [*texts(3), "Привет \x9b 🚀"])
    assert batchmill("run", "in.jsonl", *asking(api)).exit_code == 0
    assert batchmill("export", "runs/in", "-o", f"file.{format_}").exit_code == 0
    wanted = (tmp_path / f"file.{format_}").read_bytes()
    command = ("export", "runs/in", "--format", format_, "-o")
    with (tmp_path / "piped").open("wb") as file:
        assert ended(start(*command, "-", stdout=file)) == (0, "")
    assert (tmp_path / "piped").read_bytes() == wanted
    assert read_of(start, None, *command, "/dev/stdout")[:2] == (wanted, 0)


def ended(process):
    """Its exit code, and what it said besides its results."""
    said = process.communicate(timeout=60)[1]
    return process.returncode, said


def read_of(start, most, *args):
    """So many bytes of its standard output, after which nobody reads it; then how it ended."""
    reads, writes = os.pipe()
    process = start(*args, stdout=writes)
    os.close(writes)
    with os.fdopen(reads, "rb", buffering=0) as pipe:
        found = pipe.readall() if most is None else pipe.read(most)
    return found, *ended(process)


def with_long_answers(api, batchmill, folder):
    write(folder / "in.jsonl", [f"{n} {'long' * 3000}" for n in range(60)])
    assert batchmill("run", "in.jsonl", *asking(api)).exit_code == 0


@pytest.mark.parametrize("format_", ["jsonl", "csv", "parquet", "openai-batch"])
def test_a_reader_of_results_may_go(api, batchmill, start, tmp_path, format_):
    with_long_answers(api, batchmill, tmp_path)
    command = ("export", "runs/in", "-o", "-", "--format", format_)
    for most in (0, 5):
        assert read_of(start, most, *command)[1:] == (0, "")
    with Path("/dev/full").open("wb") as full:
        code, said = ended(start(*command, stdout=full))
    assert code == 5
    assert "standard output" in said
    assert "Traceback" not in said


def test_a_reader_of_results_may_go_in_a_shell(api, batchmill, tmp_path):
    with_long_answers(api, batchmill, tmp_path)
    for words in ("| true", "| head -c 5"):
        shown = in_shell(tmp_path, words, "export", "runs/in", "-o", "-", "--format", "jsonl")
        assert (shown.returncode, shown.stderr) == (0, b"")
    full = in_shell(tmp_path, "> /dev/full", "export", "runs/in", "-o", "-", "--format", "jsonl")
    assert full.returncode == 5
    assert b"standard output" in full.stderr
    assert b"Traceback" not in full.stderr


def test_a_run_that_stops_writes_nothing_to_standard_output(api, batchmill, tmp_path):
    write(tmp_path / "in.jsonl", texts(12))
    api.key = "sk-right"
    for more in ((), ("--quiet",)):
        ended = batchmill("run", "in.jsonl", *asking(api, "-o", "-", *more))
        assert (ended.exit_code, ended.stdout) == (3, "")
        assert "what is done lies in runs/in" in ended.stderr


def test_a_terminal_is_shown_results_and_not_driven_by_them(api, batchmill, start, tmp_path):
    write(tmp_path / "in.jsonl", ["a\x1b[2J\x9b31m\u202e b"])
    assert batchmill("run", "in.jsonl", *asking(api, "-o", "run")).exit_code == 0
    for format_ in ("jsonl", "csv", "openai-batch"):
        code, shown = on_a_terminal(start, "export", "run", "-o", "-", "--format", format_)
        assert code == 0
        assert not re.search("[\x1b\x80-\x9f\u202e]", shown)
        assert format_ == "csv" or all(map(json.loads, shown.splitlines()))
    code, _ = on_a_terminal(start, "export", "run", "-o", "-", "--format", "parquet")
    assert code == 2
    command = ("run", "in.jsonl", *asking(api, "-o", "-", "--format", "parquet", "--new"))
    assert on_a_terminal(start, *command)[0] == 2
    assert len(api.ledger) == 1


def on_a_terminal(start, *args):
    """The exit code of the program on a terminal of its own, and what that is shown."""
    ours, its = pty.openpty()
    process = start(*args, stdout=its, stderr=subprocess.DEVNULL)
    os.close(its)
    shown = b""
    with contextlib.suppress(OSError):  # as the other end is closed
        while piece := os.read(ours, 65536):
            shown += piece
    os.close(ours)
    return process.wait(timeout=30), shown.decode("utf-8").replace("\r\n", "\n")

"""What `-o` and `export` write: which file, in what form, and that all of it can be read again."""

from __future__ import annotations

import gzip
import json

import pyarrow as pa
import pytest

from batch.errors import UsageError
from batch.store import form
from tests.fake_api import answer_to
from tests.reading import asking, rows, texts, tree, write

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

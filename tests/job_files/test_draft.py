"""A job file to begin with: for any input, it is one that `validate` accepts."""

from __future__ import annotations

import re
import tomllib

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from batch import spec
from batch.job_files import columns, draft
from batch.model import Row
from batch.requests.prompts import Prompter
from tests.reading import texts, write

PNG = b"\x89PNG\r\n\x1a\n" + b"0" * 30
LINE = '{"custom_id": "a", "method": "POST", "url": "/v1/chat/completions", "body": %s}'
ASKED = '{"model": "m", "messages": [{"role": "user", "content": "x"}]}'

INPUTS = {
    "two columns": ("in.csv", "id,text\n1,a longer text\n2,another\n"),
    "semicolons": ("in.csv", "id;Größe\n1;a, b\n"),
    "odd names": ("in.csv", '"Review ""Text""",a\\b,class,x}}y,"a\nb"\nlong text,2,3,4,5\n'),
    "a null": ("in.jsonl", '{"note": "a"}\n{"note": null}\n{}\n'),
    "numbers": ("in.jsonl", '{"a": 1, "b": 2.5}\n'),
    "a table": ("in.jsonl", '{"order": {"items": [1, 2]}}\n'),
    "only labels": ("in.csv", "id\n1\n2\n"),
    "messages": ("in.jsonl", '{"messages": [{"role": "user", "content": "hi"}]}\n'),
    "a column prompt": ("in.jsonl", '{"prompt": "hi"}\n'),
    "batch lines": ("in.jsonl", LINE % ASKED),
    "bodies": ("in.jsonl", '{"model": "m", "input": "x", "temperature": 0}\n'),
    "an array": ("in.json", '[{"text": "a"}]'),
}


@pytest.mark.parametrize("kind", INPUTS)
def test_validate_accepts_what_is_drafted(batchmill, tmp_path, kind):
    name, content = INPUTS[kind]
    (tmp_path / name).write_text(content, encoding="utf-8")
    made = batchmill("init", name)
    assert (made.exit_code, made.stdout) == (0, ""), made.stderr
    checked = batchmill("validate", "in.toml")
    assert checked.exit_code == 0, checked.stdout + checked.stderr


@pytest.mark.parametrize("picture", [PNG, {"bytes": PNG, "path": None}])
def test_pictures_are_shown(batchmill, tmp_path, picture):
    pq.write_table(pa.table({"id": [1], "photo": [picture]}), tmp_path / "in.parquet")
    assert batchmill("init", "in.parquet").exit_code == 0
    assert tomllib.loads((tmp_path / "in.toml").read_text())["prompt"]["images"] == "photo"
    assert batchmill("validate", "in.toml").exit_code == 0


def test_how_the_input_is_read_is_kept(batchmill, tmp_path):
    (tmp_path / "names.txt").write_bytes("größe\nzwei\n".encode("cp1252"))
    flags = ["--input-format", "lines", "--encoding", "cp1252"]
    assert batchmill("init", "names.txt", *flags).exit_code == 0
    assert batchmill("validate", "names.toml").exit_code == 0


def test_a_job_elsewhere_finds_its_input(batchmill, tmp_path):
    (tmp_path / "jobs").mkdir()
    write(tmp_path / "in.csv", texts(2))
    assert batchmill("init", "in.csv", "-o", "jobs/mine.toml").exit_code == 0
    assert batchmill("validate", "jobs/mine.toml").exit_code == 0


def test_without_an_input_it_is_for_any(batchmill, tmp_path):
    assert batchmill("init").exit_code == 0
    write(tmp_path / "reviews.csv", texts(2))
    assert batchmill("validate", "job.toml").exit_code == 0


def test_it_lies_in_the_working_folder_and_over_nothing(batchmill, tmp_path):
    (tmp_path / "data").mkdir()
    write(tmp_path / "data" / "in.jsonl.gz", texts(2))
    first = batchmill("init", "data/in.jsonl.gz")
    assert first.exit_code == 0
    (tmp_path / "in.toml").write_text("# mine")
    again = batchmill("init", "data/in.jsonl.gz")
    assert (again.exit_code, "in.toml is there already" in again.stderr) == (4, True)
    assert (tmp_path / "in.toml").read_text() == "# mine"


def test_it_may_be_printed(batchmill, tmp_path):
    write(tmp_path / "in.csv", texts(2))
    printed = batchmill("init", "in.csv", "-o", "-")
    assert tomllib.loads(printed.stdout)["input"] == "in.csv"
    assert not list(tmp_path.glob("*.toml"))


@pytest.mark.parametrize("words", [("-",), ("in.toml",), ("in.csv", "-o", "job.txt")])
def test_what_is_no_input_or_no_job_file_is_refused(batchmill, tmp_path, words):
    write(tmp_path / "in.csv", texts(2))
    assert batchmill("init", *words).exit_code == 2


def test_an_input_that_cannot_be_read_says_why(batchmill, tmp_path):
    (tmp_path / "in.csv").write_bytes("text\ngröße\n".encode("cp1252"))
    assert "in.csv:2: " in batchmill("init", "in.csv").stderr


def test_editors_are_told_of_a_schema_that_is_there(batchmill, tmp_path):
    write(tmp_path / "in.csv", texts(2))
    before = batchmill("init", "in.csv", "-o", "-").stdout
    assert before.startswith("# #:schema ") and "batchmill schema -o" in before.splitlines()[0]
    assert batchmill("schema", "-o", "batchmill.schema.json").exit_code == 0
    after = batchmill("init", "in.csv", "-o", "-").stdout
    assert after.splitlines()[0] == "#:schema ./batchmill.schema.json"


def test_each_line_that_is_off_may_be_put_on():
    lines = draft.text(draft.ANY, {"input": "in.csv"}, None).splitlines()
    off = [number for number, line in enumerate(lines) if re.match(r"# \w+ = ", line)]
    assert len(off) > 8
    for number in off:
        one_on = [*lines[:number], lines[number].removeprefix("# "), *lines[number + 1 :]]
        spec.check(tomllib.loads("\n".join(one_on)))


@given(
    st.dictionaries(st.text(min_size=1), st.text(min_size=1) | st.none(), min_size=1, max_size=4)
)
def test_any_columns_make_a_job_that_asks(values):
    rows = [Row(0, values, "in.jsonl:1")]
    made = draft.text(columns.of(rows), {"input": "in.jsonl"}, None)
    job = spec.check(tomllib.loads(made))
    prompter = Prompter(job.prompt, job.id_column)
    assert prompter.question(rows[0])
    assert not prompter.same_for_all(values) or not prompter.templated

"""What is wrong with job or input is said in one line, before anything is sent or made."""

from __future__ import annotations

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tests.fake_api import FakeAPI
from tests.reading import asking, texts, tree, write


@pytest.fixture
def refused(api: FakeAPI, batchmill, tmp_path):
    """Runs a command that is to be refused, and gives what it says."""

    def refused(*args: object, **options: object) -> str:
        ended = batchmill(*args, **options)
        assert ended.exit_code == 2, ended.stderr
        assert "Traceback" not in ended.stderr
        assert api.ledger == []
        assert not (tmp_path / "runs").exists()
        return ended.stderr

    return refused


def test_an_input_that_is_not_there(api, refused):
    assert "no such file" in refused("run", "absent.jsonl", *asking(api)).splitlines()[0]


def test_a_line_that_is_not_json(api, refused, tmp_path):
    (tmp_path / "in.jsonl").write_text('{"text": "one"}\n\n{"text": "two"\n')
    assert refused("run", "in.jsonl", *asking(api)).startswith("error: in.jsonl:3: ")


def test_a_line_that_is_no_object(api, refused, tmp_path):
    (tmp_path / "in.jsonl").write_text('{"text": "one"}\n[1, 2]\n')
    assert refused("run", "in.jsonl", *asking(api)).startswith("error: in.jsonl:2: ")


def test_a_file_that_is_not_parquet(api, refused, tmp_path):
    (tmp_path / "in.parquet").write_text("text\none\n")
    assert refused("run", "in.parquet", *asking(api)).startswith("error: in.parquet: ")


@pytest.mark.parametrize("name", ["in.jsonl", "in.csv", "in.parquet"])
def test_an_input_without_rows(api, refused, tmp_path, name):
    if name == "in.parquet":
        pq.write_table(pa.table({"text": pa.array([], pa.string())}), tmp_path / name)
    else:
        (tmp_path / name).write_text("text\n" if name == "in.csv" else "\n")
    assert refused("run", name, *asking(api)).startswith("error: in.")


def test_an_unknown_key_of_the_job(api, refused, tmp_path):
    write(tmp_path / "in.jsonl", texts(1))
    (tmp_path / "job.toml").write_text('input = "in.jsonl"\n\n[retry]\nmax_retries = 3\n')
    said = refused("run", "job.toml", *asking(api))
    assert said.startswith("error: job.toml:4: [retry] unknown key 'max_retries'")


def test_an_unknown_key_in_a_flag(api, refused, tmp_path):
    write(tmp_path / "in.jsonl", texts(1))
    assert "'rpms'" in refused("run", "in.jsonl", *asking(api, "--set", "limits.rpms=3"))


def test_a_job_file_that_is_not_toml(api, refused, tmp_path):
    (tmp_path / "job.toml").write_text("input = \n")
    assert refused("run", "job.toml", *asking(api)).startswith("error: job.toml:1: ")


def test_a_job_file_that_is_not_there(api, refused):
    assert "no such job file: job.toml" in refused("run", "job.toml", *asking(api))


@pytest.mark.parametrize("where", ["in.jsonl:1", "in.csv:2", "in.parquet row 0"])
def test_a_prompt_that_names_a_column_the_input_lacks(api, refused, tmp_path, where):
    name = where.split(":")[0].split()[0]
    write(tmp_path / name, texts(2))
    said = refused("run", name, "-m", "m", "-p", "{{ txet }}", "--base-url", api.url)
    assert said.startswith(f"error: {where}: ")
    assert "'txet'" in said and "text" in said


def test_a_prompt_that_does_not_parse(api, refused, tmp_path):
    write(tmp_path / "in.jsonl", texts(2))
    assert "[prompt] user" in refused(
        "run", "in.jsonl", "-m", "m", "-p", "{{ text", "--base-url", api.url
    )


def test_no_model(api, refused, tmp_path):
    write(tmp_path / "in.jsonl", texts(2))
    assert "-m NAME" in refused("run", "in.jsonl", "-p", "{{ text }}", "--base-url", api.url)


def test_no_prompt(api, refused, tmp_path):
    write(tmp_path / "in.jsonl", texts(2))
    assert "no prompt" in refused("run", "in.jsonl", "-m", "m", "--base-url", api.url)


def test_no_key_for_a_public_host(refused, tmp_path):
    write(tmp_path / "in.jsonl", texts(2))
    said = refused(
        "run", "in.jsonl", "-m", "m", "-p", "{{ text }}", "--base-url", "https://api.example.com/v1"
    )
    assert "OPENAI_API_KEY" in said and "--local" in said


@pytest.mark.parametrize("number", ["ten", "0", "1.5", "true"])
def test_a_concurrency_that_is_no_number(api, refused, tmp_path, number):
    write(tmp_path / "in.jsonl", texts(2))
    assert "[limits] concurrency" in refused("run", "in.jsonl", *asking(api, "-c", number))


@pytest.mark.parametrize(
    "flags", [("--nonsense",), ("--limit", "0"), ("--set", "x"), ("--api", "chess")]
)
def test_a_flag_that_is_wrong(api, refused, tmp_path, flags):
    write(tmp_path / "in.jsonl", texts(2))
    assert refused("run", "in.jsonl", *asking(api, *flags))


def test_a_folder_that_is_no_run(refused, tmp_path):
    (tmp_path / "photos").mkdir()
    assert "photos is no run" in refused("show", "photos")


def test_a_flag_of_rows_that_there_is_not(refused):
    assert "'lenght'" in refused("show", "runs/in", "--flag", "lenght")


@pytest.mark.parametrize("made", ["file", "folder"])
def test_an_output_that_is_not_ours_stays_as_it_is(api, batchmill, tmp_path, made):
    write(tmp_path / "in.jsonl", texts(2))
    if made == "folder":
        (tmp_path / "photos/completions").mkdir(parents=True)
    (tmp_path / ("photos/cat.jpg" if made == "folder" else "photos")).write_text("meow")
    before = tree(tmp_path)
    ended = batchmill("run", "in.jsonl", *asking(api, "-o", "photos"))
    assert ended.exit_code == 4
    assert "photos" in ended.stderr
    assert tree(tmp_path) == before
    assert api.ledger == []

"""A prompt that names no column is not sent to every row unless that is said."""

from __future__ import annotations

import json

import pytest

from tests.fake_api import FakeAPI
from tests.reading import rows, texts, write

PLAIN = ("-m", "m", "-p", "Say something.")


@pytest.fixture
def named(tmp_path):
    """An input with columns of many kinds of names."""
    row = {"text": "x", "Review Text": "y", "2024": "z", "range": "r"}
    (tmp_path / "in.jsonl").write_text(f"{json.dumps(row)}\n" * 2)


@pytest.mark.parametrize("command", [["run"], ["run", "--dry-run"], ["validate"], ["estimate"]])
def test_a_prompt_without_a_column_is_refused_before_anything_is_sent(
    api: FakeAPI, batchmill, tmp_path, named, command
):
    told = batchmill(*command, "in.jsonl", *PLAIN, "--base-url", api.url)
    assert (told.exit_code, told.stdout) == (2, "")
    assert told.stderr == (
        "error: [prompt] user: it names no column, so that every row would be asked the same\n"
        "       {{ column }} stands for a value of the row (columns: text, Review Text, 2024, range);"
        " --same-prompt sends it as it is\n"
    )
    assert api.ledger == api.listings == []
    assert not (tmp_path / "runs").exists()
    told = batchmill(*command, "in.jsonl", *PLAIN, "--base-url", api.url, "--same-prompt")
    assert told.exit_code == 0, told.stderr


def test_a_run_that_has_begun_needs_no_word_again(api: FakeAPI, batchmill, tmp_path, named):
    flags = ("in.jsonl", *PLAIN, "--base-url", api.url)
    assert batchmill("run", *flags, "--same-prompt", "--limit", 1).exit_code == 0
    assert batchmill("run", *flags).exit_code == 0
    assert len(rows(tmp_path / "runs/in")) == 2
    for command in ("run", "validate", "estimate"):
        assert batchmill(command, "runs/in").exit_code == 0
    assert batchmill("estimate", *flags).exit_code == 0


@pytest.mark.parametrize(
    ("prompt", "said"),
    [
        ("Sum up {text}", "write {{ text }} where {text} stands"),
        ("Sum up { Text }", "write {{ text }} where { Text } stands"),
        ("Sum up ${text}", "write {{ text }} where ${text} stands"),
        ("Sum up $text.", "write {{ text }} where $text stands"),
        ("Sum up %(text)s", "write {{ text }} where %(text)s stands"),
        ("Sum up <text>", "write {{ text }} where <text> stands"),
        ("Sum up [TEXT]", "write {{ text }} where [TEXT] stands"),
        ("Sum up {Review Text}", 'write {{ row["Review Text"] }} where {Review Text} stands'),
        ("Sum up {{ 'text' }}", "write {{ text }} where {{ 'text' }} stands"),
        ("Year {{ 2024 }}", 'write {{ row["2024"] }}'),
        ("Year {{ 2024 }}: {{ text }}", 'write {{ row["2024"] }}'),
        ("@prompt.txt", "--prompt-file FILE reads a prompt from a file"),
        ("{% for x in [1, 2] %}{{ x }}{% endfor %}", "stands for a value"),
        ("{% set text = 'x' %}{{ text }}", "stands for a value"),
    ],
)
def test_what_was_meant_is_told(batchmill, named, prompt, said):
    told = batchmill("validate", "in.jsonl", "-m", "m", "-p", prompt)
    assert told.exit_code == 2
    assert said in told.stderr and "--same-prompt sends it" in told.stderr


@pytest.mark.parametrize(
    "flags",
    [
        ("-p", "{{ text }}"),
        ("-p", "Go on.", "-s", "{{ text }}"),
        ("-p", "{% if text %}a{% else %}b{% endif %}"),
        ("-p", "{{ missing | default('x') }}"),
        ("-p", "{{ text | length }}"),
        ("-p", "{{ range }}"),
        ("-p", "{{ row | length }}"),
        ("-p", '{{ row["Review Text"] }}'),
        ("-p", "{% for k in row %}{{ k }}{% endfor %}"),
        ("-p", "{text} {{ text }}"),
    ],
)
def test_a_column_counts_wherever_it_is_named(batchmill, named, flags):
    told = batchmill("validate", "in.jsonl", "-m", "m", *flags)
    assert told.exit_code == 0, told.stderr


def test_pictures_are_a_column(batchmill, tmp_path):
    (tmp_path / "in.jsonl").write_text('{"photo": "https://h.example/a.png"}\n')
    (tmp_path / "job.toml").write_text(
        'input = "in.jsonl"\nprompt.user = "What is it?"\nprompt.images = "photo"\n'
    )
    assert batchmill("validate", "job.toml", "-m", "m").exit_code == 0


@pytest.mark.parametrize(
    "row",
    [
        {"prompt": "Hi"},
        {"messages": [{"role": "user", "content": "Hi"}]},
        {"body": {"messages": [{"role": "user", "content": "Hi"}]}},
    ],
)
def test_rows_that_speak_for_themselves_are_not_concerned(batchmill, tmp_path, row):
    (tmp_path / "in.jsonl").write_text(json.dumps(row) + "\n")
    assert batchmill("validate", "in.jsonl", "-m", "m").exit_code == 0
    assert batchmill("validate", "in.jsonl", "-m", "m", "-s", "Be brief.").exit_code == 0


def test_the_line_of_the_job_file_is_told(batchmill, tmp_path):
    write(tmp_path / "in.jsonl", texts(1))
    (tmp_path / "job.toml").write_text('input = "in.jsonl"\n[prompt]\nuser = "Sum up {text}"\n')
    told = batchmill("run", "job.toml", "-m", "m", "--base-url", "localhost:1")
    assert told.stderr.startswith("error: job.toml:3: [prompt] user: it names no column")

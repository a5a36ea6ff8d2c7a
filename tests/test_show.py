"""Looking: at rows of a run, at the requests before there is one, and at little with --quiet."""

from __future__ import annotations

import json
import re

import pytest

from tests.fake_api import Step, answer_to
from tests.reading import asking, texts, until, write

CONTROLS = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]")


def shown(ended) -> list[str]:
    """The first line of every row that is shown."""
    assert ended.exit_code == 0, ended.stderr
    return [line[3:] for line in ended.stdout.splitlines() if line.startswith("── row ")]


@pytest.fixture
def twelve(api, batchmill, tmp_path):
    """A run of twelve rows: 3 failed, 4 was cut at its length, 3 and 5 would drive the terminal."""
    write(tmp_path / "in.jsonl", texts(12))
    api.script = {
        "text 00003": [Step(400, body={"error": {"message": "cur\x1b[2Jsed", "code": "bad_text"}})],
        "text 00004": [Step(finish_reason="length")],
        "text 00005": [Step(content="\x1b]0;owned\x07red\rgreen\tblue\nlast\x9b31m")],
    }
    ended = batchmill("run", "in.jsonl", *asking(api, "-c", 1, "--set", "output.part_rows=5"))
    assert ended.exit_code == 1, ended.stderr
    return ended


def test_shows_the_rows_that_are_wanted(twelve, batchmill):
    plain = [f"row {row}: ok" for row in range(12)]
    plain[3], plain[4] = "row 3: failed", "row 4: ok [length]"
    assert shown(batchmill("show", "runs/in")) == plain[:5]
    assert shown(batchmill("show", "runs/in", "-n", 100)) == plain
    assert shown(batchmill("show", "runs/in", "--failed")) == [plain[3]]
    assert shown(batchmill("show", "runs/in", "--flag", "length")) == [plain[4]]
    assert shown(batchmill("show", "runs/in", "--row", 11)) == [plain[11]]
    assert shown(batchmill("show", "runs/in", "--row", 12)) == []


def test_shows_prompt_answer_and_error(twelve, batchmill):
    ok = batchmill("show", "runs/in", "--row", 7).stdout
    assert "prompt      text 00007" in ok
    assert f"completion  {answer_to('text 00007')}" in ok
    failed = batchmill("show", "runs/in", "--failed").stdout
    assert "error       invalid_request (bad_text): cur\ufffd[2Jsed" in failed


def test_as_json_every_column_is_there_as_it_is(twelve, batchmill, tmp_path):
    ended = batchmill("show", "runs/in", "--json", "-n", 100)
    values = [json.loads(line) for line in ended.stdout.splitlines()]
    assert [row["row"] for row in values] == list(range(12))
    assert values[0]["completion"] == answer_to("text 00000")
    assert values[5]["completion"] == "\x1b]0;owned\x07red\rgreen\tblue\nlast\x9b31m"
    assert values[0].keys() >= {"id", "text", "status", "attempts", "started_at", "request_hash"}


def test_what_a_server_says_does_not_drive_the_terminal(twelve, batchmill):
    assert not CONTROLS.search(twelve.stderr)
    for flags in (("-n", 12), ("--json", "-n", 12)):
        assert not CONTROLS.search(batchmill("show", "runs/in", *flags).stdout)


def test_shows_rows_while_the_run_is_under_way(api, start, batchmill, tmp_path):
    write(tmp_path / "in.jsonl", texts(3))
    api.script = {"text 00002": [Step(hang=True)]}
    process = start("run", "in.jsonl", *asking(api))
    journal = tmp_path / "runs/in/open/part-00000000/journal.jsonl"
    until(lambda: journal.exists() and journal.read_bytes().count(b"\n") == 3, process)
    assert shown(batchmill("show", "runs/in")) == ["row 0: ok", "row 1: ok"]


def test_a_dry_run_shows_the_requests_and_sends_nothing(api, batchmill, tmp_path):
    write(tmp_path / "in.jsonl", texts(12))
    more = ("-s", "Be brief.", "--set", "request.temperature=0.5", "--dry-run")
    ended = batchmill("run", "in.jsonl", *asking(api, *more))
    assert ended.exit_code == 0
    assert f"# in.jsonl:1 -> POST {api.url}/chat/completions" in ended.stdout
    bodies = [json.loads(body) for body in re.split(r"^# .*$", ended.stdout, flags=re.M)[1:]]
    assert [body["messages"][-1]["content"] for body in bodies] == texts(3)
    assert {(body["model"], body["temperature"]) for body in bodies} == {("m", 0.5)}
    assert api.ledger == []
    assert not (tmp_path / "runs").exists()


def test_quiet_says_nothing_when_all_is_well(api, batchmill, tmp_path):
    write(tmp_path / "in.jsonl", texts(5))
    ended = batchmill("run", "in.jsonl", *asking(api, "--quiet"))
    assert (ended.exit_code, ended.stdout, ended.stderr) == (0, "", "")


def test_quiet_says_errors_and_what_to_do_next(api, batchmill, tmp_path):
    write(tmp_path / "in.jsonl", texts(5))
    api.key = "sk-right"
    ended = batchmill("run", "in.jsonl", *asking(api, "--quiet"))
    first, last = ended.stderr.splitlines()
    assert ended.exit_code == 3
    assert first.startswith("error: ") and "without a key" in first
    assert last.startswith("to go on, once there is a key: batchmill run in.jsonl")


def test_nothing_to_show_is_said_with_what_there_is(api, batchmill, tmp_path):
    write(tmp_path / "in.jsonl", texts(3))
    api.script = {texts(3)[1]: [Step(finish_reason="length")]}
    assert batchmill("run", "in.jsonl", *asking(api)).exit_code == 0
    told = {
        ("--failed",): "no row failed: 3 rows are ok, 0 failed",
        ("--flag", "empty"): "no row has the flag empty: length 1",
        ("--flag", "length", "--failed"): "no row that failed has the flag length: length 1",
        ("--row", 7): "row 7 is not among those wanted, or not done: 3 rows are ok",
    }
    for flags, said in told.items():
        shown = batchmill("show", "runs/in", *flags)
        assert (shown.exit_code, shown.stdout) == (0, "")
        assert shown.stderr.startswith(said)


def test_a_run_without_rows_yet_says_so(api, batchmill, tmp_path):
    write(tmp_path / "in.jsonl", texts(1))
    api.key = "sk-right"
    assert batchmill("run", "in.jsonl", *asking(api)).exit_code == 3
    assert batchmill("show", "runs/in").stderr.startswith("no row is done yet: ")


@pytest.mark.parametrize("command", [("run", "--dry-run"), ("run",), ("estimate",), ("validate",)])
@pytest.mark.parametrize("content", ["", "text\n"])
def test_an_input_without_rows_is_named(api, batchmill, tmp_path, command, content):
    (tmp_path / "in.csv").write_text(content)
    refused = batchmill(*command, "in.csv", *asking(api))
    assert (refused.exit_code, refused.stderr) == (2, "error: in.csv: no rows\n")


@pytest.mark.parametrize(
    ("step", "once"),
    [
        (404, "`model` or base_url is another"),
        (402, "the account has credit"),
        (Step(301, headers={"Location": "https://elsewhere.example/v1"}), "base_url is another"),
        (401, "the key is another"),
        (400, "that is changed"),
    ],
)
def test_what_has_to_change_first_is_said_before_the_command_that_goes_on(
    api, batchmill, tmp_path, step, once
):
    write(tmp_path / "in.jsonl", texts(30))
    api.script = {"text": [step] * 100}
    key = {"KEY": "sk-wrong"}
    ended = batchmill("run", "in.jsonl", *asking(api, "--api-key-env", "KEY"), env=key)
    assert ended.exit_code == 3, ended.stderr
    assert ended.stderr.splitlines()[-1].startswith(
        f"to go on, once {once}: batchmill run in.jsonl"
    )

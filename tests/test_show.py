"""Looking: at rows of a run, at a run under way, at the requests before there is one, and at little
with --quiet.
"""

from __future__ import annotations

import contextlib
import json
import os
import pty
import re
import signal
from types import SimpleNamespace
from typing import Any

import pytest

from batch.cli.status import EVERY, watched
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


def on_a_terminal(start, *args):
    """What the program and its pager show on a terminal, which has 24 lines."""
    ours, its = pty.openpty()
    process = start(*args, stdin=its, stdout=its, env={"PAGER": "sed s/^/paged:/"})
    os.close(its)
    shown = b""
    with contextlib.suppress(OSError):  # as the other end is closed
        while piece := os.read(ours, 65536):
            shown += piece
    os.close(ours)
    assert process.wait(30) == 0
    return shown.decode().replace("\r\n", "\n").splitlines()


def test_a_terminal_gets_page_by_page_what_it_has_no_room_for(twelve, start):
    assert on_a_terminal(start, "show", "runs/in", "-n", 1)[0] == "── row 0: ok"
    lines = on_a_terminal(start, "show", "runs/in", "-n", 12)
    assert {line[:6] for line in lines} == {"paged:"}
    assert sum(line.startswith("paged:── row ") for line in lines) == 12
    assert not CONTROLS.search("".join(lines))


def test_a_run_is_watched_until_it_is_under_way_no_more():
    looks: Any = (SimpleNamespace(state=each) for each in ("running", "running", "finished"))
    slept: list[float] = []
    seen = watched(lambda: next(looks), slept.append)
    assert [now.state for now in seen] == ["running", "running", "finished"]
    assert slept == [EVERY, EVERY]


def test_ctrl_c_leaves_the_watch_and_not_the_run(api, start, batchmill, tmp_path):
    write(tmp_path / "in.jsonl", texts(2))
    api.script = {"text 00001": [Step(hang=True)]}
    process = start("run", "in.jsonl", *asking(api))
    until(lambda: len(api.ledger) == 2, process)
    watch = start("status", "runs/in", "--watch", "--json")
    assert json.loads(watch.stdout.readline())["state"] == "running"
    watch.send_signal(signal.SIGINT)
    assert (watch.wait(30), watch.stderr.read()) == (0, "")
    assert process.poll() is None
    process.kill()
    process.wait()
    ended = batchmill("status", "runs/in", "--watch")
    assert (ended.exit_code, ended.stderr) == (0, "")
    assert "runs/in: interrupted" in ended.stdout


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


def test_quiet_says_in_one_line_what_went_wrong_and_what_to_do_next(api, batchmill, tmp_path):
    write(tmp_path / "in.jsonl", texts(5))
    api.key = "sk-right"
    ended = batchmill("run", "in.jsonl", *asking(api, "--quiet"))
    [line] = ended.stderr.splitlines()
    assert ended.exit_code == 3
    assert line.startswith("error: ") and "without a key" in line
    assert "; to go on, once there is a key: batchmill run in.jsonl" in line


def test_quiet_says_in_one_line_what_is_left_to_do(api, batchmill, tmp_path):
    write(tmp_path / "in.jsonl", texts(5))
    api.script = {"text 00003": [Step(400)]}
    ended = batchmill("run", "in.jsonl", *asking(api, "--quiet"))
    assert (ended.exit_code, ended.stdout) == (1, "")
    assert ended.stderr == "to see what failed: batchmill show runs/in --failed\n"


@pytest.mark.parametrize(
    ("flags", "code"),
    [
        (("--nothing",), 2),
        (("--set", "request.temperature=7"), 2),
        (("-p", "{{ nothing }}"), 2),
        (("-p", "Other: {{ text }}"), 4),
    ],
)
def test_quiet_says_one_line_where_no_run_begins(api, batchmill, tmp_path, flags, code):
    write(tmp_path / "in.jsonl", texts(2))
    if code == 4:
        assert batchmill("run", "in.jsonl", *asking(api)).exit_code == 0
    ended = batchmill("run", "in.jsonl", *asking(api), *flags, "--quiet")
    [line] = ended.stderr.splitlines()
    assert (ended.exit_code, line[:7]) == (code, "error: ")


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

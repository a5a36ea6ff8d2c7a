"""`--progress json`: events for programs, which keep to their published schema."""

from __future__ import annotations

import json
import signal

import jsonschema_rs
import pytest

from batch.cli import json_lines
from tests.conftest import ROOT
from tests.fake_api import Step
from tests.reading import asking, completions, texts, until, write

SCHEMA = json.loads((ROOT / "batch" / "docs" / "progress.schema.json").read_text("utf-8"))
JSON = ("--progress", "json")
PRICED = ("--set", "prices.m={input=1.0, output=2.0}")


def told(stderr, *, torn=False):
    """The lines on stderr, each of which keeps to the schema; the last one of a killed process may be
    torn.
    """
    lines = stderr.split("\n")
    assert torn or lines[-1] == ""
    found = [json.loads(line) for line in lines[:-1]]
    validator = jsonschema_rs.validator_for(SCHEMA)
    for each in found:
        validator.validate(each)
    return found


def test_the_published_schema_is_that_of_the_lines():
    assert json_lines.schema() == SCHEMA


@pytest.mark.second_lane
def test_a_run_that_is_killed_and_goes_on_keeps_to_the_schema(api, start, batchmill, tmp_path):
    write(tmp_path / "in.jsonl", texts(400))
    api.always = Step(delay=0.02)
    command = ("run", "in.jsonl", *asking(api, "-c", 8, *JSON, *PRICED))
    process = start(*command)
    until(lambda: len(api.ledger) > 150, process)
    process.kill()
    killed = told(process.communicate()[1], torn=True)
    assert killed[0]["event"] == "opened" or killed[0]["event"] == "notice"
    assert (
        {"opened", "progress"}
        <= {each["event"] for each in killed}
        <= {"opened", "progress", "notice"}
    )

    ended = batchmill(*command)
    lines = told(ended.stderr)
    [opened] = [each for each in lines if each["event"] == "opened"]
    assert opened["resumed"] == 1
    assert opened["counts"]["ok"] > 0
    last = lines[-1]
    assert (last["event"], last["exit_code"], last["rows"]) == ("ended", 0, 400)
    assert last["counts"]["ok"] == 400
    assert last["asked"]["ok"] == 400 - opened["counts"]["ok"]
    assert last["counts"]["cost_usd"] > last["asked"]["cost_usd"] > 0
    assert last["next"] is None
    assert len(completions(tmp_path / "runs/in")) == 400


def test_the_next_command_is_a_list_of_words_that_goes_on(api, start, batchmill, tmp_path):
    write(tmp_path / "in put.jsonl", texts(200))
    api.always = Step(delay=0.05)
    process = start("run", "in put.jsonl", *asking(api, "-c", 4, *JSON))
    until(lambda: len(api.ledger) > 20, process)
    process.send_signal(signal.SIGINT)
    last = told(process.communicate()[1])[-1]
    assert last["exit_code"] == process.returncode == 130
    assert last["error"] == "interrupted"
    assert last["next"][:3] == ["batchmill", "run", "in put.jsonl"]
    api.always = Step()
    again = told(batchmill(*last["next"][1:]).stderr)[-1]
    assert (again["exit_code"], again["counts"]["ok"]) == (0, 200)


def test_failed_rows_and_waits_are_told(api, batchmill, tmp_path):
    write(tmp_path / "in.jsonl", texts(3))
    api.script = {"text 00001": [Step(400)], "text 00002": [Step(503)]}
    ended = batchmill("run", "in.jsonl", *asking(api, *JSON, "--set", "retry.first_delay=0.01"))
    last = told(ended.stderr)[-1]
    assert last["exit_code"] == ended.exit_code == 1
    assert last["failures"] == {"invalid_request": 1}
    assert last["next"] == ["batchmill", "show", "runs/in", "--failed"]


@pytest.mark.parametrize(
    ("flags", "code"),
    [
        (("--nothing",), 2),
        (("--set", "request.temperature=7"), 2),
        (("-p", "{{ nothing }}"), 2),
        (("-p", "Other: {{ text }}"), 4),
        (("-o", "out.xlsx"), 2),
    ],
)
def test_an_error_before_the_run_is_the_only_line(api, batchmill, tmp_path, flags, code):
    write(tmp_path / "in.jsonl", texts(2))
    if code == 4:
        assert batchmill("run", "in.jsonl", *asking(api)).exit_code == 0
    ended = batchmill("run", "in.jsonl", *asking(api), *JSON, *flags)
    [last] = told(ended.stderr)
    assert (last["event"], last["exit_code"], ended.exit_code) == ("ended", code, code)
    assert last["error"]
    assert last["counts"] is None


def test_with_quiet_only_the_last_line_is_told(api, batchmill, tmp_path):
    write(tmp_path / "in.jsonl", texts(2))
    [last] = told(batchmill("run", "in.jsonl", *asking(api, "--quiet", *JSON)).stderr)
    assert last["counts"]["ok"] == 2


def test_retry_and_a_probe_tell_the_same(api, batchmill, tmp_path):
    write(tmp_path / "in.jsonl", texts(3))
    api.script = {"text 00001": [Step(400)]}
    probed = batchmill("estimate", "in.jsonl", *asking(api, "--probe", 2, "--progress=json"))
    last = told(probed.stderr)[-1]
    assert (last["exit_code"], last["counts"]["failed"]) == (probed.exit_code, 1) == (0, 1)
    assert probed.stdout.startswith("rows ")
    retried = told(batchmill("retry", "runs/in", *JSON).stderr)
    assert retried[-1]["counts"]["ok"] == 2

"""Runs over several servers from the command line: killed, resumed with others, looked at."""

from __future__ import annotations

import json
import signal
from typing import Any

import pytest

import batch
from tests.fake_api import FakeAPI, answer_to
from tests.reading import completions, texts, until, write

PROMPTS = texts(200)


@pytest.fixture
def eight():
    made = [FakeAPI() for _ in range(8)]
    yield made
    for api in made:
        api.close()


def urls(apis):
    return [word for api in apis for word in ("--base-url", api.url)]


@pytest.mark.second_lane
def test_a_killed_run_goes_on_with_other_servers(start, batchmill, tmp_path, eight):
    write(tmp_path / "in.jsonl", PROMPTS)
    for api in eight:
        api.latency = 0.05
    asked = ("run", "in.jsonl", "-m", "m", "-p", "{{ text }}", "-c", 8)
    process = start(*asked, *urls(eight[:2]))
    until(lambda: sum(len(api.ledger) for api in eight) >= 60, process)
    process.send_signal(signal.SIGKILL)
    process.communicate(timeout=30)
    ended = batchmill(*asked, *urls(eight[2:5]))
    assert ended.exit_code == 0, ended.stderr
    assert completions(tmp_path / "runs/in") == [
        (row, answer_to(text)) for row, text in enumerate(PROMPTS)
    ]
    assert sum(len(api.ledger) for api in eight) <= 200 + 8


def test_eight_servers_behind_one_job_are_shown_each(batchmill, tmp_path, eight):
    """The recipe: a job file with a list of URLs."""
    write(tmp_path / "in.jsonl", PROMPTS)
    for api in eight:
        api.latency = 0.02
    listed = ", ".join(f'"{api.url}"' for api in eight)
    (tmp_path / "job.toml").write_text(
        f'input = "in.jsonl"\nprompt = {{ user = "{{{{ text }}}}" }}\nrequest = {{ model = "m" }}\n'
        f'[endpoint]\nbase_url = [{listed}]\n[limits]\nconcurrency = 32\n[pool]\naffinity = "off"\n'
    )
    assert batchmill("run", "job.toml").exit_code == 0
    now = json.loads(batchmill("status", "runs/job", "--json").stdout)
    assert set(now["endpoints"]) == {f"127.0.0.1:{api.port}/v1" for api in eight}
    assert sum(now["endpoints"].values()) == 200
    assert "endpoints 127.0.0.1:" in batchmill("status", "runs/job").stdout
    report = json.loads(batchmill("report", "runs", "--by", "endpoint", "--format", "json").stdout)
    assert {group["by"]["endpoint"] for group in report["groups"]} == set(now["endpoints"])
    assert max(now["endpoints"].values()) <= 2 * 200 / 8


@pytest.mark.parametrize("flag", ["--base-url", "--set"])
def test_a_flag_that_meets_several_tables_says_so(batchmill, tmp_path, flag):
    (tmp_path / "job.toml").write_text(
        'input = "in.jsonl"\nprompt = { user = "{{ text }}" }\nrequest = { model = "m" }\n'
        '[[endpoint]]\nbase_url = "http://a:1"\n[[endpoint]]\nname = "b"\nbase_url = "http://b:1"\n'
    )
    value = "http://c:1" if flag == "--base-url" else "endpoint.provider=openai"
    ended = batchmill("run", "job.toml", flag, value)
    assert ended.exit_code == 2 and "[[endpoint]]" in ended.stderr


def test_an_error_in_one_of_several_tables_names_file_and_key(batchmill, tmp_path):
    (tmp_path / "job.toml").write_text(
        'input = "in.jsonl"\n[[endpoint]]\nbase_url = "http://a:1"\n'
        '[[endpoint]]\nname = "b"\nwieght = 2\n'
    )
    ended = batchmill("validate", "job.toml")
    assert ended.exit_code == 2
    assert "job.toml:6" in ended.stderr and "weight" in ended.stderr


@pytest.mark.parametrize("shape", ["list", "tables", "tables of lists"])
def test_a_run_over_several_servers_is_named_by_its_folder(batchmill, tmp_path, eight, shape):
    """Gone on with, checked and asked again, from the command line and from Python."""
    write(tmp_path / "in.jsonl", PROMPTS[:20])
    one, other, *rest = (api.url for api in eight[:4])
    shapes: dict[str, list[dict[str, Any]]] = {
        "list": [{"base_url": [one, other]}],
        "tables": [{"base_url": one}, {"name": "b", "base_url": other, "weight": 2}],
        "tables of lists": [{"base_url": [one, other]}, {"name": "b", "base_url": rest}],
    }
    tables = "".join(
        "[[endpoint]]\n" + "".join(f"{key} = {json.dumps(each[key])}\n" for key in each)
        for each in shapes[shape]
    )
    (tmp_path / "job.toml").write_text(
        'input = "in.jsonl"\nprompt = { user = "{{ text }}" }\nrequest = { model = "m" }\n'
        f"prices = {{ m = {{ input = 1, output = 1 }} }}\n{tables}"
    )
    for api in eight[:4]:
        api.script = {PROMPTS[3]: [400]}
    assert batchmill("run", "job.toml", "--limit", 10).exit_code == 1
    for api in eight[:4]:
        api.script = {}
    run = tmp_path / "runs/job"
    for command in ("validate", "run", "retry"):
        ended = batchmill(command, "runs/job", *(("--limit", 20) if command == "run" else ()))
        assert ended.exit_code == (1 if command == "run" else 0), ended.stderr
    assert completions(run) == [(row, answer_to(text)) for row, text in enumerate(PROMPTS[:20])]
    assert batch.run(str(run)).plan.state == "finished"
    assert batchmill("report", "runs", "--reprice").exit_code == 0


def test_a_header_is_kept_nowhere_and_a_run_with_one_is_asked_again(batchmill, tmp_path, eight):
    write(tmp_path / "in.jsonl", PROMPTS[:10])
    eight[0].script = {PROMPTS[3]: [400]}
    (tmp_path / "job.toml").write_text(
        'input = "in.jsonl"\nprompt = { user = "{{ text }}" }\nrequest = { model = "m" }\n'
        f'[endpoint]\nbase_url = "{eight[0].url}"\nheaders = {{ X-Team = "hidden0" }}\n'
    )
    assert batchmill("run", "job.toml").exit_code == 1
    eight[0].script = {PROMPTS[3]: [400]}
    said = ("--set", "endpoint.headers.X-Team=hidden1")
    assert batchmill("retry", "runs/job", *said).exit_code == 1
    assert eight[0].ledger[-1].headers["x-team"] == "hidden1"
    table = '{ X-Team = "hidden2", X-Own = "$HOME" }'
    assert batchmill("retry", "runs/job", "--set", f"endpoint.headers={table}").exit_code == 0
    assert eight[0].ledger[-1].headers["x-team"] == "hidden2"
    kept = [path.read_text() for path in (tmp_path / "runs/job").glob("*.json*")]
    assert len(kept) >= 2 and not any("hidden" in text for text in kept)
    retried = json.loads((tmp_path / "runs/job/run.json").read_text())["retries"]
    assert [each["settings"] for each in retried] == [
        {"endpoint.headers.X-Team": None},
        {"endpoint.headers": {"X-Team": None, "X-Own": "$HOME"}},
    ]
    for command in ("validate", "run", "retry"):
        assert batchmill(command, "runs/job").exit_code == 0

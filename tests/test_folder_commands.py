"""What can be asked of a run folder: how far it is, whether it is whole, and its results as one file."""

from __future__ import annotations

import csv
import json
import re
import resource
import signal
from datetime import datetime

import pyarrow.parquet as pq
import pytest

from tests.fake_api import Step, answer_to
from tests.reading import asking, parts, rows, table, texts, tree, until, write

REJECTED = Step(400, body={"error": {"message": "cursed"}})
STATUS_KEYS = {
    *("state", "rows", "ok", "failed", "pending", "run", "run_id", "model", "input", "reused"),
    *("rows_per_second", "eta_seconds", "input_tokens", "output_tokens", "attempts"),
    *("flags", "failures", "open_parts"),
}


def decoded(path):
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def status(batchmill, run="runs/in"):
    ended = batchmill("status", run, "--json")
    assert ended.exit_code == 0, ended.stderr
    return json.loads(ended.stdout)


def counts(now):
    return (now["state"], now["rows"], now["ok"], now["failed"], now["pending"])


@pytest.fixture
def forty(api, batchmill, tmp_path):
    """The folder of a run of forty rows in four parts; one failed, one was cut short."""
    api.script = {
        "text 00013": [REJECTED, ...],
        "text 00027": [Step(content='cut "short",\n', finish_reason="length"), ...],
    }
    write(tmp_path / "in.jsonl", texts(40))
    command = ("run", "in.jsonl", *asking(api, "--set", "output.part_rows=10"))
    assert batchmill(*command).exit_code == 1
    return tmp_path / "runs/in"


def test_status_beside_a_running_process_sees_it_grow(api, start, batchmill, tmp_path):
    write(tmp_path / "in.jsonl", texts(400))
    api.latency = 0.02
    process = start("run", "in.jsonl", *asking(api, "-c", 1, "--set", "output.part_rows=20"))
    until(lambda: len(api.ledger) >= 30, process)
    first = status(batchmill)
    until(lambda: len(api.ledger) >= first["ok"] + 40, process)
    said = batchmill("status", "runs/in").stdout
    second = status(batchmill)
    assert process.poll() is None
    assert first["state"] == second["state"] == "running"
    assert 0 < first["ok"] < second["ok"] <= len(api.ledger)
    assert first["failed"] == second["failed"] == 0
    assert second["rows_per_second"] > 0
    assert second["holder"].startswith(f"process {process.pid} on ")
    assert f"running by process {process.pid}" in said
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=20)
    asked = len(api.ledger)
    after = status(batchmill)
    assert (after["state"], after["ok"], after["holder"]) == ("interrupted", asked, None)
    assert (after["rows_per_second"], after["eta_seconds"]) == (None, None)


def test_status_of_a_run_that_has_finished(forty, batchmill):
    now = status(batchmill)
    assert now.keys() >= STATUS_KEYS
    assert counts(now) == ("finished", 40, 39, 1, 0)
    assert (now["flags"], now["failures"]) == ({"length": 1}, {"invalid_request": 1})
    assert now["attempts"] == 40
    assert now["output_tokens"] == sum(row["output_tokens"] or 0 for row in rows(forty))
    assert now["run"] == str(forty)
    said = batchmill("status", "runs/in").stdout
    assert "runs/in: finished" in said
    assert "39 ok, 1 failed of 40" in said


def test_status_of_a_run_that_was_stopped_and_of_one_that_was_limited(api, batchmill, tmp_path):
    write(tmp_path / "in.jsonl", texts(20))
    assert batchmill("run", "in.jsonl", *asking(api, "--limit", 8)).exit_code == 0
    assert counts(status(batchmill)) == ("finished", None, 8, 0, None)
    api.key = "sk-right"
    assert batchmill("run", "in.jsonl", *asking(api)).exit_code == 3
    assert counts(status(batchmill)) == ("stopped", None, 8, 0, None)


@pytest.mark.second_lane
def test_a_killed_run_is_interrupted_and_its_journals_count(api, start, batchmill, tmp_path):
    write(tmp_path / "in.jsonl", texts(30))
    api.script = {"text 00029": [Step(hang=True)]}
    process = start("run", "in.jsonl", *asking(api, "--set", "output.part_rows=20"))
    journal = tmp_path / "runs/in/open/part-00000001/journal.jsonl"
    until(lambda: journal.exists() and journal.read_bytes().count(b"\n") == 10, process)
    until(lambda: not (tmp_path / "runs/in/open/part-00000000").exists(), process)
    process.kill()
    process.wait()
    before = tree(tmp_path / "runs")
    now = status(batchmill)
    assert counts(now) == ("interrupted", None, 29, 0, None)
    assert now["open_parts"] == 1
    verified = batchmill("verify", "runs/in")
    assert verified.exit_code == 1
    assert "is open, 9 results are not in Parquet yet" in verified.stdout
    assert batchmill("export", "runs/in", "-o", "all.jsonl").exit_code == 0
    exported = decoded(tmp_path / "all.jsonl")
    assert [row["completion"] for row in exported] == [answer_to(text) for text in texts(29)]
    assert tree(tmp_path / "runs") == before


@pytest.mark.second_lane
def test_a_row_that_failed_before_a_kill_and_again_after_it_counts_once(
    api, start, batchmill, tmp_path
):
    write(tmp_path / "in.jsonl", texts(10))
    api.script = {"text 00003": [500, 500, ...], "text 00009": [Step(hang=True), ...]}
    hasty = ("--set", "retry.max_attempts=1")
    journal = tmp_path / "runs/in/open/part-00000000/journal.jsonl"
    for lines in (10, 11):
        process = start("run", "in.jsonl", *asking(api, *hasty))
        until(
            lambda lines=lines: journal.exists() and journal.read_bytes().count(b"\n") == lines,
            process,
        )
        process.kill()
        process.wait()
    now = status(batchmill)
    assert (now["ok"], now["failed"], now["attempts"]) == (8, 1, 10)


def test_runs_lists_the_runs_below_a_folder(api, batchmill, tmp_path):
    write(tmp_path / "in.jsonl", texts(3))
    for output in ("runs/b", "runs/deep/a", "other/c"):
        assert batchmill("run", "in.jsonl", *asking(api, "-o", output)).exit_code == 0
    listed = batchmill("runs").stdout.splitlines()
    assert [line.split()[-1] for line in listed] == ["runs/b", "runs/deep/a"]
    assert all("finished" in line and "3 ok" in line for line in listed)
    found = [json.loads(line) for line in batchmill("runs", ".", "--json").stdout.splitlines()]
    folders = [str(tmp_path / run) for run in ("other/c", "runs/b", "runs/deep/a")]
    assert [one["run"] for one in found] == folders
    assert batchmill("runs", "nowhere").exit_code == 2


def test_verify_tells_whole_from_unfinished_from_damaged(forty, api, batchmill):
    whole = batchmill("verify", "runs/in")
    assert (whole.exit_code, whole.stdout) == (0, "runs/in: all is well\n")
    (forty / "usage.parquet").rename(forty / "kept")
    assert batchmill("verify", "runs/in").exit_code == 1
    (forty / "kept").rename(forty / "usage.parquet")
    part = parts(forty)[2]
    content = part.read_bytes()
    part.write_bytes(content[:500] + bytes([content[500] ^ 1]) + content[501:])
    damaged = batchmill("verify", "runs/in", "--json")
    assert damaged.exit_code == 5
    found = [json.loads(line) for line in damaged.stdout.splitlines()]
    assert [finding["damage"] for finding in found] == [True] * len(found)
    assert part.name in found[0]["text"]
    part.unlink()
    assert batchmill("verify", "runs/in").exit_code == 5


def test_verify_of_a_limited_run_says_what_is_missing(api, batchmill, tmp_path):
    write(tmp_path / "in.jsonl", texts(20))
    assert batchmill("run", "in.jsonl", *asking(api, "--limit", 8)).exit_code == 0
    verified = batchmill("verify", "runs/in")
    assert verified.exit_code == 1
    assert verified.stdout == "the input has not been read to its end\n"


def test_verify_finds_an_edited_input_and_the_row(forty, batchmill, tmp_path):
    assert batchmill("verify", "runs/in", "--input").exit_code == 0
    edited = texts(40)
    edited[31] = "edited"
    write(tmp_path / "in.jsonl", edited)
    assert batchmill("verify", "runs/in").exit_code == 0
    verified = batchmill("verify", "runs/in", "--input")
    assert verified.exit_code == 5
    first, *others = verified.stdout.splitlines()
    assert first.startswith("the input has changed: in.jsonl differs")
    assert others == ["row 31: what was asked is not what the input asks"]


def test_export_gives_the_rows_of_the_parts_in_order(forty, batchmill, tmp_path):
    for name in ("all.parquet", "all.jsonl", "all.csv"):
        ended = batchmill("export", "runs/in", "-o", name)
        assert (ended.exit_code, ended.stderr) == (0, f"wrote {name}\n")
    whole = rows(forty)
    assert pq.read_table(tmp_path / "all.parquet").equals(table(forty))
    lines = decoded(tmp_path / "all.jsonl")
    for row in lines:
        for moment in ("started_at", "finished_at"):
            row[moment] = datetime.fromisoformat(row[moment])
    assert lines == whole
    with (tmp_path / "all.csv").open(encoding="utf-8", newline="") as file:
        cells = list(csv.DictReader(file))
    assert list(cells[0]) == list(whole[0])
    assert [cell["completion"] for cell in cells] == [row["completion"] or "" for row in whole]
    assert [int(cell["row"]) for cell in cells] == list(range(40))
    assert json.loads(cells[27]["flags"]) == ["length"]


def test_export_as_the_batch_api_would_have_answered(api, batchmill, tmp_path):
    api.script = {"cursed": [REJECTED], "raw": [Step(finish_reason="length")]}
    asked = [
        {
            "custom_id": f"id-{text}",
            "method": "POST",
            "url": "/v1/chat/completions",
            "body": {"model": "m", "messages": [{"role": "user", "content": text}]},
        }
        for text in ("one", "cursed", "raw", "two")
    ]
    (tmp_path / "in.jsonl").write_text("".join(f"{json.dumps(line)}\n" for line in asked))
    assert batchmill("run", "in.jsonl", "--base-url", api.url).exit_code == 1
    command = ("export", "runs/in", "-o", "all.jsonl", "--format", "openai-batch")
    assert batchmill(*command).exit_code == 0
    answered = decoded(tmp_path / "all.jsonl")
    failed = decoded(tmp_path / "all.errors.jsonl")
    assert [line["custom_id"] for line in answered] == ["id-one", "id-raw", "id-two"]
    for line in answered:
        assert (line["response"]["status_code"], line["error"]) == (200, None)
        body = line["response"]["body"]
        said = body["choices"][0]["message"]["content"]
        assert said == answer_to(line["custom_id"].removeprefix("id-"))
        assert body["usage"]["completion_tokens"] > 0
    assert answered[1]["response"]["body"]["choices"][0]["finish_reason"] == "length"
    assert [line["custom_id"] for line in failed] == ["id-cursed"]
    assert failed[0]["response"]["status_code"] == 400
    assert failed[0]["response"]["body"]["error"]["message"] == "cursed"


def test_export_writes_over_a_file_only_if_told_to(forty, batchmill, tmp_path):
    (tmp_path / "all.csv").write_text("mine")
    refused = batchmill("export", "runs/in", "-o", "all.csv")
    assert refused.exit_code == 4
    assert "--force" in refused.stderr
    assert (tmp_path / "all.csv").read_text() == "mine"
    assert batchmill("export", "runs/in", "-o", "all.csv", "--force").exit_code == 0
    assert (tmp_path / "all.csv").read_text().startswith("id,text,")
    assert batchmill("export", "runs/in", "-o", "all.txt").exit_code == 2


def test_an_export_that_fails_leaves_no_file_and_the_old_one(forty, start, batchmill, tmp_path):
    (tmp_path / "old.jsonl").write_text("old")
    names = {path.name for path in tmp_path.iterdir()}

    def on_a_small_disk():
        resource.setrlimit(resource.RLIMIT_FSIZE, (2000, 2000))

    for name in ("all.parquet", "all.jsonl", "old.jsonl"):
        process = start("export", "runs/in", "-o", name, "--force", preexec_fn=on_a_small_disk)
        _, stderr = process.communicate(timeout=30)
        assert process.returncode == 5, stderr
        assert "Traceback" not in stderr
    part = parts(forty)[2]
    part.write_bytes(part.read_bytes()[:3000])
    for name in ("all.parquet", "old.jsonl"):
        ended = batchmill("export", "runs/in", "-o", name, "--force")
        assert ended.exit_code == 5, ended.stderr
        assert part.name in ended.stderr
    assert {path.name for path in tmp_path.iterdir()} == names
    assert (tmp_path / "old.jsonl").read_text() == "old"


@pytest.mark.parametrize("name", ["out.parquet", "out.jsonl", "out.csv"])
def test_a_file_as_output_is_written_when_the_run_has_finished(api, batchmill, tmp_path, name):
    prompts = texts(12)
    api.script = {"text 00004": [500]}
    write(tmp_path / "in.jsonl", prompts)
    command = ("run", "in.jsonl", *asking(api, "-o", name, "--set", "retry.max_attempts=1"))
    assert batchmill(*command).exit_code == 1
    assert len(rows(tmp_path / f"{name}.run")) == 12
    first = (tmp_path / name).read_bytes()
    assert batchmill(*command).exit_code == 0
    assert (tmp_path / name).read_bytes() != first
    if name == "out.parquet":
        assert pq.read_table(tmp_path / name).equals(table(tmp_path / f"{name}.run"))
    elif name == "out.jsonl":
        written = decoded(tmp_path / name)
        assert [row["completion"] for row in written] == [answer_to(text) for text in prompts]
    else:
        with (tmp_path / name).open(newline="") as file:
            assert [row["completion"] for row in csv.DictReader(file)] == list(
                map(answer_to, prompts)
            )


def test_a_run_that_stopped_writes_no_file(api, batchmill, tmp_path):
    write(tmp_path / "in.jsonl", texts(12))
    command = ("run", "in.jsonl", *asking(api, "-o", "out.parquet"))
    api.key = "sk-right"
    assert batchmill(*command).exit_code == 3
    assert not (tmp_path / "out.parquet").exists()
    api.key = None
    assert batchmill(*command).exit_code == 0
    assert (tmp_path / "out.parquet").exists()


def test_a_file_that_is_not_ours_is_refused_before_anything_is_sent(api, batchmill, tmp_path):
    write(tmp_path / "in.jsonl", texts(12))
    (tmp_path / "out.csv").write_text("mine")
    before = tree(tmp_path)
    ended = batchmill("run", "in.jsonl", *asking(api, "-o", "out.csv"))
    assert ended.exit_code == 4
    assert "out.csv is there already, and no run of ours" in ended.stderr
    assert tree(tmp_path) == before
    assert api.ledger == []


def test_a_run_may_be_named_by_its_job_its_file_or_its_folder(api, batchmill, tmp_path):
    write(tmp_path / "in.jsonl", texts(4))
    (tmp_path / "ask.toml").write_text(
        'input = "in.jsonl"\noutput.path = "out.jsonl"\nprompt.user = "{{ text }}"\n'
        f'request.model = "m"\nendpoint.base_url = "{api.url}"\n'
    )
    assert batchmill("run", "ask.toml").exit_code == 0
    for name in ("ask.toml", "out.jsonl", "out.jsonl.run"):
        now = status(batchmill, name)
        assert (now["run"], now["ok"]) == (str(tmp_path / "out.jsonl.run"), 4)
        shown = batchmill("show", name, "--json", "-n", 9).stdout.splitlines()
        assert [json.loads(line)["row"] for line in shown] == [0, 1, 2, 3]
        assert batchmill("verify", name).exit_code == 0


@pytest.mark.parametrize("command", ["status", "verify", "show", "retry"])
def test_what_is_no_run_is_refused_in_one_line(batchmill, tmp_path, command):
    (tmp_path / "folder").mkdir()
    for name in ("folder", "nowhere"):
        ended = batchmill(command, name)
        assert ended.exit_code == 2
        assert ended.stderr == f"error: {name} is no run: there is no run.json in it\n"


def test_status_says_what_a_running_run_waits_for(api, start, batchmill, tmp_path):
    write(tmp_path / "in.jsonl", texts(20))
    api.always = Step(429, headers={"retry-after": "60"})
    process = start("run", "in.jsonl", *asking(api))
    log = tmp_path / "runs/in/run.log"
    until(lambda: log.exists() and "waiting" in log.read_text(), process)
    waiting = status(batchmill)["waiting"]
    assert re.match(r"429 .*: until \d\d:\d\d:\d\d, since \d\d:\d\d:\d\d$", waiting)
    assert "waiting   429" in batchmill("status", "runs/in").stdout
    process.send_signal(signal.SIGINT)
    stderr = process.communicate(timeout=30)[1]
    assert re.search(r"^\d\d:\d\d:\d\d  429 .*: until \d\d:\d\d:\d\d$", stderr, re.MULTILINE)
    assert status(batchmill)["waiting"] is None


def test_status_says_what_is_done_of_a_limit(api, batchmill, tmp_path):
    write(tmp_path / "in.jsonl", texts(30))
    assert batchmill("run", "in.jsonl", *asking(api, "--limit", 4)).exit_code == 0
    said = batchmill("status", "runs/in")
    assert "4 ok, 0 failed of the first 4" in said.stdout
    assert json.loads(batchmill("status", "runs/in", "--json").stdout)["limit"] == 4


def test_a_dry_run_needs_no_key(batchmill, tmp_path):
    write(tmp_path / "in.jsonl", texts(1))
    shown = batchmill("run", "in.jsonl", "-m", "m", "-p", "{{ text }}", "--dry-run")
    assert shown.exit_code == 0, shown.stderr
    assert "POST https://api.openai.com/v1/chat/completions" in shown.stdout


def test_the_embedded_model_needs_no_name(batchmill, tmp_path):
    write(tmp_path / "in.jsonl", texts(1))
    shown = batchmill("run", "in.jsonl", "--local", "-p", "{{ text }}", "--dry-run")
    assert shown.exit_code == 0, shown.stderr
    assert '"model": "smollm2-135m-instruct"' in shown.stdout

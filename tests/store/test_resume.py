"""Kill it, run the same command again: nothing is lost and nothing is asked twice."""

from __future__ import annotations

import random
import re
import signal
from collections import Counter

import pytest

from batch.engine.notices import DRAIN_SECONDS
from tests.fake_api import Step, answer_to
from tests.reading import asking, completions, parts, rows, texts, tree, until, write


def answers(prompts: list[str]) -> list[tuple[int, str]]:
    return [(row, answer_to(prompt)) for row, prompt in enumerate(prompts)]


def open_parts(tmp_path):
    return list((tmp_path / "runs/in/open").iterdir())


def journaled(tmp_path):
    """How many results the journal of the first part holds."""
    journal = tmp_path / "runs/in/open/part-00000000/journal.jsonl"
    return journal.read_bytes().count(b"\n") - 1 if journal.exists() else 0


def test_a_limited_run_goes_on_without_the_limit(api, batchmill, tmp_path):
    prompts = texts(70)
    write(tmp_path / "in.jsonl", prompts)
    assert batchmill("run", "in.jsonl", *asking(api, "--limit", 20)).exit_code == 0
    assert completions(tmp_path / "runs/in") == answers(prompts[:20])
    assert sorted(api.prompts()) == prompts[:20]
    assert batchmill("run", "in.jsonl", *asking(api)).exit_code == 0
    assert completions(tmp_path / "runs/in") == answers(prompts)
    assert api.prompts() == dict.fromkeys(prompts, 1)


@pytest.mark.parametrize(
    ("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGHUP, 129)]
)
def test_a_signal_drains_and_the_same_command_finishes(
    api, start, batchmill, tmp_path, number, code
):
    prompts = texts(200)
    write(tmp_path / "in.jsonl", prompts)
    command = ("run", "in.jsonl", *asking(api, "-c", 8, "--set", "output.part_rows=50"))
    api.latency = 0.05
    process = start(*command)
    until(lambda: len(api.ledger) >= 80, process)
    process.send_signal(number)
    _, stderr = process.communicate(timeout=20)
    assert process.returncode == code
    last = stderr.splitlines()[-1]
    assert last.startswith("to go on: batchmill run in.jsonl -m m -p '{{ text }}'")
    assert open_parts(tmp_path) == []
    drained = completions(tmp_path / "runs/in")
    assert sorted(prompts[row] for row, _ in drained) == sorted(api.prompts())
    api.latency = 0
    assert batchmill(*command).exit_code == 0
    assert completions(tmp_path / "runs/in") == answers(prompts)
    assert api.prompts() == dict.fromkeys(prompts, 1)


def test_a_second_signal_stops_without_waiting(api, start, batchmill, tmp_path):
    prompts = texts(20)
    write(tmp_path / "in.jsonl", prompts)
    api.script = {"text 00019": [Step(hang=True)]}
    command = ("run", "in.jsonl", *asking(api))
    process = start(*command)
    until(lambda: journaled(tmp_path) == 19, process)
    process.send_signal(signal.SIGINT)
    assert any("once more" in line for line in process.stderr)
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=DRAIN_SECONDS / 2)
    assert process.returncode == 130
    assert completions(tmp_path / "runs/in") == answers(prompts[:19])
    assert batchmill(*command).exit_code == 0
    assert completions(tmp_path / "runs/in") == answers(prompts)
    assert Counter(api.prompts().values()) == {1: 19, 2: 1}


def test_a_run_that_has_stopped_can_be_hurried(api, start, tmp_path):
    write(tmp_path / "in.jsonl", texts(2))
    api.script = {"text 00000": [Step(hang=True)], "text 00001": [401]}
    process = start("run", "in.jsonl", *asking(api))
    until(lambda: len(api.ledger) == 2 and api.in_flight == 1, process)
    process.send_signal(signal.SIGINT)
    assert any("once more" in line for line in process.stderr)
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=DRAIN_SECONDS / 2)
    assert process.returncode in (3, 130)  # whichever it heard of first


@pytest.mark.parametrize("count", [20, 300])
def test_a_signal_while_all_rows_wait_stops_at_once(api, start, tmp_path, count):
    write(tmp_path / "in.jsonl", texts(count))
    api.always = Step(429, headers={"retry-after": "60"})
    process = start("run", "in.jsonl", *asking(api, "-c", 20))
    until(lambda: api.ledger and api.in_flight == 0, process)
    process.send_signal(signal.SIGTERM)
    process.communicate(timeout=30)  # half of what the server asked to wait
    assert process.returncode == 143
    assert len(api.ledger) <= 20


def test_a_run_that_stops_waits_for_no_limit(api, batchmill, tmp_path):
    write(tmp_path / "in.jsonl", texts(50))
    api.key = "sk-right"
    asked = asking(api, "--rpm", 30)
    assert batchmill("run", "in.jsonl", *asked, timeout=60).exit_code == 3  # all take 100 s
    assert len(api.ledger) <= 2


@pytest.mark.second_lane
def test_eight_kills_lose_no_answer_and_ask_little_twice(api, start, batchmill, tmp_path):
    prompts = texts(900)
    write(tmp_path / "in.jsonl", prompts)
    in_flight, kills = 8, 8
    command = ("run", "in.jsonl", *asking(api, "-c", in_flight, "--set", "output.part_rows=50"))
    api.latency = 0.02
    for _ in range(kills):
        before, more = len(api.ledger), random.randint(1, 100)
        process = start(*command)
        until(lambda before=before, more=more: len(api.ledger) >= before + more, process)
        process.kill()
        process.wait()
    ended = batchmill(*command)
    assert ended.exit_code == 0, ended.stderr
    assert "damaged" not in ended.stderr
    assert completions(tmp_path / "runs/in") == answers(prompts)
    assert open_parts(tmp_path) == []
    one_commit = 4 * 0.2 / api.latency * in_flight  # four times what an idle disk takes
    assert len(api.ledger) - len(prompts) <= kills * (in_flight + one_commit)


@pytest.mark.second_lane
def test_answers_seen_as_done_survive_a_kill(api, start, batchmill, tmp_path):
    prompts = texts(60)
    write(tmp_path / "in.jsonl", prompts)
    api.script = {"text 00059": [Step(hang=True)]}
    command = ("run", "in.jsonl", *asking(api))
    process = start(*command)
    until(lambda: journaled(tmp_path) == 59, process)
    process.kill()
    process.wait()
    assert batchmill(*command).exit_code == 0
    assert completions(tmp_path / "runs/in") == answers(prompts)
    assert Counter(api.prompts().values()) == {1: 59, 2: 1}


def test_rows_that_failed_for_the_moment_are_asked_again_and_others_never(api, batchmill, tmp_path):
    prompts = texts(30)
    write(tmp_path / "in.jsonl", prompts)
    rejected = Step(400, body={"error": {"message": "cursed"}})
    api.script = {"text 00007": [500, 500], "text 00021": [500, 500], "text 00025": [rejected, ...]}
    keys = ("retry.max_attempts=2", "retry.first_delay=0.01", "output.part_rows=10")
    command = ("run", "in.jsonl", *asking(api, *(f"--set={key}" for key in keys)))
    assert batchmill(*command).exit_code == 1
    before = {row["row"]: row for row in rows(tmp_path / "runs/in")}
    assert [row for row in before if before[row]["status"] == "failed"] == [7, 21, 25]
    api.reset_ledger()
    assert batchmill(*command).exit_code == 1
    assert sorted(api.prompts()) == [prompts[7], prompts[21]]
    after = rows(tmp_path / "runs/in")
    assert [row["row"] for row in after] == list(range(30))
    for row in after:
        if row["row"] not in (7, 21):
            assert row == before[row["row"]]
    assert after[7]["completion"] == answer_to(prompts[7])
    assert (after[7]["attempts"], len(after[7]["attempt_log"])) == (3, 3)


def test_a_finished_run_asks_nothing_more(api, batchmill, tmp_path):
    write(tmp_path / "in.jsonl", texts(25))
    command = ("run", "in.jsonl", *asking(api))
    assert batchmill(*command).exit_code == 0
    sealed = {path: path.read_bytes() for path in parts(tmp_path / "runs/in")}
    again = batchmill(*command)
    assert again.exit_code == 0
    assert "25 ok, 0 failed" in again.stderr
    assert len(api.ledger) == 25
    assert {path: path.read_bytes() for path in parts(tmp_path / "runs/in")} == sealed


def test_a_run_folder_says_what_to_go_on_with(api, batchmill, tmp_path):
    prompts = texts(30)
    write(tmp_path / "in.parquet", prompts)
    assert batchmill("run", "in.parquet", *asking(api, "--limit", 10, "-o", "mine")).exit_code == 0
    ended = batchmill("run", "mine", "--set", "limit=30")
    assert ended.exit_code == 0, ended.stderr
    assert completions(tmp_path / "mine") == answers(prompts)
    assert api.prompts() == dict.fromkeys(prompts, 1)


def test_a_second_process_is_refused_while_the_first_goes_on(api, start, batchmill, tmp_path):
    prompts = texts(20)
    write(tmp_path / "in.jsonl", prompts)
    api.always = Step(500)
    patience = ("retry.first_delay=0.02", "retry.max_delay=0.02", "retry.max_attempts=100000")
    command = ("run", "in.jsonl", *asking(api, *(f"--set={key}" for key in patience)))
    first = start(*command)
    until(lambda: len(api.ledger) >= 20, first)
    second = batchmill(*command)
    assert second.exit_code == 4
    assert str(first.pid) in second.stderr
    api.always = None
    first.communicate(timeout=30)
    assert first.returncode == 0
    assert completions(tmp_path / "runs/in") == answers(prompts)


@pytest.mark.parametrize(
    ("flags", "named"),
    [
        (("-p", "Say {{ text }}"), "prompt.user"),
        (("-m", "other"), "request.model"),
        (("-s", "Be brief."), "prompt.system"),
        (("--set", "request.temperature=1"), "request.temperature"),
    ],
)
def test_another_job_is_refused_and_nothing_changes(api, batchmill, tmp_path, flags, named):
    write(tmp_path / "in.jsonl", texts(10))
    assert batchmill("run", "in.jsonl", *asking(api)).exit_code == 0
    before = tree(tmp_path / "runs")
    ended = batchmill("run", "in.jsonl", *asking(api, *flags))
    assert ended.exit_code == 4
    assert re.search(rf"another job: {re.escape(named)} changed", ended.stderr)
    assert tree(tmp_path / "runs") == before
    assert len(api.ledger) == 10


def test_another_input_is_refused_and_nothing_changes(api, batchmill, tmp_path):
    write(tmp_path / "in.jsonl", texts(10))
    assert batchmill("run", "in.jsonl", *asking(api)).exit_code == 0
    before = tree(tmp_path / "runs")
    write(tmp_path / "in.jsonl", ["another", *texts(10)[1:]])
    ended = batchmill("run", "in.jsonl", *asking(api))
    assert ended.exit_code == 4
    assert "another input: in.jsonl" in ended.stderr
    assert tree(tmp_path / "runs") == before
    assert len(api.ledger) == 10


@pytest.mark.parametrize("name", ["in.jsonl", "in.csv"])
def test_an_input_that_grew_goes_on(api, batchmill, tmp_path, name):
    prompts = texts(50)
    write(tmp_path / name, prompts[:30])
    assert batchmill("run", name, *asking(api)).exit_code == 0
    write(tmp_path / name, prompts)
    ended = batchmill("run", name, *asking(api))
    assert ended.exit_code == 0, ended.stderr
    assert "grew" in ended.stderr
    assert completions(tmp_path / "runs/in") == answers(prompts)
    assert api.prompts() == dict.fromkeys(prompts, 1)


def test_another_endpoint_and_other_limits_are_the_same_job(api, batchmill, tmp_path):
    prompts = texts(20)
    write(tmp_path / "in.jsonl", prompts)
    assert batchmill("run", "in.jsonl", *asking(api, "--limit", 5)).exit_code == 0
    (tmp_path / "moved").mkdir()
    (tmp_path / "in.jsonl").rename(tmp_path / "moved/in.jsonl")
    elsewhere = api.url.replace("127.0.0.1", "localhost")
    more = ("-c", 2, "--base-url", elsewhere, "--set", "retry.max_attempts=3")
    ended = batchmill("run", "moved/in.jsonl", *asking(api, *more))
    assert ended.exit_code == 0, ended.stderr
    assert completions(tmp_path / "runs/in") == answers(prompts)
    assert api.prompts() == dict.fromkeys(prompts, 1)

"""Several workers share one run: together they do what one process does, whatever becomes of them."""

from __future__ import annotations

import json
import signal
from collections import Counter
from decimal import Decimal
from functools import partial

import pyarrow.parquet as pq
import pytest

from batch.engine.notices import DRAIN_SECONDS
from batch.run_folder import RunFolder
from batch.store import budget_file, lock
from tests.fake_api import Step, answer_to
from tests.reading import asking, completions, rows, table, texts, until, write

PART = ("--set", "output.part_rows=25")
SUMMED = ("attempts", "input_tokens", "output_tokens")


def answers(prompts):
    return [(row, answer_to(prompt)) for row, prompt in enumerate(prompts)]


def status(batchmill, run="runs/in"):
    return json.loads(batchmill("status", run, "--json").stdout)


def sums(read):
    return {name: sum(read.column(name).to_pylist()) for name in SUMMED}


def with_blank_lines(path, prompts):
    lines = [json.dumps({"id": row, "text": text}) for row, text in enumerate(prompts)]
    path.write_text("\n\n".join(lines) + "\n \n", encoding="utf-8")
    return path


INPUTS = {
    "in.jsonl": with_blank_lines,
    "in.parquet": write,
    "in.jsonl.gz": write,
    "in.csv": write,
}


def finished(processes):
    """Their exit codes; what they said is shown where a test fails."""
    codes = [process.wait(60) for process in processes]
    for process in processes:
        print(process.communicate()[1])
    return codes


@pytest.mark.parametrize("name", INPUTS)
def test_workers_do_together_what_one_process_does(api, start, batchmill, tmp_path, name):
    prompts = texts(100)
    INPUTS[name](tmp_path / name, prompts)
    command = ("run", name, *asking(api, "--set", "output.part_rows=8"))
    workers = [start(*command, "-o", "shared", "--shard", f"{shard}/4") for shard in range(4)]
    assert finished(workers) == [0] * 4
    assert api.prompts() == dict.fromkeys(prompts, 1)
    assert completions(tmp_path / "shared") == answers(prompts)
    assert batchmill(*command, "-o", "alone").exit_code == 0
    for run in ("shared", "alone"):
        assert batchmill("verify", run).exit_code == 0
    assert sums(table(tmp_path / "shared")) == sums(table(tmp_path / "alone"))
    found = status(batchmill, "shared")
    assert (found["state"], found["ok"], found["rows"]) == ("finished", 100, 100)


@pytest.mark.second_lane
@pytest.mark.parametrize("name", INPUTS)
def test_killed_workers_are_followed_by_another_number(api, start, batchmill, tmp_path, name):
    prompts = texts(600)
    INPUTS[name](tmp_path / name, prompts)
    api.latency = 0.05
    command = ("run", name, *asking(api, "-c", 12, *PART, "-o", "shared"))
    for turn, of in enumerate((4, 3)):
        workers = [start(*command, "--shard", f"{shard}/{of}") for shard in range(of)]
        more = (turn + 1) * 150
        until(lambda more=more: len(api.ledger) >= more)
        for worker in workers:
            worker.kill()
            worker.wait()
    assert batchmill("verify", "shared").exit_code == 1
    workers = [start(*command, "--shard", f"{shard}/2") for shard in range(2)]
    assert finished(workers) == [0] * 2
    assert completions(tmp_path / "shared") == answers(prompts)
    assert batchmill("verify", "shared").exit_code == 0
    found = table(tmp_path / "shared")
    told = sum(found["attempts"].to_pylist())
    lost = sum(found["maybe_billed_attempts"].to_pylist())
    assert told - lost <= sum(api.prompts().values()) <= told


def test_one_process_finishes_what_workers_began_and_they_what_it_began(
    api, start, batchmill, tmp_path
):
    prompts = texts(200)
    write(tmp_path / "in.jsonl", prompts)
    command = ("run", "in.jsonl", *asking(api, *PART))
    assert batchmill(*command, "--shard", "1/3", "--limit", 150).exit_code == 0
    begun = status(batchmill)
    assert (begun["state"], begun["rows"]) == ("interrupted", 200)
    assert batchmill(*command, "--limit", 180).exit_code == 0
    assert batchmill(*command, "--shard", "0/2").exit_code == 0
    assert batchmill(*command).exit_code == 0
    assert api.prompts() == dict.fromkeys(prompts, 1)
    assert completions(tmp_path / "runs/in") == answers(prompts)
    assert batchmill("verify", "runs/in").exit_code == 0


def test_one_process_is_not_told_that_it_is_a_worker(api, batchmill, tmp_path):
    write(tmp_path / "in.jsonl", texts(60))
    command = ("run", "in.jsonl", *asking(api, *PART))
    assert batchmill(*command, "--shard", "0/2").exit_code == 0
    assert "(resuming)\n" in batchmill(*command).stderr


def test_a_run_is_finished_although_another_worker_is_just_leaving(api, batchmill, tmp_path):
    write(tmp_path / "in.jsonl", texts(60))
    command = ("run", "in.jsonl", *asking(api, *PART))
    assert batchmill(*command, "--shard", "1/2").exit_code == 0
    with lock.worker(RunFolder(tmp_path / "runs/in", "1-of-2")):
        assert batchmill(*command, "--shard", "0/2").exit_code == 0
        assert status(batchmill)["state"] == "running"
    assert status(batchmill)["state"] == "finished"


def test_failed_rows_of_a_shared_run_are_asked_again(api, batchmill, tmp_path):
    prompts = texts(60)
    write(tmp_path / "in.jsonl", prompts)
    api.script = {"text 00007": [Step(status=400)], "text 00033": [Step(status=400)]}
    command = ("run", "in.jsonl", *asking(api, *PART))
    assert [batchmill(*command, "--shard", f"{shard}/2").exit_code for shard in range(2)] == [1, 1]
    assert batchmill("retry", "runs/in").exit_code == 0
    assert completions(tmp_path / "runs/in") == answers(prompts)


def test_rows_that_came_later_become_parts_of_their_own(api, batchmill, tmp_path):
    prompts = texts(130)
    write(tmp_path / "in.jsonl", prompts[:60])
    command = ("run", "in.jsonl", *asking(api, *PART))
    assert batchmill(*command, "--shard", "0/2").exit_code == 0
    write(tmp_path / "in.jsonl", prompts)
    for shard in range(2):
        assert batchmill(*command, "--shard", f"{shard}/2").exit_code == 0
    assert api.prompts() == dict.fromkeys(prompts, 1)
    assert completions(tmp_path / "runs/in") == answers(prompts)
    assert batchmill("verify", "runs/in").exit_code == 0


@pytest.fixture
def at_work(api, start, tmp_path):
    """A worker that waits for answers which never come, and the command of all workers."""
    write(tmp_path / "in.jsonl", texts(100))
    api.always = Step(hang=True)
    command = ("run", "in.jsonl", *asking(api, *PART, "-c", 8))
    worker = start(*command, "--shard", "0/2")
    until(lambda: api.ledger, worker)
    return worker, command


@pytest.mark.parametrize(
    ("more", "named"),
    [
        (("--shard", "0/2"), "0-of-2"),
        (("--shard", "1/3"), "0-of-2"),
        ((), "0-of-2"),
    ],
    ids=["the same again", "of another number", "alone"],
)
def test_who_would_do_a_workers_rows_is_refused(at_work, batchmill, more, named):
    worker, command = at_work
    refused = batchmill(*command, *more)
    assert refused.exit_code == 4, refused.stderr
    assert named in refused.stderr and str(worker.pid) in refused.stderr
    assert "runs/in --workers" in refused.stderr


def test_what_changes_the_whole_run_waits_for_its_workers(at_work, batchmill):
    _, command = at_work
    for words in (("verify", "runs/in", "--repair"), ("retry", "runs/in"), (*command, "--new")):
        refused = batchmill(*words)
        assert refused.exit_code == 4, (words, refused.stderr)


def test_status_tells_of_each_worker(at_work, batchmill, tmp_path):
    worker, _ = at_work
    until((tmp_path / "runs/in/workers/0-of-2.json").exists, worker)
    found = status(batchmill)
    (told,) = found["workers"]
    assert found["state"] == "running"
    assert (told["worker"], told["state"], told["pid"]) == ("0-of-2", "working", worker.pid)
    worker.kill()
    worker.wait()
    found = status(batchmill)
    assert (found["state"], found["workers"][0]["state"]) == ("interrupted", "gone")
    shown = batchmill("status", "runs/in", "--workers")
    assert shown.exit_code == 0 and "0-of-2 gone" in shown.stdout


def test_a_worker_says_what_is_its_own_and_how_to_see_the_whole(api, batchmill, tmp_path):
    write(tmp_path / "in.jsonl", texts(60))
    command = ("run", "in.jsonl", *asking(api, *PART))
    said = batchmill(*command, "--shard", "1/2").stderr
    assert "among 2 workers" in said
    assert "25 ok, 0 failed, in the parts of worker 1-of-2" in said
    assert "whole     batchmill status runs/in --workers" in said
    alone = batchmill(*command, "-o", "alone").stderr
    assert "parts of worker" not in alone and "whole " not in alone
    shown = batchmill("status", "runs/in", "--workers").stdout
    assert "25 of 25 rows" in shown and "exit code 0" in shown


def test_status_counts_workers_instead_of_naming_them(at_work, start, batchmill):
    worker, command = at_work
    start(*command, "--shard", "1/2")
    until(lambda: len(status(batchmill)["workers"]) == 2, worker)
    assert "running by 2 workers\n" in batchmill("status", "runs/in").stdout


def test_an_interrupted_worker_leaves_the_others_at_work(at_work, api, start, batchmill, tmp_path):
    worker, command = at_work
    other = start(*command, "--shard", "1/2")
    until(lambda: len(api.ledger) == 8, other)
    worker.send_signal(signal.SIGINT)
    assert any("once more" in line for line in worker.stderr)
    worker.send_signal(signal.SIGINT)
    assert worker.wait(DRAIN_SECONDS / 2) == 130
    found = status(batchmill)
    assert found["state"] == "running" and str(other.pid) in found["holder"]
    other.kill()
    other.wait()
    api.always = None
    for shard in range(2):
        assert batchmill(*command, "--shard", f"{shard}/2").exit_code == 0
    assert completions(tmp_path / "runs/in") == answers(texts(100))


def test_a_run_of_one_process_stays_as_it_is(api, batchmill, tmp_path):
    write(tmp_path / "in.jsonl", texts(50))
    command = ("run", "in.jsonl", *asking(api, "--limit", 20))
    assert batchmill(*command).exit_code == 0
    refused = batchmill(*command, "--shard", "0/2")
    assert refused.exit_code == 4 and "not planned" in refused.stderr
    assert not (tmp_path / "runs/in/parts.json").exists()


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--shard", "2/2"), "the last is 1"),
        (("--shard", "two"), "write I/N"),
        (("--shard", "auto"), "no scheduler"),
        (("--shard", "0/2", "--new"), "--new"),
        (("--shard", "0/2", "-o", "out.csv"), "export"),
        (("-", "--shard", "0/2"), "standard input"),
    ],
)
def test_what_workers_cannot_do_is_said_before_anything_is_asked(
    api, batchmill, tmp_path, words, said
):
    write(tmp_path / "in.jsonl", texts(5))
    words = words if words[0] == "-" else ("in.jsonl", *words)
    refused = batchmill("run", *words, *asking(api), stdin='{"text": "a"}\n')
    assert refused.exit_code == 2, refused.stderr
    assert said in refused.stderr
    assert not api.ledger


PRICES = ("--set", "prices.m.input=3000", "--set", "prices.m.output=3000")


def spent(api):
    """USD by the ledger of the server."""
    return sum(asked.input_tokens + asked.output_tokens for asked in api.ledger) * Decimal("0.003")


def test_the_cap_holds_for_all_workers_together(api, start, batchmill, tmp_path):
    prompts = texts(1000)
    write(tmp_path / "in.jsonl", prompts)
    cap = Decimal("24")
    command = (
        "run",
        "in.jsonl",
        *asking(api, *PART, *PRICES, "--max-cost", cap, "--max-tokens", 20),
    )
    workers = [start(*command, "-c", 8, "--shard", f"{shard}/4") for shard in range(4)]
    until(lambda: len(api.ledger) > 10)
    workers[2].kill()
    assert set(finished(workers)) <= {0, 3, -9}
    batchmill(*command, "--shard", "1/3")
    assert batchmill(*command).exit_code == 3
    drawn = budget_file.of_all(RunFolder(tmp_path / "runs/in")).drawn_usd
    assert spent(api) <= drawn <= cap
    assert spent(api) >= cap * Decimal("0.9")


def test_limits_are_divided_among_the_workers(api, start, batchmill, tmp_path):
    prompts = texts(120)
    write(tmp_path / "in.jsonl", prompts)
    api.latency = 0.05
    command = ("run", "in.jsonl", *asking(api, *PART, "-c", 6))
    workers = [start(*command, "--shard", f"{shard}/3") for shard in range(3)]
    assert finished(workers) == [0] * 3
    assert api.peak_in_flight <= 6


def test_workers_take_the_answers_of_an_older_run(api, batchmill, tmp_path):
    prompts = texts(90)
    write(tmp_path / "in.jsonl", prompts)
    command = ("run", "in.jsonl", *asking(api))
    assert batchmill(*command, "-o", "old", "--limit", 70).exit_code == 0
    for shard in range(2):
        words = (*command, *PART, "-o", "new", "--reuse", "old", "--shard", f"{shard}/2")
        assert batchmill(*words).exit_code == 0
    assert api.prompts() == dict.fromkeys(prompts, 1)
    assert Counter(row["reused"] for row in rows(tmp_path / "new")) == {True: 70, False: 20}


def test_a_sample_is_shared_too(api, batchmill, tmp_path):
    write(tmp_path / "in.jsonl", texts(300))
    command = ("run", "in.jsonl", *asking(api, *PART, "--sample", 60))
    for shard in range(2):
        assert batchmill(*command, "-o", "shared", "--shard", f"{shard}/2").exit_code == 0
    assert batchmill(*command, "-o", "alone").exit_code == 0
    both = [completions(tmp_path / run) for run in ("shared", "alone")]
    assert both[0] == both[1] and len(both[0]) == 60
    assert batchmill("verify", "shared").exit_code == 0


def test_totals_of_a_shared_run_are_those_of_its_rows(api, batchmill, tmp_path):
    write(tmp_path / "in.jsonl", texts(80))
    command = ("run", "in.jsonl", *asking(api, *PART))
    for shard in (1, 0):
        assert batchmill(*command, "--shard", f"{shard}/2").exit_code == 0
    run = tmp_path / "runs/in"
    assert sums(pq.read_table(run / "usage.parquet")) == sums(table(run))


@pytest.mark.parametrize("name", ["parts.json", "parts.json.copy"])
@pytest.mark.parametrize("damage", ["gone", "garbage"])
def test_the_parts_are_kept_twice(api, batchmill, tmp_path, name, damage):
    write(tmp_path / "in.jsonl", texts(60))
    command = ("run", "in.jsonl", *asking(api, *PART))
    assert batchmill(*command, "--shard", "0/2").exit_code == 0
    path = tmp_path / "runs/in" / name
    path.unlink()
    if damage == "garbage":
        path.write_text("[[0,0,")
    if name == "parts.json":
        assert batchmill(*command).exit_code == 5
        assert batchmill("verify", "runs/in").exit_code == 5
    assert batchmill("verify", "runs/in", "--repair").exit_code in (0, 1)
    assert batchmill(*command).exit_code == 0
    assert completions(tmp_path / "runs/in") == answers(texts(60))


def test_a_worker_is_told_by_the_scheduler(api, batchmill, tmp_path):
    prompts = texts(60)
    write(tmp_path / "in.jsonl", prompts)
    run = partial(batchmill, "run", "in.jsonl", *asking(api, *PART), "--shard", "auto")
    array = {
        "SLURM_ARRAY_TASK_MIN": "1",
        "SLURM_ARRAY_TASK_MAX": "2",
        "SLURM_ARRAY_TASK_COUNT": "2",
    }
    for task in ("1", "2"):
        assert run(env={**array, "SLURM_ARRAY_TASK_ID": task}).exit_code == 0
    assert completions(tmp_path / "runs/in") == answers(prompts)

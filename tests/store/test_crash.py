"""kill -9, signals, full disks and second starts, at any moment: the same command finishes, nothing is
lost, nothing is there twice.
"""

from __future__ import annotations

import errno
import os
import random
import resource
import signal
import subprocess
import time
from collections import Counter
from functools import partial

import pyarrow.parquet as pq
import pytest

from batch.run_folder import RunFolder
from batch.store import journal
from tests.benchmarks import kills
from tests.fake_api import Step, answer_to
from tests.reading import asking, completions, rows, table, texts, until, write

pytestmark = pytest.mark.second_lane

COMMIT_SECONDS = 0.2
SUMMED = ("attempts", "input_tokens", "output_tokens")


def answers(prompts):
    return [(row, answer_to(prompt)) for row, prompt in enumerate(prompts)]


def test_twenty_kills_lose_no_row_and_double_none(api, start, batchmill, tmp_path):
    prompts, in_flight = texts(1200), 8
    write(tmp_path / "in.jsonl", prompts)
    api.latency = 0.04
    command = ("run", "in.jsonl", *asking(api, "-c", in_flight, "--set", "output.part_rows=40"))
    chance = random.Random()
    for _ in range(20):
        before = len(api.ledger)
        process = start(*command)
        more = chance.randint(0, 40)
        until(lambda before=before, more=more: len(api.ledger) >= before + more, process)
        time.sleep(chance.uniform(0, COMMIT_SECONDS))
        process.kill()
        process.wait()
        seen = {asked.prompt for asked in api.ledger[:before]}
        again = [asked.prompt for asked in api.ledger[before:] if asked.prompt in seen]
        assert len(again) <= in_flight
    ended = batchmill(*command)
    assert ended.exit_code == 0, ended.stderr
    assert "damaged" not in ended.stderr
    assert completions(tmp_path / "runs/in") == answers(prompts)
    assert list((tmp_path / "runs/in/open").iterdir()) == []
    assert sums(pq.read_table(tmp_path / "runs/in/usage.parquet")) == sums(
        table(tmp_path / "runs/in")
    )
    verified = batchmill("verify", "runs/in")
    assert verified.exit_code == 0, verified.stdout


@pytest.mark.parametrize("kind", kills.KINDS)
def test_a_kill_costs_what_was_in_flight_and_no_more(tmp_path, kind):
    found = kills.survived(kills.KINDS[kind], tmp_path, 2)
    assert (found.lost, found.twice, found.wrong) == (0, 0, 0)
    assert max(found.again) <= kills.IN_FLIGHT


def sums(read):
    return {name: sum(read.column(name).to_pylist()) for name in SUMMED}


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_at_any_moment_leaves_a_run_that_finishes(
    api, start, batchmill, tmp_path, number, code
):
    prompts = texts(120)
    write(tmp_path / "in.jsonl", prompts)
    api.latency = 0.05
    flags = asking(api, "-c", 20, "--set", "output.part_rows=3")
    for moment in range(5):  # from the first imports to the last seal
        api.reset_ledger()
        command = ("run", "in.jsonl", *flags, "-o", f"run{moment}")
        process = start(*command, fresh=True)
        time.sleep(0.05 + moment * 0.26 + random.uniform(0, 0.15))
        process.send_signal(number)
        _, stderr = process.communicate(timeout=30)
        if api.ledger:
            assert process.returncode in (0, code), stderr
        else:  # the interpreter may not have got as far as our first line
            assert process.returncode in (code, -number), stderr
        ended = batchmill(*command)
        assert ended.exit_code == 0, ended.stderr
        assert completions(tmp_path / f"run{moment}") == answers(prompts)
        assert api.prompts() == dict.fromkeys(prompts, 1)


def test_a_signal_while_parts_are_sealed_seals_them_all(api, start, batchmill, tmp_path):
    prompts = texts(230)
    write(tmp_path / "in.jsonl", prompts)
    api.script = {"text 00000": [Step(hang=True), ...]}
    command = ("run", "in.jsonl", *asking(api, "-c", 50, "--set", "output.part_rows=1"))
    process = start(*command)
    until(lambda: len(api.ledger) == 230, process)
    process.send_signal(signal.SIGTERM)
    process.send_signal(signal.SIGTERM)
    time.sleep(0.2)
    process.send_signal(signal.SIGTERM)
    _, stderr = process.communicate(timeout=30)
    assert process.returncode == 143, stderr
    api.script = {}
    assert batchmill(*command).exit_code == 0
    assert completions(tmp_path / "runs/in") == answers(prompts)


def has_one_that_ended(processes):
    return any(process.poll() is not None for process in processes)


@pytest.mark.parametrize("half", range(2))
def test_of_two_starts_at_once_one_goes_on_and_one_names_it(api, start, tmp_path, half):
    prompts = texts(3)
    write(tmp_path / "in.jsonl", prompts)
    for number in range(5):
        command = ("run", "in.jsonl", *asking(api, "-o", f"run{number}"))
        api.slots = 0
        both = [start(*command) for _ in range(2)]
        until(partial(has_one_that_ended, both))
        api.slots = None
        said = {process.pid: process.communicate(timeout=30)[1] for process in both}
        codes = {process.returncode: process for process in both}
        assert codes.keys() == {0, 4}, said
        assert f"process {codes[0].pid} " in said[codes[4].pid]
        assert completions(tmp_path / f"run{number}") == answers(prompts)
    assert set(api.prompts().values()) == {5}


def test_a_file_that_may_not_grow_stops_the_run_and_costs_no_answer(
    api, start, batchmill, tmp_path
):
    def limit() -> None:
        hard = resource.getrlimit(resource.RLIMIT_FSIZE)[1]
        resource.setrlimit(resource.RLIMIT_FSIZE, (60_000, hard))

    stopped_by_the_disk(api, start, batchmill, tmp_path, "runs/in", errno.EFBIG, limit)


def test_a_full_disk_stops_the_run_and_costs_no_answer(api, start, batchmill, tmp_path):
    small = tmp_path / "small"
    small.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=256k", "tmpfs", str(small)]
    try:
        mounted = subprocess.run(mount, capture_output=True, check=False).returncode == 0
    except OSError:
        mounted = False
    if not mounted:  # the limit on a file's size, above, tells the same story to everybody
        pytest.skip("only root may mount a disk")
    try:
        stopped_by_the_disk(api, start, batchmill, tmp_path, "small/run", errno.ENOSPC, None)
    finally:
        subprocess.run(["umount", "-l", str(small)], check=True)


def stopped_by_the_disk(api, start, batchmill, tmp_path, run, number, limit):
    prompts = texts(400)
    write(tmp_path / "in.jsonl", prompts)
    api.latency = 0.05
    command = ("run", "in.jsonl", *asking(api, "-c", 10, "-o", run))
    process = start(*command, preexec_fn=limit)
    _, stderr = process.communicate(timeout=60)
    assert process.returncode == 5, stderr
    assert os.strerror(number) in stderr
    assert "run the same command again" in stderr
    assert 20 < len(api.ledger) < 400
    scan = journal.scan(RunFolder(tmp_path / run).opened(0).journal)
    kept = {entry.row for entry in scan.entries}
    assert len(kept) > 20
    if limit is None:
        subprocess.run(
            ["mount", "-o", "remount,size=8m", str(tmp_path / run.split("/")[0])], check=True
        )
    api.latency = 0
    api.reset_ledger()
    ended = batchmill(*command)
    assert ended.exit_code == 0, ended.stderr
    assert completions(tmp_path / run) == answers(prompts)
    assert api.prompts() == {prompts[row]: 1 for row in range(400) if row not in kept}


@pytest.mark.parametrize(
    ("output", "code"), [("/proc/run", 5), ("file/run", 5), ("file/a/run", 5), ("file", 4)]
)
def test_a_folder_that_cannot_be_written_is_found_before_the_first_request(
    api, batchmill, tmp_path, output, code
):
    write(tmp_path / "in.jsonl", texts(5))
    (tmp_path / "file").write_text("mine")
    ended = batchmill("run", "in.jsonl", *asking(api, "-o", output))
    assert ended.exit_code == code, ended.stderr
    assert "-o" in ended.stderr
    assert "Traceback" not in ended.stderr
    assert api.ledger == []
    assert (tmp_path / "file").read_text() == "mine"


def test_rows_that_failed_are_asked_again_by_a_run_that_is_killed_meanwhile(
    api, start, batchmill, tmp_path
):
    prompts = texts(30)
    write(tmp_path / "in.jsonl", prompts)
    wrong = [500, 500]
    api.script = {"text 00007": wrong, "text 00025": wrong, "text 00029": wrong}
    keys = ("retry.max_attempts=2", "retry.first_delay=0.01", "output.part_rows=8")
    command = ("run", "in.jsonl", *asking(api, *(f"--set={key}" for key in keys)))
    assert batchmill(*command).exit_code == 1
    api.script = {"text 00029": [Step(hang=True)]}
    opened = RunFolder(tmp_path / "runs/in").opened(3).journal
    process = start(*command)
    until(lambda: opened.exists() and journal.scan(opened).entries, process)
    process.kill()
    process.wait()
    ended = batchmill(*command)
    assert ended.exit_code == 0, ended.stderr
    assert completions(tmp_path / "runs/in") == answers(prompts)
    assert Counter(row["attempts"] for row in rows(tmp_path / "runs/in"))[1] == 27

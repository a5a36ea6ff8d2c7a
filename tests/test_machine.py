"""Whatever is done to a run in whatever order: every row is there once, rightly, and paid for once."""

from __future__ import annotations

import itertools
import json
import os
import shutil
import signal
import tempfile
from collections import Counter
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from tests import program
from tests.fake_api import FakeAPI, answer_to
from tests.program import Program
from tests.reading import rows, tree, until

PART_ROWS = 7
IN_FLIGHT = 3
HASTY = ("retry.max_attempts=1", f"output.part_rows={PART_ROWS}", f"limits.concurrency={IN_FLIGHT}")


class Life(RuleBasedStateMachine):
    """One run folder, its input, and the server; `paid` counts the answers to each prompt."""

    def __init__(self) -> None:
        super().__init__()
        self.folder = Path(tempfile.mkdtemp(prefix="machine-"))
        self.run_folder = self.folder / "runs/in"
        self.api = FakeAPI()
        self.names = itertools.count()
        self.lines: list[str] = []
        self.template = "{{ text }}"
        self.kills = 0
        self.finished = False

    def teardown(self) -> None:
        self.api.close()
        shutil.rmtree(self.folder)

    @initialize(count=st.integers(1, 25))
    def begin(self, count: int) -> None:
        self.append(count)

    @rule(count=st.integers(1, 12))
    def append(self, count: int) -> None:
        self.lines += [f"text {next(self.names):05d}" for _ in range(count)]
        self.write(self.lines)
        self.finished = False

    @rule(failing=st.booleans())
    def run(self, failing: bool) -> None:
        self.script(failing)
        code, stderr = self.batchmill(*self.command())
        self.finished = True
        assert code == (1 if self.failed() else 0), stderr

    @rule(limit=st.integers(1, 30), failing=st.booleans())
    def run_with_a_limit(self, limit: int, failing: bool) -> None:
        self.script(failing)
        before = len(rows(self.run_folder)) if self.begun() else 0
        code, stderr = self.batchmill(*self.command(), "--limit", limit)
        assert code in (0, 1), stderr
        held = [row["row"] for row in rows(self.run_folder)]
        assert len(held) >= before
        assert set(range(min(limit, len(self.lines)))) <= set(held)

    @rule(after=st.integers(1, 12), failing=st.booleans())
    def run_and_kill(self, after: int, failing: bool) -> None:
        self.script(failing)
        self.api.latency = 0.03
        before = len(self.api.ledger)
        process = self.start(*self.command())
        until(lambda: len(self.api.ledger) >= before + after or process.poll() is not None)
        process.send_signal(signal.SIGKILL)
        process.communicate()
        until(lambda: self.api.in_flight == 0)
        self.api.latency = 0.0
        self.kills += 1
        self.finished = False

    def seen(self) -> int:
        """The lines that a start has seen; what was appended since is not in the run yet."""
        known = json.loads((self.folder / "runs/in/run.json").read_text())["inputs"][0]["size"]
        return (self.folder / "in.jsonl").read_bytes()[:known].count(b"\n")

    @rule(line=st.integers(0, 200))
    def edit(self, line: int) -> None:
        """An edited input is refused, changes nothing, and is mended again."""
        if not self.begun():
            return
        before, asked = tree(self.folder / "runs"), len(self.api.ledger)
        edited = list(self.lines)
        edited[line % self.seen()] = "edited"
        self.write(edited)
        code, stderr = self.batchmill(*self.command())
        assert code == 4, stderr
        assert tree(self.folder / "runs") == before
        assert len(self.api.ledger) == asked
        self.write(self.lines)

    @rule(failing=st.booleans())
    def retry(self, failing: bool) -> None:
        if not self.begun():
            return
        self.script(failing)
        asked = len(self.api.ledger)
        code, stderr = self.batchmill("retry", "runs/in")
        assert code in (0, 1), stderr
        again = {asked.prompt for asked in self.api.ledger[asked:]}
        assert len(again) == len(self.api.ledger) - asked
        held = {self.prompt(row["text"]) for row in rows(self.run_folder)}
        assert again <= held

    @rule(change=st.booleans())
    def reuse(self, change: bool) -> None:
        """Anew, with another prompt or with all answers that still fit."""
        if not self.begun():
            return
        self.api.script = {}
        known = Counter(self.answered())
        if change:
            self.template = f"{self.template}!"
        asked = len(self.api.ledger)
        code, stderr = self.batchmill(*self.command(), "--reuse", "runs/in")
        assert code == 0, stderr
        self.finished = True
        expected = [text for text in self.prompts() if change or not known[text]]
        sent = [asked.prompt for asked in self.api.ledger[asked:]]
        assert sorted(sent) == sorted(expected)
        taken = [row["row"] for row in rows(self.run_folder) if row["reused"]]
        assert len(taken) == len(self.lines) - len(expected)

    @rule(name=st.sampled_from(["all.parquet", "all.jsonl"]))
    def export(self, name: str) -> None:
        if not self.begun():
            return
        path = self.folder / name
        code, stderr = self.batchmill("export", "runs/in", "-o", name, "--force")
        assert code == 0, stderr
        if name.endswith(".parquet"):
            found = pq.read_table(path).to_pylist()
        else:
            found = [json.loads(line) for line in path.read_text().splitlines()]
        numbers = [row["row"] for row in found]
        assert numbers == sorted(set(numbers))
        for row in found:
            assert row["text"] == self.lines[row["row"]]
            assert row["status"] == "failed" or row["completion"] == self.answer(row["text"])

    @invariant()
    def no_answer_is_paid_for_twice(self) -> None:
        """But for what a kill, which loses what was not yet on disk, makes us ask again."""
        paid = Counter(asked.prompt for asked in list(self.api.ledger) if asked.status == 200)
        again = sum(count - 1 for count in paid.values())
        assert again <= self.kills * 40

    @invariant()
    def sealed_rows_are_right(self) -> None:
        if not self.begun():
            return
        numbers = []
        for row in rows(self.run_folder):
            numbers.append(row["row"])
            assert row["text"] == self.lines[row["row"]]
            if row["status"] == "ok":
                assert row["completion"] == self.answer(row["text"])
        assert numbers == sorted(set(numbers))

    @invariant()
    def a_finished_run_is_whole_and_adds_up(self) -> None:
        if not self.finished:
            return
        found = rows(self.run_folder)
        assert [row["row"] for row in found] == list(range(len(self.lines)))
        usage = pq.read_table(self.run_folder / "usage.parquet").to_pylist()
        for name in ("attempts", "input_tokens", "output_tokens"):
            assert sum(group[name] for group in usage) == sum(row[name] or 0 for row in found)
        assert sum(group["rows_ok"] for group in usage) == len(found) - self.failed()
        assert sum(group["rows_failed"] for group in usage) == self.failed()
        assert sum(group["rows_reused"] for group in usage) == sum(row["reused"] for row in found)

    def begun(self) -> bool:
        return (self.run_folder / "run.json").exists()

    def failed(self) -> int:
        return sum(row["status"] == "failed" for row in rows(self.run_folder))

    def answered(self) -> list[str]:
        """The prompts whose answers the run holds, in its journals too."""
        self.batchmill("export", "runs/in", "-o", "held.jsonl", "--force")
        held = [json.loads(line) for line in (self.folder / "held.jsonl").read_text().splitlines()]
        return [self.prompt(row["text"]) for row in held if row["status"] == "ok"]

    def prompt(self, text: str) -> str:
        return self.template.replace("{{ text }}", text)

    def prompts(self) -> list[str]:
        return [self.prompt(text) for text in self.lines]

    def answer(self, text: str) -> str:
        return answer_to(self.prompt(text))

    def script(self, failing: bool) -> None:
        """Let every prompt that ends in 3 or 7 fail once from now on, or none."""
        ends = ("3", "7") if failing else ()
        self.api.script = {self.prompt(f"{tens}{end}"): [500] for end in ends for tens in range(4)}
        # a key of the script is a part of the prompt: the last digits of a text, and what follows

    def write(self, lines: list[str]) -> None:
        text = "".join(json.dumps({"text": line}) + "\n" for line in lines)
        (self.folder / "in.jsonl").write_text(text)

    def command(self) -> tuple[object, ...]:
        flags = (word for key in HASTY for word in ("--set", key))
        return (
            "run",
            "in.jsonl",
            "-m",
            "m",
            "-p",
            self.template,
            "--base-url",
            self.api.url,
            *flags,
        )

    def start(self, *words: object) -> Program:
        return program.start(words, self.folder)

    def batchmill(self, *words: object) -> tuple[int, str]:
        process = self.start(*words)
        _, stderr = process.communicate(timeout=60)
        return process.returncode, stderr


TestLife = pytest.mark.second_lane(Life.TestCase)
TestLife.settings = settings(
    derandomize="LIVES" not in os.environ,
    max_examples=int(os.environ.get("LIVES", "4")),
    stateful_step_count=8,
    deadline=None,
    suppress_health_check=list(HealthCheck),
    print_blob=True,
)

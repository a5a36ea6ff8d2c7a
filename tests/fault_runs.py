"""`python -m tests.fault_runs [RUNS] [SEED]`: random runs against a server that fails at random, killed
at random; what they say they cost is held against the server's own ledger.

The server charges for every answer it began, and, going by what servers do at their worst, for every
request that got none: all the output it allowed.  What a run has confirmed is never more than that,
and with what it declares as maybe billed never less: after every kill, and at the end row by row.
"""

from __future__ import annotations

import multiprocessing
import os
import random
import sys
import tempfile
import time
from collections import Counter
from dataclasses import dataclass
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

from batch import runner, spec
from batch.planning.terms import Terms
from batch.reports import report
from batch.store import plan
from tests.fake_api import Asked, FakeAPI, Step
from tests.reading import rows, texts, write

CAP = 40
PRICES = {"m": {"input": 2.0, "output": 10.0}}
TOKEN_USD = {"input": 2e-6, "output": 10e-6}
MOST_STARTS = 4
"""Undisturbed ones, after which a run has ended."""
SILENT = Step(usage=None)
FAULTS = (
    *(429, 500, 503, 504, Step(close=True), Step(reset=True), Step(cut=30), Step(body="{")),
    *(SILENT, Step(content="no JSON at all"), Step(hang=True), 400),
)
_CONTEXT = multiprocessing.get_context("forkserver")


@dataclass(frozen=True)
class Told:
    """What one run came to."""

    rows: int
    kills: int
    requests: int
    confirmed: int
    bill: int
    declared: int


def preload() -> None:
    """Let starts of the program be forks of a process that has everything imported."""
    _CONTEXT.set_forkserver_preload(["batch.runner", "tests.reading"])


def one(api: FakeAPI, folder: Path, seed: int) -> Told:
    """A run of random faults and kills, and what it said.  Raises AssertionError where that is
    wrong.
    """
    chance = random.Random(seed)
    prompts = texts(chance.randint(8, 40))
    write(folder / "in.jsonl", prompts)
    tables = _tables(api, folder, chance)
    api.reset_ledger()
    api.script = _script(prompts, chance)
    api.latency = chance.choice([0.0, 0.005, 0.03])
    kills = 0
    disturbed = chance.randint(2, 5)
    for start in range(disturbed + MOST_STARTS):
        last = start >= disturbed
        if last:
            api.script = {}
        process = _CONTEXT.Process(target=_start, args=(tables, folder / "run"), daemon=True)
        process.start()
        if last:
            _waited(process)
        else:
            kills += _disturbed(process, api, chance.randint(0, len(prompts) // 2), chance)
        if (folder / "run" / "run.json").exists():
            _check_so_far(api, folder / "run")
        if last and process.exitcode in (0, 1):
            break
    assert process.exitcode in (0, 1), f"exit code {process.exitcode}"
    return _checked(api, folder / "run", prompts, kills)


def _tables(api: FakeAPI, folder: Path, chance: random.Random) -> dict[str, Any]:
    request: dict[str, Any] = {"model": "m", "max_tokens": CAP, "stream": chance.random() < 0.3}
    urls: str | list[str] = api.url
    if chance.random() < 0.4:  # two endpoints, which one ledger knows
        urls = [api.url, api.url.replace("127.0.0.1", "localhost")]
    return {
        "input": str(folder / "in.jsonl"),
        "prompt": {"user": "{{ text }}"},
        "request": request,
        "endpoint": {"base_url": urls, "api_key_env": "", "total_timeout": 0.5},
        "limits": {"concurrency": chance.choice([1, 4, 16])},
        "retry": {"first_delay": 0.01, "max_delay": 0.05, "max_wait": 5, "max_attempts": 4},
        "output": {"part_rows": chance.choice([1, 5, 100])},
        "prices": PRICES,
    }


def _script(prompts: list[str], chance: random.Random) -> dict[str, Any]:
    """For some rows what their first requests get; then they are answered."""
    some = [prompt for prompt in prompts if chance.random() < 0.4]
    return {
        prompt: [*(chance.choice(FAULTS) for _ in range(chance.randint(1, 3))), Step()]
        for prompt in some
    }


def _start(tables: dict[str, Any], folder: Path) -> None:
    """One start of the run, in a process of its own."""
    how = Terms(environment={}, bounds=False, yes=True)
    os._exit(runner.run(spec.check(tables), folder, how).exit_code)


def _disturbed(process: BaseProcess, api: FakeAPI, more: int, chance: random.Random) -> bool:
    """Kill the process once so many more requests have come, or signal it twice, or let it be;
    whether it was killed.
    """
    more += len(api.ledger)
    end = time.monotonic() + 20
    while len(api.ledger) < more and process.is_alive() and time.monotonic() < end:
        time.sleep(0.002)
    time.sleep(chance.choice([0, 0, chance.uniform(0, 0.3)]))
    kind = chance.random()
    if kind > 0.9:
        _waited(process)
        return False
    if kind > 0.7:
        process.terminate()
        time.sleep(0.02)
        process.terminate()
    else:
        process.kill()
    _waited(process)
    return kind <= 0.7


def _waited(process: BaseProcess) -> None:
    process.join(60)
    assert process.exitcode is not None, "it does not end"


def _bill(asked: Asked) -> int:
    """What a server charges, at its worst, for a request."""
    if asked.input_tokens or asked.output_tokens:
        return asked.input_tokens + asked.output_tokens
    return len(asked.prompt.split()) + 3 + CAP if asked.status in (None, 504) else 0


def _check_so_far(api: FakeAPI, folder: Path) -> None:
    known = plan.read(folder)
    assert known is not None
    made = report.of([(folder, known)], ())
    totals, lost = made.totals, made.runs[0].unanswered
    ledger = [asked for asked in api.ledger if asked.method == "POST"]
    confirmed = (totals.input_tokens or 0) + (totals.output_tokens or 0)
    bill, charged = (sum(map(count, ledger)) for count in (_bill, _charged))
    declared = totals.unconfirmed_tokens + lost.tokens
    assert totals.unbounded_attempts == lost.unbounded == 0
    assert confirmed <= charged, (confirmed, charged)
    assert bill <= confirmed + declared, (bill, confirmed, declared)


def _charged(asked: Asked) -> int:
    return asked.input_tokens + asked.output_tokens


def _checked(api: FakeAPI, folder: Path, prompts: list[str], kills: int) -> Told:
    ledger: dict[str, list[Asked]] = {prompt: [] for prompt in prompts}
    for asked in api.ledger:
        if asked.method == "POST":
            ledger[asked.prompt].append(asked)
    found = rows(folder)
    assert [row["row"] for row in found] == list(range(len(prompts)))
    for row in found:
        _check_row(row, ledger[row["text"]])
    assert list((folder / "open").iterdir()) == []
    return Told(
        len(prompts),
        kills,
        sum(map(len, ledger.values())),
        sum((row["input_tokens"] or 0) + (row["output_tokens"] or 0) for row in found),
        sum(_bill(asked) for of_row in ledger.values() for asked in of_row),
        sum(row["unconfirmed_tokens"] or 0 for row in found),
    )


def _check_row(row: dict[str, Any], ledger: list[Asked]) -> None:
    told = [(row["input_tokens"], row["output_tokens"])]
    if row["attempt_log"] is not None:
        assert len(row["attempt_log"]) == row["attempts"], row
        told = [(tried["input_tokens"], tried["output_tokens"]) for tried in row["attempt_log"]]
    confirmed = Counter(pair for pair in told if None not in pair)
    charged = Counter((asked.input_tokens, asked.output_tokens) for asked in ledger)
    assert confirmed <= charged, (row, ledger)
    sums = [sum(pair[place] * n for pair, n in confirmed.items()) for place in (0, 1)]
    assert [row["input_tokens"] or 0, row["output_tokens"] or 0] == sums, row
    bill = sum(map(_bill, ledger))
    declared = row["unconfirmed_tokens"] or 0
    assert sum(sums) <= bill <= sum(sums) + declared, (row, ledger)
    if row["status"] == "ok" and not confirmed:
        assert row["input_tokens"] is None and row["cost_usd"] is None, row
        assert "usage_unknown" in row["flags"], row
    if row["cost_usd"] is not None:
        usd = sums[0] * TOKEN_USD["input"] + sums[1] * TOKEN_USD["output"]
        assert abs(row["cost_usd"] - usd) < 1e-12, row


def main() -> None:
    runs = int(sys.argv[1]) if len(sys.argv) > 1 else 100
    first = int(sys.argv[2]) if len(sys.argv) > 2 else 0
    preload()
    api = FakeAPI()
    told, wrong = [], 0
    for seed in range(first, first + runs):
        with tempfile.TemporaryDirectory() as scratch:
            try:
                told.append(one(api, Path(scratch), seed))
            except AssertionError as error:
                print(f"seed {seed}: {error}")
                wrong += 1
    api.close()
    names = Told.__annotations__
    sums = {name: sum(getattr(each, name) for each in told) for name in names}
    print(
        f"{wrong} of {runs} runs were wrong; the others: "
        + ", ".join(f"{count:,} {name}" for name, count in sums.items())
    )
    sys.exit(wrong > 0)


if __name__ == "__main__":
    main()

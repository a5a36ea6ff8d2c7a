"""`python -m tests.benchmarks.shared [ROWS]`: one run among four workers of real Ray (the extra `ray`).

Prints whether they make what one process makes, also when a worker and then the driver are killed and
others go on; how they keep to a limit of requests while one is killed; and how soon all obey a server
that asked one of them to wait.
"""

from __future__ import annotations

import hashlib
import json
import os
import signal
import sys
import tempfile
import time
from collections import Counter
from contextlib import suppress
from pathlib import Path

from tests import program
from tests.fake_api import FakeAPI, Step
from tests.program import Program
from tests.reading import asking, table, texts, until, write

PER_SECOND = 400
WORKERS = 4
PRICES = ("--set", "prices.m.input=1", "--set", "prices.m.output=2")


def main() -> None:
    rows = int(sys.argv[1]) if sys.argv[1:] else 50_000
    with tempfile.TemporaryDirectory() as folder:
        _equal(Path(folder), rows)
        _limited(Path(folder))
        _paused(Path(folder))


def _ray(workers: int = WORKERS) -> tuple[object, ...]:
    return ("--engine", "ray", "--workers", workers)


def _start(folder: Path, *words: object) -> Program:
    with (folder / "said.txt").open("a") as said:
        return program.start(words, folder, fresh=True, stdout=said, stderr=said)


def _equal(folder: Path, rows: int) -> None:
    """One process, four workers, and workers that are killed."""
    write(folder / "in.parquet", texts(rows))
    api = FakeAPI()
    command = ("run", "in.parquet", *asking(api, "-c", 64, *PRICES))
    for name, more in (("alone", ()), ("shared", _ray())):
        began, asked = time.monotonic(), len(api.ledger)
        code = _start(folder, *command, "-o", name, *more).wait()
        requests, took = len(api.ledger) - asked, time.monotonic() - began
        print(
            f"{name}: exit code {code}, {took:.0f} s, {requests:,} requests, {_made(folder / name)}"
        )
    asked = len(api.ledger)
    driver = _start(folder, *command, "-o", "killed", *_ray())
    until(lambda: len(api.ledger) > asked + rows / 4, driver)
    _kill_one(folder / "killed")
    until(lambda: len(api.ledger) > asked + rows / 2, driver)
    driver.kill()
    driver.wait()
    code = _start(folder, *command, "-o", "killed", *_ray(3)).wait()
    read = table(folder / "killed")
    told, lost = sum(read["attempts"].to_pylist()), sum(read["maybe_billed_attempts"].to_pylist())
    print(f"killed: exit code {code}, {_made(folder / 'killed')}")
    print(
        f"  rows {len(read):,}, distinct {len(set(read['row'].to_pylist())):,};"
        f" attempts {told:,}, {lost} of them unanswered; the server's ledger {len(api.ledger) - asked:,}"
    )
    api.close()


def _made(run: Path) -> str:
    """What a run holds: a hash of its rows, its tokens and its cost."""
    read = table(run).select(
        ["row", "id", "completion", "input_tokens", "output_tokens", "cost_usd"]
    )
    lines = read.select(["row", "id", "completion"]).to_pylist()
    digest = hashlib.sha256(json.dumps(lines).encode()).hexdigest()[:16]
    tokens = [sum(read[name].to_pylist()) for name in ("input_tokens", "output_tokens")]
    return (
        f"{digest}, {tokens[0]:,} + {tokens[1]:,} tokens, ${sum(read['cost_usd'].to_pylist()):.6f}"
    )


def _kill_one(run: Path) -> None:
    """A worker that has requests in flight."""
    pids: list[int] = []
    while not pids:
        for path in (run / "workers").glob("ray-*.json"):
            with suppress(ValueError, OSError):
                pids.append(json.loads(path.read_text())["pid"])
        time.sleep(0.01)
    os.kill(pids[0], signal.SIGKILL)


def _limited(folder: Path) -> None:
    """A limit of requests, and one worker killed."""
    rows = 30 * PER_SECOND
    write(folder / "in.jsonl", texts(rows))
    api = FakeAPI()
    api.latency = 0.1
    words = asking(api, "-c", 400, "--rpm", PER_SECOND * 60, "-o", "limited")
    driver = _start(folder, "run", "in.jsonl", *words, *_ray())
    until(lambda: len(api.ledger) > rows / 3, driver)
    _kill_one(folder / "limited")
    code = driver.wait()
    moments = sorted(asked.at for asked in api.ledger)
    most, end = 0, 0
    for begin, moment in enumerate(moments):
        while end < len(moments) and moments[end] < moment + 1:
            end += 1
        most = max(most, end - begin)
    inner = moments[len(moments) // 50 : len(moments) * 95 // 100]
    used = len(inner) / (inner[-1] - inner[0])
    print(
        f"limit {PER_SECOND}/s: exit code {code}, at most {most / PER_SECOND:.1%} of it in a second,"
        f" {used / PER_SECOND:.1%} used; {len(set(table(folder / 'limited')['row'].to_pylist())):,} rows"
    )
    api.close()


def _paused(folder: Path) -> None:
    """A wait that the server asks of one worker, which has the part with those rows."""
    rows = 3_000
    write(folder / "in.jsonl", texts(rows))
    api = FakeAPI()
    api.latency = 0.1
    api.retry_after_ms = False
    api.script = {"text 015": [Step(status=429, headers={"retry-after": "4"})]}
    words = asking(api, "-c", 64, "--rpm", PER_SECOND * 60, "-o", "paused")
    driver = _start(folder, "run", "in.jsonl", *words, *_ray())
    while not any(asked.status == 429 for asked in api.ledger[-100:]):
        time.sleep(0.02)
    time.sleep(0.3)
    api.script = {}
    code = driver.wait()
    refused = min(asked.at for asked in api.ledger if asked.status == 429)
    after = Counter(int((asked.at - refused) / 0.05) for asked in api.ledger if asked.at > refused)
    early = sum(count for slice, count in after.items() if slice < 3.9 / 0.05)
    last = max((slice + 1) * 0.05 for slice in after if slice < 3.9 / 0.05) if early else 0.0
    print(
        f"retry-after 4: exit code {code}, {early} requests left after the refusal, the last within"
        f" {last:.2f} s"
    )
    api.close()


if __name__ == "__main__":
    main()

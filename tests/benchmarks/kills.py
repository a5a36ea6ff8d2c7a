"""`python -m tests.benchmarks.kills [KILLS]`: kill -9 one run again and again, at random moments.

Prints how many rows are lost, twice or wrong in the output (all 0), how many requests were sent again
per kill, and all requests by rows.
"""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

from tests.fake_api import FakeAPI, answer_to
from tests.reading import asking, completions, texts, write

ROOT = Path(__file__).resolve().parent.parent.parent
IN_FLIGHT = 16
LATENCY = 0.04
ROWS_PER_KILL = 100


def main() -> None:
    kills = int(sys.argv[1]) if len(sys.argv) > 1 else 200
    prompts = texts(kills * ROWS_PER_KILL)
    with tempfile.TemporaryDirectory(dir=Path.cwd()) as scratch:
        root = Path(scratch)
        write(root / "in.jsonl", prompts)
        api = FakeAPI()
        api.latency = LATENCY
        happened, again, seconds = _killed(root, api, kills)
        output = completions(root / "runs/in")
        requests = len(api.ledger)
        api.close()
    rows = Counter(row for row, _ in output)
    wrong = sum(text != answer_to(prompts[row]) for row, text in output)
    print(f"kills           {happened} in {seconds:.0f} s, {len(prompts):,} rows")
    print(f"lost            {len(prompts) - len(rows)}")
    print(f"twice           {sum(count - 1 for count in rows.values())}")
    print(f"wrong           {wrong}")
    print(f"sent again      {sum(again) / max(1, happened):.1f} per kill, at most {max(again)}")
    print(f"requests / rows {requests / len(prompts):.4f}")


def _killed(root: Path, api: FakeAPI, kills: int) -> tuple[int, list[int], float]:
    """Start, kill, start … until it ends by itself: kills, requests sent again by each start, seconds."""
    began, happened, again = time.perf_counter(), 0, [0]
    code: int | None = None
    while code is None or code == -signal.SIGKILL:
        before = len(api.ledger)
        process = _start(root, api)
        if happened < kills:
            _wait(process, api, before + random.randint(0, ROWS_PER_KILL))
            process.kill()
            happened += 1
        code = process.wait()
        seen = {asked.prompt for asked in api.ledger[:before]}
        again.append(sum(asked.prompt in seen for asked in api.ledger[before:]))
    if code:
        raise SystemExit(f"the last start ended with {code}")
    return happened, again, time.perf_counter() - began


def _start(root: Path, api: FakeAPI) -> subprocess.Popen[bytes]:
    flags = asking(api, "-c", IN_FLIGHT, "--set", "output.part_rows=200", "--quiet")
    command = [sys.executable, "-m", "batch", "run", "in.jsonl", *map(str, flags)]
    return subprocess.Popen(command, cwd=root, env={**os.environ, "PYTHONPATH": str(ROOT)})


def _wait(process: subprocess.Popen[bytes], api: FakeAPI, requests: int) -> None:
    """Until so many requests have come, and a random moment longer; or until it ends."""
    while len(api.ledger) < requests and process.poll() is None:
        time.sleep(0.002)
    time.sleep(random.uniform(0, 0.3))


if __name__ == "__main__":
    main()

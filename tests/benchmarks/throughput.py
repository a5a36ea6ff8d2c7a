"""`python -m tests.benchmarks.throughput [ROWS] [TIMES]`: how fast one process drives a server that
answers at once, JSONL in and Parquet out, every row journalled and fsynced.

Beside it, in turns and on the same work: the loop everybody writes on aiohttp, which does none of
that, and the peers that are installed (with fewer rows: they are slow).  Prints medians: requests a
second from start to end of the program, CPU microseconds a row, peak memory, and how many times as
fast we are.  The server has a core of its own where there are two.
"""

from __future__ import annotations

import importlib.util
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

from tests.benchmarks.peers import PEERS
from tests.reading import peak

ROOT = Path(__file__).resolve().parent.parent.parent
IN_FLIGHT = 200
SLOW = 12
"""Peers but the plain loop get one row in so many."""
OURS = {
    "batchmill": (),
    "batchmill, raw answers": ("--set", "output.response=true"),
}


class Measured(NamedTuple):
    rows_per_second: float
    cpu_us: float
    peak_bytes: int


def main() -> None:
    rows = int(sys.argv[1]) if len(sys.argv) > 1 else 60_000
    times = int(sys.argv[2]) if len(sys.argv) > 2 else 3
    peers = [name for name in PEERS if name == "plain" or importlib.util.find_spec(name)]
    found: dict[str, list[Measured]] = defaultdict(list)
    with tempfile.TemporaryDirectory(dir=Path.cwd()) as scratch, static_server() as url:
        for turn in range(times):
            for name in (*OURS, *peers):
                folder = Path(scratch) / f"{turn}{name}"
                count = rows if name in OURS or name == "plain" else rows // SLOW
                found[name].append(measure(folder, command(name, url, folder), count))
    show("client", "rows/s", "us CPU/row", "peak MB", "ours/its")
    best = statistics.median(each.rows_per_second for each in found["batchmill"])
    for name, each in found.items():
        rate, cpu, memory = (statistics.median(numbers) for numbers in zip(*each, strict=True))
        show(name, f"{rate:,.0f}", f"{cpu:.0f}", f"{memory / 1e6:.0f}", f"{best / rate:.2f}")


def show(*words: str) -> None:
    print("{:<24} {:>9} {:>11} {:>9} {:>9}".format(*words), flush=True)


@contextmanager
def static_server(*words: object) -> Iterator[str]:
    """The URL of a static server in a process, and on a core, of its own."""
    command = [sys.executable, "-m", "tests.benchmarks.static_server", *map(str, words)]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) as server:
        assert server.stdout is not None
        port = int(server.stdout.readline())
        pin(server.pid, -1)
        try:
            yield f"http://127.0.0.1:{port}/v1"
        finally:
            server.kill()


def pin(process: int, core: int) -> None:
    """Keep a process to one of the cores, where the system can and there are several."""
    if hasattr(os, "sched_setaffinity") and len(cores := sorted(os.sched_getaffinity(0))) > 1:
        os.sched_setaffinity(process, {cores[core]})


def command(name: str, url: str, folder: Path) -> list[str]:
    if name in PEERS:
        words = [url, str(folder / "in.jsonl"), str(folder / "out.jsonl"), str(IN_FLIGHT)]
        return [sys.executable, "-m", "tests.benchmarks.peers", name, *words]
    words = ["run", str(folder / "in.jsonl"), "-m", "m", "-p", "{{ text }}", "--base-url", url]
    words += ["-c", str(IN_FLIGHT), "--api-key-env", "", "--quiet", "-o", str(folder / "run")]
    return [sys.executable, "-m", "batch", *words, *OURS[name]]


def measure(folder: Path, command: list[str], rows: int) -> Measured:
    """Let it do so many rows; it must do all of them."""
    folder.mkdir()
    lines = (json.dumps({"id": n, "text": f"question {n}: " + "why " * 20}) for n in range(rows))
    (folder / "in.jsonl").write_text("\n".join(lines) + "\n")
    before, began = os.times(), time.monotonic()
    process = subprocess.Popen(
        command, cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True
    )
    pin(process.pid, 0)
    most = peak(process)
    wall, after = time.monotonic() - began, os.times()
    assert process.stderr is not None
    assert process.returncode == 0, process.stderr.read()
    cpu = after.children_user + after.children_system - before.children_user
    return Measured(rows / wall, (cpu - before.children_system) / rows * 1e6, most)


if __name__ == "__main__":
    main()

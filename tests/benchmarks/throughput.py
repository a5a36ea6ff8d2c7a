"""`python -m tests.benchmarks.throughput [ROWS] [TIMES]`: how fast one process drives a server that
answers at once, JSONL in and Parquet out, every row journalled and fsynced.

Beside it, in turns and on the same work: the loop everybody writes on aiohttp, which does none of
that; the leanest loop that reads the answers, and keeps none, on the usual event loop and on uvloop; a
bare one on uvloop that throws them away unread; and the peers that are installed (the slowest with
fewer rows).  The answers have the usage that OpenAI sends, details included.  Prints medians: requests
a second from start to end of the program, CPU microseconds a row, peak memory, and how many times as
fast we are.  The server has a core of its own where there are two.
"""

from __future__ import annotations

import statistics
import sys
import tempfile
from collections import defaultdict
from pathlib import Path

from tests.benchmarks.driving import Measured, measure, ours, peer, prepared, static_server
from tests.benchmarks.peers import installed
from tests.benchmarks.static_server import DETAILED

IN_FLIGHT = 200
SLOW = {"openai": 12, "litellm": 12}
"""These get one row in so many."""
SHOWN = {"lean": "leanest aiohttp loop", "leanest": "the same on uvloop"}
OURS = {
    "batchmill": (),
    "batchmill, raw answers": ("--set", "output.response=true"),
}


def main() -> None:
    rows = int(sys.argv[1]) if len(sys.argv) > 1 else 60_000
    times = int(sys.argv[2]) if len(sys.argv) > 2 else 3
    counts = {name: rows // SLOW.get(name, 1) for name in clients()}
    found: dict[str, list[Measured]] = defaultdict(list)
    with tempfile.TemporaryDirectory(dir=Path.cwd()) as scratch, static_server(DETAILED) as server:
        for turn in range(times):
            for name, count in counts.items():
                folder = prepared(Path(scratch) / f"{turn}{name}", count)
                found[name].append(measure(command(name, server.url, folder)))
    show("client", "rows/s", "us CPU/row", "peak MB", "ours/its")
    best = rows / statistics.median(each.wall for each in found["batchmill"])
    for name, count in counts.items():
        wall, cpu, memory = map(statistics.median, zip(*found[name], strict=True))
        rate = count / wall
        words = f"{rate:,.0f}", f"{cpu / count * 1e6:.0f}", f"{memory / 1e6:.0f}"
        show(SHOWN.get(name, name), *words, f"{best / rate:.2f}")


def clients() -> list[str]:
    return [*OURS, "plain", "lean", "leanest", "bare", *installed()]


def show(*words: str) -> None:
    print("{:<24} {:>9} {:>11} {:>9} {:>9}".format(*words), flush=True)


def command(name: str, url: str, folder: Path) -> list[str]:
    if name in OURS:
        return ours(url, folder, IN_FLIGHT, *OURS[name])
    return peer(name, url, folder, IN_FLIGHT)


if __name__ == "__main__":
    main()

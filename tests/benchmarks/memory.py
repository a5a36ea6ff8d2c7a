"""`python -m tests.benchmarks.memory [ROWS]`: the memory of a run, by its rows (1,000,000), by the
streams that are open at once and by the size of its answers.

The server answers at once, and its count of requests tells how far the run is.  Prints, for every
5 % of the rows, the seconds since the process started and the memory it holds then (resident, MB);
at the end the most it ever held, and how much more that is than in a run of 10,000 rows before.
Then the most that is held by a run of 1,000 streams at once, and by one of 5,000 answers of 1 MB.
"""

from __future__ import annotations

import re
import subprocess
import sys
import tempfile
import time
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple

from tests.benchmarks.driving import Server, measure, ours, prepared, started, static_server

IN_FLIGHT = 200
FEW = 10_000
LINES = 20
MANY = 5_000
OTHERS: dict[str, tuple[Any, ...]] = {
    "streams of 100 events, 1,000 at once": (
        *(1_000, (2.0, 0.5, 100)),
        *("--set", "request.stream=true"),
    ),
    "answers of 1 MB": (200, (0.0, 0.0, 0, 1_000_000)),
}
"""Requests in flight, the server's arguments and more flags."""
TICK = 0.05
"""Seconds between two looks; the kernel itself keeps the most that was ever held."""


def main() -> None:
    rows = int(sys.argv[1]) if len(sys.argv) > 1 else 1_000_000
    with tempfile.TemporaryDirectory(dir=Path.cwd()) as scratch:
        few, many = (prepared(Path(scratch) / f"{count}", count) for count in (FEW, rows))
        with static_server() as server:
            least = measure(ours(server.url, few, IN_FLIGHT)).peak_bytes
        print(f"{FEW:,} rows: at most {least / 1e6:.1f} MB")
        with static_server() as server:
            most = watched(server, ours(server.url, many, IN_FLIGHT), rows)
    print(f"{rows:,} rows: at most {most / 1e6:.1f} MB, {(most - least) / 1e6:+.1f} MB")
    for name, (in_flight, about, *flags) in OTHERS.items():
        with (
            tempfile.TemporaryDirectory(dir=Path.cwd()) as scratch,
            static_server(*about) as server,
        ):
            folder = prepared(Path(scratch) / "run", MANY)
            most = measure(ours(server.url, folder, in_flight, *flags)).peak_bytes
        print(f"{MANY:,} {name}: at most {most / 1e6:.1f} MB", flush=True)


def watched(server: Server, command: list[str], rows: int) -> int:
    """The most bytes that a run holds; a line for every 5 % of its rows."""
    print(f"{'asked':>12} {'seconds':>8} {'MB':>8}")
    began, line, most = time.monotonic(), 1, 0
    with started(command) as process:
        while held := memory(process):
            most = held.most
            asked = server.seen().requests
            if asked * LINES >= line * rows:
                seconds = time.monotonic() - began
                print(f"{asked:>12,} {seconds:>8.1f} {held.now / 1e6:>8.1f}", flush=True)
                line = asked * LINES // rows + 1
            with suppress(subprocess.TimeoutExpired):
                process.wait(TICK)
    return most


class Held(NamedTuple):
    """Bytes that a process holds, and the most it has ever held."""

    now: int
    most: int


def memory(process: subprocess.Popen[str]) -> Held | None:
    """None when the process has ended."""
    if process.poll() is not None:
        return None
    status = Path(f"/proc/{process.pid}/status").read_text()
    found = dict(re.findall(r"(VmRSS|VmHWM):\s+(\d+) kB", status))
    return Held(int(found["VmRSS"]) << 10, int(found["VmHWM"]) << 10) if found else None


if __name__ == "__main__":
    main()

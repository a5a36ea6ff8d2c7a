"""`python -m tests.benchmarks.latency [TIMES]`: how near a client comes to perfect (3 times, in turns;
medians).

The server's N-th answer takes the N-th of a series of latencies (log-normal, median 0.4 s).  A
perfect client sends the next request at the moment an answer ends; its time is computed.  Prints,
for 200 and 1,000 requests in flight and 20 times as many rows:

* asking: seconds from the first request's arrival at the server to the end of its last answer, so
  that no start-up is in it, and that over the perfect client's;
* process: seconds from the start of the client's process to its end.

The loop everybody writes on aiohttp and the installed packages (with fewer rows: they are slow) do
the same work.

Then what streaming costs, 50 in flight: CPU microseconds a row for answers in one piece and in 100
events (what a run of one row takes is taken off), the second over the first, and how much of a core
the process with the events took; once with the events spread over the latencies, where each wakes
the client, and once with all of them, and all answers, at once.
"""

from __future__ import annotations

import heapq
import statistics
import sys
import tempfile
from collections import defaultdict
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from itertools import islice
from pathlib import Path
from typing import NamedTuple

from tests.benchmarks.driving import Failed, measure, ours, peer, prepared, static_server
from tests.benchmarks.peers import PACKAGES, installed
from tests.benchmarks.static_server import latencies

IN_FLIGHT = (200, 1_000)
ROUNDS = 20
"""Rows for each request in flight."""
SLOW = 4
"""Packages get one row in so many."""
LATENCY = (0.4, 0.5)
STREAMING_IN_FLIGHT = 50
STREAMING_ROWS = 2_000
EVENTS = 100
PACES = {"spread": LATENCY, "at once": (0.0, 0.0)}

Command = Callable[[str, Path, int], list[str]]
STREAMING: dict[str, tuple[Command, Command]] = {
    "batchmill": (ours, lambda *about: ours(*about, "--set", "request.stream=true")),
    "plain": (partial(peer, "plain"), partial(peer, "plain_streaming")),
    "bare": (partial(peer, "bare"), partial(peer, "bare")),  # throws away what comes
}
"""How each asks for answers in one piece, and for streams."""


class Asked(NamedTuple):
    """What became of one client; all but the CPU seconds are seconds of the clock."""

    asking: float
    process: float
    cpu: float


def main() -> None:
    times = int(sys.argv[1]) if len(sys.argv) > 1 else 3
    for in_flight in IN_FLIGHT:
        latency(in_flight * ROUNDS, in_flight, times)
    streaming(times)


def latency(rows: int, in_flight: int, times: int) -> None:
    print(f"{in_flight:,} in flight")
    show("client", "rows", "asking s", "perfect s", "ratio", "process s")
    found: dict[str, list[Asked]] = defaultdict(list)
    names = ("batchmill", "plain", *installed())
    counts = {name: rows // SLOW if name in PACKAGES else rows for name in names}
    for _ in range(times):
        for name, count in counts.items():
            command = ours if name == "batchmill" else partial(peer, name)
            with suppress(*[Failed] if name in PACKAGES else []):  # some do not bear so many
                found[name] += [asked(command, count, in_flight, LATENCY)]
    for name, all_of_it in found.items():
        if not all_of_it:
            show(name, "fails")
            continue
        best = perfect(counts[name], in_flight)
        asking, process, _ = map(statistics.median, zip(*all_of_it, strict=True))
        seconds = [f"{number:.2f}" for number in (asking, best)]
        show(name, f"{counts[name]:,}", *seconds, f"{asking / best:.3f}", f"{process:.2f}")


def perfect(rows: int, in_flight: int) -> float:
    """Seconds that the rows take when every answer's end is the next request's arrival."""
    free = [0.0] * in_flight
    for takes in islice(latencies(*LATENCY), rows):
        heapq.heapreplace(free, free[0] + takes)
    return max(free)


def streaming(times: int) -> None:
    rows = STREAMING_ROWS
    print(f"streaming, {STREAMING_IN_FLIGHT} in flight, {rows:,} rows, CPU us a row")
    show("client", "events", "one piece", f"{EVENTS} events", "ratio", "of a core")
    for name, (blocking, streamed) in STREAMING.items():
        one = statistics.median(asked(blocking, 1, 1, ()).cpu for _ in range(3))
        for pace, latency in PACES.items():
            pairs = [
                (
                    asked(blocking, rows, STREAMING_IN_FLIGHT, latency),
                    asked(streamed, rows, STREAMING_IN_FLIGHT, (*latency, EVENTS)),
                )
                for _ in range(times)
            ]
            whole, events = (
                statistics.median(took.cpu for took in of) - one for of in zip(*pairs, strict=True)
            )
            busy = statistics.median(took.cpu / took.process for _, took in pairs)
            each = [f"{seconds / rows * 1e6:.0f}" for seconds in (whole, events)]
            show(name, pace, *each, f"{events / whole:.2f}", f"{busy:.0%}")


def asked(command: Command, rows: int, in_flight: int, about: tuple[float, ...]) -> Asked:
    """What a client takes for so many rows, with a server of its own; it must ask for each once."""
    with tempfile.TemporaryDirectory(dir=Path.cwd()) as scratch, static_server(*about) as server:
        folder = prepared(Path(scratch) / "run", rows)
        took = measure(command(server.url, folder, in_flight))
        seen = server.seen()
    assert seen.requests == rows, seen
    return Asked(seen.last - seen.first, took.wall, took.cpu)


def show(*words: str) -> None:
    print(("{:<12}" + " {:>10}" * (len(words) - 1)).format(*words), flush=True)


if __name__ == "__main__":
    main()

"""`python -m tests.benchmarks.off [PAIRS] [ROWS]`: what it costs, where it cannot help, that rows ask less.

In each pair (9 of them) the same chats, which have nothing in common, are asked twice, in turns first:
as a job is by itself, and with `dedupe`, the prompt cache and packing off.  Prints the CPU a row of both,
the median of the ratios, and their quartiles: a difference is real when these lie on one side of 1.
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

from tests.benchmarks.against import FEWEST_PAIRS, IN_FLIGHT, PAIRS, ROWS, line
from tests.benchmarks.driving import ROOT, measure, ours, prepared, static_server

OFF = ("dedupe=false", 'prompt.cache="off"', "limits.inputs_per_request=1")
FLAGS = tuple(word for value in OFF for word in ("--set", value))


def main() -> None:
    numbers = [int(word) for word in sys.argv[1:]]
    pairs, rows = [*numbers, *(PAIRS, ROWS)[len(numbers) :]]
    found = []
    for turn in range(max(pairs, FEWEST_PAIRS) + 1):
        sides = {"off": FLAGS, "on": ()}
        order = ("off", "on") if turn % 2 else ("on", "off")
        took = {side: cpu_a_row(rows, *sides[side]) for side in order}
        found.append((took["off"], took["on"]))
    print(f"{'':<26} {'off':>9} {'on':>9} {'on/off':>9}   quartiles")
    print(line("CPU us a row", found[1:]))


def cpu_a_row(rows: int, *flags: str) -> float:
    with tempfile.TemporaryDirectory(dir=ROOT) as scratch, static_server() as server:
        folder = prepared(Path(scratch) / "one", rows)
        return measure(ours(server.url, folder, IN_FLIGHT, *flags)).cpu / rows * 1e6


if __name__ == "__main__":
    main()

"""`python -m tests.benchmarks.against OLD NEW [PAIRS] [ROWS]`: two checkouts, one against the other.

OLD and NEW are folders that hold `batch/`.  Each pair (9 of them) measures both, one right after
the other and in turns first, so that whatever slows the machine slows both.  Prints for each
measure both medians, the median of the ratios NEW / OLD of all pairs, and their quartiles: a change
is real when the quartiles lie on one side of 1.

The measures: CPU of the client's process a row (user and system; JSONL in, Parquet out, a server
that answers at once; what a job without rows would take is in it), CPU of `--help`, and wall time
from the start of a process to the arrival of its first request.
"""

from __future__ import annotations

import statistics
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

from tests.benchmarks.driving import ROOT, first_request, measure, ours, prepared, static_server

PAIRS = 9
FEWEST_PAIRS = 7
ROWS = 20_000
IN_FLIGHT = 200
FEW_ROWS = 10

Measure = Callable[[Path, Path], float]
"""A checkout and a folder that is not there yet -> a number."""


def main() -> None:
    old, new = (Path(word).resolve() for word in sys.argv[1:3])
    numbers = [int(word) for word in sys.argv[3:]]
    pairs, rows = [*numbers, *(PAIRS, ROWS)[len(numbers) :]]
    measures: dict[str, Measure] = {
        "CPU us a row": lambda tree, folder: cpu_a_row(tree, folder, rows),
        "CPU ms of --help": cpu_of_help,
        "ms to the first request": to_first_request,
    }
    print(f"{'':<26} {'old':>9} {'new':>9} {'new/old':>9}   quartiles")
    for name, measured in measures.items():
        found = in_pairs(measured, old, new, max(pairs, FEWEST_PAIRS))
        print(line(name, found), flush=True)


def in_pairs(measured: Measure, old: Path, new: Path, pairs: int) -> list[tuple[float, float]]:
    """What a measure finds of both in each pair; a first pair, which compiles, counts for nothing."""
    found = []
    for turn in range(pairs + 1):
        with tempfile.TemporaryDirectory(dir=ROOT) as scratch:
            folders = {old: Path(scratch) / "old", new: Path(scratch) / "new"}
            trees = (old, new) if turn % 2 else (new, old)
            numbers = {tree: measured(tree, folders[tree]) for tree in trees}
        found.append((numbers[old], numbers[new]))
    return found[1:]


def line(name: str, found: list[tuple[float, float]]) -> str:
    olds, news = zip(*found, strict=True)
    ratios = [new / old for old, new in found]
    lower, median, upper = statistics.quantiles(ratios, n=4, method="inclusive")
    medians = f"{statistics.median(olds):>9.1f} {statistics.median(news):>9.1f}"
    return f"{name:<26} {medians} {median:>9.3f}   {lower:.3f} to {upper:.3f}"


def cpu_a_row(tree: Path, folder: Path, rows: int) -> float:
    with static_server() as server:
        command = ours(server.url, prepared(folder, rows), IN_FLIGHT)
        return measure(command, tree).cpu / rows * 1e6


def cpu_of_help(tree: Path, _: Path) -> float:
    return measure([sys.executable, "-m", "batch", "--help"], tree).cpu * 1e3


def to_first_request(tree: Path, folder: Path) -> float:
    return first_request(folder, FEW_ROWS, tree) * 1e3


if __name__ == "__main__":
    main()

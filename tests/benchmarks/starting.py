"""`python -m tests.benchmarks.starting [TIMES]`: how long it takes to begin (5 times, in turns).

Prints medians of wall seconds: `batchmill --help`, whole; a job of 10 rows from the start of the
process to its first row's arrival at the server (which lists its models at once); and beside them
a bare interpreter and the import of the two largest libraries, with what each is over these two.
"""

from __future__ import annotations

import statistics
import sys
import tempfile
from collections import defaultdict
from pathlib import Path

from tests.benchmarks.driving import first_request, measure

ROWS = 10
BARE = "python -c pass"
IMPORTS = "python -c import aiohttp, pyarrow.parquet"
WHOLE = {
    BARE: ["-c", "pass"],
    IMPORTS: ["-c", "import aiohttp, pyarrow.parquet"],
    "batchmill --help": ["-m", "batch", "--help"],
}


def main() -> None:
    times = int(sys.argv[1]) if len(sys.argv) > 1 else 5
    found: dict[str, list[float]] = defaultdict(list)
    for _ in range(times):
        for name, words in WHOLE.items():
            found[name].append(measure([sys.executable, *words]).wall)
        found["batchmill run, first row"].append(first_row())
    print(f"{'':<42} {'seconds':>8} {'/ bare':>8} {'/ imports':>10}")
    seconds = {name: statistics.median(each) for name, each in found.items()}
    for name, took in seconds.items():
        bare, imports = took / seconds[BARE], took / seconds[IMPORTS]
        print(f"{name:<42} {took:>8.3f} {bare:>8.2f} {imports:>10.2f}")


def first_row() -> float:
    """Seconds from the start of a process to its first row's arrival at the server."""
    with tempfile.TemporaryDirectory(dir=Path.cwd()) as scratch:
        return first_request(Path(scratch) / "run", ROWS)


if __name__ == "__main__":
    main()

"""`python -m tests.benchmarks.columns [ROWS]`: what a column costs, by how many there are (ROWS is
100).

For a thousand and for ten thousand columns, as Parquet and as CSV: the seconds of CPU that it takes
to find the columns, to read the rows, to make values of them and to carry them; the last line tells
how many times as much ten times the columns take.
"""

from __future__ import annotations

import csv
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from batch import columns
from batch.readers import resolve

COUNTS = (1_000, 10_000)


def main() -> None:
    rows = int(sys.argv[1]) if len(sys.argv) > 1 else 100
    print(f"{'':24}" + "".join(f"{step:>12}" for step in ("columns", "rows", "values", "carried")))
    with tempfile.TemporaryDirectory(dir=Path.cwd()) as scratch:
        for suffix in ("parquet", "csv"):
            taken = []
            for count in COUNTS:
                path = Path(scratch) / f"{count}.{suffix}"
                save(path, count, rows)
                taken.append(list(steps(path)))
                told(f"{count:,} columns, {suffix}", [f"{seconds:.2f} s" for seconds in taken[-1]])
            told("", [f"x {many / few:.1f}" for few, many in zip(*taken, strict=True)])


def told(name: str, cells: list[str]) -> None:
    print(f"{name:24}" + "".join(f"{cell:>12}" for cell in cells), flush=True)


def save(path: Path, count: int, rows: int) -> None:
    made = {f"c{number}": [f"{number} {row}" for row in range(rows)] for number in range(count)}
    if path.suffix == ".parquet":
        pq.write_table(pa.table(made), path)
        return
    with path.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(made)
        writer.writerows(zip(*made.values(), strict=True))


def steps(path: Path) -> Iterator[float]:
    """The seconds of CPU of each step."""
    began = time.process_time()
    found = resolve(path.name, path.parent)
    schema = found.schema(None)
    columns.schema(schema, columns.COLUMNS)
    yield -began + (began := time.process_time())
    batches = list(found.batches())
    yield -began + (began := time.process_time())
    for batch in batches:
        found.rows(batch, 0)
    yield -began + (began := time.process_time())
    for batch in batches:
        found.reader.carry(batch.table, schema, None)
    yield -began + time.process_time()


if __name__ == "__main__":
    main()

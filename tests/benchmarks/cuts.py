"""`python -m tests.benchmarks.cuts [ROWS [BYTES]]`: what it takes to cut an input into parts (ROWS is
50,000,000, BYTES of JSON Lines 1,000,000,000).

For Parquet the rows lie in one file of many row groups, and in many files; there are no values in
them that would have to be read.  JSON Lines are cut, and then the same file's fingerprint is taken,
which every run does: the last column tells how many times as long the cutting takes.
"""

from __future__ import annotations

import json
import shutil
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from batch.readers import fingerprints, resolve
from batch.readers.cuts import cuts
from batch.readers.fingerprints import WHOLE

PART_ROWS, PART_BYTES = 5_000, 64 << 20
GROUP = 10_000
FILES = 1_000
WIDTHS = (100, 300, 3_000)


def main() -> None:
    rows = int(sys.argv[1]) if len(sys.argv) > 1 else 50_000_000
    size = min(int(sys.argv[2]) if len(sys.argv) > 2 else 1_000_000_000, WHOLE)
    with tempfile.TemporaryDirectory(dir=Path.cwd()) as folder:
        scratch = Path(folder)
        (scratch / "one").mkdir()
        groups_of(scratch / "one" / "0.parquet", rows)
        told(f"Parquet, {rows:,} rows in one file", scratch / "one")
        (scratch / "many").mkdir()
        groups_of(scratch / "first.parquet", rows // FILES)
        for number in range(FILES):
            shutil.copy(scratch / "first.parquet", scratch / "many" / f"{number:04d}.parquet")
        told(f"Parquet, {rows:,} rows in {FILES:,} files", scratch / "many")
        for width in WIDTHS:
            path = lines_of(scratch / "in.jsonl", size, width)
            seconds = told(f"JSON Lines, {size / 1e9:.1f} GB, {width:,} bytes each", path)
            taken, _ = timed(lambda path=path: fingerprints.take(str(path), grows=True))
            print(f"{'its fingerprint':50}{taken:9.2f} s{'x':>12} {seconds / taken:.2f}")


def timed(call: Callable[[], int | object]) -> tuple[float, object]:
    began = time.perf_counter()
    found = call()
    return time.perf_counter() - began, found


def told(name: str, path: Path) -> float:
    """Cut an input and print the time; gives the seconds."""
    source = resolve(str(path), path.parent)
    seconds, parts = timed(lambda: sum(1 for _ in cuts(source, PART_ROWS, PART_BYTES)))
    print(f"{name:50}{seconds:9.2f} s{parts:>12,} parts", flush=True)
    return seconds


def groups_of(path: Path, rows: int) -> None:
    """A file of row groups whose only column is null throughout."""
    schema = pa.schema([(name, pa.string()) for name in ("id", "text", "more")])
    group = pa.table([pa.nulls(GROUP, field.type) for field in schema], schema)
    with pq.ParquetWriter(path, schema) as writer:
        for _ in range(max(1, rows // GROUP)):
            writer.write_table(group)


def lines_of(path: Path, size: int, width: int) -> Path:
    """About `size` bytes of lines of about `width` bytes."""
    record = {"id": 12345678, "text": "x" * max(0, width - 32)}
    block = f"{json.dumps(record)}\n".encode() * 1_000
    with path.open("wb") as file:
        for _ in range(max(1, size // len(block))):
            file.write(block)
    return path


if __name__ == "__main__":
    main()

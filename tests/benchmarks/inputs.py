"""`python -m tests.benchmarks.inputs [MB]`: one JSON array of so many megabytes (1,000) is read from
end to end, and from its last rows on, as is the same as CSV, JSON Lines and Arrow.

Prints the seconds, the megabytes a second, and the most memory that was held.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa

from tests.reading import peak

READ = """
import sys, pathlib
from batch.readers import resolve
found = resolve(sys.argv[1], pathlib.Path.cwd())
rows, last = 0, None
for batch in found.batches():
    rows, last = rows + len(batch.table), batch.start
assert sum(len(batch.table) for batch in found.batches(last)) <= 256
print(rows)
"""

TEXT = "It arrived on a Tuesday, and was not what we had ordered; the café is fine. " * 10


def rows(size: int) -> Iterator[dict[str, Any]]:
    for number in range(size // len(TEXT)):
        yield {"id": number, "text": TEXT, "stars": number % 5, "score": number / 7}


def array(path: Path, size: int) -> None:
    with path.open("w") as file:
        for number, row in enumerate(rows(size)):
            file.write(f"{',' if number else '['}\n{json.dumps(row)}")
        file.write("\n]\n")


def lines(path: Path, size: int) -> None:
    with path.open("w") as file:
        file.writelines(f"{json.dumps(row)}\n" for row in rows(size))


def table(path: Path, size: int) -> None:
    with path.open("w") as file:
        file.write("id;text;stars\n")
        file.writelines(f'{row["id"]};"{row["text"]}";{row["stars"]}\n' for row in rows(size))


def arrow(path: Path, size: int) -> None:
    whole = pa.Table.from_pylist(list(rows(size)))
    with pa.ipc.new_file(path, whole.schema) as file:
        file.write_table(whole)


KINDS: dict[str, Callable[[Path, int], None]] = {
    "in.json": array,
    "in.jsonl": lines,
    "in.csv": table,
    "in.arrow": arrow,
}


def main() -> None:
    size = (int(sys.argv[1]) if len(sys.argv) > 1 else 1_000) * 1_000_000
    print(f"{'':>10} {'MB':>6} {'seconds':>8} {'MB/s':>6} {'most MB':>8}")
    for name, make in KINDS.items():
        with tempfile.TemporaryDirectory(dir=Path.cwd()) as scratch:
            path = Path(scratch) / name
            make(path, size)
            megabytes, began = path.stat().st_size / 1e6, time.monotonic()
            most = peak(subprocess.Popen([sys.executable, "-c", READ, str(path)], text=True))
            seconds = time.monotonic() - began
        rate = megabytes / seconds
        print(f"{name:>10} {megabytes:>6.0f} {seconds:>8.1f} {rate:>6.0f} {most / 1e6:>8.1f}")


if __name__ == "__main__":
    main()

"""`python -m tests.benchmarks.status [PARTS]`: how long `status` and `report` take of a run with so many
sealed parts (10,000), and what a part takes against the whole of its metadata.

The parts are copies of one, which looking at a run does not mind.
"""

from __future__ import annotations

import shutil
import sys
import tempfile
import time
from pathlib import Path

from batch.run_folder import RunFolder
from batch.runs import Run
from batch.store import files, parts
from tests.benchmarks.driving import measure, ours, prepared, static_server

PARTS = 10_000
ROWS = 5_000
SOME = 500


def main() -> None:
    count = int(sys.argv[1]) if sys.argv[1:] else PARTS
    with tempfile.TemporaryDirectory() as scratch, static_server() as server:
        folder = prepared(Path(scratch) / "bench", ROWS)
        measure(ours(server.url, folder, 200))
        run = RunFolder(folder / "run")
        first = run.sealed(0)
        for number in range(1, count):
            shutil.copyfile(first, run.sealed(number))
        sealed = run.sealed_files()[:SOME]
        whole = _seconds(lambda: [*map(_with_metadata, sealed)]) * count / len(sealed)
        footers = _seconds(lambda: [parts.footer(path) for path in run.sealed_files()])
        status = _seconds(lambda: Run(run.path).status())
        print(f"{count:,} parts: status {status:.2f} s, footers {footers:.2f} s")
        print(f"footers / the same by all metadata: {footers / whole:.2f}")


def _with_metadata(path: Path) -> None:
    with files.parquet(path) as file:
        assert file.metadata.num_rows


def _seconds(call: object) -> float:
    began = time.perf_counter()
    call()  # type: ignore[operator]
    return time.perf_counter() - began


if __name__ == "__main__":
    main()

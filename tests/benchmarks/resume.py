"""`python -m tests.benchmarks.resume [ROWS]`: how soon a run of a million finished rows asks the next one.

Prints the seconds from the start of the process to its first request, and its peak memory.
"""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import psutil

from batch import readers
from batch.model import Result
from batch.planning import begun
from batch.run_folder import RunFolder
from batch.store import folder
from batch.store.files import Disk
from batch.store.recover import recover
from batch.store.sends import Sends
from batch.store.writer import Store
from tests.fake_api import FakeAPI
from tests.reading import asking

ROOT = Path(__file__).resolve().parent.parent.parent
MORE = 1_000
PART_ROWS = 5_000


class NoSync(Disk):
    """Builds the folder at the speed of memory."""

    def fsync(self, file: object) -> None:
        pass


def main() -> None:
    rows = int(sys.argv[1]) if len(sys.argv) > 1 else 1_000_000
    with tempfile.TemporaryDirectory(dir=Path.cwd()) as scratch:
        root = Path(scratch)
        with (root / "in.jsonl").open("w") as file:
            file.writelines(
                f'{{"id": {row}, "text": "text {row:07d}"}}\n' for row in range(rows + MORE)
            )
        api = FakeAPI()
        _start(root, api, "--limit", "1").wait()
        asyncio.run(_fill(root, rows))
        api.reset_ledger()
        seconds, memory, code = _resumed(root, api)
        asked = len(api.ledger)
        api.close()
    print(f"first request   {seconds:.2f} s after the start, {rows:,} rows being done")
    print(f"peak memory     {memory >> 20} MiB")
    print(f"asked           {asked:,} of {MORE:,} rows, exit code {code}")


async def _fill(root: Path, rows: int) -> None:
    """Answer all rows but the last MORE, as if they had been asked."""
    run, disk = RunFolder(root / "run"), NoSync()
    _, layout = begun.opened(run.path)
    found, _ = recover(disk, run)
    store = Store(
        run, layout, found, part_rows=PART_ROWS, on_done=lambda _: None, sends=Sends(disk, run)
    )
    async with store:
        for batch in readers.resolve(str(root / "in.jsonl"), root).batches(store.next_position):
            left = rows - store.next_row
            if left <= 0:
                break
            first = store.take_in(batch if left >= len(batch.table) else batch.cut(left)[0])
            for row in range(first, store.next_row):
                store.write(_result(row))
            await store.room()
            await asyncio.sleep(0)
        store.input_ended()
    folder.write_usage(disk, run, "run_of_a_benchmark", store.summary())


def _result(row: int) -> Result:
    return Result(
        row=row,
        status="ok",
        completion=f"answer to: text {row:07d}",
        finish_reason="stop",
        model="m",
        served_model="m",
        input_tokens=10,
        output_tokens=10,
        attempts=1,
        http_status=200,
        latency_s=0.5,
        started_at=1.7e9,
        finished_at=1.7e9,
        endpoint="example.com/v1",
        request_hash=f"{row:032x}",
    )


def _start(root: Path, api: FakeAPI, *more: str) -> subprocess.Popen[bytes]:
    flags = asking(api, "-o", "run", "--set", f"output.part_rows={PART_ROWS}", "--quiet", *more)
    command = [sys.executable, "-m", "batch", "run", "in.jsonl", *map(str, flags)]
    return subprocess.Popen(command, cwd=root, env={**os.environ, "PYTHONPATH": str(ROOT)})


def _resumed(root: Path, api: FakeAPI) -> tuple[float, int, int]:
    """Seconds to the first request, peak bytes of memory, exit code."""
    began = time.perf_counter()
    process = _start(root, api)
    watched, peak, first = psutil.Process(process.pid), 0, 0.0
    while process.poll() is None:
        if not first and api.ledger:
            first = time.perf_counter() - began
        try:
            peak = max(peak, watched.memory_info().rss)
        except psutil.Error:
            break
        time.sleep(0.002)
    return first, peak, process.wait()


if __name__ == "__main__":
    main()

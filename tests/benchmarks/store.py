"""`python -m tests.benchmarks.store [ROWS]`: journal and seal without a network, and how long the
loop stalls.

Prints rows/s with every row fsynced and sealed, beside the same rows written by pyarrow alone in
one go (no journal, no fsync), the microseconds a row that sealing takes, and the stalls of the
event loop.
"""

from __future__ import annotations

import asyncio
import itertools
import json
import sys
import tempfile
import time
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from batch import columns, readers
from batch.model import Batch, Result
from batch.run_folder import RunFolder
from batch.store import folder, journal, seal
from batch.store.files import Disk
from batch.store.seal import Layout
from batch.store.sends import Sends
from batch.store.spool import SpoolWriter, Start
from batch.store.writer import Store

ANSWER = "x" * 1_000
TICK = 0.002


def main() -> None:
    rows = int(sys.argv[1]) if len(sys.argv) > 1 else 100_000
    with tempfile.TemporaryDirectory(dir=Path.cwd()) as scratch:
        root = Path(scratch)
        path = root / "in.jsonl"
        path.write_text(
            "".join(json.dumps({"id": i, "text": "y" * 300}) + "\n" for i in range(rows))
        )
        plain = _plain(root, rows)
        seconds, stalls, sealing = asyncio.run(_stored(root, path, rows))
    stalls.sort()
    print(f"journal + seal  {rows / seconds:10,.0f} rows/s")
    print(f"pyarrow alone   {rows / plain:10,.0f} rows/s   ratio {plain / seconds:.2f}")
    print(f"seal            {sealing / rows * 1e6:10.1f} us a row")
    print(
        f"loop stalls     p50 {_share(stalls, 0.5):.1f}  p99 {_share(stalls, 0.99):.1f}"
        f"  max {stalls[-1] * 1e3:.1f} ms"
    )


def _share(stalls: list[float], share: float) -> float:
    return stalls[int(len(stalls) * share)] * 1e3


def _result(row: int) -> Result:
    return Result(
        row=row,
        status="ok",
        completion=ANSWER,
        finish_reason="stop",
        model="m",
        served_model="m",
        input_tokens=100,
        output_tokens=250,
        usage_json='{"prompt_tokens":100,"completion_tokens":250}',
        attempts=1,
        http_status=200,
        latency_s=0.5,
        started_at=1.7e9 + row,
        finished_at=1.7e9 + row,
        endpoint="example.com/v1",
        request_hash=f"{row:032x}",
    )


def _plain(root: Path, rows: int) -> float:
    began = time.perf_counter()
    results = [_result(row) for row in range(rows)]
    made = columns.arrays(results, columns.COLUMNS)
    table = pa.Table.from_arrays(made, names=[column.name for column in columns.COLUMNS])
    pq.write_table(table, root / "plain.parquet", compression="zstd")
    return time.perf_counter() - began


async def _stored(root: Path, path: Path, rows: int) -> tuple[float, list[float], float]:
    disk, run = Disk(), RunFolder(root / "run")
    folder.make(disk, run)
    source = readers.resolve(str(path), root)
    carried = source.schema(None)
    schema, _ = columns.schema(carried, columns.COLUMNS)
    layout = Layout(
        schema, columns.COLUMNS, lambda table: source.reader.carry(table, carried, None)
    )
    stalls: list[float] = []
    ticking = asyncio.create_task(_tick(stalls))
    began = time.perf_counter()
    store = Store(run, layout, [], part_rows=5_000, on_done=lambda _: None, sends=Sends(disk, run))
    async with store:
        for batch in source.batches():
            first = store.take_in(batch)
            for row in range(first, first + len(batch.table)):
                store.write(_result(row))
            await store.room()
            await asyncio.sleep(0)
        store.input_ended()
    seconds = time.perf_counter() - began
    ticking.cancel()
    return seconds, stalls, _sealing(root, layout, source, disk)


async def _tick(stalls: list[float]) -> None:
    """How much later than asked for the loop wakes us."""
    while True:
        before = time.perf_counter()
        await asyncio.sleep(TICK)
        stalls.append(max(0.0, time.perf_counter() - before - TICK))


def _sealing(root: Path, layout: Layout, source: readers.Input, disk: Disk) -> float:
    """Seconds of CPU to seal all rows once more, alone in one thread, about 5,000 to a part."""
    run, taken, row = RunFolder(root / "again"), 0.0, 0
    folder.make(disk, run)
    batches = source.batches()
    for number in itertools.count():
        some = list(itertools.islice(batches, 20))
        if not some:
            return taken
        piece = _opened(disk, run, number, row, some)
        began = time.process_time()
        seal.seal(disk, run, piece, layout)
        taken += time.process_time() - began
        row += piece.rows
    raise AssertionError("the count never ends")


def _opened(disk: Disk, run: RunFolder, number: int, row: int, batches: list[Batch]) -> seal.Slice:
    """An open part on disk that holds `batches`, every row answered."""
    start, end = batches[0].start, batches[-1].end
    count = sum(len(batch.table) for batch in batches)
    opened = run.opened(number)
    disk.make_folder(opened.path)
    spooled = SpoolWriter(Start(number, 1, row, start))
    disk.put(opened.spool, map(spooled.add, batches), run.drafts)
    header = journal.line(journal.Header(number, 1, row, start))
    lines = (journal.line(_result(at)) for at in range(row, row + count))
    disk.put(opened.journal, itertools.chain([header], lines), run.drafts)
    return seal.Slice(number, 1, row, count, start, end)


if __name__ == "__main__":
    main()

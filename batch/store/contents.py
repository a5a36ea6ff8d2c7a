"""What a run holds, read from outside: sealed parts and the journals of open ones, in row order.

Takes no lock and changes nothing, so it works beside a running process; a row is seen once,
wherever it lies.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from batch.store import journal, parts
from batch.store.seal import Layout, Merge


def tables(run: Path, layout: Layout) -> Iterator[pa.Table]:
    """All results, a bounded number of rows at a time."""
    for number in numbers(run):
        yield from part(run, number, layout)


def numbers(run: Path) -> list[int]:
    """The parts that hold results, in order."""
    paths = [*(run / "completions").glob("part-*.parquet"), *(run / "open").glob("part-*")]
    return sorted({number for path in paths if (number := parts.number(path)) is not None})


def part(run: Path, number: int, layout: Layout) -> Iterator[pa.Table]:
    """The results of one part, those that are still in its journal included."""
    sealed = run / "completions" / f"{parts.name(number)}.parquet"
    opened = run / "open" / parts.name(number)
    generation = parts.footer(sealed).generation if sealed.exists() else 0
    scan = journal.scan(opened / journal.NAME)
    if scan.entries and scan.header is not None and scan.header.generation == generation + 1:
        merge = Merge(opened, sealed if generation else None, scan.entries, layout)
        yield from merge.tables()
    elif sealed.exists():  # also when it was sealed while we looked
        for batch in pq.ParquetFile(sealed, pre_buffer=False).iter_batches(1024):
            yield pa.Table.from_batches([batch], schema=layout.schema)

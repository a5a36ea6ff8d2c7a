"""Batches that hold the rows of a sample only, and know where each of them stands."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import pyarrow as pa
from msgspec.structs import replace

from batch.model import Batch
from batch.sampling import Chosen


def batches(found: Iterable[Batch], chosen: Chosen, row: int) -> Iterator[Batch]:
    """The chosen of the rows that were `found`, up to the last of all; `row` is the number of the first."""
    last = chosen.numbers[-1] if len(chosen) else -1
    if row > last:
        return
    for batch in found:
        end = row + len(batch.table)
        if offsets := [number - row for number in chosen.between(row, end)]:
            whole = len(offsets) == len(batch.table)
            table = batch.table if whole else batch.table.take(pa.array(offsets))
            yield Batch(table, replace(batch.start, row=row), replace(batch.end, row=end), offsets)
        if end > last:
            return
        row = end

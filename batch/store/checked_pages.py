"""A Parquet file of a run, of which nothing damaged is read."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from batch.store.files import readable


class CheckedPages(pq.ParquetFile):  # type: ignore[misc]
    """A Parquet file, read page by page against its checksums, that tells damage in our words."""

    def __init__(self, path: Path) -> None:
        self._path = path
        super().__init__(path, pre_buffer=False, page_checksum_verification=True)

    def read(self, *args: Any, **named: Any) -> pa.Table:
        with readable(self._path):
            return super().read(*args, **named)

    def read_row_group(self, *args: Any, **named: Any) -> pa.Table:
        with readable(self._path):
            return super().read_row_group(*args, **named)

    def iter_batches(self, *args: Any, **named: Any) -> Iterator[pa.RecordBatch]:
        batches = super().iter_batches(*args, **named)
        while True:
            with readable(self._path):
                batch = next(batches, None)
            if batch is None:
                return
            yield batch

"""Results as one file: streamed in input order, all or nothing."""

from __future__ import annotations

import codecs
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import BinaryIO

import pyarrow as pa
import pyarrow.parquet as pq

from batch.outputs import batch_files, cells, form, picked, whole
from batch.outputs.form import File, Written
from batch.store.plan import Format

Tables = Iterable[pa.Table]


def paths(file: File) -> list[Path]:
    """The files that may come to be."""
    errors = batch_files.errors_of(file) if file.format == "openai-batch" else None
    found = [file.path, None if errors is None else errors.path]
    return [path for path in found if path is not None and not form.is_stream(path)]


def write(
    file: File, tables: Tables, schema: pa.Schema, api: str, stdout: BinaryIO | None
) -> Written:
    """Write what `file` wants of the results of a job whose API is `api`.  Raises StorageError,
    UsageError for a column that there is not, and BrokenPipeError where a reader has gone.
    """
    if file.format == "openai-batch":
        return batch_files.write(file, tables, api, stdout)
    columns = picked.pick(schema, file.columns, file.flat)
    chosen = map(columns.table, tables)
    with whole.opened(file, stdout) as taking:
        notices = _FORMATS[file.format](chosen, columns.schema, taking, file)
    return Written([] if file.path is None else [file.path], notices)


def _parquet(tables: Tables, schema: pa.Schema, taking: BinaryIO, file: File) -> list[str]:
    """The columns with their types."""
    with pq.ParquetWriter(taking, schema, compression="zstd") as writer:
        for table in tables:
            writer.write_table(table)
    return []


def _jsonl(tables: Tables, schema: pa.Schema, taking: BinaryIO, file: File) -> list[str]:
    finite = True
    for table in tables:
        finite = finite and cells.is_finite(table)
        for line in cells.json_lines(table):
            taking.write(line)
    return [] if finite else [NOT_FINITE]


NOT_FINITE = (
    "there is NaN or Infinity in it, which not all readers of JSON take; Parquet and CSV have both"
)


def _csv(tables: Tables, schema: pa.Schema, taking: BinaryIO, file: File) -> list[str]:
    """A spreadsheet needs the mark at the beginning to take the file for UTF-8."""
    if file.excel:
        taking.write(codecs.BOM_UTF8)
    taking.write(cells.csv_line(schema.names, guarded=file.excel).encode())
    for table in tables:
        for row in cells.rows(table):
            taking.write(cells.csv_line(row.values(), guarded=file.excel).encode())
    return []


_FORMATS: dict[Format, Callable[[Tables, pa.Schema, BinaryIO, File], list[str]]] = {
    "parquet": _parquet,
    "jsonl": _jsonl,
    "csv": _csv,
}

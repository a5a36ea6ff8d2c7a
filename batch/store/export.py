"""Results as one file: streamed in input order, all or nothing."""

from __future__ import annotations

import codecs
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import BinaryIO

import msgspec
import pyarrow as pa
import pyarrow.parquet as pq

from batch.store import batch_lines, cells, picked, whole
from batch.store.form import OURS, File, Format

Tables = Iterable[pa.Table]


class Written(msgspec.Struct):
    """What an export has made, and lines of notice."""

    paths: list[Path] = []
    notices: list[str] = []


def write(file: File, tables: Tables, schema: pa.Schema, stdout: BinaryIO) -> Written:
    """Write the columns that `file` wants.  Raises StorageError, UsageError for a column that there
    is not, and BrokenPipeError where a reader has gone.
    """
    columns = picked.pick(schema, file.columns, file.flat)
    chosen = map(columns.table, tables)
    with whole.opened(file, stdout) as taking:
        notices = _FORMATS[file.format](chosen, columns.schema, taking, file)
    return Written(_paths(file), notices)


def _paths(*files: File) -> list[Path]:
    return [file.path for file in files if file.path is not None]


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


def openai_batch(file: File, tables: Tables, api: str, stdout: BinaryIO) -> Written:
    """The answers as OpenAI's Batch API gives them; failed rows go to the file that is returned.

    `api` is that of the job; a row whose raw answer was not kept is rebuilt from its columns.
    """
    errors = errors_of(file)
    encoder = msgspec.json.Encoder()
    with whole.opened(file, stdout) as answered, whole.opened(errors, stdout) as failed:
        for table in tables:
            for row in cells.rows(table):
                taking = answered if row["status"] == "ok" else failed
                taking.write(encoder.encode(batch_lines.line(row, api)) + b"\n")
    return Written(_paths(file, errors))


def errors_of(file: File) -> File:
    """Where the failed rows of OpenAI's batch format go: all.jsonl.gz -> all.errors.jsonl.gz."""
    if file.path is None:
        return file
    name = file.path.name
    ends = [end for end in (*OURS, file.path.suffix) if name.lower().endswith(end.lower())]
    at = len(name) - len(max(ends, key=len, default=""))
    return msgspec.structs.replace(file, path=file.path.with_name(f"{name[:at]}.errors{name[at:]}"))

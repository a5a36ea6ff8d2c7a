"""Results as one file: streamed in input order, all or nothing."""

from __future__ import annotations

import codecs
import os
import secrets
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import BinaryIO

import msgspec
import pyarrow as pa
import pyarrow.parquet as pq

from batch.store import batch_lines, cells, picked
from batch.store.files import refused
from batch.store.form import OURS, File, Format

Tables = Iterable[pa.Table]


class Written(msgspec.Struct):
    """What an export has made, and lines of notice."""

    paths: list[Path] = []
    notices: list[str] = []


def write(file: File, tables: Tables, schema: pa.Schema) -> Written:
    """Write the columns that `file` wants.  Raises StorageError, and UsageError for a column that
    there is not.
    """
    columns = picked.pick(schema, file.columns, file.flat)
    chosen = map(columns.table, tables)
    with whole(file) as opened:
        notices = _FORMATS[file.format](chosen, columns.schema, opened, file)
    return Written([file.path], notices)


def _parquet(tables: Tables, schema: pa.Schema, opened: BinaryIO, file: File) -> list[str]:
    """The columns with their types."""
    with pq.ParquetWriter(opened, schema, compression="zstd") as writer:
        for table in tables:
            writer.write_table(table)
    return []


def _jsonl(tables: Tables, schema: pa.Schema, opened: BinaryIO, file: File) -> list[str]:
    finite = True
    for table in tables:
        finite = finite and cells.is_finite(table)
        for line in cells.json_lines(table):
            opened.write(line)
    return [] if finite else [NOT_FINITE.format(file.path)]


NOT_FINITE = "{} holds NaN or Infinity, for which strict JSON has no word; Parquet and CSV have"


def _csv(tables: Tables, schema: pa.Schema, opened: BinaryIO, file: File) -> list[str]:
    """A spreadsheet needs the mark at the beginning to take the file for UTF-8."""
    if file.excel:
        opened.write(codecs.BOM_UTF8)
    opened.write(cells.csv_line(schema.names, guarded=file.excel).encode())
    for table in tables:
        for row in cells.rows(table):
            opened.write(cells.csv_line(row.values(), guarded=file.excel).encode())
    return []


_FORMATS: dict[Format, Callable[[Tables, pa.Schema, BinaryIO, File], list[str]]] = {
    "parquet": _parquet,
    "jsonl": _jsonl,
    "csv": _csv,
}


def openai_batch(file: File, tables: Tables, api: str) -> Path:
    """The answers as OpenAI's Batch API gives them; failed rows go to the file that is returned.

    `api` is that of the job; a row whose raw answer was not kept is rebuilt from its columns.
    """
    errors = errors_of(file)
    encoder = msgspec.json.Encoder()
    with whole(file) as answered, whole(errors) as failed:
        for table in tables:
            for row in cells.rows(table):
                opened = answered if row["status"] == "ok" else failed
                opened.write(encoder.encode(batch_lines.line(row, api)) + b"\n")
    return errors.path


def errors_of(file: File) -> File:
    """Where the failed rows of OpenAI's batch format go: all.jsonl.gz -> all.errors.jsonl.gz."""
    name = file.path.name
    ends = [end for end in (*OURS, file.path.suffix) if name.lower().endswith(end.lower())]
    at = len(name) - len(max(ends, key=len, default=""))
    return msgspec.structs.replace(file, path=file.path.with_name(f"{name[:at]}.errors{name[at:]}"))


@contextmanager
def whole(file: File) -> Iterator[BinaryIO]:
    """A file that is there, whole, only when all went well."""
    path = file.path
    draft = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
    try:
        with _opened(draft, file.compression) as opened:
            yield opened
        with draft.open("rb+") as written:
            os.fsync(written.fileno())
        draft.replace(path)
    except OSError as error:
        raise refused(error, path) from None
    finally:
        draft.unlink(missing_ok=True)


def _opened(path: Path, compression: str | None) -> AbstractContextManager[BinaryIO]:
    file = path.open("wb")
    return file if compression is None else pa.CompressedOutputStream(file, compression)

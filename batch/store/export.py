"""Results as one file: streamed in input order, all or nothing."""

from __future__ import annotations

import csv
import io
import os
import secrets
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any, BinaryIO

import msgspec
import pyarrow as pa
import pyarrow.parquet as pq

from batch import json_text, values
from batch.store import batch_lines
from batch.store.files import refused
from batch.store.form import OURS, File, Format

Tables = Iterable[pa.Table]


def parquet(tables: Tables, schema: pa.Schema, file: BinaryIO) -> None:
    """The columns with their types."""
    with pq.ParquetWriter(file, schema, compression="zstd") as writer:
        for table in tables:
            writer.write_table(table)


def jsonl(tables: Tables, schema: pa.Schema, file: BinaryIO) -> None:
    """One object a row; JSON text as it is, times as ISO 8601, bytes as base64, NaN as NaN."""
    for table in tables:
        for row in values.rows(table):
            file.write(json_text.encode(row).encode() + b"\n")


def csv_(tables: Tables, schema: pa.Schema, file: BinaryIO) -> None:
    """Nested values as JSON text; null is empty."""
    text = io.TextIOWrapper(file, encoding="utf-8", newline="", write_through=True)
    writer = csv.writer(text)
    writer.writerow(schema.names)
    for table in tables:
        writer.writerows([_cell(held) for held in row.values()] for row in values.rows(table))
    text.detach()


def _cell(value: Any) -> Any:
    if isinstance(value, (list, dict)):
        return json_text.encode(value)
    return msgspec.to_builtins(value, enc_hook=str) if value is not None else ""


FORMATS: dict[Format, Callable[[Tables, pa.Schema, BinaryIO], None]] = {
    "parquet": parquet,
    "jsonl": jsonl,
    "csv": csv_,
}


def write(file: File, tables: Tables, schema: pa.Schema) -> None:
    """Write `tables` to `file`.  Raises StorageError."""
    with whole(file) as opened:
        FORMATS[file.format](tables, schema, opened)


def openai_batch(file: File, tables: Tables, api: str) -> Path:
    """The answers as OpenAI's Batch API gives them; failed rows go to the file that is returned.

    `api` is that of the job; a row whose raw answer was not kept is rebuilt from its columns.
    """
    errors = errors_of(file)
    encoder = msgspec.json.Encoder()
    with whole(file) as answered, whole(errors) as failed:
        for table in tables:
            for row in values.rows(table):
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

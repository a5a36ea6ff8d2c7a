"""Results as one file: streamed in input order, all or nothing."""

from __future__ import annotations

import csv
import io
import os
import secrets
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO

import msgspec
import pyarrow as pa
import pyarrow.parquet as pq

from batch import json_text, values
from batch.store.files import refused

Tables = Iterable[pa.Table]
Row = dict[str, Any]


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


FORMATS: dict[str, Callable[[Tables, pa.Schema, BinaryIO], None]] = {
    "parquet": parquet,
    "jsonl": jsonl,
    "csv": csv_,
}


SUFFIXES = {".parquet": "parquet", ".jsonl": "jsonl", ".csv": "csv"}


def write(path: Path, format_: str, tables: Tables, schema: pa.Schema) -> None:
    """Write `tables` to `path`.  Raises StorageError."""
    with whole(path) as file:
        FORMATS[format_](tables, schema, file)


def openai_batch(path: Path, tables: Tables, line: Callable[[Row], Row]) -> Path:
    """The answers as OpenAI's Batch API gives them, which `line` knows; failed rows go to the file
    that is returned.
    """
    errors = path.with_name(f"{path.stem}.errors{path.suffix}")
    encoder = msgspec.json.Encoder()
    with whole(path) as answered, whole(errors) as failed:
        for table in tables:
            for row in values.rows(table):
                file = answered if row["status"] == "ok" else failed
                file.write(encoder.encode(line(row)) + b"\n")
    return errors


@contextmanager
def whole(path: Path) -> Iterator[BinaryIO]:
    """A file that is there, whole, only when all went well."""
    draft = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
    try:
        with draft.open("wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        draft.replace(path)
    except OSError as error:
        raise refused(error, path) from None
    finally:
        draft.unlink(missing_ok=True)

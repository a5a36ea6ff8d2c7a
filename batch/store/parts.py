"""Sealed parts: Parquet files that say in their footer what they hold.

A part's whole-file hash is taken with its own 32 digits blanked, so that it can stand in the
footer.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from hashlib import blake2b
from pathlib import Path
from typing import BinaryIO

import msgspec
import pyarrow as pa
import pyarrow.parquet as pq

from batch.errors import Damaged
from batch.model import Position
from batch.store import files
from batch.totals import Summary

KEY = b"batchmill"
BLANK = b"0" * 32

FORMAT = 1


class Footer(msgspec.Struct, frozen=True):
    """What a part says about itself.  `rows_planned` is its slice of the input, `rows_present`
    what it holds.
    """

    part: int
    generation: int
    start_row: int
    rows_planned: int
    rows_present: int
    complete: bool
    start: Position
    end: Position
    summary: Summary
    format: int = FORMAT
    hash: str = BLANK.decode()


def write_schema(file: BinaryIO, schema: pa.Schema) -> None:
    """Write a Parquet file of no rows."""
    with pq.ParquetWriter(pa.PythonFile(file, mode="w"), schema):
        pass


def write(
    file: BinaryIO, schema: pa.Schema, tables: Iterator[pa.Table], footer: Callable[[], Footer]
) -> Footer:
    """Write `tables`, one row group each, then what `footer` says, with the file's hash in it.
    Returns that.
    """
    with pq.ParquetWriter(
        pa.PythonFile(file, mode="w"),
        schema,
        compression="zstd",
        compression_level=1,
        write_page_checksum=True,
        store_schema=True,
    ) as writer:
        for table in tables:
            writer.write_table(table, row_group_size=max(1, len(table)))
        made = footer()
        writer.add_key_value_metadata({KEY: msgspec.json.encode(made)})
    return _with_hash(file, made)


def _with_hash(file: BinaryIO, footer: Footer) -> Footer:
    digest = _digest(file, None)
    at = _position(file, BLANK)
    file.seek(at)
    file.write(digest.encode())
    return msgspec.structs.replace(footer, hash=digest)


def footer(path: Path) -> Footer:
    """The footer of a sealed part.  Raises Damaged."""
    try:
        with files.parquet(path) as file:
            metadata = file.metadata.metadata or {}
        return msgspec.json.decode(metadata[KEY], type=Footer)
    except (pa.ArrowException, OSError, KeyError, ValueError) as error:  # as pyarrow meets damage
        raise Damaged(f"{path}: no part of a run, or damaged ({type(error).__name__})") from None


def hash_fits(path: Path, known: Footer) -> bool:
    """Whether the file's bytes are those that were sealed."""
    with files.stored(path) as file:
        at = _position(file, known.hash.encode())
        return at >= 0 and _digest(file, at) == known.hash


def _position(file: BinaryIO, digits: bytes) -> int:
    """Where the hash stands in the file's Parquet footer, -1 if it does not."""
    size = file.seek(0, os.SEEK_END)
    file.seek(max(0, size - 8))
    length = int.from_bytes(file.read(4), "little") + 8
    start = max(0, size - length)
    file.seek(start)
    tag = b'"hash":"'
    found = file.read().rfind(tag + digits)
    return -1 if found < 0 else start + found + len(tag)


def _digest(file: BinaryIO, blanked_at: int | None) -> str:
    """blake2b-128 of the file, its 32 digits at `blanked_at` taken as BLANK."""
    digest = blake2b(digest_size=16)
    file.seek(0)
    offset = 0
    while block := file.read(1 << 20):
        if blanked_at is not None and blanked_at < offset + len(block) and blanked_at + 32 > offset:
            at = blanked_at - offset
            before, after = max(0, at), min(len(block), at + 32)
            block = block[:before] + BLANK[before - at : after - at] + block[after:]
        digest.update(block)
        offset += len(block)
    return digest.hexdigest()

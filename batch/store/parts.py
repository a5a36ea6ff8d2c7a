"""Sealed parts: Parquet files that say in their footer what they hold.

A part's whole-file hash is taken with its own 32 digits blanked, so that it can stand in the
footer.  What is read of a part is checked by its pages' checksums and by the hash of the footer.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from hashlib import blake2b
from pathlib import Path
from typing import BinaryIO

import msgspec
import pyarrow as pa
import pyarrow.parquet as pq

from batch import columns, footer_hash
from batch.damage import damaged
from batch.errors import StorageError
from batch.footer_hash import BLANK
from batch.model import Position
from batch.store import files
from batch.totals import Summary

KEY = b"batchmill"
FORMAT = 1


class _Hash(msgspec.Struct, frozen=True):
    """The part of a footer that every file has; `footer_hash` is empty in those of older versions."""

    hash: str = BLANK.decode()
    footer_hash: str = ""


_BLANK = _Hash(footer_hash=BLANK.decode())


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
    footer_hash: str = ""


def write_schema(file: BinaryIO, schema: pa.Schema) -> None:
    """Write a Parquet file of no rows, with its hash."""
    with pq.ParquetWriter(pa.PythonFile(file, mode="w"), schema) as writer:
        writer.add_key_value_metadata({KEY: msgspec.json.encode(_BLANK)})
    _put_hashes(file)


def read_schema(path: Path) -> pa.Schema:
    """The schema of a file that `write_schema` or `write` wrote.  Raises FileNotFoundError, and
    Damaged.
    """
    with files.parquet(path) as file, files.readable(path):
        noted = (file.metadata.metadata or {}).get(KEY)
        schema = file.schema_arrow
    try:
        known = None if noted is None else msgspec.json.decode(noted, type=_Hash)
    except ValueError:
        raise damaged(path, "its footer is damaged") from None
    if known is not None and not hash_fits(path, known):
        raise damaged(path, "its bytes have changed since it was written")
    if "row" not in schema.names:
        raise damaged(path, "holds no columns of a run")
    return schema


def write(
    file: BinaryIO, schema: pa.Schema, tables: Iterator[pa.Table], footer: Callable[[], Footer]
) -> Footer:
    """Write `tables`, one row group each, then what `footer` says, with the file's hash in it.
    Returns that.  No two numbers of vectors are the same: a dictionary of them would be as long as they.
    """
    has_vectors = columns.EMBEDDING.name in schema.names
    with pq.ParquetWriter(
        pa.PythonFile(file, mode="w"),
        schema,
        compression="zstd",
        compression_level=1,
        write_page_checksum=True,
        store_schema=True,
        use_dictionary=not has_vectors,
    ) as writer:
        for table in tables:
            writer.write_table(table, row_group_size=max(1, len(table)))
        made = msgspec.structs.replace(footer(), **msgspec.structs.asdict(_BLANK))
        writer.add_key_value_metadata({KEY: msgspec.json.encode(made)})
    return msgspec.structs.replace(made, **msgspec.structs.asdict(_put_hashes(file)))


def _put_hashes(file: BinaryIO) -> _Hash:
    of_footer = footer_hash.digest(footer_hash.of(file)[1])
    _put(file, "footer_hash", of_footer)
    of_whole = _digest(file, None)
    _put(file, "hash", of_whole)
    return _Hash(of_whole, of_footer)


def _put(file: BinaryIO, key: str, digits: str) -> None:
    file.seek(_position(file, key, BLANK.decode()))
    file.write(digits.encode())


def footer(path: Path) -> Footer:
    """The footer of a sealed part.  Raises StorageError: Damaged where it is none."""
    if (quick := _as_written(path)) is not None:
        return quick
    try:
        with files.parquet(path) as file, files.readable(path):
            metadata, rows = file.metadata.metadata or {}, file.metadata.num_rows
        found = msgspec.json.decode(metadata[KEY], type=Footer)
    except (FileNotFoundError, KeyError, ValueError) as error:
        why = f"no part of a run, or damaged ({type(error).__name__})"
        raise damaged(path, why) from None
    if found.rows_present != rows:
        raise damaged(path, f"has {rows} rows, its footer says {found.rows_present}")
    return found


def _as_written(path: Path) -> Footer | None:
    """The same without reading the rest of the file's metadata, which takes ten times as long: of a file
    whose metadata are by their hash what was written.  None where that cannot be told.
    """
    try:
        with files.stored(path) as file, files.readable(path):
            _, metadata = footer_hash.of(file)
    except (FileNotFoundError, StorageError):  # which is told in words elsewhere
        return None
    told = _value(metadata)
    if told is None or not footer_hash.fits_itself(metadata):
        return None
    try:
        return msgspec.json.decode(told, type=Footer)
    except ValueError:
        return None


def _value(metadata: bytes) -> bytes | None:
    """What stands behind our key in the metadata of a Parquet file: in Thrift's compact protocol a text
    is its length, as a varint, and its bytes; the second field of a pair has the header 0x18.
    https://github.com/apache/thrift/blob/master/doc/specs/thrift-compact-protocol.md
    """
    _, _, behind = metadata.rpartition(KEY + b"\x18")
    length = 0
    for at, byte in enumerate(behind[:5]):
        length |= (byte & 0x7F) << 7 * at
        if byte < 0x80:
            return behind[at + 1 : at + 1 + length]
    return None


def hash_fits(path: Path, known: Footer | _Hash) -> bool:
    """Whether the file's bytes are those that were sealed."""
    with files.stored(path) as file, files.readable(path):
        at = _position(file, "hash", known.hash)
        return at >= 0 and _digest(file, at) == known.hash


def _position(file: BinaryIO, key: str, digits: str) -> int:
    """Where a hash stands in the file's Parquet footer, -1 if it does not."""
    start, found = footer_hash.of(file)
    tag = f'"{key}":"'
    at = found.rfind(f"{tag}{digits}".encode())
    return -1 if at < 0 else start + at + len(tag)


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

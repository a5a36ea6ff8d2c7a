"""Which file results go to, and what it holds: as its name tells, unless that is said.

What `-o` names is a file where its suffix is one of OURS, an error where it is that of another format
of data, and else the folder of the run.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec

from batch import command_line
from batch.errors import UsageError
from batch.store.plan import Format

OURS: dict[str, tuple[Format, str | None]] = {
    ".jsonl": ("jsonl", None),
    ".csv": ("csv", None),
    ".parquet": ("parquet", None),
    ".jsonl.gz": ("jsonl", "gzip"),
    ".csv.gz": ("csv", "gzip"),
    ".jsonl.zst": ("jsonl", "zstd"),
    ".csv.zst": ("csv", "zstd"),
}
"""The ends of names, in any case -> what such a file holds, and how it is compressed."""

COMPRESSIONS = {".gz": "gzip", ".zst": "zstd"}

OTHERS = frozenset(
    {
        *(".json", ".ndjson", ".jsonlines", ".json5", ".geojson", ".xml", ".yaml", ".yml", ".toml"),
        *(".tsv", ".tab", ".psv", ".txt", ".md", ".html", ".htm", ".pdf", ".rtf", ".doc", ".docx"),
        *(".xlsx", ".xls", ".xlsm", ".xlsb", ".ods", ".numbers"),
        *(".pq", ".parq", ".arrow", ".arrows", ".feather", ".ipc", ".avro", ".orc", ".lance"),
        *(".db", ".db3", ".sqlite", ".sqlite3", ".duckdb", ".ddb", ".sql", ".mdb", ".accdb"),
        *(".pkl", ".pickle", ".npy", ".npz", ".h5", ".hdf5", ".mat", ".rds", ".rdata"),
        *(".sav", ".dta", ".sas7bdat", ".msgpack", ".cbor", ".tfrecord"),
        *(".gz", ".zst", ".bz2", ".xz", ".zip", ".7z", ".tar", ".tgz", ".rar", ".lz4", ".br"),
    }
)
"""Suffixes of other formats of data: a folder of such a name would not be what was meant."""


class File(msgspec.Struct, frozen=True, kw_only=True):
    """Results as one file; without a path it is standard output."""

    path: Path | None
    format: Format
    compression: str | None = None
    columns: list[str] | None = None
    flat: bool = False
    excel: bool = False

    def __post_init__(self) -> None:
        """Raises UsageError for what does not go together."""
        if self.format == "openai-batch" and (self.columns is not None or self.flat):
            raise UsageError("the format openai-batch has no columns to choose")
        if self.excel and self.format != "csv":
            raise UsageError(f"--excel is for CSV, not for {self.format}")


class Written(msgspec.Struct):
    """The files that an export has made, and lines of notice."""

    paths: list[Path] = []
    notices: list[str] = []


def named(name: str, format_: Format | None = None, **more: Any) -> File | None:
    """The file of this name, which holds what `format_` says, whatever its name; None where nothing
    tells.  `more` are further fields of it.  Raises UsageError for a name that tells of another
    format.
    """
    path, lower = Path(name), Path(name).name.lower()
    if name == "-":
        return File(path=None, format=format_ or "jsonl", **more)
    if format_ is not None:
        compression = COMPRESSIONS.get(path.suffix.lower())
        return File(path=path, format=format_, compression=compression, **more)
    for end, (found, compression) in OURS.items():
        if lower.endswith(end) and lower != end:
            return File(path=path, format=found, compression=compression, **more)
    if path.suffix.lower() in OTHERS:
        raise UsageError(
            f"-o {name}: {path.suffix} is not among what is written here ({', '.join(OURS)})",
            hint="--format says what a file holds whose name does not tell",
        )
    return None


def end_of(name: str) -> str:
    """The suffixes by which a file is known: `.jsonl.gz` of all.jsonl.gz."""
    ends = [end for end in OURS if name.lower().endswith(end)]
    return name[-len(max(ends, key=len)) :] if ends else Path(name).suffix


def is_folder(name: str) -> bool:
    """Whether this is a folder whatever its suffix: it is there, or is written as one."""
    return command_line.is_folder(name) or Path(name).is_dir()


def is_stream(path: Path) -> bool:
    """Whether a pipe or a device is there, which takes bytes and keeps no file."""
    return path.is_fifo() or path.is_char_device()

"""Where the bytes of a file of results go: to a file that is there, whole, only when all went well; to
standard output, a pipe or a device as they come.
"""

from __future__ import annotations

import os
import secrets
import sys
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import BinaryIO, cast

import pyarrow as pa

from batch import words
from batch.errors import UsageError
from batch.outputs import form
from batch.outputs.form import File
from batch.store.files import refused
from batch.store.patience import patiently

STANDARD_OUTPUT = Path("standard output")


def check(file: File) -> None:
    """Raises UsageError for what standard output does not take: it may be text alone, as in a notebook."""
    if file.path is None and file.format == "parquet" and not hasattr(sys.stdout, "buffer"):
        raise UsageError("Parquet is no text, and standard output takes nothing else: name a file")


@contextmanager
def opened(file: File, stdout: BinaryIO | None = None) -> Iterator[BinaryIO]:
    """What takes the bytes of `file`; standard output may have a `stdout` in its place.  Raises
    StorageError, and BrokenPipeError where a reader has gone.
    """
    path = file.path
    try:
        if path is None:
            taking = stdout or _standard_output(file)
            yield taking
            taking.flush()
        elif form.is_stream(path):
            with _opened(path, file.compression) as taking:
                yield taking
        else:
            with _draft(path) as draft, _opened(draft, file.compression) as taking:
                yield taking
    except OSError as error:
        if words.is_gone(error) and (path is None or form.is_stream(path)):
            raise BrokenPipeError from None
        raise refused(error, path or STANDARD_OUTPUT) from None


def _standard_output(file: File) -> BinaryIO:
    check(file)
    if hasattr(sys.stdout, "buffer"):
        return sys.stdout.buffer
    kind: words.Kind = "text" if file.format == "csv" else "json"
    return cast("BinaryIO", words.Terminal(sys.stdout, kind))


def put(path: Path, data: bytes) -> None:
    """Make `data` the whole content of a file.  Raises StorageError."""
    try:
        with _draft(path) as draft:
            draft.write_bytes(data)
    except OSError as error:
        raise refused(error, path) from None


@contextmanager
def _draft(path: Path) -> Iterator[Path]:
    """A file beside `path`, which takes its place in the end."""
    draft = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
    try:
        yield draft
        with draft.open("rb+") as written:
            os.fsync(written.fileno())
        patiently(lambda: draft.replace(path))
    finally:
        patiently(lambda: draft.unlink(missing_ok=True))


def _opened(path: Path, compression: str | None) -> AbstractContextManager[BinaryIO]:
    file = path.open("wb")
    return file if compression is None else pa.CompressedOutputStream(file, compression)

"""A file of the input, wherever it lies: a local path or a URL, plain or compressed, opened to read
bytes.

A file is named by a string throughout: an absolute local path, or a URL that pyarrow has a
filesystem for.
"""

from __future__ import annotations

import contextlib
import io
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path, PurePosixPath
from typing import Any
from urllib.parse import unquote, urlsplit

import pyarrow as pa
from pyarrow import fs

from batch.errors import InputError
from batch.model import Batch
from batch.readers.encodings import Recoded
from batch.readers.reading import UTF8

ROWS = 256
BYTES = 1 << 20
"""How many rows a batch has at most, and about how many bytes."""
WIDE = 1_000
"""Columns beyond which a batch may have more bytes: each costs a little a batch, however few rows."""
FIRST_ROWS = 10_000
FIRST_BYTES = 64 << 20
"""How much of an input is looked at before the first request."""

SAMPLE, PIECE = 1 << 20, 16 << 10
"""How many stored bytes tell how much larger the text in them is, and how much of it is read at once."""

HEAD = 64 << 10
"""How much of a file is looked at to find out what it is."""

COMPRESSIONS = (".gz", ".zst", ".bz2")

READ_FAULTS = (OSError, pa.ArrowException)


def about(columns: int) -> int:
    """The bytes that a batch of so many columns may have."""
    return BYTES * max(1, columns // WIDE)


def first(batches: Iterable[Batch], rows: int = FIRST_ROWS) -> Iterator[Batch]:
    """As many of the batches as hold the first `rows` rows, or the first FIRST_BYTES."""
    size = 0
    for batch in batches:
        if rows <= len(batch.table):
            yield batch.cut(rows)[0]
            return
        yield batch
        rows -= len(batch.table)
        size += batch.table.nbytes
        if size > FIRST_BYTES:
            return


def is_url(path: str) -> bool:
    return "://" in path


def parts(path: str) -> tuple[str, ...]:
    """Of a path, or of a URL without its query; the first one is the root, or names the host."""
    if not is_url(path):
        return Path(path).parts
    url = urlsplit(path)
    return (f"{url.scheme}://{url.netloc}", *map(unquote, url.path.split("/")[1:]))


def basename(path: str) -> str:
    """What messages call a file: its base name, after the folders `key=value` it lies in."""
    found = parts(path)
    at = len(found) - 1
    while at > 1 and "=" in found[at - 1]:
        at -= 1
    return "/".join(found[at:]) or path


def names(paths: Sequence[str]) -> tuple[str, ...]:
    """What messages call the files, which is the whole path where others would be called the same."""
    found = list(map(basename, paths))
    count = Counter(found)
    return tuple(
        name if count[name] == 1 else shown(path) for name, path in zip(found, paths, strict=True)
    )


def shown(path: str) -> str:
    """As it may be printed and kept: a URL can hold keys before its host and in its query."""
    return re.sub(r"(://)[^/@]*@", r"\1", path).split("?")[0] if is_url(path) else path


def suffix(path: str) -> str:
    """The suffix that tells the format: `.jsonl` of `reviews.JSONL.gz`."""
    name = basename(path).lower()
    return PurePosixPath(name.removesuffix(compression(path))).suffix


def compression(path: str) -> str:
    """`.gz`, `.zst`, `.bz2`, or nothing for a plain file."""
    end = PurePosixPath(basename(path).lower()).suffix
    return end if end in COMPRESSIONS else ""


def locate(path: str) -> tuple[Any, str]:
    """The pyarrow filesystem of a file, and the file's name in there."""
    if not is_url(path):
        return fs.LocalFileSystem(), path
    try:
        filesystem, inner = fs.FileSystem.from_uri(path)
    except READ_FAULTS as error:
        raise InputError(
            f"{shown(path)}: no way to read this URL (known: s3://, gs://, abfs://, file://)",
            hint="Download the file first.",
        ) from error
    return filesystem, inner


def _located(path: str) -> tuple[Any, str]:
    """The same of a file that is to be opened.  What else lies there (a FIFO, say) is not waited for."""
    if not is_url(path) and Path(path).exists() and not Path(path).is_file():
        raise OSError("is no file")
    return locate(path)


def open_seekable(path: str) -> Any:
    """The bytes as stored, as a pyarrow file with `size()`, `seek` and `read`."""
    filesystem, inner = _located(path)
    return filesystem.open_input_file(inner)


def is_sought(path: str, encoding: str) -> bool:
    """Whether reading of a text may begin anywhere; if not, all that is before must be read."""
    return encoding == UTF8 and not compression(path)


def open_text(path: str, offset: int, encoding: str = UTF8) -> io.BufferedReader:
    """The decompressed text as UTF-8, from `offset` on."""
    if is_sought(path, encoding):
        stored = open_seekable(path)
        stored.seek(min(offset, stored.size()))
        return io.BufferedReader(stored, BYTES)
    text = _decompressed(path)
    if encoding != UTF8:
        text = io.BufferedReader(Recoded(text, encoding), BYTES)
    while offset and (skipped := text.read(min(offset, BYTES))):
        offset -= len(skipped)
    return text


def _decompressed(path: str) -> io.BufferedReader:
    if not compression(path):
        return io.BufferedReader(open_seekable(path), BYTES)
    filesystem, inner = _located(path)
    return io.BufferedReader(filesystem.open_input_stream(inner, compression=_codec(path)), BYTES)


def _codec(path: str) -> str:
    return {".gz": "gzip", ".zst": "zstd", ".bz2": "bz2"}[compression(path)]


def text_share(path: str, encoding: str) -> float | None:
    """About how many bytes of text (as UTF-8) a stored byte holds, by the first SAMPLE of them; None
    where none can be read.
    """
    shared = None
    with contextlib.suppress(*READ_FAULTS), open_seekable(path) as file:
        stored = pa.BufferReader(file.read(SAMPLE))
        text = pa.CompressedInputStream(stored, _codec(path)) if compression(path) else stored
        for found in _shares(stored, Recoded(text, encoding) if encoding != UTF8 else text):
            shared = found
    return shared


def _shares(stored: Any, text: Any) -> Iterator[float]:
    """The share of text in what is `stored`, ever better known until that breaks off or ends."""
    size = passed = 0
    while size < FIRST_BYTES and (piece := text.read(PIECE)):
        if stored.tell() > passed:  # what was read before has been put out
            if size:
                yield size / passed
            passed = stored.tell()
        size += len(piece)
    yield size / max(passed, 1)


def head(path: str, *, stored: bool = False) -> bytes:
    """The first HEAD bytes, decompressed unless as `stored`; fewer where no more can be read."""
    found = b""
    try:
        with open_seekable(path) if stored else _decompressed(path) as file:
            while len(found) < HEAD and (piece := file.read(min(HEAD - len(found), 4096))):
                found += piece
    except READ_FAULTS:  # whoever reads on will say so
        return found
    return found


def cause(error: BaseException) -> str:
    """The first line of what the system or pyarrow says, without trailing details."""
    match error:
        case FileNotFoundError():
            return "no such file"
        case PermissionError():
            return "permission denied"
    if "decrypt" in str(error).lower():
        return "it is encrypted; write it again without encryption"
    lines = str(error).strip().splitlines()
    return lines[0].split(". Detail:")[0] if lines else type(error).__name__

"""What a file of the input was, so that a resumed run can tell whether it still is.

Modification times and paths decide nothing: a copied input is the same input.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from types import MappingProxyType
from typing import Any, Literal

import msgspec

from batch.errors import InputError
from batch.readers import source
from batch.readers.hive import Partition

NOTHING: Partition = MappingProxyType({})

WHOLE = 1 << 30
EDGE = 64 << 20
BLOCKS = 1_024
BLOCK = 64 << 10


class Fingerprint(msgspec.Struct, frozen=True):
    """A file's size and hash.  `sampled`: only the ends of the file and blocks between them were
    hashed.  `told` are its partition columns and their values (the name is that in run.json).
    """

    path: str
    size: int
    hash: str
    sampled: bool
    ends_line: bool
    told: dict[str, str | None] = {}


class Difference(msgspec.Struct, frozen=True):
    """`text` says what changed, and is empty for the same input."""

    kind: Literal["same", "grown", "changed"]
    text: str = ""


def take(path: str, grows: bool, partition: Partition = NOTHING) -> Fingerprint:
    """The fingerprint of a file, which `grows` if it may have more rows later."""
    try:
        with source.open_seekable(path) as file:
            size = file.size()
            text = grows and not source.compression(path)
            ends_line = not text or size == 0 or _at(file, size - 1, 1) == b"\n"
            found = _hash(file, size)
            shown = source.shown(path)
            return Fingerprint(shown, size, found, size > WHOLE, ends_line, dict(partition))
    except source.READ_FAULTS as error:
        raise InputError(f"{source.basename(path)}: {source.cause(error)}") from error


def compare(
    old: Sequence[Fingerprint], paths: Sequence[str], grows: bool, partitions: Sequence[Partition]
) -> Difference:
    """How the files of an input differ from those it had.  The last one may have more rows where its
    format `grows`.
    """
    if len(paths) < len(old):
        return Difference("changed", f"{len(old)} files before, {len(paths)} now")
    growth = []
    for number, (before, path, partition) in enumerate(zip(old, paths, partitions, strict=False)):
        if before.told != partition:
            return Difference(
                "changed", f"{source.basename(path)}: the folders say {_shown(partition)}"
            )
        found = compare_file(old, number, path, grows)
        if found.kind == "changed":
            return found
        if found.kind == "grown":
            growth.append(found.text)
    if more := [source.basename(path) for path in paths[len(old) :]]:
        growth.append(
            f"{', '.join(more[:3])}{' …' if more[3:] else ''} came after {_files(len(old))}"
        )
    return Difference("grown", "; ".join(growth)) if growth else Difference("same")


def compare_file(old: Sequence[Fingerprint], number: int, path: str, grows: bool) -> Difference:
    """How one file of an input differs from what it was.  Raises InputError."""
    before, name = old[number], source.basename(path)
    may_grow = number == len(old) - 1 and before.ends_line and grows
    try:
        with source.open_seekable(path) as file:
            size = file.size()
            # the hash of as much as there was, so that one comparison serves both same and grown
            comparable = size == before.size or (may_grow and size > before.size)
            if not comparable or _hash(file, before.size) != before.hash:
                return Difference("changed", f"{name} differs ({_sizes(before.size, size)})")
    except source.READ_FAULTS as error:
        raise InputError(f"{name}: {source.cause(error)}") from error
    if size == before.size:
        return Difference("same")
    return Difference("grown", f"{name} grew ({_sizes(before.size, size)})")


def _shown(partition: Partition) -> str:
    return ", ".join(f"{key}={value}" for key, value in partition.items()) or "nothing"


def _sizes(before: int, now: int) -> str:
    return (
        f"{before:,} bytes before, {now:,} now"
        if before != now
        else f"{now:,} bytes, other content"
    )


def _files(count: int) -> str:
    return "the file before" if count == 1 else f"the {count} files before"


def _hash(file: Any, size: int) -> str:
    """Of the first `size` bytes: all of them up to WHOLE, else both ends and evenly spaced blocks."""
    digest = hashlib.blake2b(digest_size=16)
    for offset, length in _spans(size):
        for at in range(offset, offset + length, source.BYTES):
            digest.update(_at(file, at, min(source.BYTES, offset + length - at)))
    return digest.hexdigest()


def _spans(size: int) -> list[tuple[int, int]]:
    if size <= WHOLE:
        return [(0, size)]
    between = size - 2 * EDGE - BLOCK
    blocks = [(EDGE + between * block // (BLOCKS - 1), BLOCK) for block in range(BLOCKS)]
    return [(0, EDGE), *blocks, (size - EDGE, EDGE)]


def _at(file: Any, offset: int, length: int) -> bytes:
    file.seek(offset)
    return bytes(file.read(length))

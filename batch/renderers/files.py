"""A report or a comparison as a file: whole or not at all, and never over one that is not ours."""

from __future__ import annotations

from importlib import import_module
from pathlib import Path
from typing import Protocol, cast

from batch.errors import Refused, StorageError, UsageError
from batch.outputs import whole
from batch.renderers import MODULES, Renderer
from batch.words import Kind, encoded

SUFFIXES = {".html": "html", ".htm": "html", ".md": "md", ".csv": "csv", ".json": "json"}
"""How the name of a report's file ends, and the format that it holds then."""

BEGINNING = 1 << 16
"""Bytes of a file in which the mark of ours stands."""


class Written(Renderer, Protocol):
    """A renderer whose texts can be told from other files."""

    @property
    def OURS(self) -> bytes:
        """Stands near the beginning of every text of it, and of no other file."""


def renderer(path: Path) -> Written:
    """What writes a report there.  Raises UsageError for a name that tells no format, and what
    `check` raises.
    """
    format_ = SUFFIXES.get(path.suffix.lower())
    if format_ is None:
        names = ", ".join(f"*{suffix}" for suffix in SUFFIXES if suffix != ".htm")
        raise UsageError(f"-o {path}: a report is written there; name it {names}")
    found = cast(Written, import_module(f"batch.renderers.{MODULES[format_]}"))
    check(path, found.OURS)
    return found


def check(path: Path, ours: bytes) -> None:
    """Raises UsageError where no file can lie, and Refused for a file that is there without the mark
    `ours`.
    """
    if not path.parent.is_dir():
        raise UsageError(f"-o {path}: there is no folder {path.parent}")
    if path.exists() and ours not in _beginning(path):
        raise Refused(f"{path} is there already, and not written by us", hint="choose another name")


def _beginning(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            return file.read(BEGINNING)
    except OSError as error:
        raise StorageError(f"{path}: {error.strerror}") from None


def write(path: Path, text: str, kind: Kind) -> None:
    """Make `text` the whole content of a file, all or nothing.  Raises StorageError."""
    whole.put(path, encoded(text, kind))

"""Paths as a person writes them, and command lines that the person may paste: what is printed here
is read there.

`~` is home wherever a path is given, and a dash begins a flag; so a name that begins with either is
printed with `./` before it.
"""

from __future__ import annotations

import os
import re
import shlex
from pathlib import Path

_ELSEWHERE = re.compile(r"[\w+.-]+://")


def home(written: str) -> str:
    """A path as it was written, with `~` and `~user` at its beginning as the home that is meant; a
    user that does not exist is a name.
    """
    return os.path.expanduser(written)  # noqa: PTH111  # Path drops the `./` of `./~`, and raises


def is_folder(written: str) -> bool:
    """Whether a path is written as that of a folder."""
    return written.endswith(("/", os.sep))


def of(*words: str | Path) -> str:
    """A command line of ours, to paste into a POSIX shell: what is a Path is read as that path."""
    return " ".join(["batchmill", *map(quoted, words)])


def quoted(word: str | Path) -> str:
    """One word as a shell reads it; a file keeps being one for any program that is given it."""
    text = named(word) if isinstance(word, Path) else word
    if not text.isprintable():
        return "$'" + "".join(map(_escaped, os.fsencode(text).decode("latin-1"))) + "'"
    pairs = text.count("'") // 2  # as code has; easier to read in the other quotes
    if pairs * 2 == text.count("'") > 0 and not re.search(r'["$`\\!]', text):
        return f'"{text}"'
    return shlex.quote(text)


def named(path: Path | str) -> str:
    """A path as it may be written: no flag, and not at home."""
    text = str(path)
    return f"./{text}" if text.startswith(("-", "~")) else text


def near(path: Path | str) -> Path:
    """A path as short as it may be written in the working folder, if that is still there."""
    try:
        return Path(path).absolute().relative_to(Path.cwd())
    except (ValueError, FileNotFoundError):
        return Path(path)


def file(path: str) -> str:
    """A file of the input as any program may be given it; one that lies elsewhere keeps its URL."""
    return path if _ELSEWHERE.match(path) else named(near(path))


def _escaped(byte: str) -> str:
    """A byte within $'…'."""
    if byte.isascii() and byte.isprintable() and byte not in "'\\":
        return byte
    return f"\\{ord(byte):03o}"

"""The files below a folder, on this machine or elsewhere, to the bottom.

Names with . or _ in front are notes of the program that wrote the folder, and a folder with a
run.json in it is a run: both are left out.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from fnmatch import fnmatchcase
from pathlib import Path, PurePosixPath
from typing import NamedTuple

from pyarrow import fs

from batch.errors import InputError
from batch.readers import source
from batch.run_folder import PLAN, is_run


class Below(NamedTuple):
    """The files below a folder, by their whole paths, and the runs that were left out."""

    files: list[str]
    runs: list[str]


def walk(folder: Path, deep: bool = True) -> Below:
    """Every file, or without `deep` those right in the folder.  A link to a folder is followed, once,
    where that lies elsewhere.  Raises InputError for a folder that may not be read.
    """
    found = Below([], [])
    _walk(folder, deep, _Seen(folder), found)
    return found


class _Seen:
    """Folders that were, or will be, walked through."""

    def __init__(self, root: Path) -> None:
        self._root = root.resolve()
        self._links: list[Path] = []

    def leads_back(self, folder: Path) -> bool:
        """Whether a link leads to what is read anyway."""
        real = folder.resolve()
        if self._root.is_relative_to(real):
            return True
        if any(real.is_relative_to(known) for known in (self._root, *self._links)):
            return True
        self._links.append(real)
        return False


def _walk(folder: Path, deep: bool, seen: _Seen, found: Below) -> None:
    for path in _inside(folder):
        if is_hidden(path.name):
            continue
        if path.is_file():
            found.files.append(str(path))
        elif deep and path.is_dir() and not (path.is_symlink() and seen.leads_back(path)):
            if is_run(path):
                found.runs.append(str(path))
            else:
                _walk(path, deep, seen, found)


def _inside(folder: Path) -> list[Path]:
    try:
        return sorted(folder.iterdir())
    except OSError as error:
        raise InputError(f"{folder}: {source.cause(error)}") from error


def is_hidden(name: str) -> bool:
    """Whether a file or folder is none of the input."""
    return name.startswith((".", "_"))


def elsewhere(url: str, deep: bool, pattern: Sequence[str] = ()) -> Below:
    """The files below a folder that is no local one, or those among them whose parts of a path match
    `pattern`, as paths within the folder.
    """
    beyond = deep or len(pattern) > 1
    paths = [PurePosixPath(path) for path in _listed(url, beyond)]
    runs = {str(path.parent) for path in paths if path.name == PLAN}
    files = [
        str(path)
        for path in paths
        if not any(map(is_hidden, path.parts))
        and runs.isdisjoint(map(str, path.parents))
        and (not pattern or _matches(path.parts, pattern))
    ]
    return Below(sorted(files), sorted(runs))


def _listed(url: str, deep: bool) -> Iterable[str]:
    inner = source.locate(url)[1].rstrip("/")
    for one in stat(url, lambda path: fs.FileSelector(path, recursive=deep)):
        if one.type == fs.FileType.File:
            yield one.path.removeprefix(inner).lstrip("/")


def stat(url: str, select: Callable[[str], object] = lambda path: [path]) -> list[fs.FileInfo]:
    """What is known of a file or folder, or of those that `select` chooses."""
    filesystem, inner = source.locate(url)
    try:
        return list(filesystem.get_file_info(select(inner)))
    except source.READ_FAULTS as error:
        raise InputError(f"{source.shown(url)}: {source.cause(error)}") from error


def _matches(parts: Sequence[str], pattern: Sequence[str]) -> bool:
    """Part by part; `**` is any number of folders."""
    if not parts or not pattern:
        return not parts and not pattern
    if pattern[0] == "**" and len(pattern) > 1:
        return _matches(parts, pattern[1:]) or _matches(parts[1:], pattern)
    return fnmatchcase(parts[0], pattern[0]) and _matches(parts[1:], pattern[1:])

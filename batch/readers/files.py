"""What the user wrote as input, to the files that are meant and their format."""

from __future__ import annotations

import glob
import os
from collections.abc import Sequence
from fnmatch import fnmatchcase
from pathlib import Path
from urllib.parse import quote

from pyarrow import fs

from batch.errors import InputError
from batch.readers import run, source
from batch.readers.formats import FORMATS, READERS, SUFFIXES
from batch.run_folder import RunFolder

_KNOWN = f"{' '.join(SUFFIXES)}, text also with {' '.join(source.COMPRESSIONS)}"


def find(entries: Sequence[str], base: Path, format: str | None) -> tuple[tuple[str, ...], str]:
    """The files in the order of the entries, those of a glob or folder sorted, and the format of
    them all.
    """
    if format not in (None, "run", *FORMATS):
        raise InputError(f"unknown input format {format!r} (known: {', '.join(FORMATS)})")
    files = [path for entry in entries for path in _expand(entry, base.absolute())]
    if not files:
        raise InputError("the input names no file")
    if all(RunFolder(base / entry).plan.exists() for entry in entries):
        return tuple(files), "run"
    if format == "run":
        raise InputError("the input was the folder of a run, which it is no more")
    _refuse_twice(files)
    return tuple(files), format or _format(files)


def _expand(entry: str, base: Path) -> list[str]:
    if source.is_url(entry):
        return _expand_url(entry)
    if entry.startswith("~/"):
        entry = str(Path(entry).expanduser())
    path = Path(os.path.normpath(base / entry))
    if RunFolder(path).plan.exists():
        return run.parts(path)
    if path.is_dir():
        return _in_folder(entry, [str(file) for file in path.iterdir() if file.is_file()])
    if os.path.lexists(path):
        return [_readable(path, entry)]
    if glob.has_magic(entry):
        return _matching(entry, base)
    raise InputError(f"no such file: {entry} (looked in {path.parent})")


def _in_folder(entry: str, paths: Sequence[str]) -> list[str]:
    """Files of a known format; names with . or _ in front are notes of the program that wrote
    the folder.
    """
    files = [path for path in sorted(paths) if not source.basename(path).startswith((".", "_"))]
    files = [path for path in files if _known(path)]
    if not files:
        raise InputError(f"{entry}: no input file in this folder (known: {_KNOWN})")
    return [
        path if source.is_url(path) else _readable(Path(path), source.basename(path))
        for path in files
    ]


def _matching(entry: str, base: Path) -> list[str]:
    # unlike Path.glob, glob leaves hidden files out, and takes no letter of `base` for a pattern
    names = sorted(glob.glob(entry, root_dir=base, recursive=True))  # noqa: PTH207
    files = [Path(os.path.normpath(base / name)) for name in names]
    chosen = [
        _readable(path, name) for path, name in zip(files, names, strict=True) if not path.is_dir()
    ]
    if not chosen:
        raise InputError(f"no file matches {entry} (looked in {base})")
    return chosen


def _expand_url(entry: str) -> list[str]:
    """A URL is a file, a folder, or a folder with a glob as its last part."""
    url, mark, query = entry.partition("?")
    folder, _, last = url.rstrip("/").rpartition("/")
    kind = _list(entry)[0].type
    if kind == fs.FileType.File:
        return [entry]
    if kind == fs.FileType.Directory:
        folder, last = url.rstrip("/"), "*"
    elif "*" not in last:
        raise InputError(f"no such file: {source.shown(entry)}")
    listed = _list(folder + mark + query, inside=True)
    names = [one.base_name for one in listed if one.type == fs.FileType.File]
    files = [f"{folder}/{quote(name)}{mark}{query}" for name in names if fnmatchcase(name, last)]
    return _in_folder(source.shown(entry), files)


def _list(url: str, inside: bool = False) -> list[fs.FileInfo]:
    filesystem, inner = source.locate(url)
    try:
        return list(filesystem.get_file_info(fs.FileSelector(inner) if inside else [inner]))
    except source.READ_FAULTS as error:
        raise InputError(f"{source.shown(url)}: {source.cause(error)}") from error


def _readable(path: Path, entry: str) -> str:
    _refuse_name(path)
    if not path.exists():
        raise InputError(f"{entry}: a link to a file that is not there")
    if not path.is_file():
        raise InputError(
            f"{entry}: not a regular file; write it to one first, as input is read twice"
        )
    if not os.access(path, os.R_OK):
        raise InputError(f"{entry}: permission denied")
    return str(path)


def _refuse_name(path: Path) -> None:
    try:
        str(path).encode()
    except UnicodeEncodeError as error:
        shown = os.fsencode(path.name).decode(errors="replace")
        raise InputError(f"{shown}: the name of the file is not UTF-8; rename it") from error


def _refuse_twice(files: Sequence[str]) -> None:
    seen = set()
    for path in files:
        real = path if source.is_url(path) else str(Path(path).resolve())
        if real in seen:
            raise InputError(f"{source.basename(path)} is in the input twice; name it once")
        seen.add(real)


def _known(path: str) -> bool:
    found = SUFFIXES.get(source.suffix(path))
    return found is not None and (READERS[found].TEXT or not source.compression(path))


def _format(files: Sequence[str]) -> str:
    for path in files:
        if not _known(path):
            raise _unknown(path)
    first = files[0]
    for path in files:
        if SUFFIXES[source.suffix(path)] != SUFFIXES[source.suffix(first)]:
            names = f"{source.basename(first)} and {source.basename(path)}"
            raise InputError(
                f"{names} are of different formats; name files of one, as in 'data/*.jsonl'"
            )
    return SUFFIXES[source.suffix(first)]


def _unknown(path: str) -> InputError:
    name = source.basename(path)
    if source.suffix(path) == ".json":
        way = f"convert it: jq -c '.[]' {name} > {Path(name).stem}.jsonl"
        return InputError(
            f"{name}: one JSON document, not JSON Lines; {way}",
            hint="If it does have one object a line: --input-format jsonl",
        )
    way = f"say what it is with --input-format {'|'.join(FORMATS)}"
    return InputError(f"{name}: unknown suffix (known: {_KNOWN}); {way}")

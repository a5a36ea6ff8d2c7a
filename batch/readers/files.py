"""What the user wrote as input, to the files that are meant and their format."""

from __future__ import annotations

import glob
import os
import shutil
from collections.abc import Sequence
from itertools import takewhile
from pathlib import Path
from typing import BinaryIO
from urllib.parse import quote, unquote

import msgspec
from pyarrow import fs

from batch import command_line
from batch.errors import InputError
from batch.readers import encodings, folders, hive, kinds, source
from batch.readers.formats import FORMATS, READERS, of_suffix, suffixes
from batch.run_folder import is_run


class Found(msgspec.Struct, frozen=True):
    """The files that are meant, in their order, their format, what the folders between them say of
    each, and lines of notice.
    """

    files: tuple[str, ...]
    format: str
    partitions: tuple[hive.Partition, ...] = ()
    notices: tuple[str, ...] = ()


class _Entry(msgspec.Struct, frozen=True):
    """One that was written: the files it means, the folder they were looked for in, and the runs that
    were left out.
    """

    files: Sequence[str]
    root: str
    runs: Sequence[str] = ()


def find(entries: Sequence[str], base: Path, format: str | None, deep: bool = True) -> Found:
    """The files in the order of the entries, those of a glob or folder sorted.  Where it goes `deep`,
    folders are read to the bottom, and their names too.
    """
    if format not in (None, "run", *FORMATS):
        raise InputError(f"unknown input format {format!r} (known: {', '.join(FORMATS)})")
    found = [_expand(entry, base.absolute(), deep) for entry in entries]
    files = tuple(path for entry in found for path in entry.files)
    if not files:
        raise InputError("the input names no file")
    if all(is_run(base / entry) for entry in entries):
        return Found(files, "run")
    if format == "run":
        raise InputError("the input was the folder of a run, which it is no more")
    _refuse_twice(files)
    partitions = _partitions(files, [entry.root for entry in found]) if deep else ()
    return Found(files, format or _format(files), partitions, _left_out(found))


def _partitions(files: Sequence[str], roots: Sequence[str]) -> tuple[hive.Partition, ...]:
    """The values in the names of folders that lie below all that was named."""
    levels = zip(*map(source.parts, roots), strict=False)
    common = len(list(takewhile(lambda names: len(set(names)) == 1, levels)))
    return tuple(hive.partition(source.parts(path)[common:-1]) for path in files)


def _left_out(found: Sequence[_Entry]) -> tuple[str, ...]:
    runs = [run for entry in found for run in entry.runs]
    if not runs:
        return ()
    more = f" and {len(runs) - 1:,} more" if runs[1:] else ""
    return (f"runs inside the input are left out: {runs[0]}{more} (one is read where it is named)",)


def _expand(entry: str, base: Path, deep: bool) -> _Entry:
    if source.is_url(entry):
        return _expand_url(entry, deep)
    entry = command_line.home(entry)
    path = Path(os.path.normpath(base / entry))
    if is_run(path):
        from batch.readers import run

        return _Entry(run.parts(path), str(path))
    if path.is_dir():
        return _below(entry, path, deep)
    if os.path.lexists(path):
        return _Entry([_readable(path, entry)], str(path.parent))
    if glob.has_magic(entry):
        return _matching(entry, base, deep)
    raise InputError(f"no such file: {entry} (looked in {path.parent})")


def _below(entry: str, path: Path, deep: bool) -> _Entry:
    files, runs = folders.walk(path, deep)
    return _Entry(_in_folder(entry, files, runs), str(path), runs)


def _in_folder(entry: str, paths: Sequence[str], runs: Sequence[str]) -> list[str]:
    """Files of a known format."""
    files = _telling(sorted(paths))
    if not files:
        hint = f"A run inside it is read where it is named: {runs[0]}" if runs else None
        raise InputError(
            f"{entry}: no input file in this folder (known: {_known_suffixes()})", hint=hint
        )
    return [
        path if source.is_url(path) else _readable(Path(path), source.basename(path))
        for path in files
    ]


def _telling(paths: Sequence[str]) -> list[str]:
    """Those whose suffix tells their format.  JSON documents and Arrow files beside others tell
    about these.
    """
    known = [path for path in paths if _known(path)]
    rest = [path for path in known if of_suffix(source.suffix(path)) not in ("json", "arrow")]
    arrow = [path for path in known if of_suffix(source.suffix(path)) == "arrow"]
    return rest or arrow or known


def _matching(entry: str, base: Path, deep: bool) -> _Entry:
    """The files that match, or where only folders do, those below them."""
    # unlike Path.glob, glob leaves hidden files out, and takes no letter of `base` for a pattern
    names = sorted(glob.glob(entry, root_dir=base, recursive=True))  # noqa: PTH207
    paths = [Path(os.path.normpath(base / name)) for name in names]
    pairs = list(zip(paths, names, strict=True))
    chosen = [_readable(path, name) for path, name in pairs if not path.is_dir()]
    root = os.path.normpath(base / _above_pattern(entry))
    if chosen:
        return _Entry(chosen, root)
    below = [folders.walk(path) for path in paths if deep and not is_run(path)]
    files = [path for each in below for path in each.files]
    if not files:
        raise InputError(f"no file matches {entry} (looked in {base})")
    runs = [path for each in below for path in each.runs]
    return _Entry(_in_folder(entry, files, runs), root, runs)


def _above_pattern(entry: str) -> Path:
    """The folder above the first part that is a pattern."""
    parts = Path(entry).parts
    fixed = next(at for at, part in enumerate(parts) if glob.has_magic(part))
    return Path(*parts[:fixed])


def _expand_url(entry: str, deep: bool) -> _Entry:
    """A URL is a file, a folder, or a folder with a glob after it."""
    url, mark, query = entry.partition("?")
    parts = url.rstrip("/").split("/")
    kind = folders.stat(entry)[0].type
    if kind == fs.FileType.File:
        return _Entry([entry], "/".join(parts[:-1]))
    if kind == fs.FileType.Directory:
        fixed = len(parts)
    elif "*" in url:
        fixed = next(at for at, part in enumerate(parts) if "*" in part)
    else:
        raise InputError(f"no such file: {source.shown(entry)}")
    folder, pattern = "/".join(parts[:fixed]), [unquote(part) for part in parts[fixed:]]
    names, runs = folders.elsewhere(folder + mark + query, deep, pattern)
    files = [f"{folder}/{quote(name, safe='/=')}{mark}{query}" for name in names]
    return _Entry(_in_folder(source.shown(entry), files, runs), folder, runs)


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
    found = of_suffix(source.suffix(path))
    return found is not None and not (READERS[found].detect is None and source.compression(path))


def _known_suffixes() -> str:
    return f"{' '.join(suffixes())}, text also with {' '.join(source.COMPRESSIONS)}"


def _format(files: Sequence[str]) -> str:
    for path in files:
        if not _known(path):
            raise _unknown(path)
    formats = [str(of_suffix(source.suffix(path))) for path in files]
    if set(formats) == {"jsonl", "json"}:
        return "json"
    for path, found in zip(files, formats, strict=True):
        if found != formats[0]:
            names = f"{source.basename(files[0])} and {source.basename(path)}"
            raise InputError(
                f"{names} are of different formats; name files of one, as in 'data/*.jsonl'"
            )
    return formats[0]


def _unknown(path: str) -> InputError:
    kind = kinds.found(path) or kinds.of_name(path)
    if kind is not None:
        return kinds.other(path, kind)
    way = f"say what it is with --input-format {'|'.join(FORMATS)}"
    return InputError(
        f"{source.basename(path)}: unknown suffix (known: {_known_suffixes()}); {way}"
    )


def keep(stream: BinaryIO, folder: Path, format: str | None) -> str:
    """Keep standard input in a file of a folder, and give its name, which tells what it holds.
    Raises InputError where its first bytes do not.
    """
    head = b""
    while len(head) < source.HEAD and (piece := stream.read(source.HEAD - len(head))):
        head += piece
    compression, text = kinds.unpacked(head)
    path = folder / f"stdin{_suffix(text, format)}{compression}"
    with path.open("wb") as file:
        file.write(head)
        shutil.copyfileobj(stream, file, source.BYTES)
    return str(path)


def _suffix(text: bytes, format: str | None) -> str:
    """The suffix for what begins with `text`."""
    kind = kinds.kind(text)
    if format is None and kind in FORMATS:
        format = kind
    if format is not None:
        return next(iter(READERS[format].SUFFIXES), ".txt")
    if kind is not None:
        raise kinds.other("standard input", kind)
    encoding, _ = encodings.found(text, "standard input")
    match text.decode(encoding, "replace").lstrip("\ufeff \t\r\n")[:1]:
        case "" | "{":
            return ".jsonl"
        case "[":
            return ".json"
    raise InputError("standard input: no JSON; say what it is: --input-format csv (or lines)")

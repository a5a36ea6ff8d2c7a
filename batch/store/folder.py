"""The run folder as a whole: made, checked, begun, finished."""

from __future__ import annotations

import itertools
import os
import shutil
from contextlib import suppress
from pathlib import Path

import msgspec
import pyarrow as pa
import pyarrow.parquet as pq

from batch.damage import damaged
from batch.errors import Refused
from batch.run_folder import RunFolder, is_ours, is_run
from batch.store import lock, parts
from batch.store.files import Disk, is_something_else, refused
from batch.store.patience import patiently
from batch.totals import Group, Summary, Totals


def check_ours(run: Path) -> None:
    """Raises Refused when something else lies in the run's folder, and Damaged where its own copy of
    the input is no file, which nobody would end reading.
    """
    if run.is_dir():
        for path in filter(is_something_else, run.glob("input.*")):
            raise damaged(path, "is no file")
        if is_run(run):
            return
        foreign = sorted(path.name for path in run.iterdir() if not is_ours(path.name))
        if not foreign:
            return
        what = f"holds something else ({foreign[0]})"
    elif run.exists() and not run.is_dir():  # another worker may have made it just now
        what = "is a file"
    else:
        return
    raise Refused(f"{run} {what}, not a run", hint="choose another folder with -o")


def discard(run: Path) -> None:
    """Remove a run's folder.  What is not ours in it stays, and the folder with it."""
    foreign = [path for path in run.iterdir() if not is_ours(path.name)]
    for path in [path for path in run.iterdir() if path not in foreign]:
        if path.is_dir():
            shutil.rmtree(path)
        else:
            path.unlink()
    if not foreign:
        run.rmdir()


def make(disk: Disk, run: RunFolder) -> None:
    """Make the folders of a run, as far as they are missing."""
    disk.make_folders((run.completions, run.open, run.drafts))


def free_name(run: Path) -> Path:
    """The first free one of `RUN~1`, `RUN~2` …"""
    names = (run.with_name(f"{run.name}~{number}") for number in itertools.count(1))
    return next(path for path in names if not path.exists())


def set_aside(run: Path) -> Path:
    """Give the run's folder, which nobody works in, a free name, and return it.  Raises what the lock
    raises.
    """
    kept = free_name(run)
    try:
        with lock.held(RunFolder(run)), suppress(PermissionError):
            run.rename(kept)
            return kept
        # Windows moves no folder in which a file is open, be it our lock or another's
        patiently(lambda: run.rename(kept))
    except OSError as error:
        raise refused(error, run) from None
    return kept


def begin(disk: Disk, run: RunFolder, schema: pa.Schema) -> None:
    """Fix the schema of a new run's output."""
    for path in (run.schema_copy, run.schema):
        write_schema(disk, run, path, schema)
    disk.sync_folder(run.path.parent)  # which an earlier start may have been killed before


def write_schema(disk: Disk, run: RunFolder, path: Path, schema: pa.Schema) -> None:
    """Make `path` a file that tells the schema, all or nothing."""
    draft = run.drafts / path.name
    file = disk.create(draft)
    try:
        parts.write_schema(file, schema)
        disk.finish(file, draft)
    finally:
        file.close()
    disk.rename(draft, path)


def schema(run: RunFolder) -> pa.Schema:
    """The schema that was fixed when the run began.  Raises StorageError, also where one of the run's
    folders is something else.
    """
    for path in (run.completions, run.open, run.drafts):
        if os.path.lexists(path) and not path.is_dir():
            raise damaged(path, "is no folder")
    try:
        return parts.read_schema(run.schema)
    except FileNotFoundError:
        raise damaged(run.schema, "is missing") from None


def usage_table(run_id: str, summary: Summary) -> pa.Table:
    """usage.parquet: one row a group of usage totals."""
    rows = [
        {
            "run_id": run_id,
            **msgspec.structs.asdict(group),
            **msgspec.structs.asdict(totals),
            "requests": totals.requests,
        }
        for group, totals in summary.rows()
    ]
    return pa.Table.from_pylist(rows, schema=USAGE)


def write_usage(disk: Disk, run: RunFolder, run_id: str, summary: Summary) -> None:
    """Write usage.parquet anew."""
    sink = pa.BufferOutputStream()
    pq.write_table(usage_table(run_id, summary), sink, compression="zstd")
    disk.put(run.usage, [sink.getvalue().to_pybytes()], run.drafts)


USAGE = pa.schema(
    [
        ("run_id", pa.string()),
        *((name, pa.string()) for name in Group.__struct_fields__),
        *(
            (name, pa.float64() if name.endswith("_usd") else pa.int64())
            for name in Totals.__struct_fields__
            if name != "riding"
        ),
        ("requests", pa.int64()),
    ]
)

"""A job file, an input or a run folder, and flags -> a Job and the folder of its run."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Any

from batch import job
from batch.errors import JobError, UsageError
from batch.job import Job
from batch.store import plan


def read(what: str, flags: dict[str, Any], keys: dict[str, str]) -> tuple[Job, Path]:
    """The job meant by `what`, with `flags` over it (`keys` says which key a flag sets), and its
    run folder.
    """
    path = Path(what)
    here = Path.cwd()
    source: Path | None = None
    run: Path | None = None
    tables: dict[str, Any]
    if path.suffix == ".toml":
        source = path
        tables = job.at(job.read(path), path.parent.absolute())
    elif (known := plan.read(path)) is not None:
        tables, run = known.job, path
    else:
        tables = job.at({"input": what}, here)
    for setting in flags["settings"]:
        key, given, value = setting.partition("=")
        if not given:
            raise UsageError(f"--set {setting}: expected table.key=value")
        job.put(tables, key.strip(), job.value_of(value))
    tables = job.at(tables, here)
    for flag, key in keys.items():
        if flags[flag] is not None:
            job.put(
                tables,
                key,
                job.value_of(flags[flag]) if flag in ("concurrency", "rpm") else flags[flag],
            )
    if flags["local"]:
        job.put(tables, "endpoint.base_url", "local")
    if flags["prompt_file"] is not None:
        job.put(tables, "prompt.file", str(flags["prompt_file"]))
    made = job.check(job.at(tables, here), source)
    return made, run or folder_of(made, path)


def folder_of(made: Job, what: Path) -> Path:
    """Where the run of a job lies: as it says, else `runs/<name, or stem of the job file, or of
    the input>`.
    """
    if made.output.path is not None:
        return Path(made.output.path)
    name = made.name or ("stdin" if str(what) == "-" else _stem(what.absolute()))
    if not name or "/" in name or name.startswith("."):
        raise JobError(f"name: {name!r} cannot be a folder's name")
    return Path("runs") / name


def _stem(path: Path) -> str:
    """The name of what is read without its suffixes; of a glob, that of the folder it looks in."""
    globs = [ancestor for ancestor in (path, *path.parents) if re.search(r"[*?\[]", ancestor.name)]
    if globs and not path.exists():
        path = globs[-1].parent
    return path.name.split(".")[0] or path.name


def environment(env_file: Path | None) -> dict[str, str]:
    """The environment, over the NAME=value lines of `env_file`."""
    if env_file is None:
        return dict(os.environ)
    try:
        lines = env_file.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"--env-file {env_file}: {error}") from None
    pairs = (
        line.removeprefix("export ").partition("=")
        for line in map(str.strip, lines)
        if line[:1] not in ("", "#")
    )
    return {**{name.strip(): value.strip().strip("\"'") for name, _, value in pairs}, **os.environ}

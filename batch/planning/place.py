"""Where the run of a job lies, and the file in which it leaves its results."""

from __future__ import annotations

import re
from pathlib import Path

from batch import job_toml, spec
from batch.errors import JobError, Refused, UsageError
from batch.outputs import form
from batch.outputs.form import File
from batch.run_folder import PLAN, is_run, runs_below
from batch.spec import Job


def folder_of(made: Job, what: Path) -> Path:
    """Where the run of a job lies: as it says, else `runs/<name, or stem of the job file, or of
    the input>`; of the run `cities` as input, `cities-2`.
    """
    file = output_file(made)
    if file is not None and file.path is not None and not form.is_stream(file.path):
        return Path(f"{file.path}.run")
    if file is None and made.output.path is not None:
        return Path(made.output.path)
    name = made.name or ("stdin" if str(what) == "-" else stem(what.absolute()))
    if made.name is None and is_run(what):
        name = _next(name)
    if not name or "/" in name or name.startswith("."):
        raise JobError(f"name: {name!r} cannot be a folder's name")
    return Path("runs") / name


def _next(name: str) -> str:
    """The name of what follows a run of this name."""
    stem, dash, number = name.rpartition("-")
    return f"{stem}-{int(number) + 1}" if dash and number.isdecimal() else f"{name}-2"


def stem(path: Path) -> str:
    """The name of what is read without its suffixes; of a glob, that of the folder it looks in."""
    globs = [ancestor for ancestor in (path, *path.parents) if re.search(r"[*?\[]", ancestor.name)]
    if globs and not path.exists():
        path = globs[-1].parent
    return path.name.split(".")[0] or path.name


def output_file(made: Job) -> File | None:
    """The file that `-o` names, None when it names the run's folder.  Raises UsageError."""
    output = made.output
    path, columns, flat = output.path, output.columns, output.flat
    file = None
    if path is not None and not form.is_folder(path):
        file = form.named(path, output.format, columns=columns, flat=flat)
    if file is None and (output.format is not None or columns is not None or flat):
        raise UsageError("--format, --columns and --flat are for a file: name it with -o FILE")
    return file


def run_folder(what: Path) -> Path:
    """The run folder meant by RUN: itself, that of a job file, or that of a file written with -o."""
    if what.suffix == ".toml":
        return folder_of(
            spec.check(job_toml.absolute(job_toml.read(what), what.parent.absolute(), what), what),
            what,
        )
    beside = Path(f"{what}.run")
    return beside if not is_run(what) and beside.is_dir() else what


def runs_in(what: Path) -> list[Path]:
    """The folders of the runs meant by RUN, which may also be a folder with runs below it.  Raises
    UsageError where there is none.
    """
    run = run_folder(what)
    found = [run] if is_run(run) else runs_below(run) if run.is_dir() else []
    if not found:
        raise UsageError(f"{run} is no run: there is no {PLAN} in it or below it")
    return found


def check_ours(file: File, folder: Path) -> None:
    """Raises Refused where files are that no run in `folder` has written."""
    from batch.outputs import export

    there = [path for path in export.paths(file) if path.exists()]
    if there and not is_run(folder):
        hint = "choose another name with -o"
        raise Refused(f"{there[0]} is there already, and no run of ours", hint=hint)

"""A job file, an input or a run folder, and flags -> a Job and the folder of its run."""

from __future__ import annotations

import io
import os
import re
from collections.abc import Iterable, Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from batch import columns, command_line, job_toml, spec
from batch.cli.options import KEYS
from batch.errors import JobError, UsageError
from batch.outcome import FINAL, TRANSIENT
from batch.outputs import form
from batch.outputs.form import File
from batch.planning import begun
from batch.reports import status
from batch.run_folder import PLAN, is_run
from batch.spec import Job
from batch.store import plan
from batch.store.budget_file import Cap
from batch.store.plan import Again, Plan
from batch.transport.endpoint import Endpoint

BEYOND = ("prompt", "input", "input_format", "delimiter", "encoding", "output", "keep", "id_column")
"""The keys that a retry cannot change, with all that is in them."""

CAP = "limits.max_cost_usd"


def read(whats: Sequence[str], flags: dict[str, Any]) -> tuple[Job, Path]:
    """The job meant by a job file, a run or inputs, with `flags` over it, and its run folder."""
    over: dict[str, Any] = {}
    if "-" in whats and whats[1:]:
        raise UsageError("-: standard input stands alone")
    what, path = whats[0], Path(whats[0])
    here = Path.cwd()
    source = job_file(whats)
    run: Path | None = None
    before: str | None = None
    tables: dict[str, Any]
    said = dict(_setting(setting) for setting in flags["settings"])
    if source is not None:
        tables = job_toml.absolute(job_toml.read(path), path.parent.absolute(), path)
    elif (known := _to_go_on(whats, flags, said)) is not None:
        tables, run, over = known.job, path, dict(known.over)
        before = tables.get("output", {}).get("path")
    else:
        tables = job_toml.absolute({"input": list(whats) if whats[1:] else what}, here)
    said.pop(CAP, None)  # kept by the run, not by the job: see cap_given
    for key, value in said.items():
        spec.put(tables, key, value)
    tables = job_toml.absolute(tables, here)
    for flag, key in KEYS.items():
        if (given := flags.get(flag)) is not None:
            number = flag in ("concurrency", "rpm", "tpm")
            said[key] = spec.value_of(given) if number else given
            spec.put(tables, key, said[key])
    over |= spec.given(said)
    if flags["local"]:
        spec.put(tables, "endpoint.base_url", "local")
    if flags.get("prompt_file") is not None:
        spec.put(tables, "prompt.file", str(flags["prompt_file"].absolute()))
    made = spec.check(job_toml.absolute(tables, here), source, over)
    if run is not None and made.output.path != before:
        to = command_line.near(made.output.path or "all.parquet")
        raise UsageError(
            f"-o: {what} is a run and stays where it is; to ask its rows something else, say what"
            f" with -p; to write them to a file: {command_line.of('export', path, '-o', to)}"
        )
    return made, run or folder_of(made, path)


def _to_go_on(whats: Sequence[str], flags: dict[str, Any], said: dict[str, Any]) -> Plan | None:
    """The plan of the run that is to go on; None where inputs are named.  A run with a prompt is an
    input.
    """
    known = plan.read(Path(whats[0]))
    prompt = flags.get("prompt") or flags.get("prompt_file") or "prompt.user" in said
    if known is not None and whats[1:] and not prompt:
        raise UsageError(
            f"{whats[0]} is a run: name it alone to go on with it, or say with -p what to ask of it"
        )
    return None if prompt else known


def cap_given(flags: dict[str, Any]) -> Cap | None:
    """The cap that `--max-cost` or `--set limits.max_cost_usd` gives; None where neither does.
    Raises JobError.
    """
    said = dict(_setting(setting) for setting in flags["settings"])
    given = said.get(CAP, flags.get("max_cost"))
    if isinstance(given, str):
        given = spec.value_of(given)
    if given is None:
        return None
    if given == "none":
        return Cap(None)
    return Cap(spec.check({"limits": {"max_cost_usd": given}}).limits.max_cost_usd)


def endpoint(what: str | None, flags: dict[str, Any]) -> Endpoint:
    """The endpoint of the job meant by `what`, or of none, with `flags` over it."""
    whats = [what or "-"]
    if what is not None and job_file(whats) is None and plan.read(Path(what)) is None:
        raise UsageError(f"{what} is neither a job file nor a run")
    return read(whats, flags)[0].endpoint


def job_file(whats: Sequence[str]) -> Path | None:
    """The job file, where that is named.  Raises UsageError where something else is, too."""
    named = [what for what in whats if Path(what).suffix == ".toml"]
    if named and whats[1:]:
        raise UsageError(
            f"{named[0]} is a job file, which stands alone; its `input` names files, or a list"
        )
    return Path(named[0]) if named else None


def folder_of(made: Job, what: Path) -> Path:
    """Where the run of a job lies: as it says, else `runs/<name, or stem of the job file, or of
    the input>`; of the run `cities` as input, `cities-2`.
    """
    file = output_file(made)
    if file is not None and file.path is not None and not form.is_stream(file.path):
        return Path(f"{file.path}.run")
    if file is None and made.output.path is not None:
        return Path(made.output.path)
    name = made.name or ("stdin" if str(what) == "-" else _stem(what.absolute()))
    if made.name is None and is_run(what):
        name = _next(name)
    if not name or "/" in name or name.startswith("."):
        raise JobError(f"name: {name!r} cannot be a folder's name")
    return Path("runs") / name


def _next(name: str) -> str:
    """The name of what follows a run of this name."""
    stem, dash, number = name.rpartition("-")
    return f"{stem}-{int(number) + 1}" if dash and number.isdecimal() else f"{name}-2"


def _stem(path: Path) -> str:
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


def runs(whats: Iterable[Path]) -> Iterator[Path]:
    """The folders of the runs meant by RUN…, each of which may also be a folder with runs below it.
    Raises UsageError where there is none.
    """
    for what in whats:
        run = run_folder(what)
        found = [run] if is_run(run) else status.below(run) if run.is_dir() else []
        if not found:
            raise UsageError(f"{run} is no run: there is no {PLAN} in it or below it")
        yield from found


def again(
    run: Path, classes: tuple[str, ...], flags: tuple[str, ...], settings: tuple[str, ...]
) -> tuple[Job, Again]:
    """The job of the run in a folder, and which of its rows are asked again, with which keys changed."""
    known, _ = begun.opened(run)
    _all_known("--class", classes, TRANSIENT | FINAL)
    _all_known("--flag", flags, columns.FLAGS)
    changed = dict(_setting(setting) for setting in settings)
    changed.pop(CAP, None)
    beyond = [
        key
        for key in changed
        if key.split(".")[0] in BEYOND
        or key in ("request", "request.api")  # another API has other columns
        or key.startswith("request.schema")
    ]
    if beyond:
        raise UsageError(f"--set {beyond[0]}: a retry cannot change that")
    chosen = sorted(classes) if classes or flags else sorted(TRANSIENT | FINAL)
    made = Again(datetime.now(UTC).isoformat(timespec="seconds"), chosen, sorted(flags), changed)
    return spec.check(known.job, given=known.over), made


def _all_known(flag: str, given: tuple[str, ...], known: Iterable[str]) -> None:
    for name in given:
        if name not in known:
            raise UsageError(f"{flag}: there is no {name!r} (known: {', '.join(sorted(known))})")


def _setting(text: str) -> tuple[str, Any]:
    key, given, value = text.partition("=")
    if not given:
        raise UsageError(f"--set {text}: expected table.key=value")
    return key.strip(), spec.value_of(value)


def environment(env_file: Path | None) -> dict[str, str]:
    """The environment, over what `env_file` sets.  It may begin with a BOM."""
    if env_file is None:
        return dict(os.environ)
    from dotenv import dotenv_values  # 10 ms

    try:
        text = env_file.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"--env-file {env_file}: {error}") from None
    pairs = dotenv_values(stream=io.StringIO(text))
    return {name: value for name, value in pairs.items() if value is not None} | dict(os.environ)

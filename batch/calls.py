"""What a call of the Python door asks: its job, its data and its keywords, as a start of a run."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, Literal, get_args

import msgspec

from batch import job_toml, spec, starts
from batch.errors import UsageError
from batch.outputs import whole
from batch.outputs.form import File
from batch.planning import place
from batch.readers import dicts, memory
from batch.reports.summary import Ended
from batch.spec import Job
from batch.starts import OnEvent, Start
from batch.store import plan
from batch.structured import instances

JobLike = Job | str | os.PathLike[str] | Mapping[str, Any]
"""A Job, the path of a job file or of a run's folder, or tables."""

Data = Any
"""A path or several, rows as dicts, or anything with `__arrow_c_stream__`."""

Paths = str | os.PathLike[str] | Sequence[str | os.PathLike[str]]
"""One or several."""

OnBadRow = Literal["stop", "record"]
"""What becomes of a row that cannot be asked."""

Write = Callable[[Path, File], object]
"""Writes the results of the run in a folder to a file."""


def job(file: str | os.PathLike[str] | None, tables: Mapping[str, Any]) -> Job:
    """A job out of a TOML file, tables, or both.  Raises JobError."""
    given = job_toml.absolute(plain(tables), Path.cwd())
    if file is None:
        return spec.check(given)
    path = Path(file)
    found = job_toml.absolute(job_toml.read(path), path.parent.absolute(), path)
    found.setdefault("name", place.stem(path))
    return spec.check(_over(found, given), path, spec.given(dict(_settings(given))))


class Call(msgspec.Struct, frozen=True, kw_only=True):
    """What `run` was asked: its parameters, and no more."""

    job: JobLike
    data: Data
    to: Any
    limit: int | None
    new: bool
    reuse: Any
    max_cost: Any
    sample: int | None
    seed: int
    retry_failed: bool | None
    on_bad_row: OnBadRow
    preflight: bool
    yes: bool
    progress: bool | None
    environment: Mapping[str, str]
    on_event: OnEvent | None

    def start(self, write: Write) -> Start:
        """The start that is meant; where a file is named, it will `write` the results to it.  Reads the
        data: to be called in the run's thread.
        """
        if self.on_bad_row not in get_args(OnBadRow):
            known = " nor ".join(map(repr, get_args(OnBadRow)))
            raise UsageError(f"on_bad_row: {self.on_bad_row!r} is neither {known}")
        made, folder = _job_of(self.job)
        data, tables = None, plain(_given(limit=self.limit, sample=self.sample))
        if self.sample is not None:
            tables["seed"] = plain(self.seed)
        if self.data is not None:
            named, data = _input(self.data)
            tables["input"] = named
        if self.to is not None:
            folder = None
            tables["output"] = {"path": _text(self.to)}
        made = _with(made, tables)
        if folder is None:
            folder = _folder(made, data)
        file = place.output_file(made)
        if file is not None:
            place.check_ours(file, folder)
            whole.check(file)
        terms = starts.terms(
            environment=self.environment,
            max_cost=plain(self.max_cost),
            yes=self.yes,
            preflight=self.preflight,
            record_bad_rows=self.on_bad_row == "record",
            new=self.new,
            reuse=_runs(self.reuse),
            retry_failed=self.retry_failed,
            data=data,
        )
        if file is None:
            return Start(job=made, folder=folder, terms=terms)
        then = partial(_written, write, folder, file)
        return Start(job=made, folder=folder, terms=terms, then=then)


def _written(write: Write, folder: Path, file: File, ended: Ended) -> None:
    if ended.stopped is None:
        write(folder, file)


def _job_of(given: JobLike) -> tuple[Job, Path | None]:
    """The job that is meant, and its run folder where a run was named."""
    if isinstance(given, Job):
        return given, None
    if isinstance(given, Mapping):
        return job(None, given), None
    path = Path(given)
    known = None if path.suffix == ".toml" else plan.read(path)
    if known is not None:
        return spec.check(known.tables, given=known.over), path
    if path.suffix != ".toml":
        raise UsageError(f"{path} is neither a job file (.toml) nor the folder of a run")
    return job(path, {}), None


def _input(data: Any) -> tuple[Any, memory.Data | None]:
    """What the job names as its input, and what was in memory."""
    if isinstance(data, str | os.PathLike):
        return _text(data), None
    if isinstance(data, list | tuple) and data and all(map(_is_path, data)):
        return [_text(each) for each in data], None
    return "-", memory.of(data)


def _runs(given: Any) -> tuple[Path, ...]:
    """The runs whose answers are taken."""
    paths = () if given is None else (given,) if _is_path(given) else given
    return tuple(run for path in paths for run in place.runs_in(Path(path)))


def _is_path(value: object) -> bool:
    return isinstance(value, str | os.PathLike)


def _with(made: Job, tables: dict[str, Any]) -> Job:
    """`made` with other keys at its top, and another place for its results."""
    found = job_toml.absolute(tables, Path.cwd())
    if "output" in found:
        found["output"] = msgspec.structs.replace(made.output, path=found["output"]["path"])
    changed = msgspec.structs.replace(made, **found)
    return spec.check(spec.tables_of(changed), given=changed.request.over)


def _given(**keys: Any) -> dict[str, Any]:
    return {key: value for key, value in keys.items() if value is not None}


def _folder(made: Job, data: memory.Data | None) -> Path:
    if data is not None and made.name is None and made.output.path is None:
        raise UsageError(
            "data in memory has no name: say where its run lies, to=..., or give the job a name"
        )
    named = made.input if isinstance(made.input, str) else (made.input or ["-"])[0]
    return place.folder_of(made, Path(named))


def _text(path: str | os.PathLike[str]) -> str:
    return os.fspath(path)


def plain(value: Any) -> Any:
    """What a job file has for a value: paths are text, types their schemas, numbers of numpy numbers."""
    if isinstance(value, Mapping):
        return {key: plain(each) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return [plain(each) for each in value]
    if isinstance(value, type):
        return instances.schema_of(value)
    return _text(value) if isinstance(value, os.PathLike) else dicts.of_numpy(value)


def _over(found: dict[str, Any], given: dict[str, Any]) -> dict[str, Any]:
    """`found` with what is `given` over it, key by key in each table."""
    made = dict(found)
    for name, value in given.items():
        inner = made.get(name)
        if isinstance(value, dict) and isinstance(inner, dict):
            value = {**inner, **value}
        made[name] = value
    return made


def _settings(tables: dict[str, Any]) -> Iterator[tuple[str, Any]]:
    """What a row's own request has to obey, as flags give it."""
    if "request" in tables:
        yield "request", tables["request"]
    prompt = tables.get("prompt")
    if isinstance(prompt, dict) and "system" in prompt:
        yield spec.SYSTEM, prompt["system"]

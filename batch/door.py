"""The Python door: what a script or a notebook calls.  `batch` and `batchmill` hand it out.

A job is asked for every row of a file, a list of dicts or a data frame, and the results lie in a run
folder, as on the command line: the same call goes on where an earlier one ended.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import msgspec

from batch import job_toml, spec, starts
from batch.errors import UsageError
from batch.planning import place
from batch.readers import memory
from batch.reports import compared
from batch.reports.compared import Comparison
from batch.reports.summary import Ended
from batch.runs import Run
from batch.spec import Job
from batch.starts import OnEvent, Start
from batch.store import plan
from batch.structured import instances

JobLike = Job | str | os.PathLike[str] | Mapping[str, Any]
"""A Job, the path of a job file or of a run's folder, or tables."""

Data = Any
"""A path or several, rows as dicts, or anything with `__arrow_c_stream__`."""


def job(file: str | os.PathLike[str] | None = None, /, **tables: Any) -> Job:
    """A job out of a TOML file, keyword tables, or both: what is given here wins, over the file and
    over what a row says itself, as a flag does.

        batch.job(prompt={"user": "Translate: {{ text }}"}, request={"model": "gpt-5.4-mini"})
        batch.job("jobs/sentiment.toml", request={"temperature": 0})

    `request["schema"]` may be a pydantic model, a TypedDict or a dataclass.  Relative paths start
    at the working folder, those in the file at the file's.  Raises JobError, which names the key.
    """
    given = job_toml.absolute(_plain(tables), Path.cwd())
    if file is None:
        return spec.check(given)
    path = Path(file)
    found = job_toml.absolute(job_toml.read(path), path.parent.absolute(), path)
    found.setdefault("name", place.stem(path))
    return spec.check(_over(found, given), path, spec.given(dict(_settings(given))))


def run(
    job: JobLike,
    data: Data = None,
    *,
    to: str | os.PathLike[str] | None = None,
    limit: int | None = None,
    new: bool = False,
    reuse: str | os.PathLike[str] | None = None,
    max_cost: float | Literal["none"] | None = None,
    sample: int | None = None,
    seed: int = 0,
    retry_failed: bool | None = None,
    on_bad_row: Literal["stop", "record"] = "stop",
    preflight: bool = True,
    yes: bool = False,
    progress: bool | None = None,
    environment: Mapping[str, str] = os.environ,
    on_event: OnEvent | None = None,
) -> Run:
    """Send every row to the model; go on where an earlier call ended.

        run = batch.run(job, df, to="runs/reviews")
        polars.DataFrame(run)

    `to` is the run's folder, or a file for the results (answers.parquet, .jsonl, .csv); by default
    it is runs/ with the name of job or input.  `data` is the input, where the job names none.
    `limit` asks the first rows only, `sample` so many of all, chosen by `seed`; `new` starts anew and
    keeps the run that is there; `reuse` starts anew and takes the answers that still fit from
    another run.  `max_cost` is in USD, kills included, and holds for later calls, too ("none" lifts
    it).  Rows that failed for a passing reason are asked again; `retry_failed` says whether all that
    failed are, or none.  A row that cannot be asked is an error before anything is sent, or with
    `on_bad_row="record"` a failed row; `yes` goes on where answers look doubtful; without `preflight`
    parameters are sent that servers usually refuse.  `on_event` is called with events
    (`batch.events`) in the run's thread; `progress` draws a bar, by default in IPython only.

    A run that stops early (cap, quota, an endpoint that is down) is no exception: `stopped` of the
    Run says why.  Raises BatchError (`batch.errors`) where nothing was begun.  Ctrl-C waits for what
    is in flight, up to 20 s, and raises KeyboardInterrupt; a second one does so within 2 s.  Runs at
    the same time share no limits.
    """
    call = _Call(
        job=job,
        data=data,
        to=to,
        limit=limit,
        new=new,
        reuse=reuse,
        max_cost=max_cost,
        sample=sample,
        seed=seed,
        retry_failed=retry_failed,
        on_bad_row=on_bad_row,
        preflight=preflight,
        yes=yes,
        environment=environment,
    )
    folder, ended = starts.carried_out(call.start, on_event, progress)
    return Run(folder, ended.stopped)


async def arun(
    job: JobLike,
    data: Data = None,
    *,
    to: str | os.PathLike[str] | None = None,
    limit: int | None = None,
    new: bool = False,
    reuse: str | os.PathLike[str] | None = None,
    max_cost: float | Literal["none"] | None = None,
    sample: int | None = None,
    seed: int = 0,
    retry_failed: bool | None = None,
    on_bad_row: Literal["stop", "record"] = "stop",
    preflight: bool = True,
    yes: bool = False,
    progress: bool | None = None,
    environment: Mapping[str, str] = os.environ,
    on_event: OnEvent | None = None,
) -> Run:
    """`run`, for a running event loop, which it does not hold up: `run = await batch.arun(job, df,
    to="runs/reviews")`.

    `on_event` is called in that loop.  Cancelled, it waits for what is in flight, up to 20 s, and
    raises CancelledError; cancelled twice it does so within 2 s.
    """
    call = _Call(
        job=job,
        data=data,
        to=to,
        limit=limit,
        new=new,
        reuse=reuse,
        max_cost=max_cost,
        sample=sample,
        seed=seed,
        retry_failed=retry_failed,
        on_bad_row=on_bad_row,
        preflight=preflight,
        yes=yes,
        environment=environment,
    )
    folder, ended = await starts.carried_out_in_loop(call.start, on_event, progress)
    return Run(folder, ended.stopped)


def open(path: str | os.PathLike[str]) -> Run:
    """The run in a folder, or the one that wrote a file; it takes no lock and writes nothing.  Raises
    UsageError where there is none.

        batch.open("runs/reviews").report().totals.cost_usd
    """
    return Run(place.run_folder(Path(path)))


def compare(
    a: Run | str | os.PathLike[str],
    b: Run | str | os.PathLike[str] | None = None,
    *,
    on: str | None = None,
    fields: Sequence[str] = (),
    against: str | None = None,
) -> Comparison:
    """How far two runs agree, and what each took: `batch.compare(one, other).match`.

    Rows are joined by the column `on`, else by custom_id where both have one, else by row.  `fields`
    are columns, or fields in them (`parsed.stars`); `against` is the truth, `labels.csv:column`, for
    which one run will do.  Raises UsageError.
    """
    runs = [each if isinstance(each, Run) else open(each) for each in (a, b) if each is not None]
    return compared.compare(*runs, on=on, fields=fields, against=against)


class _Call(msgspec.Struct, frozen=True, kw_only=True):
    """What `run` was asked."""

    job: Any
    data: Any
    to: Any
    limit: int | None
    new: bool
    reuse: Any
    max_cost: Any
    sample: int | None
    seed: int
    retry_failed: bool | None
    on_bad_row: str
    preflight: bool
    yes: bool
    environment: Mapping[str, str]

    def start(self) -> Start:
        """The start that is meant.  Reads the data: to be called in the run's thread."""
        made, folder = _job_of(self.job)
        data, tables = None, dict[str, Any](_given(limit=self.limit, sample=self.sample))
        if self.sample is not None:
            tables["seed"] = self.seed
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

        def written(ended: Ended) -> None:
            if file is not None and ended.stopped is None:
                Run(folder).write(file, sys.stdout.buffer)

        terms = starts.terms(
            environment=self.environment,
            max_cost=self.max_cost,
            yes=self.yes,
            preflight=self.preflight,
            record_bad_rows=self.on_bad_row == "record",
            new=self.new,
            reuse=None if self.reuse is None else place.run_folder(Path(self.reuse)),
            retry_failed=self.retry_failed,
            data=data,
        )
        return Start(job=made, folder=folder, terms=terms, then=written)


def _job_of(given: JobLike) -> tuple[Job, Path | None]:
    """The job that is meant, and its run folder where a run was named."""
    if isinstance(given, Job):
        return given, None
    if isinstance(given, Mapping):
        return job(**given), None
    path = Path(given)
    known = None if path.suffix == ".toml" else plan.read(path)
    if known is not None:
        return spec.check(known.tables, given=known.over), path
    if path.suffix != ".toml":
        raise UsageError(f"{path} is neither a job file (.toml) nor the folder of a run")
    return job(path), None


def _input(data: Any) -> tuple[Any, memory.Data | None]:
    """What the job names as its input, and what was in memory."""
    if isinstance(data, str | os.PathLike):
        return _text(data), None
    if isinstance(data, list | tuple) and data and all(map(_is_path, data)):
        return [_text(each) for each in data], None
    return "-", memory.of(data)


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


def _plain(value: Any) -> Any:
    """Tables as a job file has them: paths are text, types are their schemas."""
    if isinstance(value, Mapping):
        return {key: _plain(each) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(each) for each in value]
    if isinstance(value, type):
        return instances.schema_of(value)
    return _text(value) if isinstance(value, os.PathLike) else value


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

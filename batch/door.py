"""The Python door: what a script or a notebook calls.  `batch` and `batchmill` hand it out.

A job is asked for every row of a file, a list of dicts or a data frame, and the results lie in a run
folder, as on the command line: the same call goes on where an earlier one ended.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, Literal

from batch import calls, starts
from batch.calls import Call, Data, JobLike, OnBadRow, Paths
from batch.outputs.form import File
from batch.planning import place
from batch.reports import compared
from batch.reports.compared import Comparison
from batch.runs import Run
from batch.spec import Job
from batch.starts import OnEvent


def job(file: str | os.PathLike[str] | None = None, /, **tables: Any) -> Job:
    """A job out of a TOML file, keyword tables, or both: what is given here wins, over the file and
    over what a row says itself, as a flag does.

        batch.job(prompt={"user": "Translate: {{ text }}"}, request={"model": "gpt-5.4-mini"})
        batch.job("jobs/sentiment.toml", request={"temperature": 0})

    `request["schema"]` may be a pydantic model, a TypedDict or a dataclass.  Relative paths start
    at the working folder, those in the file at the file's.  Raises JobError, which names the key.
    """
    return calls.job(file, tables)


def run(
    job: JobLike,
    data: Data = None,
    *,
    to: str | os.PathLike[str] | None = None,
    limit: int | None = None,
    new: bool = False,
    reuse: Paths | None = None,
    max_cost: float | Literal["none"] | None = None,
    sample: int | None = None,
    seed: int = 0,
    retry_failed: bool | None = None,
    on_bad_row: OnBadRow = "stop",
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
    another run, from several, or from all below a folder.  `max_cost` is in USD, kills included, and
    holds for later calls, too ("none" lifts it).  Rows that failed for a passing reason are asked
    again; `retry_failed` says whether all that failed are, or none.  A row that cannot be asked is an
    error before anything is sent, or with `on_bad_row="record"` a failed row; `yes` goes on where
    answers look doubtful; without `preflight` parameters are sent that servers usually refuse.
    `on_event` is called with events (`batch.events`) in the run's thread; `progress` draws a bar, by
    default in IPython only.

    A run that stops early (cap, quota, an endpoint that is down) is no exception: `stopped` of the
    Run says why.  Raises BatchError (`batch.errors`) where nothing was begun.  Ctrl-C waits for what
    is in flight, up to 20 s, and raises KeyboardInterrupt; a second one does so within 2 s.  Runs at
    the same time share no limits.
    """
    begins = partial(Call(**locals()).start, _write)
    folder, ended = starts.carried_out(begins, on_event, progress)
    return Run(folder, ended.stopped)


async def arun(
    job: JobLike,
    data: Data = None,
    *,
    to: str | os.PathLike[str] | None = None,
    limit: int | None = None,
    new: bool = False,
    reuse: Paths | None = None,
    max_cost: float | Literal["none"] | None = None,
    sample: int | None = None,
    seed: int = 0,
    retry_failed: bool | None = None,
    on_bad_row: OnBadRow = "stop",
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
    begins = partial(Call(**locals()).start, _write)
    folder, ended = await starts.carried_out_in_loop(begins, on_event, progress)
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


def _write(folder: Path, file: File) -> None:
    Run(folder).write(file)

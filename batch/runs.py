"""A run folder seen from outside, at any time: looking takes no lock and writes nothing in it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import Any, BinaryIO

import msgspec
import pyarrow as pa

from batch import calls, json_text, readers, starts
from batch.errors import BatchError, RowsFailed, UsageError
from batch.model import DEFAULT_API
from batch.outputs import cells, form
from batch.outputs import export as exporting
from batch.outputs.form import File, Written
from batch.planning import again, begun, requests_again
from batch.reports import card
from batch.reports import report as reporting
from batch.reports import status as standing
from batch.reports.aggregate import ALWAYS, Period
from batch.reports.counts import RECORDED, Costing
from batch.reports.exchange import Exchange
from batch.reports.report import Report
from batch.reports.status import Status
from batch.run_folder import RunFolder
from batch.starts import OnEvent, Start
from batch.store import contents
from batch.store import verify as verifying
from batch.store.plan import Format, Plan
from batch.store.seal import Layout
from batch.store.verify import Finding
from batch.structured import instances
from batch.values import seen as as_seen


class Run:
    """The run in a folder, at any time: while it is under way, and long after.

    `path` is the folder; `stopped` says why the start that gave this Run ended early, and is None
    where it did not, and for a run that was opened.  A Run is an Arrow stream of its results
    (`pyarrow.table(run)`, `polars.DataFrame(run)`, `duckdb.sql("from run")`), part by part, and
    iterates over them as dicts.
    """

    def __init__(self, path: Path, stopped: BatchError | None = None) -> None:
        """Raises UsageError where there is no run."""
        self.path = path
        self.stopped = stopped
        self.plan: Plan
        self._layout: Layout
        self.plan, self._layout = begun.opened(path)

    def __repr__(self) -> str:
        return f"<Run {str(self.path)!r}>"

    def _repr_html_(self) -> str:
        why = None if self.stopped is None else str(self.stopped)
        return card.html(self.status(), self.report(), why)

    def status(self) -> Status:
        """How far it is: `.ok`, `.failed`, `.pending`, `.state` …"""
        return standing.of(self.path, self.plan)

    def report(
        self,
        by: str | tuple[str, ...] = ("model",),
        period: Period = ALWAYS,
        costing: Costing = RECORDED,
    ) -> Report:
        """What it cost, in groups: `run.report().totals.cost_usd` (USD, None while unknown)."""
        keys = (by,) if isinstance(by, str) else tuple(by)
        return reporting.of([(self.path, self.plan)], keys, period, costing)

    def verify(self) -> list[Finding]:
        """Everything that is wrong with what was written; nothing is where all is well."""
        return list(verifying.verify(self._folder, self.plan))

    def verify_input(self) -> Iterator[Finding]:
        """What differs between the questions that were asked and those the input asks now."""
        plan, job = self.plan, begun.job(self.plan)
        source = readers.resolve(
            job.input or [], Path.cwd(), plan.input_format, begun.reading(plan)
        )
        before = [msgspec.convert(each, readers.Fingerprint) for each in plan.inputs]
        difference = readers.compare(before, source)
        if difference.kind == "changed":
            yield Finding(f"the input has changed: {difference.text}")
        for row, differs in requests_again.differing(self.path, job, source):
            if differs:
                yield Finding(f"row {row}: what was asked is not what the input asks")

    def raise_for_status(self) -> None:
        """Raise what `stopped` holds, or RowsFailed where rows have failed."""
        if self.stopped is not None:
            raise self.stopped
        if failed := self.status().failed:
            raise RowsFailed(failed, self.path)

    def export(
        self,
        to: str | Path,
        *,
        format: Format | None = None,
        columns: list[str] | None = None,
        flat: bool = False,
        sample: int | None = None,
        seed: int = 0,
    ) -> Written:
        """Write the results to one file, over one that is there: `run.export("answers.csv")`.

        `format` says what it holds where its name does not tell; `columns` chooses, and `flat` makes
        the fields of `parsed` columns of their own; a `sample` is of so many rows.  Raises UsageError
        and StorageError.
        """
        file = form.named(str(to), format, columns=columns, flat=flat)
        if file is None or file.path is None:
            raise UsageError(f"{to}: say format=, or name it *{', *'.join(form.OURS)}")
        return self.write(file, None, sample, seed)

    def write(
        self, file: File, stdout: BinaryIO | None = None, sample: int | None = None, seed: int = 0
    ) -> Written:
        """Write the results to one file (and, for openai-batch, the failed rows to another): all, or
        the rows that a `sample` of so many has.  `stdout` takes the place of standard output.
        """
        api = self.plan.job.get("request", {}).get("api", DEFAULT_API)
        tables = self.tables()
        if sample is not None:
            tables = contents.sampled(self._folder, self._layout, sample, seed)
        return exporting.write(file, tables, self._layout.schema, api, stdout)

    def tables(self) -> Iterator[pa.Table]:
        """The results, a bounded number of rows at a time."""
        return contents.tables(self._folder, self._layout)

    def __arrow_c_stream__(self, requested_schema: object = None) -> object:
        schema = self._layout.schema
        batches = (batch for table in self.tables() for batch in table.to_batches())
        stream = pa.RecordBatchReader.from_batches(schema, batches)
        return stream.__arrow_c_stream__(requested_schema)

    def __iter__(self) -> Iterator[dict[str, Any]]:
        return self.rows()

    def rows(
        self,
        *,
        failed: bool = False,
        flag: str | None = None,
        row: int | None = None,
        as_: type | None = None,
        seen: bool = False,
    ) -> Iterator[Any]:
        """The rows that are wanted, in input order, one dict each: all of them, those that `failed`,
        those with a `flag`, or the one of that number.

        With `as_` (a pydantic model, a TypedDict, a dataclass) each is the answer as an instance of
        it, None where a row has none.  Values are as they are written down, or as a prompt has
        `seen` them.
        """
        converted = as_seen if seen else cells.rows
        for table in self.tables():
            for values in converted(_chosen(table, failed, flag, row)):
                yield values if as_ is None else instances.of(as_, values)

    @property
    def exchange(self) -> Exchange:
        """What its rows were asked, and what was said."""
        return Exchange(self.plan, self._layout)

    def retry(
        self, *, on_event: OnEvent | None = None, progress: bool | None = None, **chosen: Any
    ) -> Run:
        """Ask chosen rows again, and nothing else: all that failed, or those with an error class in
        `classes` or a flag in `flags`, with `settings` changed for them
        (`{"request.max_tokens": 2000}`).  Further keywords are max_cost, yes, preflight and
        environment of `batch.run`.
        """
        folder, ended = starts.carried_out(partial(self._again, **chosen), on_event, progress)
        return Run(folder, ended.stopped)

    async def aretry(
        self, *, on_event: OnEvent | None = None, progress: bool | None = None, **chosen: Any
    ) -> Run:
        """As `retry`, in a running event loop."""
        begins = partial(self._again, **chosen)
        folder, ended = await starts.carried_out_in_loop(begins, on_event, progress)
        return Run(folder, ended.stopped)

    def _again(
        self,
        classes: Iterable[str] = (),
        flags: Iterable[str] = (),
        settings: Mapping[str, Any] | None = None,
        max_cost: Any = None,
        **how: Any,
    ) -> Start:
        changed = calls.plain(settings or {})
        job, chosen = again.chosen(self.path, tuple(classes), tuple(flags), changed)
        cap = changed.get(again.CAP, calls.plain(max_cost))
        terms = starts.terms(**how, max_cost=cap, again=chosen)
        return Start(job=job, folder=self.path, terms=terms)

    @property
    def _folder(self) -> RunFolder:
        return RunFolder(self.path)


def as_json(values: dict[str, Any]) -> str:
    """One row as a JSON object."""
    return json_text.encode(values)


def _chosen(table: pa.Table, failed: bool, flag: str | None, row: int | None) -> pa.Table:
    import pyarrow.compute as pc  # 50 ms, at every start

    if row is not None:
        table = table.filter(pc.equal(table["row"], row))
    if failed:
        table = table.filter(pc.equal(table["status"], "failed"))
    if flag is not None:
        has = [flag in flags for flags in table["flags"].to_pylist()]
        table = table.filter(pa.array(has, pa.bool_()))
    return table

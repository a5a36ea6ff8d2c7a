"""A run folder seen from outside, at any time: it takes no lock and writes nothing in it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from functools import cached_property
from pathlib import Path
from typing import Any, BinaryIO

import msgspec
import pyarrow as pa

from batch import apis, columns, json_text, readers
from batch.model import DEFAULT_API, Row
from batch.outcome import BadAnswer
from batch.outputs import cells
from batch.outputs import export as exporting
from batch.outputs.form import File, Written
from batch.planning import begun, requests_again
from batch.readers.carried import Carried
from batch.reports import report as reporting
from batch.reports import status as standing
from batch.reports.aggregate import ALWAYS, Period
from batch.reports.counts import RECORDED, Costing
from batch.reports.report import Report
from batch.reports.status import Status
from batch.requests.prompts import BadRow, Prompter, api_of
from batch.run_folder import RunFolder
from batch.spec import Job
from batch.store import contents
from batch.store import verify as verifying
from batch.store.plan import Plan
from batch.store.seal import Layout
from batch.store.verify import Finding
from batch.values import seen as as_seen


class Wanted(msgspec.Struct, frozen=True, kw_only=True):
    """Which rows."""

    failed: bool = False
    flag: str | None = None
    row: int | None = None


ALL = Wanted()


class Run:
    """The run in a folder.  `path` is that folder, `plan` what its run.json says."""

    def __init__(self, path: Path) -> None:
        """Raises UsageError where there is no run."""
        self.path = path
        self.plan: Plan
        self._layout: Layout
        self.plan, self._layout = begun.opened(path)

    def status(self) -> Status:
        """How far it is."""
        return standing.of(self.path, self.plan)

    def report(
        self,
        by: tuple[str, ...] = ("model",),
        period: Period = ALWAYS,
        costing: Costing = RECORDED,
    ) -> Report:
        """What it cost, in groups."""
        return reporting.of([(self.path, self.plan)], by, period, costing)

    def verify(self) -> Iterator[Finding]:
        """Everything that is wrong with what was written."""
        return verifying.verify(self._folder, self.plan)

    def verify_input(self) -> Iterator[Finding]:
        """What differs between the questions that were asked and those the input asks now."""
        plan, job = self.plan, self._job
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

    def export(
        self, file: File, stdout: BinaryIO, sample: int | None = None, seed: int = 0
    ) -> Written:
        """Write the results to one file (and, for openai-batch, the failed rows to another): all, or
        the rows that a `sample` of so many has.
        """
        api = self.plan.job.get("request", {}).get("api", DEFAULT_API)
        tables = self.tables()
        if sample is not None:
            tables = contents.sampled(self._folder, self._layout, sample, seed)
        return exporting.write(file, tables, self._layout.schema, api, stdout)

    def tables(self) -> Iterator[pa.Table]:
        """The results, a bounded number of rows at a time."""
        return contents.tables(self._folder, self._layout)

    def rows(self, wanted: Wanted = ALL, *, seen: bool = False) -> Iterator[dict[str, Any]]:
        """The rows that are wanted, in input order, one value a column: as they are written down, or
        as a prompt has `seen` them.
        """
        converted = as_seen if seen else cells.rows
        for table in self.tables():
            yield from converted(_chosen(table, wanted))

    def prompt(self, row: dict[str, Any]) -> str | None:
        """What a row was asked, made anew from its carried columns; None where they no longer tell."""
        if row.get("request_json"):
            return str(row["request_json"])
        try:
            values = self._carried.row(row[name] for name in self._names)
            question = self._prompter.question(Row(row["row"], values, ""))
        except BadRow:
            return None
        body = question.body or {}
        asked = question.messages or body.get("messages") or body.get("input") or body.get("prompt")
        if isinstance(asked, str):
            return asked
        messages = asked if isinstance(asked, list) else ()
        return (
            "\n".join(_said(message) for message in messages if isinstance(message, dict)) or None
        )

    def last_answer(self, row: dict[str, Any]) -> str | None:
        """What the model said in a row that failed all the same; None where nothing of it was kept."""
        if row["status"] != "failed" or not row["response_json"]:
            return None
        try:
            raw = msgspec.json.decode(row["response_json"])
            choices = apis.APIS[self.api(row)].parse(raw).choices
        except (msgspec.DecodeError, BadAnswer):
            return None
        return choices[0].completion if choices else None

    def api(self, row: dict[str, Any]) -> str:
        """The API that a row asked: that of its batch line, else that of the job."""
        named = None
        if not self.plan.job.get("prompt", {}).get("user") and row.get("body") is not None:
            with suppress(BadRow):
                named = api_of(row.get("url"), apis.APIS)
        return named or str(self.plan.job.get("request", {}).get("api", DEFAULT_API))

    @property
    def _folder(self) -> RunFolder:
        return RunFolder(self.path)

    @cached_property
    def _job(self) -> Job:
        return begun.job(self.plan)

    @property
    def _names(self) -> list[str]:
        """The columns that were carried."""
        names: list[str] = self._layout.schema.names
        return names[: len(names) - len(self._layout.own)]

    @cached_property
    def _carried(self) -> Carried:
        """What the carried columns were to a prompt."""
        return Carried(columns.carried(self._layout.schema, self._layout.own))

    @cached_property
    def _prompter(self) -> Prompter:
        text = msgspec.structs.replace(
            self._job.prompt, images=None, audio=None
        )  # files may be gone
        return msgspec.structs.replace(self._job, prompt=text).prompter()


def as_json(values: dict[str, Any]) -> str:
    """One row as a JSON object."""
    return json_text.encode(values)


def _chosen(table: pa.Table, wanted: Wanted) -> pa.Table:
    import pyarrow.compute as pc  # 50 ms, at every start

    if wanted.row is not None:
        table = table.filter(pc.equal(table["row"], wanted.row))
    if wanted.failed:
        table = table.filter(pc.equal(table["status"], "failed"))
    if wanted.flag is not None:
        has = [wanted.flag in flags for flags in table["flags"].to_pylist()]
        table = table.filter(pa.array(has, pa.bool_()))
    return table


def _said(message: dict[str, Any]) -> str:
    content = message.get("content")
    text = content if isinstance(content, str) else msgspec.json.encode(content).decode()
    return text if message.get("role") == "user" else f"({message.get('role')}) {text}"

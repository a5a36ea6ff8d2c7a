"""Rows of a run for a person: found, with the prompt they were asked."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import suppress
from functools import lru_cache
from pathlib import Path
from typing import Any, BinaryIO

import msgspec
import pyarrow as pa

from batch import apis, columns, job, json_text, readers
from batch.apis import Parameters
from batch.carried import Carried
from batch.errors import UsageError
from batch.job import Job
from batch.model import Row
from batch.outcome import BadAnswer
from batch.outputs import cells
from batch.outputs import export as exporting
from batch.outputs.form import File, Written
from batch.prompts import BadRow, Prompter, api_of
from batch.readers import Input, Reading
from batch.store import contents, folder, plan
from batch.store.plan import Again, Plan
from batch.store.seal import Layout
from batch.store.verify import Finding
from batch.values import seen as as_seen


class Wanted(msgspec.Struct, frozen=True, kw_only=True):
    """Which rows."""

    failed: bool = False
    flag: str | None = None
    row: int | None = None


def opened(run: Path) -> tuple[Plan, Layout]:
    """The plan and the layout of the run in a folder.  Raises UsageError when there is none."""
    known = plan.read(run)
    if known is None:
        raise UsageError(f"{run} is no run: there is no {plan.NAME} in it")
    return known, layout(run, known)


def layout(run: Path, known: Plan) -> Layout:
    """How results become columns in a run."""
    schema = folder.schema(run)
    own = columns.of_run(schema)
    carried = columns.carried(schema, own)
    if known.rules == 1:
        carried = columns.by_rules_1(carried)
    keep = known.job.get("keep")
    reader, chosen = readers.READERS[known.input_format], None if keep is None else frozenset(keep)
    return Layout(schema, own, lambda table: reader.carry(table, carried, chosen))


def rows(run: Path, wanted: Wanted, *, seen: bool = False) -> Iterator[dict[str, Any]]:
    """The rows that are wanted, in input order, one value a column: as they are written down, or as
    a prompt has `seen` them.
    """
    _, how = opened(run)
    converted = as_seen if seen else cells.rows
    for table in contents.tables(run, how):
        yield from converted(_chosen(table, wanted))


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


def prompt(run: Path, values: dict[str, Any]) -> str | None:
    """What the row was asked, made anew from its carried columns; None where they no longer tell."""
    if values.get("request_json"):
        return str(values["request_json"])
    prompter, names, carried = _prompter(run)
    try:
        asked_of = carried.row(values[name] for name in names)
        question = prompter.question(Row(values["row"], asked_of, ""))
    except BadRow:
        return None
    body = question.body or {}
    asked = question.messages or body.get("messages") or body.get("input") or body.get("prompt")
    if isinstance(asked, str):
        return asked
    messages = asked if isinstance(asked, list) else ()
    return "\n".join(_said(message) for message in messages if isinstance(message, dict)) or None


@lru_cache(maxsize=1)
def _prompter(run: Path) -> tuple[Prompter, list[str], Carried]:
    """What asks, the columns that were carried, and what they were to a prompt."""
    known, how = opened(run)
    made = _job_of(known)
    names = how.schema.names[: len(how.schema) - len(how.own)]
    text = msgspec.structs.replace(made.prompt, images=None, audio=None)  # files may be gone by now
    prompter = msgspec.structs.replace(made, prompt=text).prompter()
    return prompter, names, Carried(columns.carried(how.schema, how.own))


def api(run: Path, values: dict[str, Any]) -> str:
    """The API that a row asked: that of its batch line, else that of the job."""
    job_ = _job(run)
    named = None
    if not job_.get("prompt", {}).get("user") and values.get("body") is not None:
        with suppress(BadRow):
            named = api_of(values.get("url"))
    return named or str(job_.get("request", {}).get("api", "chat"))


@lru_cache(maxsize=1)
def _job(run: Path) -> dict[str, Any]:
    return opened(run)[0].job


def last_answer(run: Path, values: dict[str, Any]) -> str | None:
    """What the model said in a row that failed all the same; None where nothing of it was kept."""
    if values["status"] != "failed" or not values["response_json"]:
        return None
    try:
        raw = msgspec.json.decode(values["response_json"])
        choices = apis.APIS[api(run, values)].parse(raw).choices
    except (msgspec.DecodeError, BadAnswer):
        return None
    return choices[0].completion if choices else None


def _said(message: dict[str, Any]) -> str:
    content = message.get("content")
    text = content if isinstance(content, str) else msgspec.json.encode(content).decode()
    return text if message.get("role") == "user" else f"({message.get('role')}) {text}"


def as_json(values: dict[str, Any]) -> str:
    """One row as a JSON object."""
    return json_text.encode(values)


def export(run: Path, file: File, stdout: BinaryIO) -> Written:
    """Write the results to one file (and, for openai-batch, the failed rows to another)."""
    known, how = opened(run)
    api = known.job.get("request", {}).get("api", Parameters().api)
    return exporting.write(file, contents.tables(run, how), how.schema, api, stdout)


def against_input(run: Path) -> Iterator[Finding]:
    """What differs between the questions that were asked and those the input asks now."""
    known, _ = opened(run)
    made = _job_of(known)
    reading = reading_of(known)
    source = readers.resolve(made.input or [], Path.cwd(), known.input_format, reading)
    difference = readers.compare(
        [msgspec.convert(f, readers.Fingerprint) for f in known.inputs], source
    )
    if difference.kind == "changed":
        yield Finding(f"the input has changed: {difference.text}")
    for row, differs in asked_otherwise(run, made, source):
        if differs:
            yield Finding(f"row {row}: what was asked is not what the input asks")


def asked_otherwise(run: Path, made: Job, source: Input) -> Iterator[tuple[int, bool]]:
    """Every row that has a result, and whether it was asked something else than `made` asks of it
    in `source`.
    """
    known, how = opened(run)
    hashes = _hashes(made, source, [made.request, *_overridden(known, made)])
    index, expected = next(hashes, (None, frozenset()))
    for row, digest in _asked(run, how):
        while index is not None and index < row:
            index, expected = next(hashes, (None, frozenset()))
        yield row, index != row or (digest is not None and digest not in expected)


def _asked(run: Path, how: Layout) -> Iterator[tuple[int, str | None]]:
    for number in contents.numbers(run):
        table = contents.chosen(run, number, how, ["row", "request_hash"])
        yield from zip(*(column.to_pylist() for column in table.columns), strict=True)


def _hashes(
    made: Job, source: Input, variants: list[Parameters]
) -> Iterator[tuple[int | None, frozenset[str]]]:
    """For every row of the input, the hashes its request may have."""
    prompter = made.prompter()
    first = 0
    for batch in source.batches():
        for row in source.rows(batch, first):
            try:
                question = prompter.question(row)
                yield (
                    row.index,
                    frozenset(apis.build(question, each, row.index).hash for each in variants),
                )
            except BadRow:
                yield row.index, frozenset()
        first += len(batch.table)


def reading_of(known: Plan) -> Reading:
    """How a run reads its input since it began."""
    return readers.OF_RULES_1 if known.rules == 1 else msgspec.convert(known.reading, Reading)


def _overridden(known: Plan, made: Job) -> list[Parameters]:
    """The parameters that retries were given."""
    return [
        job.check(job.over(known.job, again.settings), given=given_by(again, known.over)).request
        for again in known.retries
    ]


def _job_of(known: Plan) -> Job:
    """The job of a run, without its endpoint."""
    return job.check(job.without_unknown(known.job), given=known.over)


def given_by(again: Again, before: Mapping[str, Any]) -> dict[str, Any]:
    """The keys of requests that flags gave, those of a retry among them."""
    return {**before, **job.given(again.settings)}

"""What can be wrong with a job that no single row shows."""

from __future__ import annotations

import time
from collections.abc import Iterable, Sequence
from contextlib import suppress

from batch import job_toml
from batch.apis import APIS
from batch.costs.budget import Boundless, WorstCase
from batch.errors import InputError, JobError
from batch.model import Request, Row
from batch.planning import same_prompt
from batch.planning.terms import Terms
from batch.readers import Input
from batch.requests import preflight
from batch.requests.custom_ids import CustomIds
from batch.requests.preflight import Bounds
from batch.requests.prompts import BadRow, Prompter
from batch.spec import Job
from batch.structured.validator import Checker
from batch.transport import endpoint


def checker(job: Job, terms: Terms) -> Checker | None:
    """What holds answers to the schema of a job that has one.  Raises JobError for one that is none."""
    if job.request.schema is None:
        return None
    try:
        return Checker(job.request.schema)
    except JobError as error:
        raise JobError(f"{job_toml.place(['request', 'schema'], terms.job_file)}{error}") from None


def bounds(job: Job, prompter: Prompter, terms: Terms) -> Bounds | None:
    """To what rows are held; None where the server is left to judge."""
    return Bounds(_host(job, terms), prompter.templated) if terms.bounds else None


def parameters(job: Job, terms: Terms) -> None:
    """Raises JobError for a parameter in `[request]` that servers refuse."""
    if not terms.bounds:
        return
    shared = {**job.request.sent, "model": job.request.model}
    for finding in preflight.of_parameters(APIS[job.request.api], shared, _host(job, terms)):
        where = job_toml.place(["request", finding.parameter], terms.job_file)
        raise JobError(f"{where}[request] {finding}", hint=preflight.WAY_OUT)


def prompt(job: Job, prompter: Prompter, rows: Sequence[Row], terms: Terms) -> None:
    """Raises JobError for a prompt that names no column of the rows, so that all would be asked the
    same.
    """
    if terms.same_prompt or not prompter.templated:
        return
    columns = dict.fromkeys(name for row in rows for name in row.values)
    if found := same_prompt.fault(job.prompt, prompter, columns):
        where = job_toml.place(["prompt", "user"], terms.job_file)
        raise JobError(f"{where}[prompt] user: {found.problem}", hint=found.way_out)


def cap(worst: WorstCase, request: Request, where: str, terms: Terms, *, templated: bool) -> None:
    """A job with a cap must be able to say what a request costs at most.  Raises JobError, naming the
    key to set; `where` is the row's place, for requests that are not all alike.
    """
    try:
        worst.of(request, time.time())
    except Boundless as fault:
        key = job_toml.place(["limits", "max_cost_usd"], terms.job_file)
        key += "[limits] max_cost_usd" if templated else f"max_cost_usd: {where}"
        raise JobError(f"{key}: {fault}") from None


def is_local(job: Job, source: Input, apis: Iterable[str]) -> None:
    """Raises InputError where rows ask the embedded model what it does not give."""
    elsewhere = sorted(name for name in apis if not APIS[name].IS_LOCAL)
    if job.endpoint.local and elsewhere:
        raise InputError(f"{source.names[0]}: the embedded model gives no {elsewhere[0]}")


def custom_ids(job: Job, source: Input, prompter: Prompter) -> None:
    """All rows must be told apart by their labels where OpenAI's batch format is to be written; a row
    without one is called by its number.  Raises InputError.
    """
    if job.output.format != "openai-batch":
        return
    ids = CustomIds()
    for row in source.all_rows(job.limit):
        custom_id = None
        with suppress(BadRow):
            custom_id = prompter.custom_id(row.values)
        ids.note(custom_id or str(row.index), row.where)
    if (words := ids.words()) is not None:
        hint = "OpenAI's batch format tells rows apart by it: mend the input, or choose another --format"
        raise InputError(words, hint=hint)


def _host(job: Job, terms: Terms) -> str:
    if job.endpoint.local:
        return ""
    return endpoint.host_of(endpoint.address(job.endpoint, terms.environment))

"""The one door before the first request: a job in, all that is known of it out.

Everything that can be wrong with job, input and run folder is found here, before the folder is
touched and before anything is sent.  The first rows (10,000, or 64 MiB) are held meanwhile.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from functools import cached_property
from typing import TYPE_CHECKING

import msgspec

from batch import apis, spec
from batch.apis import APIS
from batch.costs import prices
from batch.costs.budget import WorstCase
from batch.costs.prices import Pricer
from batch.costs.sellers import Pricers
from batch.model import Request, Row
from batch.outcome import FINAL, TRANSIENT
from batch.planning import (
    begun,
    cap,
    checks,
    comparison,
    first_rows,
    listed,
    result_columns,
    sources,
)
from batch.planning.comparison import Standing
from batch.planning.first_rows import Asker, FirstRows, Sample
from batch.planning.terms import Shard, Terms
from batch.readers import FIRST_ROWS, Input
from batch.requests.preflight import Bounds
from batch.requests.prompts import BadRow, Prompter
from batch.spec import Job
from batch.store.budget_file import Cap
from batch.store.plan import Again, Plan
from batch.store.recover import Redo
from batch.structured.validator import Checker
from batch.transport import endpoint, hosts, model_list, paths
from batch.transport.endpoint import Endpoint, Target

if TYPE_CHECKING:
    import pyarrow as pa


class Prepared(msgspec.Struct, frozen=True, kw_only=True, dict=True):
    """A job before its first request.  `job` is what the folder keeps, `asked` what is asked: with the
    settings of a retry, and under the cap that holds.

    `targets` are where the endpoints are, in their order; there are none of the embedded model, which
    is not there yet, nor where nothing asks.  `schema` is that of a run that begins; where nothing
    asks, `schema` and `first` are None.
    """

    job: Job
    asked: Job
    terms: Terms
    standing: Standing
    prompter: Prompter
    checker: Checker | None
    bounds: Bounds | None
    cap: Cap | None = None
    notices: tuple[str, ...] = ()
    targets: tuple[Target, ...] = ()
    schema: pa.Schema | None = None
    first: FirstRows | None = None

    @property
    def source(self) -> Input:
        """What is read."""
        return self.standing.source

    @property
    def known(self) -> Plan | None:
        """The plan of the run that goes on; None where one begins."""
        return self.standing.known

    @property
    def rows(self) -> int | None:
        """The rows of the input, as far as that is known."""
        if self.known is not None and self.known.rows is not None:
            return self.known.rows
        if self.source.chosen is not None:
            return len(self.source.chosen)
        return None if self.first is None else self.first.rows

    @property
    def first_words(self) -> list[str]:
        """What is said before the first request."""
        api = self.asked.request.api if self.first is None else self.first.api
        return [f"asking {self.place(api)}", *self._divided, *self.notices]

    @property
    def workers(self) -> int:
        """How many processes share the run."""
        return 1 if self.terms.shard is None else self.terms.shard.of

    @property
    def _divided(self) -> list[str]:
        """That limits are, and what is not."""
        shard, limits = self.terms.shard, self.asked.limits
        if shard is None or shard.of == 1:
            return []
        if shard.kind != "stays":
            return [f"{shard.of} workers share rates, concurrency and retries"]
        text = f"rates, concurrency and retries are divided among {shard.of} workers"
        if limits.concurrency == "auto":
            text += "; each finds out alone how many requests at once do the server good"
        return [text]

    @property
    def redo(self) -> Redo:
        """Which finished rows are asked: those that failed for a passing reason, or those a retry
        names.
        """
        again, failed = self.terms.again, self.terms.retry_failed
        if again is None:
            return Redo() if failed is None else Redo(TRANSIENT | FINAL if failed else frozenset())
        return Redo(frozenset(again.classes), frozenset(again.flags), missing=False)

    @property
    def asker(self) -> Asker:
        """What makes requests of rows."""
        return Asker(self.asked, self.prompter, self.bounds)

    @cached_property
    def base_url(self) -> str:
        """Where the first endpoint is; empty for the embedded model.  Raises JobError where that is no
        URL.
        """
        return self.url_of(self.asked.endpoint)

    def url_of(self, at: Endpoint) -> str:
        """Where an endpoint is; empty for the embedded model.  Raises JobError where that is no URL."""
        return "" if at.local else endpoint.address(at, self.terms.environment)

    @cached_property
    def pricers(self) -> list[Pricer]:
        """What prices the answers of each endpoint; those that come later join it.  For a public host
        the lists are loaded here: 0.3 s.
        """
        return [self.pricer_of(place.endpoint) for place in self.asked.places]

    @cached_property
    def pricer(self) -> Pricer:
        """What prices answers, whoever gives them."""
        return Pricers(self.pricers) if self.asked.is_pooled else self.pricers[0]

    def pricer_of(self, at: Endpoint) -> Pricer:
        """What prices the answers of one endpoint."""
        url = self.url_of(at)
        private = hosts.is_private(endpoint.host_of(url))
        seller = prices.seller(url, at.provider, private=private, local=at.local)
        return Pricer(self.asked.prices, seller, at.model)

    def place(self, api: str) -> str:
        """Where requests to an API go, for a person."""
        if self.asked.endpoint.local:
            return "the embedded model"
        found = [
            paths.url_of(self.url_of(each.endpoint), APIS[api].PATH) for each in self.asked.places
        ]
        return found[0] if len(found) == 1 else f"{len(found)} endpoints: {', '.join(found)}"

    def requests(self) -> Iterator[tuple[Row, Request | BadRow]]:
        """Every row (as many as the job's limit allows) with its request, or why it has none.  Raises
        JobError for a prompt that names no column.
        """
        rows = self.source.all_rows(self.asked.limit)
        if self.known is None:
            rows = first_rows.with_prompt_checked(rows, self.asker, self.terms)
        for row in rows:
            try:
                question = self.prompter.question(row)
                yield row, apis.bounded(question, self.asked.request, row.index, self.bounds)
            except BadRow as fault:
                yield row, fault


def prepare(job: Job, terms: Terms, stack: ExitStack) -> Prepared:
    """Judge a job, its folder and the first rows of its input, which is open until `stack` ends.
    Raises BatchError: JobError, InputError, Different and their like.
    """
    prompter, checker = job.prompter(), checks.checker(job, terms)
    changed = _changed(job, terms.again)
    standing = comparison.of(job, terms, stack)
    goes_on = terms.asks and standing.known is not None
    held = cap.of(job, terms, terms.folder if goes_on else None)
    asked = listed.with_listed(held.put_on(changed))
    if terms.shard is not None:
        asked = _of_worker(asked, terms.shard)
    if standing.known is None or (terms.again is not None and terms.again.settings):
        checks.parameters(asked, terms)
    prepared = Prepared(
        job=job,
        asked=asked,
        terms=terms,
        standing=standing,
        prompter=prompter,
        checker=checker,
        bounds=checks.bounds(asked, prompter, terms),
        cap=held.cap,
        notices=held.notices,
    )
    return _judged(prepared) if terms.asks else prepared


def _judged(before: Prepared) -> Prepared:
    """What is judged only where something is to be sent."""
    job, terms = before.asked, before.terms
    targets = _targets(job, terms)
    worst = None if job.limits.max_cost_usd is None else WorstCase(before.pricer)
    notices: tuple[str, ...] = ()
    if before.known is not None:
        first = first_rows.of_begun(before.asker, before.source, terms, worst)
    else:
        first, notices = _first_of_new(before, targets[0] if targets else None, worst)
    checks.custom_ids(job, before.source, before.prompter)
    schema, of_columns = _columns(before, first)
    made = msgspec.structs.replace(
        before,
        asked=_probing(job, terms.probe),
        notices=(*before.notices, *of_columns, *notices),
        targets=targets,
        schema=schema,
        first=first,
    )
    assert made.pricer  # so that price lists are read before the folder is locked
    return made


def _targets(job: Job, terms: Terms) -> tuple[Target, ...]:
    if job.endpoint.local:
        return ()
    return tuple(endpoint.target(place.endpoint, terms.environment) for place in job.places)


def _first_of_new(
    before: Prepared, target: Target | None, worst: WorstCase | None
) -> tuple[FirstRows, tuple[str, ...]]:
    """The first rows of a run that begins, and lines of notice.  The list of models is fetched while
    they are read.
    """
    sample = Sample(before.source, min(FIRST_ROWS, before.asked.limit or FIRST_ROWS))
    sample.check_prompt(before.asker, before.terms)
    offered = None
    if before.terms.bounds and target is not None:
        offered = model_list.Meanwhile(before.asked.endpoint, target)
    first = first_rows.of_new(sample, before.asker, before.terms, worst)
    notices = (*sources.notices(before.source), *first.notices)
    if offered is not None:
        named = before.asked.endpoint.model
        wanted = set(first.models) if named is None else {named}
        unlisted = model_list.unlisted(wanted, offered.names())
        notices += (unlisted,) if unlisted is not None else ()
    return first, notices


def _columns(before: Prepared, first: FirstRows) -> tuple[pa.Schema | None, tuple[str, ...]]:
    """The columns of a run that begins, and lines of notice.  Raises UsageError where the file of the
    results is to hold columns that there will not be.
    """
    output, run = before.asked.output, before.terms.folder
    schema: pa.Schema | None = None
    notices: tuple[str, ...] = ()
    if before.known is None:
        schema, notices = result_columns.of(before.job, before.source, before.checker, first.apis)
    if output.columns is not None or output.flat:
        from batch.outputs import picked

        made = schema
        if made is None and run is not None and before.known is not None:
            made = begun.layout(run, before.known).schema
        if made is not None:
            picked.pick(made, output.columns, output.flat)
    return schema, notices


def _changed(job: Job, again: Again | None) -> Job:
    """The job with which chosen rows are asked again."""
    if again is None or not again.settings:
        return job
    tables = spec.tables_of(job)
    for key, value in again.settings.items():
        spec.put(tables, key, value)
    return spec.check(tables, given=begun.given(again, job.request.over))


def _of_worker(job: Job, shard: Shard) -> Job:
    """The job with a worker's share of its limits.  How many requests it may have in flight at one
    endpoint is told by its leases.
    """
    made = job.of_worker(shard.index, shard.of)
    if shard.kind == "stays" or job.is_pooled:
        return made
    whole = job.limits
    limits = msgspec.structs.replace(
        made.limits, concurrency=whole.concurrency, concurrency_max=whole.concurrency_max
    )
    return msgspec.structs.replace(made, limits=limits)


def _probing(job: Job, rows: int | None) -> Job:
    """The job that asks `rows` rows at most."""
    if rows is None:
        return job
    return msgspec.structs.replace(job, limit=min(rows, job.limit or rows))

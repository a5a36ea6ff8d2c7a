"""What a job would take, before it is run: tokens, money, time.

Every row is rendered and nothing is sent.  Rows that a run of the job has finished are not asked
again; they teach how many tokens and how long the others take.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import ExitStack
from typing import NamedTuple

import msgspec

from batch.apis import APIS
from batch.costs import forecast, tokenizer
from batch.costs.forecast import Forecast, Forecaster
from batch.engine.duplicates import Dedupe
from batch.limits.limits import Limits
from batch.model import Request, Usage
from batch.outcome import TRANSIENT
from batch.planning import begun, open_run, savings, slots, sources
from batch.planning.prepare import Prepared, prepare
from batch.planning.savings import Beginnings, Repeats, Saving
from batch.planning.terms import Terms
from batch.requests.prompts import BadRow
from batch.run_folder import RunFolder
from batch.spec import Job
from batch.store import contents

COLUMNS = (
    *("row", "status", "error_class", "reused", "attempts", "request_hash"),
    *("input_tokens", "cached_tokens", "output_tokens", "latency_s", "started_at"),
)


class Estimate(msgspec.Struct, frozen=True, kw_only=True):
    """What is left of a job.  `done` rows have a result that stays, `bad_rows` cannot be asked,
    `learnt_rows` of the run have taught tokens and times; `different` says why the run that is
    there is not this job's.  `seconds_least` and `seconds_most` are None while unknown; `total`
    holds no model without a price, and these are `unpriced_models`; `notices` tell what was found out
    of the input's files; `savings` are ways to pay less.  Rows that get the answer of another are in no
    forecast.
    """

    run: str
    rows: int
    done: int
    bad_rows: int
    learnt_rows: int
    exact: bool
    models: list[Forecast]
    total: Forecast
    unpriced_models: list[str]
    seconds_least: float | None
    seconds_most: float | None
    different: str | None = None
    notices: tuple[str, ...] = ()
    savings: list[Saving] = []


class Done(msgspec.Struct, frozen=True):
    """A row of the run, as far as it matters here; moments and times are seconds."""

    row: int
    status: str
    error_class: str | None
    reused: bool
    attempts: int
    request_hash: str | None
    input_tokens: int | None
    cached_tokens: int | None
    output_tokens: int | None
    latency_s: float | None
    started_at: float | None

    @property
    def stays(self) -> bool:
        """Whether a run would not ask it again."""
        return self.status == "ok" or self.error_class not in TRANSIENT

    def teaches(self, request: Request) -> bool:
        """Whether its usage is that of one answer to this request."""
        once = self.status == "ok" and self.attempts == 1 and not self.reused
        return once and self.request_hash == request.hash


class Pace(NamedTuple):
    """How long answers took: how many, together, and how many seconds there was one under way."""

    answers: int = 0
    latency: float = 0.0
    busy: float = 0.0


def of(job: Job, terms: Terms) -> Estimate:
    """Estimate what a run of `job` in its folder would still take.  Raises JobError and InputError
    for what is no single row's.
    """
    with ExitStack() as stack:
        prepared = prepare(job, terms, stack)
        beginnings = Beginnings(open_run.caches(prepared))
        found = _Reading(_done(prepared), prepared.asked.dedupe, beginnings)
        for row, request in prepared.requests():
            found.take(row.index, request)
        if not found.rows:
            raise sources.no_rows(prepared.source)
        return _made(prepared, found)


def _made(prepared: Prepared, found: _Reading) -> Estimate:
    job, folder, different = prepared.asked, prepared.terms.folder, prepared.standing.different
    price = forecast.by(prepared.pricer, time.time(), job.request.sent.get("service_tier"))
    models = found.forecaster.forecasts(price)
    total = forecast.total(models)
    least, most = seconds(total, found.pace(), job.limits, slots.most_in_flight(job))
    return Estimate(
        run="" if folder is None else str(folder.absolute()),
        rows=found.rows,
        done=found.done,
        bad_rows=found.bad_rows,
        learnt_rows=found.learnt,
        exact=found.exact,
        models=models,
        total=total,
        unpriced_models=[each.model or "?" for each in models if each.cost_source is None],
        seconds_least=least,
        seconds_most=most,
        different=None if different is None else str(different),
        notices=sources.notices(prepared.source),
        savings=savings.of(prepared, total, found.forecaster, found.repeats, found.beginnings),
    )


def seconds(
    total: Forecast, pace: Pace, limits: Limits, slots: int
) -> tuple[float | None, float | None]:
    """The least and the most time that requests take; `slots` of them may be in flight.

    Least: all that may be in flight is, and each takes as long as those that were answered.  Most:
    they come no faster than they came.  Neither is quicker than the limits of the job.
    """
    tokens = total.input_tokens + (total.output_tokens_likely or 0)
    rates = (
        (total.rows, limits.requests_per_minute),
        (tokens, limits.tokens_per_minute),
    )
    floor = max((amount * 60 / rate for amount, rate in rates if rate is not None), default=None)
    if not pace.answers:
        return floor, None
    mean = pace.latency / pace.answers
    least = max(mean * total.rows / slots, floor or 0.0, mean if total.rows else 0.0)
    return least, max(least, total.rows * pace.busy / pace.answers)


def _done(prepared: Prepared) -> Iterator[Done]:
    """The rows of the run that would go on, in order; none where there is no run."""
    run = prepared.terms.folder
    if run is None or prepared.known is None:
        return
    layout, folder = begun.layout(run, prepared.known), RunFolder(run)
    for number in folder.numbers():
        rows = contents.chosen(folder, number, layout, COLUMNS)
        moments = rows["started_at"].cast("int64").to_pylist()
        for values, micros in zip(rows.drop("started_at").to_pylist(), moments, strict=True):
            started = None if micros is None else micros / 1e6
            yield Done(**values, started_at=started)


class _Reading:
    """Rows of the input beside those of the run, both in order."""

    def __init__(self, done: Iterator[Done], dedupe: Dedupe, beginnings: Beginnings) -> None:
        count = tokenizer.counter(APIS)
        self.exact = count is not None
        self.forecaster = Forecaster(count)
        self.repeats = Repeats(dedupe, self.forecaster)
        self.beginnings = beginnings
        self.rows = self.done = self.bad_rows = self.learnt = 0
        self._done = done
        self._next = next(done, None)
        self._latency = 0.0
        self._timed = 0
        self._under_way: list[tuple[float, float]] = []

    def take(self, index: int, request: Request | BadRow) -> None:
        """The next row of the input."""
        self.rows += 1
        known = self._known(index)
        if known is not None and known.stays:
            self.done += 1
        elif not isinstance(request, Request):
            self.bad_rows += 1
        elif not self.repeats.shares(request):
            self.forecaster.add(request)
            self.beginnings.add(request)
        if known is not None and isinstance(request, Request) and known.teaches(request):
            self._learn(request, known)

    def pace(self) -> Pace:
        busy = sum(end - start for start, end in _together(self._under_way))
        return Pace(self._timed, self._latency, busy)

    def _known(self, index: int) -> Done | None:
        while self._next is not None and self._next.row < index:
            self._next = next(self._done, None)
        return self._next if self._next is not None and self._next.row == index else None

    def _learn(self, request: Request, known: Done) -> None:
        used = Usage(known.input_tokens, known.cached_tokens, None, known.output_tokens)
        self.forecaster.learn(request, used)
        self.learnt += 1
        if known.latency_s is None or known.started_at is None:
            return
        self._timed += 1
        self._latency += known.latency_s
        self._under_way.append((known.started_at, known.started_at + known.latency_s))
        if len(self._under_way) > 10_000:
            self._under_way = _together(self._under_way)


def _together(spans: list[tuple[float, float]]) -> list[tuple[float, float]]:
    """The same moments in spans that do not touch each other, in order."""
    joined: list[tuple[float, float]] = []
    for start, end in sorted(spans):
        if joined and start <= joined[-1][1]:
            joined[-1] = (joined[-1][0], max(end, joined[-1][1]))
        else:
            joined.append((start, end))
    return joined

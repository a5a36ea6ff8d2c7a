"""Whether a run is so dear that a person is asked before it starts, and what the question says.

It is reckoned from what is known anyway: the first rows as the check has rendered them, or what the
rows of the run have cost so far.  Where no price is known, nobody is asked.
"""

from __future__ import annotations

import time
from collections.abc import Callable

import msgspec

from batch.costs import forecast
from batch.costs.forecast import Forecaster
from batch.costs.prices import Pricer
from batch.costs.token_bounds import UNKNOWN_OUTPUT
from batch.errors import Stopped
from batch.planning import sources
from batch.planning.prepare import Prepared
from batch.readers import Input
from batch.spec import Job
from batch.store import contents
from batch.totals import Summary
from batch.words import money

ABOVE_USD = 10.0
"""Less is spent without a question."""


class Bill(msgspec.Struct, frozen=True):
    """What a run will probably come to, in USD, and how that is known."""

    usd: float
    why: str


def seek(agrees: Callable[[str], bool] | None, prepared: Prepared) -> None:
    """Put the question where it is due, if there is somebody to answer it.  Raises Stopped when the
    answer is no.
    """
    bill = None if agrees is None else _bill(prepared)
    if agrees is None or bill is None or bill.usd <= ABOVE_USD:
        return
    if not agrees(f"this may cost about {money(bill.usd)} ({bill.why}); go on?"):
        raise Stopped(
            "not started; nothing was sent",
            hint="`batchmill estimate` tells more, --limit asks fewer rows, --yes goes on unasked",
        )


def _bill(prepared: Prepared) -> Bill | None:
    job, source = prepared.asked, prepared.source
    known, run, first = prepared.known, prepared.terms.folder, prepared.first
    if known is not None and run is not None:
        return of_rest(job, source, known.rows, contents.counted(run).summary)
    if first is not None and first.forecast is not None:
        return of_new(job, source, first.forecast, prepared.pricer)
    return None


def of_new(job: Job, source: Input, asked: Forecaster, pricer: Pricer) -> Bill | None:
    """The bill of a run whose first rows are `asked`: each answer as long as its cap, or, without
    one, of middling length.  None when no price is known.
    """
    price = forecast.by(pricer, time.time(), job.request.sent.get("service_tier"))
    models = asked.forecasts(price, uncapped=UNKNOWN_OUTPUT)
    costs = [each.cost_most_usd for each in models if each.cost_most_usd is not None]
    if not costs:
        return None
    rows = sources.rows_in(source, job.limit)
    every = "answers without a cap taken as middling ones"
    if not any(each.uncapped_rows for each in models):
        every = "if every answer is as long as its cap allows"
    return Bill(sum(costs) * max(1.0, rows / asked.rows), f"{rows:,} rows, {every}")


def of_rest(job: Job, source: Input, rows: int | None, done: Summary) -> Bill | None:
    """The bill of what is left of a run of `rows`, if that is known, by what those `done` have cost."""
    totals, limit = done.totals(), job.limit
    if rows is None:
        rows = sources.rows_in(source, limit)
    elif limit is not None:
        rows = min(rows, limit)
    left = rows - totals.rows_ok - totals.rows_failed
    priced = totals.rows_ok - totals.rows_reused - totals.unpriced_rows
    if priced <= 0 or left <= 0:
        return None
    return Bill(totals.cost_usd / priced * left, f"{left:,} rows, going by those that are done")

"""Which cap on the cost of a run holds: that of its job, or one that a flag gave."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec

from batch import spec
from batch.planning.terms import Terms
from batch.spec import Job
from batch.store import budget_file
from batch.store.budget_file import Cap
from batch.words import money


class Held(msgspec.Struct, frozen=True):
    """The cap that a flag has given, now or to an earlier start, and what is said of it."""

    cap: Cap | None = None
    notices: tuple[str, ...] = ()

    def put_on(self, job: Job) -> Job:
        """The job with the cap that holds for it."""
        if self.cap is None:
            return job
        limits = msgspec.structs.replace(job.limits, max_cost_usd=self.cap.usd)
        return msgspec.structs.replace(job, limits=limits)


def given(usd: Any) -> Cap:
    """The cap that a flag gives; "none" lifts that of the job.  Raises JobError for what is none."""
    if usd == "none":
        return Cap(None)
    return Cap(spec.check({"limits": {"max_cost_usd": usd}}).limits.max_cost_usd)


def of(job: Job, terms: Terms, run: Path | None) -> Held:
    """The cap that a flag gives, now or to an earlier start; `run` is the folder of the run that goes
    on, if one does.
    """
    in_job = job.limits.max_cost_usd
    if terms.cap is not None:
        if terms.cap.usd is not None:
            return Held(Cap(terms.cap.usd, in_job))
        return Held(Cap(None, in_job), ("no cap holds any more (--max-cost none)",))
    cap = None if run is None else budget_file.cap_of(run, in_job)
    if cap is None or cap.usd is None:
        return Held(cap)
    said = f"the cap of {money(cap.usd)} that a flag gave holds on (--max-cost none lifts it)"
    return Held(cap, (said,))

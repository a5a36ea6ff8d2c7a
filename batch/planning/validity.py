"""Every row of a job judged, nothing sent."""

from __future__ import annotations

from contextlib import ExitStack

import msgspec

from batch.model import Request
from batch.planning import sources
from batch.planning.prepare import prepare
from batch.planning.terms import Terms
from batch.requests.custom_ids import CustomIds
from batch.spec import Job


class Fault(msgspec.Struct, frozen=True):
    """A row that could not be asked; `where` is its place in the input."""

    row: int
    where: str
    message: str


class Validity(msgspec.Struct):
    """What was found in all rows: how many there are, how many of them are bad, the first faults,
    which labels (`custom_id`) more than one row bears, in words, and what was found out of the files.
    """

    rows: int = 0
    bad_rows: int = 0
    models: list[str] = []
    faults: list[Fault] = []
    duplicates: str | None = None
    notices: tuple[str, ...] = ()


def of(job: Job, terms: Terms, most_faults: int) -> Validity:
    """Judge a job and every row of its input (as many as its `limit` allows); the first `most_faults`
    faults are kept, all are counted.  Raises JobError and InputError for what is no single row's.
    """
    found, models, ids = Validity(), set(), CustomIds()
    with ExitStack() as stack:
        prepared = prepare(job, terms, stack)
        source = prepared.source
        found.notices = sources.notices(source)
        source.schema(None if job.keep is None else tuple(job.keep))
        for row, asked in prepared.requests():
            found.rows += 1
            if isinstance(asked, Request):
                models.add(asked.model or "")
                ids.note(asked.custom_id, row.where)
                continue
            found.bad_rows += 1
            if len(found.faults) < most_faults:
                found.faults.append(Fault(row.index, row.where, str(asked)))
        if not found.rows:
            raise sources.no_rows(source)
    found.models, found.duplicates = sorted(models), ids.words()
    return found

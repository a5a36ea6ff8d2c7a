"""The endpoints that a job's file of URLs names when a run begins."""

from __future__ import annotations

from pathlib import Path

import msgspec

from batch.errors import JobError, UsageError
from batch.limits import pool
from batch.limits.pool import Listed
from batch.places import Place
from batch.spec import Job
from batch.transport import endpoint


def with_listed(job: Job) -> Job:
    """The job with the endpoints of its file behind its own; without a URL of its own it has those
    alone.  Raises UsageError.
    """
    if job.pool.urls_file is None:
        return job
    path = Path(job.pool.urls_file)
    try:
        lines = pool.listed(path.read_text(encoding="utf-8-sig"))
    except (OSError, ValueError) as error:
        raise UsageError(f"[pool] urls_file: {path}: {error}") from None
    places = [place for place in job.places if place.endpoint.base_url is not None]
    known = {place.endpoint.base_url for place in places}
    try:
        places += [place(job, line) for line in lines if line.url not in known]
    except JobError as error:
        raise UsageError(f"[pool] urls_file: {path}: {error}") from None
    if not places:
        raise UsageError(f"[pool] urls_file: {path} names no URL")
    first, *others = places
    return msgspec.structs.replace(job, endpoint=first.endpoint, share=first.share, others=others)


def place(job: Job, line: Listed) -> Place:
    """Where a line leads: all but the URL is as the job's own endpoint, and as much heavier as it says.
    Raises JobError for what is no URL.
    """
    at = msgspec.structs.replace(job.endpoint, base_url=line.url, name=None)
    if at.local:
        raise JobError(f"{line.url}: the embedded model stands alone")
    endpoint.check(at)
    share = msgspec.structs.replace(job.share, weight=job.share.weight * line.weight)
    return Place(at, share)

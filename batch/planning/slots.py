"""How many requests of a job may be in flight."""

from __future__ import annotations

from batch.spec import Job
from batch.transport import descriptors

FEWEST = 16
"""With room for fewer connections a run is refused rather than slow."""


def most_in_flight(job: Job) -> int:
    """How many there may ever be.  "auto" goes no further than the process may have open files, unless
    that is hardly anywhere.
    """
    most, room = _wanted(job), descriptors.room()
    if room is None or room < FEWEST or isinstance(job.limits.concurrency, int):
        return most
    return min(most, room)


def _wanted(job: Job) -> int:
    if not job.endpoint.local:
        return job.limits.most()
    from batch.local import server

    return job.limits.most(server.PARALLEL)

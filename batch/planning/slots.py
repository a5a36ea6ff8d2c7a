"""How many requests of a job may be in flight."""

from __future__ import annotations

from batch.spec import Job


def most_in_flight(job: Job) -> int:
    """How many there may ever be."""
    if not job.endpoint.local:
        return job.limits.most()
    from batch.local import server

    return job.limits.most(server.PARALLEL)

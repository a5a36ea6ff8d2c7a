"""What of a job may go to other machines: all but secrets, which each has to find for itself."""

from __future__ import annotations

from batch.errors import UsageError
from batch.spec import Job
from batch.transport import endpoint as endpoints


def check(job: Job) -> None:
    """Raises UsageError for a job that only this process can do."""
    if job.endpoint.local:
        raise UsageError("--engine ray: the embedded model runs in one process; leave the flag out")
    for place in job.places:
        for name, value in place.endpoint.headers.items():
            if endpoints.is_secret(name, value) and not value.startswith("$"):
                raise UsageError(
                    f"--engine ray: the value of the header {name} stands in the job, and secrets are"
                    f' not sent to workers; write {name} = "$VARIABLE", and set that where they run'
                )

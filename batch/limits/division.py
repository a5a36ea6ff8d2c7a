"""The share of one of several workers in the limits of a job, where nobody is there to lend shares.

Pure.  It stays the same: what one worker does not use, no other gets.  What a run may cost is not
divided here.
"""

from __future__ import annotations

from msgspec.structs import replace

from batch.limits.limits import Limits
from batch.limits.pool import Share


def limits(run: Limits, worker: int, workers: int) -> Limits:
    """Those of a worker (from 0 on) of so many.  With fewer requests in flight than workers each has
    one: in all that is more than the job says.
    """
    return replace(
        run,
        requests_per_minute=_rate(run.requests_per_minute, workers),
        tokens_per_minute=_rate(run.tokens_per_minute, workers),
        concurrency=_slots(run.concurrency, worker, workers),
        concurrency_max=_part(run.concurrency_max, worker, workers),
    )


def share(endpoint: Share, worker: int, workers: int) -> Share:
    """What a worker has of the limits of one of several endpoints."""
    most = endpoint.concurrency_max
    slots = endpoint.concurrency
    return replace(
        endpoint,
        requests_per_minute=_rate(endpoint.requests_per_minute, workers),
        tokens_per_minute=_rate(endpoint.tokens_per_minute, workers),
        concurrency=None if slots is None else _slots(slots, worker, workers),
        concurrency_max=None if most is None else _part(most, worker, workers),
    )


def parts(number: int, workers: int) -> list[int]:
    """A number in so many parts that are nearly alike; their sum is the number."""
    each, more = divmod(number, workers)
    return [each + (worker < more) for worker in range(workers)]


def _rate(per_minute: float | None, workers: int) -> float | None:
    return None if per_minute is None else per_minute / workers


def _slots(concurrency: int | str, worker: int, workers: int) -> int | str:
    return concurrency if isinstance(concurrency, str) else _part(concurrency, worker, workers)


def _part(number: int, worker: int, workers: int) -> int:
    return max(1, parts(number, workers)[worker])

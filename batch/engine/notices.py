"""What is said once of many rows, or of the whole run."""

from __future__ import annotations

MANY_TIMEOUTS = (
    "many requests get no answer in time, and each may be charged for: raise endpoint.total_timeout,"
    " or lower limits.concurrency"
)
MODEL_DIFFERS = "the server answers as {served} where {asked} was asked for (flag model_differs)"
NO_STREAM_OPTIONS = (
    "the server takes no stream_options: streams go without them, and their usage may be unknown"
)
NO_CACHE_MARKS = "the server takes no marks for its prompt cache: requests go without them"

DRAIN_SECONDS = 20.0
"""How long an interrupted run waits for the answers that are on their way."""


def waits_for(name: str, in_flight: int) -> str:
    """What is said when somebody wants a run to end, which is called so."""
    return (
        f"{name}: waiting up to {DRAIN_SECONDS:.0f} s for {in_flight} answers;"
        " once more to stop at once"
    )

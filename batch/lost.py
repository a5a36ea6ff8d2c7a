"""Requests that an earlier start of a run sent before it was killed: nobody saw their answers."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from decimal import Decimal
from typing import Any

import msgspec

from batch.costs.prices import Pricer
from batch.model import AttemptRecord, Result, Sent


def bearing(result: Result, lost: Sequence[Sent], pricer: Pricer) -> Result:
    """`result`, with the lost requests of its row among its attempts and its costs."""
    bounded = [sent for sent in lost if sent.output_tokens is not None]
    known, unpriced = worst_of(bounded, pricer)
    most = sum(sent.input_tokens + (sent.output_tokens or 0) for sent in bounded)
    log = [*map(_of_lost, lost), *log_of(result)]
    unknown = unpriced > 0 or (
        result.unconfirmed_tokens is not None and result.unconfirmed_cost_usd is None
    )
    more: dict[str, Any] = {}
    if bounded:
        more["unconfirmed_tokens"] = (result.unconfirmed_tokens or 0) + most
        cost = (result.unconfirmed_cost_usd or 0.0) + float(known)
        more["unconfirmed_cost_usd"] = None if unknown else cost
    return msgspec.structs.replace(
        result,
        **more,
        attempts=result.attempts + len(lost),
        requests=_requests(result, lost),
        maybe_billed_attempts=result.maybe_billed_attempts + len(lost),
        unbounded_attempts=result.unbounded_attempts + len(lost) - len(bounded),
        attempt_log=log if len(log) > 1 else None,
    )


def _requests(result: Result, lost: Sequence[Sent]) -> int | None:
    ridden = sum(sent.rides for sent in lost)
    if result.requests is None and not ridden:
        return None
    before = result.attempts if result.requests is None else result.requests
    return before + len(lost) - ridden


def worst_of(lost: Iterable[Sent], pricer: Pricer) -> tuple[Decimal, int]:
    """USD that lost requests cost at most, and how many of them have no bound or no price."""
    costs = [
        None
        if sent.output_tokens is None
        else pricer.at_most(sent.model, sent.input_tokens, sent.output_tokens, sent.at)
        for sent in lost
    ]
    known = [cost for cost in costs if cost is not None]
    return sum(known, Decimal(0)), len(costs) - len(known)


def log_of(result: Result) -> list[AttemptRecord]:
    """The attempts at a row.  A row that has no log had one attempt, which its columns tell."""
    if result.attempt_log is not None or result.attempts == 0 or result.started_at is None:
        return result.attempt_log or []
    return [
        AttemptRecord(
            endpoint=result.endpoint or "",
            served_model=result.served_model,
            http_status=result.http_status,
            error_class=result.error_class,
            started_at=result.started_at,
            latency_s=result.latency_s or 0.0,
            input_tokens=result.input_tokens,
            output_tokens=result.output_tokens,
            cost_usd=result.cost_usd,
            maybe_billed=bool(result.maybe_billed_attempts),
        )
    ]


def _of_lost(sent: Sent) -> AttemptRecord:
    return AttemptRecord("", sent.at, 0.0, error_class="cut_off", maybe_billed=True)

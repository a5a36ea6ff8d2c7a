"""The attempts at a row: what each used and cost, and what they did together."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import msgspec

from batch import headers, totals, usage
from batch.costs import spent, token_bounds
from batch.costs.prices import Cost, Pricer
from batch.costs.spent import Spent
from batch.model import Attempt, AttemptRecord, Completion, Request, Usage
from batch.outcome import Accept, Outcome, Reject, TryAgain
from batch.usage import Reading


class Try(msgspec.Struct, frozen=True, gc=False):
    """An attempt, what came of it, and what it used and cost.  `error_class` is None for the one that
    was accepted.  `requests` are those that are counted with it.
    """

    attempt: Attempt
    spent: Spent
    error_class: str | None = None
    maybe_billed: bool = False
    requests: int = 1

    @property
    def answered(self) -> bool:
        """Whether an answer came, be it one that does not fit the schema."""
        return self.error_class in (None, "schema_mismatch")

    @property
    def perhaps_charged(self) -> bool:
        """Whether it was answered, or may have been without anybody seeing it.  That a kept-alive
        socket had been closed shows only after the request was written to it.
        """
        closed = self.attempt.fault == "reused_socket"
        return self.answered or self.maybe_billed or closed

    @property
    def certainly_free(self) -> bool:
        """Whether it was certainly not charged."""
        return not self.perhaps_charged and self.spent.reading.usage is None

    @property
    def billed(self) -> bool:
        """Whether it was certainly charged."""
        return self.answered or self.spent.reading.usage is not None

    @property
    def confirmed(self) -> bool:
        """Whether its usage is known, or that there was none."""
        return self.spent.reading.known or not self.perhaps_charged

    def lighter(self) -> Try:
        """The try without the body of its answer, but for what is told of it later."""
        answer = self.attempt.answer if isinstance(self.attempt.answer, dict) else {}
        told = {key: answer[key] for key in ("model", "usage", "service_tier") if key in answer}
        attempt = msgspec.structs.replace(self.attempt, raw=b"", answer=told)
        return msgspec.structs.replace(self, attempt=attempt)


def ended(request: Request, attempt: Attempt, judged: Outcome, pricer: Pricer) -> Try:
    """An attempt that has ended so: here, and nowhere else, it is priced."""
    known = spent.of(attempt, _reading(attempt, judged), request.model, pricer)
    match judged:
        case Accept():
            return Try(attempt, known)
        case TryAgain(error_class):
            return Try(attempt, known, error_class, judged.maybe_billed)
        case Reject(error_class):
            return Try(attempt, known, error_class, attempt.maybe_billed)
    return Try(attempt, known, judged.error_class)


def columns(request: Request, tries: tuple[Try, ...], pricer: Pricer) -> dict[str, Any]:
    """What the output says of the attempts at a row, by column."""
    last = tries[-1].attempt
    unconfirmed, maybe_billed, requests = [], 0, 0
    for done in tries:
        maybe_billed += done.maybe_billed
        requests += done.requests
        if not done.confirmed:
            unconfirmed.append(done)
    told = {
        "attempts": len(tries),
        "maybe_billed_attempts": maybe_billed,
        "http_status": last.status,
        "latency_s": last.latency_s,
        "ttft_s": last.ttft_s,
        "started_at": last.started_at,
        "finished_at": last.started_at + last.latency_s,
        "endpoint": last.endpoint,
        "request_id": headers.request_id(last.headers) if last.headers else None,
        **_tokens(tries),
        **_money(tries),
    }
    if requests != len(tries):
        told["requests"] = requests
    if unconfirmed:
        told |= _unconfirmed(request, unconfirmed, pricer)
    if len(tries) > 1:
        told["attempt_log"] = [_record(done) for done in tries]
    return told


def _reading(attempt: Attempt, judged: Outcome) -> Reading:
    """The usage that an answer told; that of an accepted one was read with the answer."""
    if not isinstance(judged, Accept):
        return usage.of(attempt.answer)
    completion: Completion = judged.completion
    return Reading(completion.usage, completion.parts, "usage_unknown" in completion.flags)


def _tokens(tries: tuple[Try, ...]) -> dict[str, int | None]:
    """What all attempts used, as far as it was reported."""
    added = tries[0].spent.reading.usage
    for done in tries[1:]:
        added = totals.add(added, done.spent.reading.usage)
    return {} if added is None else msgspec.structs.asdict(added)


def _money(tries: tuple[Try, ...]) -> dict[str, Any]:
    """What all attempts cost; nothing where one that was billed has no known cost."""
    money: dict[str, Any] = {}
    costs: list[Cost] = []
    for done in tries:
        said = done.spent.reported
        if said is not None:
            money["reported_cost_usd"] = money.get("reported_cost_usd", 0.0) + said
        if done.spent.cost is not None:
            costs.append(done.spent.cost)
    if costs and not any(done.spent.cost is None and done.billed for done in tries):
        money["cost_usd"] = float(sum((cost.usd for cost in costs), Decimal(0)))
        money["cost_source"] = costs[-1].source
    return money


def _unconfirmed(request: Request, tries: list[Try], pricer: Pricer) -> dict[str, Any]:
    """What may have been billed beyond what servers reported, at most: the body's bytes as tokens,
    and all the output that the request allows.  Where it sets no bound there is none.
    """
    cap = request.output_cap
    if cap is None or not request.body:
        return {"unbounded_attempts": len(tries)}
    most = token_bounds.most_input(request)
    bounds = [_missing(done.spent.reading.usage or Usage(), most, cap) for done in tries]
    costs = [
        pricer.at_most(request.model, *bound, done.attempt.started_at)
        for done, bound in zip(tries, bounds, strict=True)
    ]
    known = [cost for cost in costs if cost is not None]
    return {
        "unconfirmed_tokens": sum(map(sum, bounds)),
        "unconfirmed_cost_usd": float(sum(known)) if len(known) == len(costs) else None,
    }


def _missing(known: Usage, most_input: int, cap: int) -> tuple[int, int]:
    """Input and output at most of what is not known of them."""
    return (
        most_input if known.input_tokens is None else 0,
        cap if known.output_tokens is None else 0,
    )


def _record(done: Try) -> AttemptRecord:
    attempt, cost = done.attempt, done.spent.cost
    used = done.spent.reading.usage or Usage()
    served = attempt.answer.get("model") if isinstance(attempt.answer, dict) else None
    return AttemptRecord(
        endpoint=attempt.endpoint,
        served_model=served if isinstance(served, str) else None,
        http_status=attempt.status,
        error_class=done.error_class,
        started_at=attempt.started_at,
        latency_s=attempt.latency_s,
        input_tokens=used.input_tokens,
        output_tokens=used.output_tokens,
        cost_usd=None if cost is None else float(cost.usd),
        maybe_billed=done.maybe_billed,
    )

"""The end of a row's story, as one Result: what was answered, or why there is no answer.  Pure."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from decimal import Decimal
from typing import Any, Literal

import msgspec

from batch import headers, totals, usage
from batch.costs import spent, token_bounds
from batch.costs.prices import Cost, Pricer
from batch.costs.spent import Spent
from batch.model import Attempt, AttemptRecord, Completion, Request, Result, Sent, Usage
from batch.outcome import MESSAGE_LENGTH, Accept, Outcome
from batch.usage import Reading

DATE = re.compile(r"-(?:\d{4}-\d{2}-\d{2}|\d{8}|\d{4})$")
"""The date of a model's snapshot, as OpenAI and Anthropic write it (`gpt-5.4-mini-2026-03-17`)."""


class Try(msgspec.Struct, frozen=True, gc=False):
    """An attempt and what came of it; `error_class` is None for the one that was accepted.  `spent`
    is what it used and cost, where that has been worked out already.
    """

    attempt: Attempt
    error_class: str | None = None
    maybe_billed: bool = False
    spent: Spent | None = None


class _Told(msgspec.Struct, frozen=True, gc=False):
    """A try, and what it used and cost as far as the server said."""

    done: Try
    spent: Spent

    @property
    def confirmed(self) -> bool:
        """Whether all that may have been billed is known: an answer's usage, or that there was
        none.
        """
        return self.spent.reading.known or not perhaps_charged(self.done)


class Error(msgspec.Struct, frozen=True):
    """Why a row failed; `completion` is the answer that was not what was wanted, if one came."""

    error_class: str
    message: str
    code: str | None = None
    completion: Completion | None = None


class Maker(msgspec.Struct, frozen=True):
    """Makes the results of a run: `response` says whether the raw answer is kept, `holds_vectors`
    that the run has a column for them.
    """

    pricer: Pricer
    response: Literal["auto"] | bool = "auto"
    holds_vectors: bool = True

    def accepted(self, request: Request, tries: tuple[Try, ...], completion: Completion) -> Result:
        """See `accepted`."""
        return accepted(
            request,
            tries,
            completion,
            self.response,
            self.pricer,
            holds_vectors=self.holds_vectors,
        )

    def failed(self, request: Request, tries: tuple[Try, ...], error: Error) -> Result:
        """See `failed`."""
        return failed(request, tries, error, self.response, self.pricer)

    def bearing(self, result: Result, lost: Sequence[Sent]) -> Result:
        """See `bearing`."""
        return bearing(result, lost, self.pricer)


def remembered(attempt: Attempt) -> Attempt:
    """What of an attempt is still told once another one follows; its body may be large."""
    answer = attempt.answer if isinstance(attempt.answer, dict) else {}
    told = {key: answer[key] for key in ("model", "usage", "service_tier") if key in answer}
    return msgspec.structs.replace(attempt, raw=b"", answer=told)


def perhaps_charged(done: Try) -> bool:
    """Whether a try was answered, or may have been without anybody seeing it.  That a kept-alive
    socket had been closed shows only after the request was written to it.
    """
    answered = done.error_class in (None, "schema_mismatch")
    return answered or done.maybe_billed or done.attempt.fault == "reused_socket"


def cost_nothing(done: Try) -> bool:
    """Whether a try was certainly not charged."""
    if perhaps_charged(done):
        return False
    reading = usage.of(done.attempt.answer) if done.spent is None else done.spent.reading
    return reading.usage is None


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


def bearing(result: Result, lost: Sequence[Sent], pricer: Pricer) -> Result:
    """`result`, which also bears what an earlier start sent for its row before it was killed."""
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
        maybe_billed_attempts=result.maybe_billed_attempts + len(lost),
        unbounded_attempts=result.unbounded_attempts + len(lost) - len(bounded),
        attempt_log=log if len(log) > 1 else None,
    )


def _of_lost(sent: Sent) -> AttemptRecord:
    return AttemptRecord("", sent.at, 0.0, error_class="cut_off", maybe_billed=True)


def log_of(result: Result) -> list[AttemptRecord]:
    """The attempts at a row; that of one which has no log, as far as its columns tell it."""
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


def invalid(row: int, message: str) -> Result:
    """The result of a row that asks nothing that could be sent."""
    return Result(
        row=row, status="failed", error_class="invalid_row", error_message=message[:MESSAGE_LENGTH]
    )


def accepted(
    request: Request,
    tries: tuple[Try, ...],
    completion: Completion,
    response: Literal["auto"] | bool,
    pricer: Pricer,
    *,
    holds_vectors: bool = True,
) -> Result:
    """The result of a row that was answered.  The raw answer is kept where the run has no column
    for the vector in it.
    """
    flags = _flags(request, completion)
    first = completion.choices[0] if completion.choices else None
    homeless = completion.embedding is not None and not holds_vectors
    remarkable = completion.unheld or _remarkable(flags)
    keep = homeless or response is True or (response == "auto" and remarkable)
    return Result(
        **_about(request, tries, _read(completion), pricer),
        status="ok",
        flags=flags,
        completion=first.completion if first else None,
        reasoning=first.reasoning if first else None,
        refusal=first.refusal if first else None,
        tool_calls=first.tool_calls if first else None,
        finish_reason=first.finish_reason if first else None,
        choices=completion.choices if len(completion.choices) > 1 else None,
        parsed=completion.parsed,
        embedding=completion.embedding,
        served_model=completion.served_model,
        service_tier=completion.service_tier,
        usage_json=completion.usage_json,
        response_json=_text(tries[-1].attempt) if keep else None,
    )


def failed(
    request: Request,
    tries: tuple[Try, ...],
    error: Error,
    response: Literal["auto"] | bool,
    pricer: Pricer,
) -> Result:
    """The result of a row whose last try ended in `error`, or that was never tried for it."""
    why: dict[str, Any] = {
        "status": "failed",
        "error_class": error.error_class,
        "error_code": error.code,
        "error_message": error.message[:MESSAGE_LENGTH],
    }
    if not tries:
        return Result(**_of(request), **why)
    last = tries[-1].attempt
    answer = last.answer if isinstance(last.answer, dict) else {}
    return Result(
        **_about(request, tries, usage.of(last.answer), pricer),
        **why,
        **_how_answered(request, error.completion),
        usage_json=_json(answer.get("usage")),
        response_json=_text(last) if response is not False and last.answer is not None else None,
    )


def _how_answered(request: Request, completion: Completion | None) -> dict[str, Any]:
    """How an answer came that was not what was wanted; its text is in the raw answer."""
    if completion is None:
        return {}
    return {
        "flags": _flags(request, completion),
        "finish_reason": completion.choices[0].finish_reason if completion.choices else None,
        "served_model": completion.served_model,
        "service_tier": completion.service_tier,
    }


def _flags(request: Request, completion: Completion) -> list[str]:
    flags = completion.flags
    if _differs(request.model, completion.served_model):
        flags = [*flags, "model_differs"]
    if completion.embedding is None and len(completion.choices) < request.choices:
        flags = [*flags, "choices_missing"]
    return flags


def reading(attempt: Attempt, judged: Outcome) -> Reading:
    """The usage that an attempt's answer told."""
    return _read(judged.completion) if isinstance(judged, Accept) else usage.of(attempt.answer)


def _read(completion: Completion) -> Reading:
    """The usage of an answer, as it was read when the answer was."""
    doubtful = "usage_unknown" in completion.flags
    return Reading(completion.usage, completion.parts, doubtful)


def _about(
    request: Request, tries: tuple[Try, ...], last_reading: Reading, pricer: Pricer
) -> dict[str, Any]:
    """What every result says of its request and its attempts."""
    last = tries[-1].attempt
    told = [_told(request, done, None, pricer) for done in tries[:-1]]
    told.append(_told(request, tries[-1], last_reading, pricer))
    unconfirmed = [each for each in told if not each.confirmed]
    return {
        "row": request.row,
        "custom_id": request.custom_id,
        "model": request.model,
        "request_hash": request.hash,
        **_tokens(told),
        **_money(told),
        **(_unconfirmed(request, unconfirmed, pricer) if unconfirmed else {}),
        "attempts": len(tries),
        "maybe_billed_attempts": sum([done.maybe_billed for done in tries]),
        "attempt_log": [_record(each) for each in told] if len(tries) > 1 else None,
        "http_status": last.status,
        "latency_s": last.latency_s,
        "ttft_s": last.ttft_s,
        "started_at": last.started_at,
        "finished_at": last.started_at + last.latency_s,
        "endpoint": last.endpoint,
        "request_id": headers.request_id(last.headers),
    }


def _told(request: Request, done: Try, reading: Reading | None, pricer: Pricer) -> _Told:
    if done.spent is not None:
        return _Told(done, done.spent)
    reading = usage.of(done.attempt.answer) if reading is None else reading
    return _Told(done, spent.of(done.attempt, reading, request.model, pricer))


def _tokens(told: list[_Told]) -> dict[str, int | None]:
    """What all attempts used, as far as it was reported."""
    added: Usage | None = None
    for each in told:
        added = totals.add(added, each.spent.reading.usage)
    return {} if added is None else msgspec.structs.asdict(added)


def _money(told: list[_Told]) -> dict[str, Any]:
    """What all attempts cost; nothing where one that was billed has no known cost."""
    money: dict[str, Any] = {}
    costs: list[Cost] = []
    unknown = False
    for each in told:
        attempt = each.done.attempt
        said = usage.reported_cost(attempt.answer, attempt.headers)
        if said is not None:
            money["reported_cost_usd"] = money.get("reported_cost_usd", 0.0) + said
        if each.spent.cost is not None:
            costs.append(each.spent.cost)
        elif _billed(each):
            unknown = True
    if costs and not unknown:
        money["cost_usd"] = float(sum((cost.usd for cost in costs), Decimal(0)))
        money["cost_source"] = costs[-1].source
    return money


def _billed(told: _Told) -> bool:
    """Whether the server has certainly billed it."""
    answered = told.done.error_class in (None, "schema_mismatch")
    return answered or told.spent.reading.usage is not None


def _unconfirmed(request: Request, told: list[_Told], pricer: Pricer) -> dict[str, Any]:
    """What may have been billed beyond what servers reported, at most: the body's bytes as tokens,
    and all the output that the request allows.  Where it sets no bound there is none.
    """
    cap = token_bounds.most_output(request)
    if cap is None or not request.body:
        return {"unbounded_attempts": len(told)}
    most = token_bounds.most_input(request)
    bounds = [_missing(each.spent.reading.usage or Usage(), most, cap) for each in told]
    costs = [
        pricer.at_most(request.model, *bound, each.done.attempt.started_at)
        for each, bound in zip(told, bounds, strict=True)
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


def _of(request: Request) -> dict[str, Any]:
    return {
        "row": request.row,
        "custom_id": request.custom_id,
        "model": request.model,
        "request_hash": request.hash,
    }


def _record(told: _Told) -> AttemptRecord:
    attempt, cost = told.done.attempt, told.spent.cost
    used = told.spent.reading.usage or Usage()
    served = attempt.answer.get("model") if isinstance(attempt.answer, dict) else None
    return AttemptRecord(
        endpoint=attempt.endpoint,
        served_model=served if isinstance(served, str) else None,
        http_status=attempt.status,
        error_class=told.done.error_class,
        started_at=attempt.started_at,
        latency_s=attempt.latency_s,
        input_tokens=used.input_tokens,
        output_tokens=used.output_tokens,
        cost_usd=None if cost is None else float(cost.usd),
        maybe_billed=told.done.maybe_billed,
    )


def _differs(asked: str | None, served: str | None) -> bool:
    """Whether another model answered; a snapshot of the one asked for is no other."""
    return served not in (None, asked) and asked != DATE.sub("", served or "")


def _remarkable(flags: list[str]) -> bool:
    """`model_differs` alone is said by the columns."""
    return flags not in ([], ["model_differs"])


def _text(attempt: Attempt) -> str:
    return attempt.raw.decode("utf-8", "replace")


def _json(value: Any) -> str | None:
    return None if value is None else msgspec.json.encode(value).decode()

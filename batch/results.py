"""The end of a row's story, as one Result: what was answered, or why there is no answer.  Pure."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any, Literal

import msgspec

from batch import lost, tries
from batch.costs.prices import Pricer
from batch.model import Attempt, Choice, Completion, Request, Result, Sent
from batch.outcome import MESSAGE_LENGTH, Outcome
from batch.totals import USAGE_SHARED
from batch.tries import Try

NO_CHOICE = Choice(0)
UNREMARKABLE = ("model_differs", USAGE_SHARED)

DATE = re.compile(r"-(?:\d{4}-\d{2}-\d{2}|\d{8}|\d{4})$")
"""The date of a model's snapshot, as OpenAI and Anthropic write it (`gpt-5.4-mini-2026-03-17`)."""


class Error(msgspec.Struct, frozen=True):
    """Why a row failed; `completion` is the answer that was not what was wanted, if one came."""

    error_class: str
    message: str
    code: str | None = None
    completion: Completion | None = None


class Maker(msgspec.Struct, frozen=True):
    """Makes the results of a run.  `response` says whether the raw answer is kept; `holds_vectors`
    tells that the run has a column for vectors; `aliases` are what endpoints call the job's model.
    """

    pricer: Pricer
    response: Literal["auto"] | bool = "auto"
    holds_vectors: bool = True
    aliases: frozenset[str] = frozenset()

    def ended(self, request: Request, attempt: Attempt, judged: Outcome) -> Try:
        """An attempt that has ended so, with what it used and cost."""
        return tries.ended(request, attempt, judged, self.pricer)

    def accepted(self, request: Request, done: tuple[Try, ...], completion: Completion) -> Result:
        """The result of a row whose last try was answered."""
        flags = self._flags(request, completion)
        first = completion.choices[0] if completion.choices else NO_CHOICE
        return Result(
            row=request.row,
            custom_id=request.custom_id,
            model=request.model,
            request_hash=request.hash,
            status="ok",
            flags=flags,
            completion=first.completion,
            reasoning=first.reasoning,
            refusal=first.refusal,
            tool_calls=first.tool_calls,
            finish_reason=first.finish_reason,
            choices=completion.choices if len(completion.choices) > 1 else None,
            parsed=completion.parsed,
            embedding=completion.embedding,
            served_model=completion.served_model,
            service_tier=completion.service_tier,
            usage_json=completion.usage_json,
            response_json=_text(done[-1].attempt) if self._keeps(completion, flags) else None,
            **tries.columns(request, done, self.pricer),
        )

    def failed(self, request: Request, done: tuple[Try, ...], error: Error) -> Result:
        """The result of a row whose last try ended in `error`, or that was never tried for it."""
        why: dict[str, Any] = {
            "status": "failed",
            "error_class": error.error_class,
            "error_code": error.code,
            "error_message": error.message[:MESSAGE_LENGTH],
        }
        if not done:
            return Result(**_of(request), **why)
        last = done[-1].attempt
        answer = last.answer if isinstance(last.answer, dict) else {}
        kept = self.response is not False and last.answer is not None
        return Result(
            **_of(request),
            **tries.columns(request, done, self.pricer),
            **why,
            **self._how_answered(request, error.completion),
            usage_json=_json(answer.get("usage")),
            response_json=_text(last) if kept else None,
        )

    def bearing(self, result: Result, sent: Sequence[Sent]) -> Result:
        """`result`, with what an earlier start sent for its row and lost."""
        return lost.bearing(result, sent, self.pricer)

    def _how_answered(self, request: Request, completion: Completion | None) -> dict[str, Any]:
        """What is told of an answer that was not wanted; its text is in the raw answer."""
        if completion is None:
            return {}
        return {
            "flags": self._flags(request, completion),
            "finish_reason": completion.choices[0].finish_reason if completion.choices else None,
            "served_model": completion.served_model,
            "service_tier": completion.service_tier,
        }

    def _flags(self, request: Request, completion: Completion) -> list[str]:
        flags, served = completion.flags, completion.served_model
        differs = served != request.model and _differs(request.model, served)
        if differs and served not in self.aliases:
            flags = [*flags, "model_differs"]
        if completion.embedding is None and len(completion.choices) < request.choices:
            flags = [*flags, "choices_missing"]
        return flags

    def _keeps(self, completion: Completion, flags: list[str]) -> bool:
        """Whether the raw answer is kept: as the job says, and where a vector has no column."""
        if self.response is True or (completion.embedding is not None and not self.holds_vectors):
            return True
        if self.response != "auto":
            return False
        return completion.unheld or (bool(flags) and _remarkable(flags))


def invalid(row: int, message: str) -> Result:
    """The result of a row that asks nothing that could be sent."""
    return Result(
        row=row, status="failed", error_class="invalid_row", error_message=message[:MESSAGE_LENGTH]
    )


def given_again(
    known: Result, row: int, custom_id: str | None, flags: list[str], **told: Any
) -> Result:
    """An answer as that of another row, which was not asked for it and costs nothing; `told` is what
    else is not as it was.
    """
    return msgspec.structs.replace(
        known,
        row=row,
        custom_id=custom_id,
        flags=flags,
        attempts=0,
        maybe_billed_attempts=0,
        attempt_log=None,
        cost_usd=0.0,
        cost_source=None,
        reported_cost_usd=None,
        unconfirmed_tokens=None,
        unconfirmed_cost_usd=None,
        unbounded_attempts=0,
        reused=True,
        **told,
    )


def _of(request: Request) -> dict[str, Any]:
    return {
        "row": request.row,
        "custom_id": request.custom_id,
        "model": request.model,
        "request_hash": request.hash,
    }


def _differs(asked: str | None, served: str | None) -> bool:
    """Whether another model answered; a snapshot of the one asked for is no other."""
    return served not in (None, asked) and asked != DATE.sub("", served or "")


def _remarkable(flags: list[str]) -> bool:
    """`model_differs` is said by the columns, and that usage is shared is nothing odd."""
    return any(flag not in UNREMARKABLE for flag in flags)


def _text(attempt: Attempt) -> str:
    """The raw answer; that of a row which shared its request is made of its part of it."""
    raw = attempt.raw
    if not raw and attempt.answer is not None:
        raw = msgspec.json.encode(attempt.answer, enc_hook=list)  # an array of numbers in it
    return raw.decode("utf-8", "replace")


def _json(value: Any) -> str | None:
    return None if value is None else msgspec.json.encode(value).decode()

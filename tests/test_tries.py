"""Whether an attempt was charged, and that it is priced once."""

from __future__ import annotations

from decimal import Decimal

import pytest

from batch import tries
from batch.costs.prices import Price, Pricer, Seller
from batch.model import Attempt, Choice, Completion, Request, Usage
from batch.outcome import Accept, Outcome, Pause, Reject, Stop, TryAgain
from batch.tries import Try

REQUEST = Request(0, None, "chat", "m", b"{}", "hash")
PRICER = Pricer({"m": Price(input=1.0, output=1.0)}, Seller())
USED = Usage(1_000_000, output_tokens=0)
TOLD = {"usage": {"prompt_tokens": 1_000_000, "completion_tokens": 0}}


def ended(judged: Outcome, answer: object = None, **more) -> Try:
    attempt = Attempt("host/v1", 0.0, 1.0, answer=answer, **more)
    return tries.ended(REQUEST, attempt, judged, PRICER)


ACCEPTED = Accept(Completion([Choice(0, "hi", "stop")], usage=USED))
LATE = TryAgain("timeout", "late", maybe_billed=True)
FULL = TryAgain("rate_limited", "full", refused=True)
CLOSED = TryAgain("connection", "closed", at_once=True)
MISFIT = TryAgain("schema_mismatch", "no JSON", mismatch=True)


@pytest.mark.parametrize(
    ("done", "perhaps", "surely", "confirmed"),
    [
        (ended(ACCEPTED, status=200), True, True, True),
        (ended(Accept(Completion()), status=200), True, True, False),
        (ended(MISFIT, TOLD, status=200), True, True, True),
        (ended(LATE, fault="timeout"), True, False, False),
        (ended(CLOSED, fault="reused_socket"), True, False, False),
        (ended(FULL, status=429), False, False, True),
        (ended(FULL, TOLD, status=429), False, True, True),
        (ended(Reject("invalid_request", "no"), status=400), False, False, True),
        (ended(Pause("auth", "no"), status=401), False, False, True),
        (ended(Stop("auth", "no"), status=401), False, False, True),
    ],
)
def test_an_attempt_was_charged_or_not_or_nobody_knows(done, perhaps, surely, confirmed):
    assert (done.perhaps_charged, done.billed, done.confirmed) == (perhaps, surely, confirmed)
    assert done.certainly_free == (not perhaps and not surely)


def test_what_an_attempt_cost_is_kept_when_its_answer_is_not():
    done = ended(MISFIT, {**TOLD, "choices": [], "model": "m"}, status=200, raw=b"...")
    lighter = done.lighter()
    assert lighter.spent is done.spent
    assert lighter.spent.cost is not None and lighter.spent.cost.usd == Decimal(1)
    assert (lighter.attempt.raw, lighter.attempt.answer) == (b"", {**TOLD, "model": "m"})

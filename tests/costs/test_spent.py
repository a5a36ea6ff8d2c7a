"""What an attempt cost is worked out once, and counts for the row and for the cap."""

from __future__ import annotations

from decimal import Decimal

import pytest

from batch.costs import spent
from batch.costs.budget import Budget, Reservations
from batch.costs.prices import Cost, Price, Pricer, Seller
from batch.costs.spent import Spent
from batch.model import Attempt, Choice, Completion, Request, Usage
from batch.results import Maker
from batch.tries import Try
from batch.usage import NOTHING, Reading
from tests.costs.accounts import Paper

USED = Reading(Usage(1_000_000, output_tokens=0))
DEAR = Pricer({"m": Price(input=2.0, output=10.0)}, Seller())
UNPRICED = Pricer({}, Seller())
REQUEST = Request(0, None, "chat", "m", b"{}", "", output_cap=9)
ANSWERED = Attempt("host/v1", 0.0, 1.0, status=200)
REFUSED = Attempt("host/v1", 0.0, 1.0, status=429)
LATE = Attempt("host/v1", 0.0, 1.0, fault="timeout", maybe_billed=True)


@pytest.mark.parametrize(
    ("attempt", "reading", "pricer", "usd"),
    [
        (ANSWERED, USED, DEAR, Decimal(2)),
        (ANSWERED, USED, UNPRICED, None),
        (ANSWERED, NOTHING, DEAR, None),
        (REFUSED, NOTHING, DEAR, Decimal(0)),
        (REFUSED, USED, UNPRICED, None),
        (LATE, NOTHING, DEAR, None),
    ],
)
def test_what_counts_against_a_cap_is_known_or_certainly_nothing(attempt, reading, pricer, usd):
    assert spent.of(attempt, reading, "m", pricer).usd(attempt, maybe_billed=False) == usd


async def test_the_same_value_settles_the_cap_and_prices_the_row():
    known = Spent(USED, Cost(Decimal("0.25"), "job"))
    reservations = Reservations(Budget(Decimal(9), Decimal(0), Paper()), DEAR)
    assert await reservations.reserve(REQUEST)
    reservations.settle(REQUEST, ANSWERED, known, maybe_billed=False)
    assert reservations.budget.spent == Decimal("0.25")

    completion = Completion([Choice(0, "hi", "stop")])
    tries = (Try(ANSWERED, spent=known),)
    row = Maker(UNPRICED).accepted(REQUEST, tries, completion)
    assert (row.cost_usd, row.cost_source, row.input_tokens) == (0.25, "job", 1_000_000)

"""Prices of a run that asks several endpoints: an attempt costs what its endpoint takes, and what is
not sent yet as much as the dearest one takes.
"""

from __future__ import annotations

from collections.abc import Sequence
from decimal import Decimal

from batch.costs.prices import Cost, Pricer
from batch.model import Attempt
from batch.usage import Reading


class Pricers(Pricer):
    """The pricers of all endpoints, in their order; more may join them in the list."""

    def __init__(self, pricers: Sequence[Pricer]) -> None:
        self._pricers = pricers

    def cost(
        self, attempt: Attempt, reading: Reading, asked: str | None, said: float | None
    ) -> Cost | None:
        """See Pricer."""
        return self._pricers[attempt.member].cost(attempt, reading, asked, said)

    def at_most(
        self, model: str | None, input_tokens: int, output_tokens: int, at: float
    ) -> Decimal | None:
        """The most of all; None where the price of one is not known."""
        found = [each.at_most(model, input_tokens, output_tokens, at) for each in self._pricers]
        known = [price for price in found if price is not None]
        return max(known) if len(known) == len(found) else None

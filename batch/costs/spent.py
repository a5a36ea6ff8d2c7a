"""What an attempt used and cost: worked out once, when it is judged, and passed on."""

from __future__ import annotations

from decimal import Decimal

import msgspec

from batch import usage
from batch.costs.prices import Cost, Pricer
from batch.model import Attempt
from batch.usage import Reading


class Spent(msgspec.Struct, frozen=True, gc=False):
    """The usage that was told of an attempt, and what that costs; None when it is unknown.  `reported`
    is the USD that the server itself said.
    """

    reading: Reading
    cost: Cost | None
    reported: float | None = None

    def usd(self, attempt: Attempt, maybe_billed: bool) -> Decimal | None:
        """What counts against a cap: nothing for what was certainly not charged; None when nobody
        knows.
        """
        if self.cost is not None:
            return self.cost.usd
        maybe_billed = maybe_billed or attempt.maybe_billed or attempt.fault == "reused_socket"
        unknown = maybe_billed or attempt.status == 200 or self.reading.usage is not None
        return None if unknown else Decimal(0)


def of(attempt: Attempt, reading: Reading, asked: str | None, pricer: Pricer) -> Spent:
    """What `attempt` at a request for the model `asked` used and cost; its answer told `reading`."""
    said = usage.reported_cost(attempt.answer, attempt.headers)
    return Spent(reading, pricer.cost(attempt, reading, asked, said), said)

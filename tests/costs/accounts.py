"""An account that keeps in memory what is drawn."""

from __future__ import annotations

from decimal import Decimal


class Paper:
    """All sums that were drawn, the last one last."""

    def __init__(self) -> None:
        self.drawn = [Decimal(0)]
        self.others = Decimal(0)

    def draw(self, wished: Decimal, least: Decimal) -> Decimal:
        self.record(wished)
        return wished

    def record(self, spent: Decimal) -> None:
        self.drawn.append(spent)

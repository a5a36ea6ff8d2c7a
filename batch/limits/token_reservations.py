"""Tokens that are set aside for the requests in flight, where tokens per minute are limited."""

from __future__ import annotations

from batch.costs.token_bounds import Estimate, Estimates
from batch.model import Request

UNCERTAIN = 0.5
"""The share of a minute's tokens that requests in flight may take beyond what is likely."""

NOTHING = Estimate(0, 0, 0)
"""What a request needs where tokens are not limited."""


class TooLarge(ValueError):
    """One request needs more tokens than the limit gives in a minute."""


class TokenReservations:
    """`reserve` before a request leaves, and `release` once it is known what it used."""

    def __init__(self) -> None:
        self._estimates = Estimates()
        self.learn = self._estimates.learn
        """The answer to a request took so many tokens."""
        self._reserved: dict[int, Estimate] = {}  # by row
        self._uncertain = 0  # tokens that requests in flight may take beyond what is likely

    def needed(self, request: Request, per_minute: float) -> Estimate:
        """The tokens that a request will take.  Raises TooLarge."""
        needed = self._estimates.of(request)
        if needed.largest > per_minute:
            raise TooLarge(
                f"may take {needed.largest:,} tokens, and {per_minute:,.0f} a minute are all there are"
            )
        return needed

    def fits(self, needed: Estimate, per_minute: float | None) -> bool:
        """Whether there is room for one more request, should all of them take their most."""
        if per_minute is None:
            return True
        return self._uncertain + needed.most - needed.likely <= UNCERTAIN * per_minute

    def reserve(self, row: int, needed: Estimate) -> None:
        """The request for a row leaves; where tokens are not limited that need not be said."""
        self._reserved[row] = needed
        self._uncertain += needed.most - needed.likely

    def release(self, row: int, used: int | None) -> int:
        """The request for a row used so many tokens, its most if None.  Gives the likely ones that it
        did not use, negative where it used more.
        """
        reserved = self._reserved.pop(row, NOTHING)
        self._uncertain -= reserved.most - reserved.likely
        return reserved.likely - (reserved.most if used is None else used)

"""How far a run is at a moment, and what it waits for."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from batch.costs.budget import Reservations
from batch.engine.counts import Counts
from batch.engine.events import Progressed
from batch.engine.extent import Extent, Lent, Planned
from batch.engine.feed import Feed
from batch.engine.sender import Sender
from batch.words import duration

if TYPE_CHECKING:
    from batch.engine.pooled_sender import PooledSender

A_WHILE = 5.0
"""Seconds for which the last answers are waited for without a word."""


class Gauge:
    """Reads how far a run is from its parts."""

    def __init__(
        self,
        counts: Counts,
        feed: Feed,
        sender: Sender | PooledSender,
        reservations: Reservations | None,
        extent: Extent | Planned | Lent,
        seconds: Callable[[], float],
    ) -> None:
        """`seconds` tells how long ago the run began."""
        self._counts = counts
        self._feed = feed
        self._sender = sender
        self._reservations = reservations
        self._extent = extent
        self._seconds = seconds

    def read(self) -> Progressed:
        """As it is now."""
        held, asked = self._counts.now()
        return Progressed(
            self._seconds(),
            self._extent.to_ask(),
            held,
            asked,
            self._feed.retries,
            self._sender.words() or self._last_answers() or self._sender.shown(),
            self._sender.under_way,
            None if self._reservations is None else self._reservations.budget.left,
        )

    def _last_answers(self) -> str:
        """What the end of the run waits for, once that takes a while."""
        if not self._feed.exhausted or (seconds := self._sender.oldest()) < A_WHILE:
            return ""
        in_flight = self._feed.in_flight
        answers = "answer" if in_flight == 1 else f"{in_flight:,} answers"
        oldest = "" if in_flight == 1 else "the oldest "
        return f"waiting for the last {answers}, {oldest}asked {duration(seconds)} ago"

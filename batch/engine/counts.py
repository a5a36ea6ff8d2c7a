"""What a start of a run has done so far, counted as it becomes durable."""

from __future__ import annotations

from collections.abc import Callable

import msgspec

from batch.engine.events import Events, RowsDone
from batch.model import Result
from batch.totals import Summary, Totals


class Counts:
    """Totals: `held` of the rows that were done before, `asked` of those done in this start."""

    def __init__(self, before: Summary) -> None:
        self.held = before.totals()
        self.asked = Totals()

    def add(self, results: list[Result]) -> None:
        """Count rows that have become durable."""
        for result in results:
            self.asked.add(result)

    def adding(self, told: Events) -> Callable[[list[Result]], None]:
        """Takes rows that have become durable, and tells of them."""

        def take(results: list[Result]) -> None:
            self.add(results)
            told.emit(RowsDone(tuple(results)))

        return take

    def take_back(self, summary: Summary) -> None:
        """Rows that had a result are asked again: they are not done any more, but what they used
        stays used.
        """
        totals = summary.totals()
        self.held.rows_ok -= totals.rows_ok
        self.held.rows_failed -= totals.rows_failed

    def now(self) -> tuple[Totals, Totals]:
        """Copies of `held` and `asked`, which go on counting."""
        return msgspec.structs.replace(self.held), msgspec.structs.replace(self.asked)

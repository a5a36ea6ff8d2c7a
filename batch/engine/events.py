"""What happens in a run, as frozen values: the bar, the log and others consume them.

No run depends on a consumer: one whose stream is gone (a closed terminal) is dropped, and the run
goes on.
"""

from __future__ import annotations

from collections.abc import Callable
from decimal import Decimal
from pathlib import Path

import msgspec

from batch.model import Result
from batch.totals import Totals


class Opened(msgspec.Struct, frozen=True):
    """The folder of the run is ready; `held` are the totals of the rows it holds already."""

    run: Path
    run_id: str
    resumed: int
    held: Totals


class Notice(msgspec.Struct, frozen=True):
    """One line for a person."""

    text: str


class Fetching(msgspec.Struct, frozen=True):
    """The embedded model is fetched: so many bytes of the `whole` are there."""

    there: int
    whole: int


class RowsDone(msgspec.Struct, frozen=True):
    """Results that have become durable."""

    results: tuple[Result, ...]


class Progressed(msgspec.Struct, frozen=True):
    """How far the run is, twice a second.

    `rows` are all that are to be asked, None while unknown.  `held` are the totals of rows done
    before this start, `asked` those of this start.  `waiting` says what the run waits for, and is
    empty when it does not.  `in_flight` are the rows on their way, `cap_left` the USD that may still
    be spent, None where nothing caps them.
    """

    seconds: float
    rows: int | None
    held: Totals
    asked: Totals
    retries: int
    waiting: str = ""
    in_flight: int = 0
    cap_left: Decimal | None = None

    @property
    def failed(self) -> int:
        """Rows done that failed."""
        return self.held.rows_failed + self.asked.rows_failed

    @property
    def done(self) -> int:
        """Rows that have their result."""
        return self.held.rows_ok + self.asked.rows_ok + self.failed

    @property
    def per_second(self) -> float:
        """Rows a second in this start."""
        return (self.asked.rows_ok + self.asked.rows_failed) / max(self.seconds, 1e-9)

    @property
    def seconds_left(self) -> float | None:
        """How long the rest takes at that rate; None while that is unknown."""
        if self.rows is None or not self.per_second:
            return None
        return max(0, self.rows - self.done) / self.per_second


class Waiting(msgspec.Struct, frozen=True):
    """The run has waited for a while.  `kind` is down, refused or rate; `why` says it in words.
    `again`: this wait was told before, with another `why`.
    """

    kind: str
    why: str
    again: bool = False


class WentOn(msgspec.Struct, frozen=True):
    """What the run waited for, `seconds` long, is over."""

    kind: str
    seconds: float


class Ended(msgspec.Struct, frozen=True):
    """This start is over; `why` says why it ended early, and is None when it did not."""

    exit_code: int
    asked: Totals
    rows: int | None
    why: str | None = None


Event = Opened | Notice | Fetching | RowsDone | Progressed | Waiting | WentOn | Ended
Consumer = Callable[[Event], object]


class Events:
    """Gives every event to every consumer."""

    def __init__(self, *consumers: Consumer) -> None:
        self._consumers = list(consumers)

    def notice(self, text: str) -> None:
        """One line for a person."""
        self.emit(Notice(text))

    def fetching(self, there: int, whole: int) -> None:
        """How much of the embedded model is there."""
        self.emit(Fetching(there, whole))

    def add(self, consumer: Consumer) -> None:
        """From now on it is told, too."""
        self._consumers.append(consumer)

    def emit(self, event: Event) -> None:
        """Tell all.  Whoever cannot take it hears no more, and the run goes on: a stream that is closed
        or broken in silence, anything else with a notice to the others.
        """
        for consumer in [*self._consumers]:
            try:
                consumer(event)
            except (OSError, ValueError):
                self._consumers.remove(consumer)
            except Exception as error:  # noqa: BLE001  (a stranger's code, in the middle of a commit)
                self._consumers.remove(consumer)
                self.notice(f"one that was told of the run failed: {type(error).__name__}: {error}")

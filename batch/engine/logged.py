"""What happens in a run, as lines of its run.log."""

from __future__ import annotations

import msgspec

from batch.engine.events import Consumer, Ended, Event, Waiting, WentOn
from batch.store.log import Log


def to(log: Log) -> Consumer:
    """A consumer that writes to `log`."""

    def take(event: Event) -> None:
        match event:
            case Waiting(_, why):
                log.event("waiting", why=why)
            case WentOn(_, seconds):
                log.event("going on", after_s=round(seconds, 1))
            case Ended(exit_code, asked, rows, why):
                log.event(
                    "end",
                    exit_code=exit_code,
                    why=why,
                    asked=msgspec.structs.asdict(asked),
                    rows=rows,
                )

    return take

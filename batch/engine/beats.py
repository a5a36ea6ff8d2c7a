"""What happens to a worker, on the card that it shows to whoever looks at the run."""

from __future__ import annotations

from batch.engine.events import Consumer, Ended, Event, Progressed
from batch.store.cards import Beating


def to(card: Beating) -> Consumer:
    """A consumer that writes to `card`."""

    def take(event: Event) -> None:
        match event:
            case Progressed():
                card.tell(
                    rows=event.rows,
                    done=event.done,
                    failed=event.failed,
                    rows_per_second=round(event.per_second, 2),
                    in_flight=event.in_flight,
                    waiting=event.waiting,
                )
            case Ended(exit_code):
                card.tell(exit_code=exit_code, in_flight=0, waiting="", at_once=True)

    return take

"""Parts that come to a worker one by one, as long as there are any.

They come in the event loop, and are taken in the reader's thread, which waits for them.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator

from batch.model import Cut
from batch.store.recover import Found

AHEAD = 1
"""Parts that are there before they are needed."""


class Leases:
    """What a worker was lent of the parts `cuts`."""

    def __init__(self, cuts: list[Cut]) -> None:
        self.rows = 0
        """Those of all parts that came."""
        self._cuts = cuts
        self._ready: deque[int] = deque()
        self._changed = threading.Condition()
        self._waits = False
        self._over = False
        self._done: list[int] = []
        self._on_wanted: Callable[[], object] = lambda: None

    def __iter__(self) -> Iterator[int]:
        """Their numbers.  Each waits until it is there, and all end when nothing more is lent."""
        while (number := self._next()) is not None:
            yield number

    def when_wanted(self, call: Callable[[], object]) -> None:
        """`call`, in whatever thread, when somebody waits for a part."""
        self._on_wanted = call

    @property
    def wanted(self) -> int:
        """How many more are wanted now."""
        with self._changed:
            if self._over:
                return 0
            return max(0, AHEAD + self._waits - len(self._ready))

    def add(self, parts: Iterable[int]) -> None:
        """These have come."""
        with self._changed:
            for part in parts:
                self._ready.append(part)
                self.rows += self._cuts[part].rows
            self._changed.notify_all()

    def end(self) -> None:
        """Nothing more is lent, or taken."""
        with self._changed:
            self._over = True
            self._changed.notify_all()

    def done(self, part: int) -> None:
        """Nothing is left to do in a part."""
        with self._changed:
            self._done.append(part)

    def passed_over(self, part: Found) -> None:
        """Nothing was to do in a part."""
        self.done(part.number)

    def take_done(self) -> list[int]:
        """The parts that are done since this was asked before."""
        with self._changed:
            done, self._done = self._done, []
        return done

    def _next(self) -> int | None:
        with self._changed:
            if not (self._ready or self._over):
                self._waits = True
                self._on_wanted()
                self._changed.wait_for(lambda: self._ready or self._over)
                self._waits = False
            return self._ready.popleft() if self._ready else None

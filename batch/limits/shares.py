"""One limit among workers, by what each of them wants.

Pure: demand and moments come in, shares go out.  What one does not want goes to those that want more
(water filling).  A share is lent for a few seconds, and every beat of its worker renews it.

The sum of all shares in force is never more than the limit: a share grows only into what is free, and
what its worker was given before counts until that worker has beaten again, and so has heard of less,
or until its share has expired.
"""

from __future__ import annotations

import math
from collections.abc import Mapping

import msgspec

LEASE = 3.0
"""Seconds for which a share is lent."""
ROOM = 1.15
"""So much more than what it used is wanted by a worker that nothing held back."""
FLOOR = 0.02
"""Of an equal part, what an idle worker has: with that it begins when there is something to do."""


class Share(msgspec.Struct, frozen=True):
    """What a worker may use.  `expires_in` are seconds from when its beat was sent: from then on it has
    nothing, until it beats again.
    """

    per_minute: float
    expires_in: float


class _Lent(msgspec.Struct):
    """What a worker has.  It may still keep to what it had `before`: nobody knows whether it has heard."""

    wanted: float
    now: float = 0.0
    before: float = 0.0
    at: float = 0.0

    @property
    def in_force(self) -> float:
        return max(self.now, self.before)


class Shares:
    """`beat` for each worker, a few times a second: the next one after the answer to the last."""

    def __init__(self, limit: float) -> None:
        """`limit` is per minute.  It may be set anew; shares follow with the next beats."""
        self.limit = limit
        self._lent: dict[str, _Lent] = {}

    def beat(self, worker: str, wanted: float, now: float) -> Share:
        """A worker is there and wants so much a minute, `math.inf` for all it can get."""
        self._forget(now)
        lent = self._lent.setdefault(worker, _Lent(wanted))
        lent.wanted = wanted
        others = sum(each.in_force for each in self._lent.values() if each is not lent)
        lent.before, lent.at = lent.now, now
        lent.now = max(0.0, min(self._fair()[worker], self.limit - others))
        return Share(lent.now, LEASE)

    def leave(self, worker: str) -> None:
        """A worker uses nothing any more."""
        self._lent.pop(worker, None)

    def _forget(self, now: float) -> None:
        silent = [name for name, each in self._lent.items() if now >= each.at + LEASE]
        for worker in silent:
            del self._lent[worker]

    def _fair(self) -> dict[str, float]:
        floor = FLOOR * self.limit / len(self._lent)
        wanted = {worker: max(floor, each.wanted) for worker, each in self._lent.items()}
        return filled(self.limit, wanted)


def filled(limit: float, wanted: Mapping[str, float]) -> dict[str, float]:
    """What each is given of a limit: what it wants, and none more than another that wants more than
    it has.  What nobody wants goes to all alike.
    """
    given: dict[str, float] = {}
    left = limit
    for worker, want in sorted(wanted.items(), key=lambda item: item[1]):
        given[worker] = min(want, left / (len(wanted) - len(given)))
        left -= given[worker]
    return {worker: each + left / len(given) for worker, each in given.items()}


def demand(used: float, seconds: float, *, held_back: bool) -> float:
    """What a worker wants a minute that used so much in so many seconds, and is held back by its share
    just now or not.
    """
    return math.inf if held_back or seconds <= 0 else ROOM * 60 * used / seconds

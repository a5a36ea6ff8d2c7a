"""How many requests several workers together may have in flight at one server.

Pure: reports and moments come in, slots go out.  If each worker searched for itself, each would gain by
crowding out the others, and none would find the knee.  So one `Concurrency` hears of the answers of
all, and its limit is divided among them.
"""

from __future__ import annotations

import msgspec

from batch.limits.concurrency import START, Concurrency
from batch.limits.division import parts
from batch.limits.shares import LEASE

SHORTEST_ROUND = 2.0
"""Seconds; when answers came is known within a beat, so a shorter round measures noise."""
TURN = 5.0
"""Seconds after which other workers have a slot, where there are fewer slots than workers."""


class Answers(msgspec.Struct, frozen=True):
    """What a worker saw since its report before: how many good answers came, what they were worth (their
    tokens, or their number), and how many requests failed; and what it has in flight now.

    `refused_for` is how long it was asked to wait, 0 where a refusal did not say; None: none was refused.
    """

    answers: int
    work: float
    in_flight: int
    failed: int = 0
    refused_for: float | None = None


class _Lent(msgspec.Struct):
    """A worker's slots.  It may still use those that it had `before`: nobody knows whether it has heard."""

    now: int = 0
    before: int = 0
    in_flight: int = 0
    at: float = 0.0

    @property
    def in_force(self) -> int:
        return max(self.now, self.before, self.in_flight)


class SharedConcurrency:
    """`beat` for each worker, a few times a second: the next one after the answer to the last.

    The slots in force are never more than the limit, but for a limit that has just fallen.
    """

    def __init__(self, most: int, start: int = START, *, fixed: bool = False) -> None:
        """As for `Concurrency`, of all workers together."""
        self._concurrency = Concurrency(most, start, fixed=fixed, shortest_round=SHORTEST_ROUND)
        self._lent: dict[str, _Lent] = {}  # in the order in which the workers came
        self._heard_until = 0.0

    @property
    def limit(self) -> int:
        """Requests that all workers together may have in flight now."""
        return self._concurrency.limit

    def beat(self, worker: str, report: Answers, now: float) -> int:
        """A worker is there, and this is what it saw.  Gives its slots."""
        for name in [name for name, each in self._lent.items() if now >= each.at + LEASE]:
            self.leave(name)
        lent = self._lent.setdefault(worker, _Lent())
        lent.before, lent.in_flight, lent.at = lent.now, report.in_flight, now
        self._learn(report, now)
        others = sum(each.in_force for each in self._lent.values() if each is not lent)
        lent.now = max(0, min(self._fair(now)[worker], self.limit - others))
        return lent.now

    def leave(self, worker: str) -> None:
        """A worker sends nothing any more; others get its slots."""
        self._lent.pop(worker, None)

    def _learn(self, report: Answers, now: float) -> None:
        concurrency, heard_until = self._concurrency, self._hear()
        if report.failed:
            concurrency.failed(report.failed)
        counts = self._has_been_heard(now) or not concurrency.expects_earlier
        if report.answers and counts:
            in_flight = sum(each.in_flight for each in self._lent.values())
            concurrency.answered(report.work, in_flight, heard_until, report.answers)
        if report.refused_for is not None:
            concurrency.refused(heard_until, report.refused_for)

    def _hear(self) -> float:
        """Up to when it is known, on average, what the workers saw: so much of the answers has been told,
        whenever each of them beats.
        """
        mean = sum(each.at for each in self._lent.values()) / len(self._lent)
        self._heard_until = max(self._heard_until, mean)
        return self._heard_until

    def _has_been_heard(self, now: float) -> bool:
        """Whether all workers know what they have of the limit."""
        fair = self._fair(now)
        return all(each.now == each.before == fair[name] for name, each in self._lent.items())

    def _fair(self, now: float) -> dict[str, int]:
        workers = list(self._lent)
        if self.limit < len(workers):
            first = int(now / TURN) % len(workers)
            workers = workers[first:] + workers[:first]
        return dict(zip(workers, parts(self.limit, len(workers)), strict=True))

"""Shares out what is the run's among its workers.

Pure: reports and moments come in, grants go out.  A part is one worker's until that has done it, has
left, or is `lost`; so no two ever have one.  Whoever says that a worker is lost has seen that its
process is gone.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable

import msgspec

from batch.limits.lent import Lent
from batch.limits.shared_concurrency import SharedConcurrency
from batch.limits.shares import LEASE, Shares, demand
from batch.sharing.messages import Common, Grant, Look, Report, State
from batch.totals import Totals

REQUESTS, TOKENS = "requests/min", "tokens/min"


class _Worker(msgspec.Struct):
    epoch: int = 0
    parts: set[int] = set()
    beat_at: float | None = None
    state: State = msgspec.field(default_factory=State)
    before: State = msgspec.field(default_factory=State)  # of its processes that are gone
    works: bool = False


class Coordinator:
    """`beat` for each worker; `join` before its process begins, and `lost` or `leave` after it."""

    def __init__(self, common: Common, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._to_do = deque(common.parts)
        self._done = 0
        self._rates = _shares(common.requests_per_minute), _shares(common.tokens_per_minute)
        fixed = not common.finds_out
        self._slots = SharedConcurrency(common.most, common.start, fixed=fixed)
        self._closed_until = 0.0
        self._stops = False
        self._succeeded = common.succeeded
        self._trying: str | None = None
        self._workers: dict[str, _Worker] = {}
        self._notices: list[str] = []
        self._said: set[str] = set()

    def join(self, worker: str) -> int:
        """A process is about to begin as this worker; its epoch."""
        found = self._workers.setdefault(worker, _Worker())
        found.epoch += 1
        found.works = True
        found.beat_at = None
        return found.epoch

    def beat(self, report: Report) -> Grant:
        """A worker tells how it is, and is lent something."""
        now, worker = self._clock(), self._workers.get(report.worker)
        if worker is None or not worker.works or worker.epoch != report.epoch:
            return Grant(lent=Lent(0.0, 0.0, 0, 0.0), is_stranger=True)
        worker.beat_at, worker.state = now, report.state
        self._finish(worker, report.done)
        self._notices += [text for text in report.notices if text not in self._said]
        self._said.update(report.notices)
        self._succeeded = self._succeeded or report.state.asked.rows_ok > 0
        if report.used.closed_for:
            self._closed_until = max(self._closed_until, now + report.used.closed_for)
        parts = self._lend(report.worker, worker, report.wanted, now)
        return Grant(
            lent=self._lent(report, now),
            parts=parts,
            over=not self._to_do,
            stop=self._stops,
        )

    def leave(self, worker: str, epoch: int) -> None:
        """A worker has ended in good order; what it has not done is for others."""
        found = self._workers.get(worker)
        if found is not None and found.epoch == epoch:
            self._take_back(worker, found)

    def lost(self, worker: str) -> int:
        """The process of a worker is gone; its parts are the next to be lent.  Gives their number.

        What it was lent of the limits expires by itself: a request of it may just have left.
        """
        found = self._workers[worker]
        back = len(found.parts)
        found.epoch += 1
        self._take_back(worker, found, is_gone=True)
        return back

    def stop(self) -> None:
        """Let all workers end in good order."""
        self._stops = True

    def look(self) -> Look:
        """How far all are, and what there is to say since the look before."""
        held, asked, retries, in_flight = Totals(), Totals(), 0, 0
        for worker in self._workers.values():
            for state in (worker.before, worker.state):
                held.merge(state.held)
                asked.merge(state.asked)
                retries += state.retries
            in_flight += worker.state.in_flight if worker.works else 0
        new, self._notices = list(dict.fromkeys(self._notices)), []
        busy = [each.state for each in self._workers.values() if each.works and each.parts]
        obstacles = [each.obstacle for each in busy]
        words = dict.fromkeys(each.words for each in busy if each.words)
        state = State(
            held=held,
            asked=asked,
            retries=retries,
            in_flight=in_flight,
            words="; ".join(words),
            obstacle=obstacles[0] if obstacles and None not in obstacles else None,
        )
        left = len(self._to_do) + sum(len(each.parts) for each in self._workers.values())
        return Look(state=state, left=left, done=self._done, notices=new)

    def _finish(self, worker: _Worker, done: list[int]) -> None:
        self._done += len(worker.parts.intersection(done))
        worker.parts.difference_update(done)

    def _lend(self, name: str, worker: _Worker, wanted: int, now: float) -> list[int]:
        """The next parts.  Before anything has succeeded, one worker alone tries: a bad key costs the
        tries of one.
        """
        if self._stops or not (self._succeeded or self._may_try(name, now)):
            return []
        lent = [self._to_do.popleft() for _ in range(min(wanted, len(self._to_do)))]
        worker.parts.update(lent)
        return lent

    def _may_try(self, name: str, now: float) -> bool:
        """Whether it is this worker that tries, while nothing has succeeded."""
        trying = None if self._trying is None else self._workers[self._trying]
        if trying is None or not trying.works or now >= (trying.beat_at or now) + LEASE:
            self._trying = name
        return self._trying == name

    def _lent(self, report: Report, now: float) -> Lent:
        used, name = report.used, report.worker
        amounts = (used.requests, REQUESTS), (used.tokens, TOKENS)
        rates: list[float | None] = []
        for shares, (amount, rate) in zip(self._rates, amounts, strict=True):
            wanted = demand(amount, used.seconds, held_back=used.held_back == rate)
            rates.append(None if shares is None else shares.beat(name, wanted, now).per_minute)
        slots = self._slots.beat(name, used.answers, now)
        return Lent(rates[0], rates[1], slots, LEASE, max(0.0, self._closed_until - now))

    def _take_back(self, name: str, worker: _Worker, *, is_gone: bool = False) -> None:
        self._to_do.extendleft(sorted(worker.parts, reverse=True))
        worker.parts, worker.works = set(), False
        worker.before = _together(worker.before, worker.state)
        worker.state = State()
        if not is_gone:
            for shares in self._rates:
                if shares is not None:
                    shares.leave(name)
            self._slots.leave(name)


def _shares(per_minute: float | None) -> Shares | None:
    return None if per_minute is None else Shares(per_minute)


def _together(one: State, other: State) -> State:
    """What both have done."""
    held, asked = Totals(), Totals()
    for each in (one, other):
        held.merge(each.held)
        asked.merge(each.asked)
    return State(held=held, asked=asked, retries=one.retries + other.retries)

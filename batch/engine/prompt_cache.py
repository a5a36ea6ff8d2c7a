"""Rows that wait for another with the same beginning, so that they read it from the server's prompt cache.

They wait outside the engine's window, as rows do that ask what another asks; of a request nothing is
kept but that it was made once.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Mapping

import msgspec

from batch.engine.cache_leaders import CacheLeaders
from batch.engine.feed import Feed
from batch.engine.task import Task
from batch.model import Attempt, Request, Usage


class Waiting(msgspec.Struct, frozen=True):
    """A row that waits, and about how many bytes of memory it takes."""

    task: Task
    size: int


class PromptCache:
    """Lets rows of a feed wait for those that lead, and hears what becomes of these."""

    def __init__(
        self,
        leaders: CacheLeaders[Waiting],
        feed: Feed,
        clock: Callable[[], float],
        heard: Callable[[Mapping[str, str]], None] = lambda _: None,
    ) -> None:
        """`heard` takes the headers of answers, which may tell of other caches than were known of."""
        self._leaders = leaders
        self._feed = feed
        self._clock = clock
        self._heard = heard
        self._alarms: dict[bytes, asyncio.TimerHandle] = {}

    def holds(self, task: Task, request: Request) -> bool:
        """Whether a row, which was taken from the feed, has to wait; then it is put aside."""
        beginning = self._leaders.leader_of(request, self._clock())
        if beginning is None:
            return False
        lighter = msgspec.structs.replace(task, request=msgspec.structs.replace(request, body=b""))
        waiting = Waiting(lighter, len(request.body))
        self._feed.park(waiting.size)
        self._leaders.wait(waiting, request.row, beginning, self._clock())
        if beginning not in self._alarms:
            self._set_alarm(beginning)
        return True

    def left(self, request: Request) -> None:
        """A request is under way."""
        self._leaders.left(request.row)

    def begun(self, request: Request) -> None:
        """The answer to a request has begun."""
        self._free(self._leaders.begun(request, self._clock()))

    def ended(self, request: Request, attempt: Attempt | None, used: Usage | None = None) -> bool:
        """A request is not under way any more, or, without an attempt, will not be.  Whether others may
        leave that have waited for it.
        """
        if attempt is not None:
            self._heard(attempt.headers)
        answered = attempt is not None and attempt.status == 200
        cached = None if used is None else used.cached_tokens
        return self._free(self._leaders.ended(request, answered, cached, self._clock()))

    def close(self) -> None:
        """Nobody is waited for any more."""
        for alarm in self._alarms.values():
            alarm.cancel()
        self._alarms.clear()

    def _set_alarm(self, beginning: bytes) -> None:
        delay = max(0.0, self._leaders.due(beginning) - self._clock())
        later = asyncio.get_running_loop().call_later
        self._alarms[beginning] = later(delay, self._overdue, beginning)

    def _overdue(self, beginning: bytes) -> None:
        del self._alarms[beginning]
        self._free(self._leaders.overdue(beginning, self._clock()))
        if self._leaders.due(beginning) < float("inf"):  # others have begun to wait since
            self._set_alarm(beginning)

    def _free(self, freed: Iterable[Waiting]) -> bool:
        some = False
        for each in freed:
            self._feed.unpark(each.size, each.task)
            some = True
        return some

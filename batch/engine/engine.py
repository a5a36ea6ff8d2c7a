"""The loop of a run: workers take rows from the feed, send them, and carry out what follows.

One TaskGroup of as many workers as requests may be in flight.  What stops a run (a bad key, a full
disk, a signal) stops the feed; what is in flight is waited for, so that nothing that was paid for
is lost.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterator
from typing import TYPE_CHECKING

import msgspec

from batch.engine import notices
from batch.engine.decisions import Decision, Done, Held, Leave, Stop, Together, Wait
from batch.engine.duplicates import Follower, Settled
from batch.engine.events import Events, Notice
from batch.engine.feed import Feed
from batch.engine.judge import Judge
from batch.engine.packs import Packs, RowDecided
from batch.engine.questions import Questions, Refused
from batch.engine.sender import Sender, Unsendable
from batch.engine.task import Task
from batch.errors import (
    BatchError,
    CapReached,
    Different,
    InputError,
    Interrupted,
    Stopped,
    StorageError,
)
from batch.model import Request, Result
from batch.outcome import Accept, Outcome
from batch.store.writer import Store
from batch.tries import Try

if TYPE_CHECKING:
    from batch.engine.pooled_sender import PooledSender
    from batch.engine.prompt_cache import PromptCache

Interrupt = Callable[[str, int], None]
"""Ends a run in good order; takes what to call the wish, and the exit code."""

MOST_LEFT = 1_000
"""Rows at the end of a run that may all be at fault themselves."""


async def _unknown() -> bool:
    return False


class Engine:
    """Asks every row the feed gives."""

    def __init__(
        self,
        questions: Questions,
        sender: Sender | PooledSender,
        judge: Judge,
        feed: Feed,
        store: Store,
        events: Events,
        is_there: Callable[[], Awaitable[bool]] = _unknown,
        inputs: int | str = "auto",
        cache: PromptCache | None = None,
    ) -> None:
        """`is_there` asks, free of charge, whether the endpoint lists its models; so many `inputs` may share
        a request; `cache` lets rows that begin alike wait for the first of them.
        """
        self._questions = questions
        self._sender = sender
        self._judge = judge
        self._feed = feed
        self._store = store
        self._events = events
        self._is_there = is_there
        self._packs = Packs(inputs, sender, judge, feed, store)
        self._cache = cache
        self._interrupted = False
        self._workers: list[asyncio.Task[None]] = []
        self._idle = 0  # of them
        self._stopped: BatchError | None = None

    async def run(self, workers: int) -> BatchError | None:
        """Ask with up to so many workers.  Returns why the run ended early, None when every row has its
        result.  Nothing is in flight then, and what was answered is sealed, unless the disk refused.
        """
        try:
            async with self._store:
                try:
                    async with asyncio.TaskGroup() as group:
                        self._begin(group, workers, 1)
                    self._carry_out(None, *self._judge.at_the_end())
                finally:
                    await self._feed.close()
                    self._questions.close()
                    if self._cache is not None:
                        self._cache.close()
        except StorageError as error:
            self._stopped = error
        return self._stopped

    def interrupt(self, name: str, exit_code: int) -> None:
        """Somebody wants the run to end.  The first time, what is in flight is waited for, but at most
        DRAIN_SECONDS; the second time it is not.  To be called in the event loop.
        """
        if self._interrupted:
            self._cut_short()
            return
        self.wind_up(Interrupted("interrupted", exit_code=exit_code))
        self._events.emit(Notice(notices.waits_for(name, self._sender.under_way)))

    def wind_up(self, reason: BatchError) -> None:
        """End without a word: what is in flight is waited for, but at most DRAIN_SECONDS.  To be called
        in the event loop.
        """
        if not self._interrupted:
            self._interrupted = True
            self._stop(reason)
            asyncio.get_running_loop().call_later(notices.DRAIN_SECONDS, self._cut_short)

    def _begin(self, group: asyncio.TaskGroup, most: int, more: int) -> None:
        """Let so many more work: of a few rows, 256 would take longer to end than the rows to ask."""
        more = min(more, most - len(self._workers))
        self._idle += more
        self._workers += [group.create_task(self._work(group, most)) for _ in range(more)]

    async def _work(self, group: asyncio.TaskGroup, most: int) -> None:
        """Ask row after row, and let others begin to, up to `most`, where nobody is idle."""
        try:
            while (task := await self._next()) is not None:
                self._idle -= 1
                if self._idle == 0:
                    self._begin(group, most, len(self._workers))
                request = self._sender.adapted(task.asked)
                if task.tries:
                    request = msgspec.structs.replace(request, again=task.unwanted)
                if request is not task.request:
                    task = msgspec.structs.replace(task, request=request)
                attempt = await self._sender.send(request)
                done, judged = self._judge.ended(request, attempt)
                self._sender.settle(request, done, judged)
                now = self._sender.now()
                if not isinstance(judged, Accept) and self._judge.may_be_the_rows(now):
                    await self._doubt()
                if task.packed:
                    await self._settle(self._packs.decided(task, done, judged, now), task)
                else:
                    self._decide(task, done, judged, now)
                # an answer may be megabytes, and the next row long in coming
                del task, request, attempt, done, judged
                self._idle += 1
                if self._store.is_behind():
                    await self._store.room()
        except (StorageError, InputError, Different) as error:
            self._stop(error)

    def _decide(self, task: Task, done: Try, judged: Outcome, now: float) -> None:
        """Do what follows from a try at one row."""
        if task.owed:
            done = msgspec.structs.replace(done, requests=done.requests + task.owed)
            task = msgspec.structs.replace(task, owed=0)
        self._carry_out(task, *self._judge.decide(task, done, judged, now))
        used = done.spent.reading.usage
        if self._cache is not None and self._cache.ended(task.asked, done.attempt, used):
            self._sender.starved()

    async def _settle(self, rows: Iterator[RowDecided], pack: Task) -> None:
        """Do what follows for the rows of a pack, one by one."""
        try:
            for task, decided in rows:
                self._carry_out(task, *decided)
                await self._store.room()
        finally:
            self._packs.settled(pack)

    async def _doubt(self) -> None:
        """Rows have failed for long: where only few are left, find out whether that is an outage."""
        most = MOST_LEFT - self._packs.aside
        if most > 0 and self._feed.few_left(most) and await self._is_there():
            self._judge.try_the_last()
            self._feed.hurry()

    async def _next(self) -> Task | None:
        """The next row whose request may leave now; None when there will be no more.

        One worker at a time is in here, so that rows leave in the order of the feed.
        """
        if not self._sender.gate.at_once():
            await self._sender.gate.enter()
        try:
            if self._packs.under_way:
                await self._packs.room()
            while (
                task := self._packs.ready() or self._feed.ready() or await self._feed.take()
            ) is not None:
                request = await self._request(task)
                if request is None:
                    await self._store.room()
                    continue
                task = msgspec.structs.replace(task, request=request)
                if self._packs.takes(task, request):
                    task = await self._packs.together(task, self._request)
                    request = task.request or request
                if self._sender.at_once(request) or await self._admitted(task, request):
                    if self._cache is not None:
                        self._cache.left(request)
                    return task
                if self._cache is not None:
                    self._cache.ended(request, None)
        finally:
            self._sender.gate.leave()
        return None

    async def _request(self, task: Task) -> Request | None:
        """What the row asks; None when it has its result already, cannot be asked, or waits for another."""
        if task.request is not None and task.request.body:
            return self._in_turn(task, task.request)
        built = self._questions.built(task)
        if built is not None and not self._questions.may_know(built):
            return self._in_turn(task, built)
        try:
            asked = await self._questions.of(task, built)
        except Refused as refused:
            again = msgspec.structs.replace(task, request=refused.request)
            self._carry_out(again, *self._judge.unsendable(again, refused.error))
            return None
        if isinstance(asked, Request):
            return self._in_turn(task, asked)
        if isinstance(asked, Follower):
            self._feed.park(asked.size)
        else:
            self._carry_out(task, Done(asked))
        return None

    def _in_turn(self, task: Task, request: Request) -> Request | None:
        """The request; None where it waits for another that begins alike."""
        return None if self._cache is not None and self._cache.holds(task, request) else request

    async def _admitted(self, task: Task, request: Request) -> bool:
        """Wait until the request may leave.  False when it never may, or the run has stopped."""
        try:
            if await self._sender.admit(request, task.past):
                return True
        except (Unsendable, CapReached) as fault:
            if task.packed:
                self._packs.too_large(task)
                return False
            if isinstance(fault, CapReached):
                self._stop(fault)
                self._feed.finish(task)
                return False
            self._carry_out(task, *self._judge.unsendable(task, fault.error))
            return False
        except Stopped as reason:
            self._stop(reason)
        if task.packed:
            self._packs.stays(task)
        else:
            self._feed.finish(task)
        return False

    def _carry_out(self, task: Task | None, *decisions: Decision) -> None:
        """Do what follows for a row, which then is finished or waits.  `task` is None where only rows
        that were finished before are decided about.
        """
        waits = False
        for decision in decisions:
            match decision:
                case Done(result):
                    self._done(result)
                case Wait(again, seconds):
                    self._dropped(again.row.index, again.tries[-1])
                    waits = self._stopped is None
                    if waits:
                        self._feed.put_back(again.lighter(self._questions.reads_files), seconds)
                case Together(tasks):
                    self._put_back(decision, tasks)
                case Held(row, done):
                    self._dropped(row, done)
                    self._follow(self._questions.failed(row))
                case Leave(endpoint, reason):
                    self._sender.leave(endpoint, str(reason))
                case Stop(reason):
                    self._stop(reason)
                case Notice():
                    self._events.emit(decision)
        if task is not None and not waits:
            self._feed.finish(task)

    def _done(self, result: Result) -> None:
        """A row has its result, and perhaps others that ask the same."""
        self._store.write(result)
        if self._questions.is_awaited(result.row):
            self._follow(self._questions.settled(result, self._store.part_of(result.row)))

    def _follow(self, settled: Settled) -> None:
        """Do what follows for rows that waited for another."""
        for waited, result in zip(settled.waited, settled.results, strict=True):
            self._store.write(result)
            self._feed.unpark(waited.size)
        if (leads := settled.leads) is not None:
            self._feed.unpark(leads.size, leads.leading)

    def _put_back(self, together: Together, tasks: tuple[Task, ...]) -> None:
        """Rows that shared a request are to be asked again, in one or in another."""
        free = [
            each.row.index for each in tasks if together.untried or each.tries[-1].certainly_free
        ]
        self._store.cost_nothing(*free)
        if self._stopped is None:
            lighter = tuple(each.lighter(self._questions.reads_files) for each in tasks)
            self._feed.put_back_together(lighter, together.seconds)
        else:
            self._feed.finish(*tasks)

    def _dropped(self, row: int, done: Try) -> None:
        """A try makes no result yet, and perhaps never will: the store hears if it was free."""
        if done.certainly_free:
            self._store.cost_nothing(row)

    def _stop(self, reason: BatchError) -> None:
        """Give out nothing more; the first reason counts."""
        if self._stopped is None:
            self._stopped = reason
        self._judge.stop()
        self._feed.stop()
        self._packs.close()
        self._sender.close()

    def _cut_short(self) -> None:
        """Give up what is in flight."""
        for worker in self._workers:
            worker.cancel()

"""Which row is asked next: those due for another try first, then the input in order, which a thread
reads one batch ahead.

Workers share one Feed.  `take` answers at once while rows are there; otherwise it sleeps until
something changes: a batch has come, a row is finished or put back, or the next waiting row is due.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

from batch.engine import stop_reasons
from batch.engine.retry import Waiting
from batch.engine.steps import Filled, Reopen, Slice, Step
from batch.engine.task import Task
from batch.model import Row
from batch.readers import Changed, Watched
from batch.store.open_parts import OpenPart
from batch.store.writer import Store
from batch.totals import Summary

MOST_PARKED, MOST_PARKED_BYTES = 10_000, 32 << 20
"""Rows, and about how many bytes of them, that wait for the results of others; then none is read."""
MOST_TOGETHER = 1 << 15
"""Rows that are on their way, beyond which none is taken to ride in the request of another."""


class Feed:
    """Gives rows to workers, each row to one."""

    def __init__(
        self,
        store: Store,
        watched: Watched,
        steps: Iterator[Step],
        window: int,
        on_taken_back: Callable[[Summary], None] = lambda _: None,
        clock: Callable[[], float] = time.monotonic,
        on_stop: Callable[[], None] = lambda: None,
    ) -> None:
        """`steps` is what is to be done, as `steps.of` gives it.  New rows are taken while fewer
        than `window` are on their way.  `on_taken_back` hears of rows that had a result and are
        asked again, `on_stop` that no step is taken any more.
        """
        self._store = store
        self._watched = watched
        self._source = watched.source
        self._window = window
        self._on_taken_back = on_taken_back
        self._clock = clock
        self._on_stop = on_stop
        self._waiting: Waiting[Task | tuple[Task, ...]] = Waiting()
        self._ready: deque[Task] = deque()  # of those that waited together, or were given back
        self._together = 0  # rows that wait so
        self._in_flight = 0
        self._parked = self._parked_bytes = 0
        self.riding = 0
        """How many of them have no request of their own: they ride in that of another row."""
        self._rows: Iterator[Row] = iter(())
        self._ahead: deque[Task] = deque()  # read, though there was no room for them yet
        self._parts: dict[int, OpenPart] = {}
        self._changed = asyncio.Event()
        self.retries = 0
        """Rows put back so far."""
        self._failure = store.failure
        store.when_changed(self._store_changed)
        self._stopped = False
        self.ended = False  # the input's end (or limit) has been reached
        self._reader = ThreadPoolExecutor(1, "reader")
        self._steps = steps
        self._fetched = self._fetch()
        self._looked: asyncio.Future[None] | None = None

    async def take(self) -> Task | None:
        """The next row to ask; None when there will be no more.  `finish` or `put_back` it.

        Raises StorageError once nothing can be written any more, Different for a changed input.
        """
        while not self._stopped:
            if self._failure is not None:
                raise self._failure
            task = self.ready()
            if task is not None:
                return task
            left = self._in_flight or self._waiting or self._ahead or self._ready or self._parked
            if self.ended and not left:
                await self._look_again()
                break
            await self._change()
        self._wake()
        return None

    def ready(self) -> Task | None:
        """What `take` gives, where it need not wait for it."""
        if self._stopped or self._failure is not None:
            return None
        task = self._next()
        if task is not None:
            self._in_flight += 1
        return task

    def rider(self) -> Task | None:
        """Another row that may be asked now, in the request of one that was taken; None where none is
        there.
        """
        if self._in_flight + self._together >= MOST_TOGETHER:
            return None
        task = self.ready()
        if task is not None:
            self.riding += 1
        return task

    def give_back(self, *tasks: Task) -> None:
        """These rows are to be taken again, before all others."""
        self._ready.extendleft(reversed(tasks))
        self._in_flight -= len(tasks)
        self._wake()

    def put_back_together(self, tasks: tuple[Task, ...], delay: float) -> None:
        """Let these rows wait for another try as one request."""
        self.retries += len(tasks)
        self._waiting.push(self._clock() + delay, tasks)
        self._together += len(tasks)
        self._in_flight -= len(tasks)
        self._wake()

    def finish(self, *tasks: Task) -> None:
        """The story of these rows has ended."""
        self._in_flight -= len(tasks)
        self._changed.set()

    def put_back(self, task: Task, delay: float) -> None:
        """Let the row wait `delay` seconds for another try."""
        self.retries += 1
        self._waiting.push(self._clock() + delay, task)
        self._in_flight -= 1
        self._wake()

    def park(self, size: int) -> None:
        """The row waits for the result of another, and takes so many bytes of memory meanwhile."""
        self._parked += 1
        self._parked_bytes += size
        self._in_flight -= 1
        self._wake()

    def unpark(self, size: int, again: Task | None = None) -> None:
        """A row waits no more: it has its result, or is to be asked itself (`again`)."""
        self._parked -= 1
        self._parked_bytes -= size
        if again is not None:
            self._waiting.push(self._clock(), again)
        self._wake()

    def hurry(self) -> None:
        """Let no row wait any longer for another try."""
        self._waiting.hurry(self._clock())
        self._wake()

    def stop(self) -> None:
        """Give out nothing more."""
        self._stopped = True
        self._on_stop()
        self._wake()

    @property
    def in_flight(self) -> int:
        """Rows that workers hold."""
        return self._in_flight

    @property
    def has_due(self) -> bool:
        """Whether a row is to be asked now that was taken before."""
        waiting = self._waiting.heap
        return bool(self._ready) or (bool(waiting) and waiting[0][0] <= self._clock())

    @property
    def exhausted(self) -> bool:
        """Whether all rows that are not finished are on their way."""
        return self.ended and not (self._waiting or self._ahead or self._ready)

    @property
    def rows(self) -> int:
        """Rows of the input taken so far, those of earlier starts included."""
        return self._store.next_row

    def rows_by_share(self) -> int | None:
        """About how many rows the input has, by the share of its bytes that has been read; None
        while that is unknown.
        """
        share = self._source.share_before(self._store.next_position)
        return round(self.rows / share) if share else None

    async def close(self) -> None:
        """Let the reader's thread end."""
        self.stop()
        await asyncio.wait({self._fetched})
        if not self._fetched.cancelled():
            self._fetched.exception()  # it was not asked for
        self._reader.shutdown()

    def _fetch(self) -> asyncio.Future[Step | None]:
        fetched = asyncio.get_running_loop().run_in_executor(self._reader, next, self._steps, None)
        fetched.add_done_callback(lambda _: self._wake())
        return fetched

    def _store_changed(self) -> None:
        self._failure = self._store.failure
        self._changed.set()

    def _wake(self) -> None:
        self._changed.set()

    async def _change(self) -> None:
        """Sleep until something changes."""
        self._changed.clear()
        due = self._waiting.next_due()
        try:
            async with asyncio.timeout(None if due is None else max(0.0, due - self._clock())):
                await self._changed.wait()
        except TimeoutError:
            return

    def _next(self) -> Task | None:
        """The row that is to be asked next, if one may be now."""
        if self._ready:
            return self._ready.popleft()
        due = self._waiting.pop_due(self._clock()) if self._waiting.heap else None
        if due is None:
            return self._next_new()
        if isinstance(due, Task):
            return due
        self._together -= len(due)
        self._ready.extend(due)
        return self._ready.popleft()

    def _next_new(self) -> Task | None:
        """A row of the input, if one may be read and is there."""
        if len(self._waiting.heap) + self._in_flight - self.riding >= self._window:
            return None
        if self._parked >= MOST_PARKED or self._parked_bytes >= MOST_PARKED_BYTES:
            return None
        return self._ahead.popleft() if self._ahead else self._read_new()

    def few_left(self, most: int) -> bool:
        """Whether the input ends within so many rows, as far as that is known by now.  They are read."""
        while not self.ended and len(self._ahead) < most and (task := self._read_new()):
            self._ahead.append(task)
        return self.ended

    def _read_new(self) -> Task | None:
        while True:
            for row in self._rows:
                return Task(row)
            if self.ended or not self._fetched.done() or not self._store.has_room():
                return None
            step = self._step()
            if step is None:
                self.ended = True
                self._store.input_ended()
                return None
            self._fetched = self._fetch()
            self._take_step(step)

    def _step(self) -> Step | None:
        """The one that was fetched.  Raises Different where the input has changed meanwhile."""
        with self._telling_changes():
            return self._fetched.result()

    async def _look_again(self) -> None:
        """Whether the input is the same now that all is answered, looked up once for all who ask.
        Raises Different.
        """
        if self._looked is None:
            loop, look = asyncio.get_running_loop(), self._watched.look_again
            self._looked = loop.run_in_executor(self._reader, look)
        with self._telling_changes():
            await asyncio.shield(self._looked)

    @contextmanager
    def _telling_changes(self) -> Iterator[None]:
        try:
            yield
        except Changed as change:
            raise stop_reasons.changed(self.rows, str(change), change.until) from None

    def _take_step(self, step: Step) -> None:
        match step:
            case Reopen(found, wanted, taken_back, attempts, unanswered):
                self._store.take_over(unanswered)
                if found.rows is None:
                    self._store.resume_last(found, wanted, attempts)
                else:
                    self._parts[found.number] = self._store.reopen(found, wanted, attempts)
                self._on_taken_back(taken_back)
            case Slice(batch, None, _):
                knows_some, first = self._store.knows_next, self._store.take_in(batch)
                rows = self._source.rows(batch, first)
                self._rows = self._wanted(rows) if knows_some else iter(rows)
            case Slice(batch, found, first):
                assert found is not None
                if not found.spooled:
                    self._store.respool(self._parts[found.number], batch)
                self._rows = self._wanted(self._source.rows(batch, first))
            case Filled(found):
                self._store.filled(self._parts.pop(found.number))

    def _wanted(self, rows: Iterable[Row]) -> Iterator[Row]:
        """Those that have no result yet."""
        return (row for row in rows if self._store.wants(row.index))

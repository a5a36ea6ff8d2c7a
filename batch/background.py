"""Work in a thread of its own, which whoever waits for it may interrupt.

A run brings its own event loop; its caller may be in the middle of another, which it must not hold
up, and in a main thread that hears Ctrl-C.  Interrupted once, the work is waited for while it ends in
good order, which takes ENDING_SECONDS at most; interrupted twice it is left after LEAVING_SECONDS.  Work
that was left ends by itself as soon as it can.
"""

from __future__ import annotations

import asyncio
import math
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Generic, TypeVar

from batch.engine.engine import Interrupt
from batch.engine.notices import DRAIN_SECONDS
from batch.errors import Interrupted

T = TypeVar("T")

INTERRUPTED = 130
LEAVING_SECONDS = 2.0
ENDING_SECONDS = DRAIN_SECONDS + LEAVING_SECONDS
LISTENING_SECONDS = 0.5
"""A wait without an end hears no Ctrl-C on Windows."""


class Background(Generic[T]):
    """Work that begins once its `result` is asked for.  It is given itself, for its `hearing`."""

    def __init__(
        self,
        work: Callable[[Background[T]], T],
        then: Callable[[], None] = lambda: None,
        ending: float = ENDING_SECONDS,
    ) -> None:
        """`then` is called in the thread once the work has ended; `ending` is how long that may take
        after the first wish.
        """
        self._work = work
        self._then = then
        self._ending = ending
        self._result: T
        self._failure: BaseException | None = None
        self._over = threading.Event()
        self._lock = threading.Lock()
        self._wishes = 0
        self._pass_on: Callable[[], object] | None = None
        self._thread = threading.Thread(target=self._run, name="batchmill", daemon=True)

    def begin(self) -> None:
        """Begin, where the caller waits in another way."""
        self._thread.start()

    def result(self) -> T:
        """What the work comes to.  Raises what it raised; KeyboardInterrupt where that came meanwhile,
        after the work has ended or was left, because of what went wrong with that.
        """
        try:
            self.begin()
            while not self._over.wait(LISTENING_SECONDS):
                pass
        except KeyboardInterrupt as pressed:
            self._end()
            raise pressed from self.failure
        return self.outcome()

    @property
    def failure(self) -> BaseException | None:
        """What the work raised, so far."""
        return self._failure

    def outcome(self) -> T:
        """What work that is over came to.  Raises what it raised."""
        if self._failure is not None:
            raise self._failure
        return self._result

    def check(self) -> None:
        """For the work, while nothing else hears.  Raises Interrupted where it is to end."""
        if self._wishes:
            raise Interrupted("interrupted; nothing was sent")

    @contextmanager
    def hearing(self, interrupt: Interrupt) -> Iterator[None]:
        """Meanwhile the event loop in which this is called hears of every wish, earlier ones included."""
        loop = asyncio.get_running_loop()
        self._listen(partial(loop.call_soon_threadsafe, interrupt, "interrupted", INTERRUPTED))
        try:
            yield
        finally:
            self._listen(None)

    def interrupt(self) -> None:
        """Let the work end, in good order the first time."""
        with self._lock:
            self._wishes += 1
            if self._pass_on is not None:
                self._pass_on()

    def _listen(self, pass_on: Callable[[], object] | None) -> None:
        with self._lock:
            self._pass_on = pass_on
            for _ in range(self._wishes if pass_on is not None else 0):
                assert pass_on is not None
                pass_on()

    def _end(self) -> None:
        self.interrupt()
        if self._thread.ident is None:  # it had not begun
            return
        until = time.monotonic() + self._ending
        try:
            while not self._over.wait(LISTENING_SECONDS) and time.monotonic() < until:
                pass
        except KeyboardInterrupt:
            self.interrupt()
            self._over.wait(LEAVING_SECONDS)

    def _run(self) -> None:
        try:
            self._result = self._work(self)
        except BaseException as failure:  # noqa: BLE001  (it is the caller's)
            self._failure = failure
        finally:
            self._over.set()
            self._then()


async def result(work: Callable[[Background[T]], T], ending: float = ENDING_SECONDS) -> T:
    """What work in a thread comes to, for a caller in an event loop.  Raises what it raised, and
    CancelledError where the caller was cancelled meanwhile, after the work has ended or was left,
    because of what went wrong with that.
    """
    loop, over = asyncio.get_running_loop(), asyncio.Event()
    begun = Background(work, lambda: _tell(loop, over))
    begun.begin()
    wishes, until = 0, math.inf
    while not over.is_set():
        try:
            async with asyncio.timeout_at(None if until == math.inf else until):
                await over.wait()
        except TimeoutError:
            break
        except asyncio.CancelledError:
            wishes += 1
            until = min(until, loop.time() + (ending if wishes == 1 else LEAVING_SECONDS))
            begun.interrupt()
    if wishes:
        raise asyncio.CancelledError from begun.failure
    return begun.outcome()


def _tell(loop: asyncio.AbstractEventLoop, over: asyncio.Event) -> None:
    """That the work is over, if somebody is there to hear it."""
    try:
        loop.call_soon_threadsafe(over.set)
    except RuntimeError:  # the loop was closed: nobody waits
        return

"""An event loop whose time is its own: sleeping costs nothing, and an hour passes in a moment.

While a thread works for the loop, and while bytes are under way between two sockets of it, time
stands still: so a whole run, with the server it asks in the same loop, takes the time it says, however
busy the machine is.  Bytes are counted where they leave and where they come, so nobody waits for those
that are there.
"""

from __future__ import annotations

import asyncio
import selectors
import socket
from asyncio.events import Handle, TimerHandle
from collections.abc import Callable, Coroutine
from concurrent.futures import Executor
from dataclasses import dataclass
from heapq import heappop, heappush
from itertools import count
from typing import Any, TypeVar

from batch.engine.events import Consumer, Event, Notice
from batch.planning.terms import Terms
from batch.runner import Surroundings
from tests.fake_api import FakeAPI

T = TypeVar("T")

TICK = 1e-6
"""Seconds that a turn of the loop takes, so that time does not stand still in rounding."""

RESOLUTION = 1e-9
"""Seconds by which a moment may still be ahead that is taken as come."""

UNDER_WAY = 0.001
"""Real seconds for which the kernel may hold what one socket has sent to another."""


@dataclass
class Clock:
    """What a loop's time is read from, before it is there and after it has gone."""

    now: float = 1_000.0

    def read(self) -> float:
        return self.now


@dataclass
class _Wire:
    """What the sockets of a loop, which has both ends of each connection, have sent and not yet got."""

    bytes: int = 0
    signs: bool = False
    """Whether there may be more than bytes: a connection that begins or ends."""

    def holds(self) -> bool:
        return self.bytes != 0 or self.signs

    def has_come(self) -> None:
        """Nothing is under way: what nobody got will not be had."""
        self.bytes, self.signs = 0, False


class _Counted:
    """A socket of which all that leaves and comes is counted."""

    def __init__(self, end: socket.socket, wire: _Wire) -> None:
        self._end = end
        self._wire = wire

    def __getattr__(self, name: str) -> Any:
        return getattr(self._end, name)

    def send(self, content: Any) -> int:
        return self._sent(self._end.send(content))

    def sendmsg(self, contents: Any) -> int:
        return self._sent(self._end.sendmsg(contents))

    def recv(self, most: int) -> bytes:
        content = self._end.recv(most)
        self._wire.bytes -= len(content)
        return content

    def shutdown(self, how: int) -> None:
        self._wire.signs = True
        self._end.shutdown(how)

    def close(self) -> None:
        self._wire.signs = True
        self._end.close()

    def _sent(self, count: int) -> int:
        self._wire.bytes += count
        return count


class VirtualLoop(asyncio.SelectorEventLoop):
    """When everything waits, time goes on to the next moment at which something is due.

    A turn does what asyncio's own does, with less ado: simulations are made of little else.
    """

    _ready: Any

    def __init__(self, clock: Clock | None = None) -> None:
        self.clock = clock or Clock()
        self.at_work = 0
        self.wire = _Wire()
        self._timers: list[tuple[float, int, TimerHandle]] = []
        self._order = count()
        super().__init__(_Selector(self))

    def time(self) -> float:
        return self.clock.now

    def call_soon(  # type: ignore[override]
        self, callback: Callable[..., object], *args: Any, context: Any = None
    ) -> Handle:
        handle = Handle(callback, args, self, context)
        self._ready.append(handle)
        return handle

    def call_at(  # type: ignore[override]
        self, when: float, callback: Callable[..., object], *args: Any, context: Any = None
    ) -> TimerHandle:
        timer = TimerHandle(when, callback, args, self, context)
        heappush(self._timers, (when, next(self._order), timer))
        return timer

    def _run_once(self) -> None:
        ready, timers, clock = self._ready, self._timers, self.clock
        while timers and timers[0][2]._cancelled:
            heappop(timers)
        timeout = None
        if ready or self._stopping:  # type: ignore[attr-defined]
            timeout = 0.0
        elif timers:
            timeout = max(0.0, timers[0][0] - clock.now)
        if events := self._selector.select(timeout):  # type: ignore[attr-defined]
            self._process_events(events)  # type: ignore[attr-defined]
        end = clock.now + RESOLUTION
        while timers and timers[0][0] < end:
            ready.append(heappop(timers)[2])
        for _ in range(len(ready)):
            handle = ready.popleft()
            if not handle._cancelled:
                handle._run()

    def run_in_executor(  # type: ignore[override]
        self, executor: Executor | None, func: Callable[..., T], *args: Any
    ) -> asyncio.Future[T]:
        self.at_work += 1
        future = super().run_in_executor(executor, func, *args)
        future.add_done_callback(self._has_worked)
        return future

    async def sock_connect(self, sock: socket.socket, address: Any) -> None:
        self.wire.signs = True
        await super().sock_connect(sock, address)

    def _make_socket_transport(self, sock: socket.socket, *args: Any, **more: Any) -> Any:
        made = super()._make_socket_transport(sock, *args, **more)
        made._sock = _Counted(sock, self.wire)
        return made

    async def shutdown_default_executor(self, *args: Any) -> None:
        self.at_work += 1
        await super().shutdown_default_executor(*args)

    def _has_worked(self, _: object) -> None:
        self.at_work -= 1


class _Selector(selectors.DefaultSelector):
    def __init__(self, loop: VirtualLoop) -> None:
        super().__init__()
        self._loop = loop
        self._watched = 0

    def register(self, *args: Any) -> Any:
        made = super().register(*args)
        self._watched = len(self.get_map())
        return made

    def unregister(self, *args: Any) -> Any:
        gone = super().unregister(*args)
        self._watched = len(self.get_map())
        return gone

    def select(self, timeout: float | None = None) -> list[Any]:
        loop = self._loop
        loop.clock.now += TICK
        if timeout is not None and not loop.at_work and self._watched == 1:
            loop.clock.now += timeout  # there is but the loop's own pipe to itself
            return []
        ready = super().select(0)
        if ready or (timeout is not None and timeout <= 0):
            return ready
        if loop.at_work:
            return super().select(None)
        if loop.wire.holds() or timeout is None:
            ready = super().select(UNDER_WAY)
        if not ready:
            loop.wire.has_come()
            if timeout is None:
                raise RuntimeError("everything waits for ever")
            loop.clock.now += timeout
        return ready


async def until(condition: Callable[[], object]) -> None:
    """Return when `condition` holds, at most a millisecond later."""
    while not condition():  # noqa: ASYNC110
        await asyncio.sleep(0.001)


def play(story: Coroutine[Any, Any, T], clock: Clock | None = None) -> T:
    """Run a coroutine to its end under a time of its own."""
    with asyncio.Runner(loop_factory=lambda: VirtualLoop(clock)) as runner:
        return runner.run(story)


def notices_to(said: list[str]) -> Consumer:
    """Keeps the lines for a person."""

    def take(event: Event) -> None:
        if isinstance(event, Notice):
            said.append(event.text)

    return take


def how(
    api: FakeAPI, *meanwhile: Callable[[], Coroutine[Any, Any, object]], **more: Any
) -> tuple[Terms, Surroundings]:
    """How to make a run whose time is its own, and that of the server it asks, too; what is to happen
    `meanwhile` is ended with it.  `more` are further terms, or the list to which what is `said` goes.
    """
    clock = Clock()

    async def together(story: Coroutine[Any, Any, T]) -> T:
        async with api.serving():
            others = [asyncio.create_task(each()) for each in meanwhile]
            try:
                return await story
            finally:
                for other in others:
                    other.cancel()
                await asyncio.gather(*others, return_exceptions=True)

    consumers = (notices_to(more.pop("said", [])),)
    around = Surroundings(
        consumers=consumers, clock=clock.read, playing=lambda story: play(together(story), clock)
    )
    return Terms(environment={}, **{"bounds": False, **more}), around

"""Connections between two requests: when one may be used again, and for how long.

A server may announce keep-alive and close all the same, at once or some milliseconds later.  Whatever
is written to its connection meanwhile is lost, and nobody knows whether it was read.  So a connection
rests until it has shown that it stays open, as long as too few others of this server have.
"""

from __future__ import annotations

import asyncio
import re
import select
from collections import OrderedDict
from collections.abc import Iterable, Mapping
from functools import partial
from typing import NamedTuple

import aiohttp
from aiohttp.client_proto import ResponseHandler
from aiohttp.connector import BaseConnector, Connection

LONGEST_IDLE = 4.0
"""Seconds after which no connection is used again: uvicorn and llama.cpp close an idle one after 5."""
REST = 0.025
"""Seconds in which a server that closes after an answer has usually done so."""
SOON = 0.1
"""Seconds: one that closes later than this did so because nobody asked."""
ENOUGH = 8
"""Connections that have to stay open, one after another, before the next need not rest; twice as many
every time one closes after that.
"""
LONGER, SHORTER = 4.0, 0.75
"""Times the seconds after which a connection was closed: so long others rest, or are used at most."""
FORGOTTEN = 60.0
"""Seconds after which a server that has closed no connection may keep them: it was being restarted."""
RESTING = 32
"""Connections to a server that closes them that may rest besides those that are used."""
MOST = 500
"""Sockets in one `select`: Windows takes 512."""
TIMEOUT = re.compile(r"\btimeout\s*=\s*(\d{1,9})(?!\d)", re.I)


class Taken(NamedTuple):
    """A connection for one request.  `idle` is for how many seconds nobody used it; None if it is new."""

    connection: Connection
    protocol: ResponseHandler
    idle: float | None


class Pool:
    """All connections to one server."""

    def __init__(
        self, connector: BaseConnector, most: int, connecting: aiohttp.ClientTimeout
    ) -> None:
        """There are `most` at a time, or RESTING more.  `connecting` is how long making one may take."""
        self._connector = connector
        self._connections = most
        self._connecting = connecting
        self._loop = asyncio.get_running_loop()
        self._idle: OrderedDict[ResponseHandler, tuple[Connection, float]] = OrderedDict()
        self._open = 0
        self._waiting: list[asyncio.Future[None]] = []
        self._rest, self._longest = REST, LONGEST_IDLE
        self._stayed, self._enough = 0, ENOUGH
        self._closes = False
        self._learnt_at = self._loop.time()

    def rested(self) -> Taken | None:
        """The connection that has rested longest; None where none has rested long enough."""
        now = self._loop.time()
        while self._idle:
            protocol, (connection, since) = next(iter(self._idle.items()))
            idle = now - since
            if idle < self._rest and self._stayed < self._enough:
                return None
            del self._idle[protocol]
            if not protocol.is_connected():
                self.was_closed(idle)
            elif idle <= self._longest and not protocol.should_close:
                self._stayed += idle >= self._rest
                return Taken(connection, protocol, idle)
            self.close(connection)
        return None

    async def take(self, request: aiohttp.ClientRequest) -> Taken:
        """One that has rested, as soon as there is one, or a new one.  Raises what aiohttp raises."""
        while (rested := self.rested()) is None:
            if self._open < self._connections + RESTING * self._closes:
                return await self.extra(request)
            await self._change()
        return rested

    async def extra(self, request: aiohttp.ClientRequest) -> Taken:
        """A new one, however many there are.  Raises what aiohttp raises."""
        connection = await self._new(request)
        assert connection.protocol is not None
        return Taken(connection, connection.protocol, None)

    def give_back(self, connection: Connection, protocol: ResponseHandler) -> None:
        """Its answer has been read to the end."""
        never = self._rest > self._longest
        if protocol.transport is None or protocol.should_close or never:
            self.close(connection)
            return
        self._idle[protocol] = connection, self._loop.time()
        if self._waiting:
            self._wake()

    def close(self, connection: Connection) -> None:
        """Nobody uses it again.  What is left to say is not said: a server that is slow to take leave of
        its TLS, or to read, would hold the socket.
        """
        if (transport := connection.transport) is not None:
            transport.abort()
        connection.close()
        self._open -= 1
        self._wake()

    def announced(self, headers: Mapping[str, str]) -> None:
        """The first answer on a connection says how long the server keeps it (`timeout=5, max=100`)."""
        if said := TIMEOUT.search(headers.get("Keep-Alive", "")):
            self._longest = min(self._longest, SHORTER * int(said[1]))

    def was_closed(self, idle: float) -> None:
        """The server closed a connection that had been idle for so many seconds."""
        self._learnt_at = self._loop.time()
        if idle >= SOON:
            self._longest = min(self._longest, SHORTER * idle)
            return
        self._closes = True
        self._rest = max(self._rest, LONGER * idle)
        if self._stayed >= self._enough:
            self._enough *= 2
        self._stayed = 0

    def end(self) -> None:
        """Let go of all, after the connector has closed them."""
        for connection, _ in self._idle.values():
            connection.close()
        self._idle.clear()

    async def _new(self, request: aiohttp.ClientRequest) -> Connection:
        if self._loop.time() - self._learnt_at > FORGOTTEN:
            self._rest, self._longest = REST, LONGEST_IDLE
        self._open += 1
        try:
            connection = await self._connector.connect(request, [], self._connecting)
        except BaseException:  # cancelled, too: its place is free again, and it is raised on
            self._open -= 1
            self._wake()
            raise
        protocol = connection.protocol
        if protocol is not None and (closed := protocol.closed) is not None:
            closed.add_done_callback(partial(self._lost, protocol))
        return connection

    def _lost(self, protocol: ResponseHandler, closed: asyncio.Future[None]) -> None:
        """A connection is closed; it was the server, if it was idle."""
        if not closed.cancelled():
            closed.exception()  # or asyncio complains that nobody has seen it
        if (found := self._idle.pop(protocol, None)) is not None:
            self.was_closed(self._loop.time() - found[1])
            self.close(found[0])

    async def _change(self) -> None:
        """Return when a connection may be had that could not be had before."""
        changed = self._loop.create_future()
        self._waiting.append(changed)
        rested = [since + self._rest for _, since in self._idle.values()][:1]
        timers = [self._loop.call_at(moment, self._wake) for moment in rested]
        try:
            await changed
        finally:
            for timer in timers:
                timer.cancel()

    def _wake(self) -> None:
        waiting, self._waiting = self._waiting, []
        for each in waiting:
            if not each.done():
                each.set_result(None)


def speaking(protocols: Iterable[ResponseHandler]) -> set[ResponseHandler]:
    """Those at whose sockets something has come, though nothing was asked: their end, as a rule.  The
    loop may not have seen it yet.  One look at all takes 2 µs, and half of one for each.
    """
    sockets = {}
    for protocol in protocols:
        transport = protocol.transport
        if transport is not None and (socket := transport.get_extra_info("socket")) is not None:
            sockets[socket.fileno()] = protocol
    sockets.pop(-1, None)  # it is closing
    return {sockets[number] for number in _readable(list(sockets))}


def _readable(sockets: list[int]) -> list[int]:
    if not sockets:
        return []
    if not hasattr(select, "poll"):  # on Windows, where so many are looked at at a time
        some = (sockets[at : at + MOST] for at in range(0, len(sockets), MOST))
        return [number for each in some for number in select.select(each, [], [], 0)[0]]
    poll = select.poll()
    for each in sockets:
        poll.register(each, select.POLLIN)
    return [number for number, _ in poll.poll(0)]

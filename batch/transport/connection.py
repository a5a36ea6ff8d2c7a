"""One request on a pooled connection of an aiohttp session, and its answer's head.

`ClientSession.post` makes URL, headers, cookies, payload, timers and a task anew for every request:
that takes three times the CPU of what is needed here, where all requests are alike.  Connections,
TLS, proxies, names, HTTP parsing and decompression remain aiohttp's.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Coroutine, Iterator
from contextlib import contextmanager
from functools import cached_property
from types import TracebackType
from typing import Any, NamedTuple

import aiohttp
import yarl
from aiohttp.client_proto import ResponseHandler
from aiohttp.client_reqrep import ConnectionKey
from aiohttp.connector import Connection
from aiohttp.http import HttpProcessingError
from multidict import CIMultiDictProxy

from batch.errors import BatchError
from batch.transport import heads
from batch.transport.heads import READ_AHEAD
from batch.transport.pool import Pool, Taken, speaking

UNSENT = 1 << 16
"""Bytes of a request that the transport may still hold when its answer is whole.  With more, the server
answered before it had read all, and the connection gets no second request.
"""
SWEEP = 1.0
"""Seconds between two looks for requests that take too long, if that is long: a timer for each of
them is 5 % of a profile.
"""

REQUEST = b"%bIdempotency-Key: %b\r\nContent-Length: %d\r\n\r\n%b"
"""Behind what is the same in all: its key, its length and its body."""
WITHOUT_BODY = b"%b\r\n"

REUSED_SOCKET_SECONDS = 1.0
"""A kept-alive socket that closes without a byte of answer sooner than this had been closed before."""


class Reused(aiohttp.ServerDisconnectedError):
    """A connection closed without an answer that had given one before."""


class Unwritten(aiohttp.ServerDisconnectedError):
    """A connection closed before anything of the request was written to it."""


Take = Callable[[aiohttp.ClientRequest], Awaitable[Taken]]


class Exchange:
    """A request on its connection; once the head of its answer has come: `with` it, and `read`."""

    status: int
    headers: CIMultiDictProxy[str]
    content: aiohttp.StreamReader = aiohttp.EMPTY_PAYLOAD
    due: float | None = None  # when it expires sooner than by its age

    written = False

    def __init__(self, caller: Caller, taken: Taken) -> None:
        """`taken` is the connection on which the request is to leave."""
        self.connection: Connection
        self.protocol: ResponseHandler
        self.connection, self.protocol, self.idle = taken
        self._caller = caller

    def __enter__(self) -> Exchange:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Give the connection back; one whose answer was not read to its end is closed."""
        self._caller.ended(self)
        transport = self.protocol.transport
        if transport is not None and transport.get_write_buffer_size() > UNSENT:
            self._caller.pool.close(self.connection)
        else:
            self._caller.pool.give_back(self.connection, self.protocol)

    def whole(self) -> bytes | None:
        """The decoded body, where all of it has come and it is short, as most do; else it is to be `read`.
        aiohttp, whose `read_nowait` sets everything up for more, takes a tenth of all CPU for that.
        """
        content = self.content
        if content.total_bytes > READ_AHEAD or not content.is_eof() or content.exception():
            return None
        return b"".join(content._buffer) if content.total_bytes else b""

    async def read(self) -> bytes:
        """What has come of the decoded body, nothing at its end.  Raises what aiohttp raises, and
        TimeoutError.
        """
        try:
            return await self.content.readany()
        except RuntimeError as error:  # the connection went while nobody read
            if self.protocol.connected:
                raise
            raise aiohttp.ClientPayloadError from error

    @contextmanager
    def held(self) -> Iterator[None]:
        """Stop the clock of this answer meanwhile: it is we who do not read on."""
        began, since = self._caller.time(), self._caller.ended(self)
        try:
            yield
        finally:
            waited = self._caller.time() - began
            self._caller.begun(self, since + waited)
            self.due = None if self.due is None else self.due + waited

    def within(self, seconds: float) -> None:
        """Expire so many seconds from now, or a little later, unless this is called again."""
        self.due = self._caller.time() + seconds

    def fail(self, error: Exception) -> None:
        """Let whoever waits for this answer have that instead."""
        self.protocol.set_exception(error)
        self.content.set_exception(error)


class Patience(NamedTuple):
    """Seconds: for a whole request, and the shortest that `within` is ever given."""

    total: float
    shortest: float


class Caller:
    """Asks at one URL of a session, with the session's headers and proxy."""

    def __init__(
        self,
        session: aiohttp.ClientSession,
        url: yarl.URL,
        proxy: str | None,
        pool: Pool,
        patience: Patience,
        before_leaving: Callable[[], None] = lambda: None,
        method: str = "POST",
    ) -> None:
        """`before_leaving` is called before requests are sent; they are not when it raises a
        BatchError.
        """
        self.pool = pool
        self._loop = asyncio.get_running_loop()
        self._request = _Request(
            method,
            url,
            headers=session.headers,
            skip_auto_headers=("Accept",),
            loop=self._loop,
            session=session,
            proxy=None if proxy is None else yarl.URL(proxy),
        )
        if proxy is not None and not self._request.is_ssl():
            _authorize(self._request, yarl.URL(proxy))
        self._head = b""
        self._leaving: list[tuple[Exchange, bytes]] = []
        self._before_leaving = before_leaving
        self.time = self._loop.time
        self._patience = patience.total
        self._interval = min(SWEEP, patience.total / 20, patience.shortest / 20)
        self._under_way: dict[Exchange, float] = {}  # since when
        self._sweeping = self._loop.call_later(0, self._sweep)

    def close(self) -> None:
        """Stop looking for requests that take too long."""
        self._sweeping.cancel()

    def post(self, body: bytes, idempotency_key: str) -> Coroutine[Any, Any, Exchange]:
        """Send, and wait for the head of the answer.  Raises what aiohttp raises, `Reused`, `Unwritten`,
        and TimeoutError, as reading the answer does.
        """
        ends = (idempotency_key.encode(), len(body), body)
        return self._asked(REQUEST, ends, self.pool.take, Unwritten)

    def get(self) -> Coroutine[Any, Any, Exchange]:
        """As `post`, with no body.  It waits for no other request, and where a connection that was used
        before closes, it is sent on another one.
        """
        return self._asked(WITHOUT_BODY, (), self.pool.extra, (Unwritten, Reused))

    async def _asked(
        self,
        form: bytes,
        ends: tuple[bytes | int, ...],
        take: Take,
        again: type[Exception] | tuple[type[Exception], ...],
    ) -> Exchange:
        """`take` makes a connection where none has rested.  Where one that was used before fails in a way
        in which the request may be sent `again`, it is sent on another one.
        """
        while True:
            exchange = Exchange(self, self.pool.rested() or await self._taken(take))
            protocol, is_new = exchange.protocol, exchange.idle is None
            try:
                if is_new:
                    heads.expect(protocol)
                self._send(exchange, form % (self._head or self._fixed(), *ends))
                answer, content = await protocol.read()
                while answer.code < 200 and answer.code != 101:
                    answer, content = await protocol.read()
            except BaseException as error:
                took = self.time() - self.ended(exchange)
                self.pool.close(exchange.connection)
                told = self._told(error, exchange, took)
                if isinstance(told, again) and not is_new:
                    continue
                if told is error:
                    raise
                raise told from error
            if is_new:
                self.pool.announced(answer.headers)
            exchange.status, exchange.headers = answer.code, answer.headers
            exchange.content = content
            return exchange

    async def _taken(self, take: Take) -> Taken:
        try:
            return await take(self._request)
        except TimeoutError as error:
            raise aiohttp.ConnectionTimeoutError("no connection in time") from error

    def _told(self, error: BaseException, exchange: Exchange, took: float) -> BaseException:
        """What `error` is, where a request may have met a closed connection."""
        closed = isinstance(error, aiohttp.ServerDisconnectedError | aiohttp.ClientOSError)
        if isinstance(error, HttpProcessingError):
            return aiohttp.ClientPayloadError(error.message)
        if closed and not exchange.written:
            return Unwritten()
        if closed and exchange.idle is not None:
            if took < REUSED_SOCKET_SECONDS:
                self.pool.was_closed(exchange.idle)
            return Reused()
        return error

    def oldest(self) -> float:
        """Seconds since the oldest request that is under way was sent; 0 where there is none."""
        return self.time() - min(self._under_way.values()) if self._under_way else 0.0

    def begun(self, exchange: Exchange, since: float) -> None:
        """It is waited for, since that moment."""
        self._under_way[exchange] = since

    def ended(self, exchange: Exchange) -> float:
        """Nobody waits for it any more.  Since when it was waited for."""
        return self._under_way.pop(exchange, self.time())

    def _send(self, exchange: Exchange, request: bytes) -> None:
        """Let it leave with all that are ready in this round of the loop."""
        if not self._leaving:
            self._loop.call_soon(self._leave)
        self._leaving.append((exchange, request))
        self._under_way[exchange] = self.time()

    def _leave(self) -> None:
        """Write them one after the other, so that they find a server that is awake: waking it for each of
        them takes a sixth of all CPU.
        """
        leaving, self._leaving = self._leaving, []
        try:
            self._before_leaving()
        except BatchError as error:
            for exchange, _ in leaving:
                exchange.fail(error)
            return
        used = [exchange.protocol for exchange, _ in leaving if exchange.idle is not None]
        closed = speaking(used)
        for exchange, request in leaving:
            transport = exchange.protocol.transport
            if transport is None or transport.is_closing() or exchange.protocol in closed:
                exchange.fail(Unwritten())
            else:
                exchange.written = True
                transport.write(request)

    def _sweep(self) -> None:
        now = self.time()
        for exchange, since in self._under_way.items():
            if now - since >= self._patience or (exchange.due is not None and now >= exchange.due):
                exchange.fail(TimeoutError())
            elif exchange.protocol.exception() is not None and not exchange.content.is_eof():
                exchange.fail(aiohttp.ClientPayloadError())  # aiohttp tells no reader of the body
        self._sweeping = self._loop.call_later(self._interval, self._sweep)

    def _fixed(self) -> bytes:
        """Request line and headers that are the same every time; a connection to a proxy may have
        added to them.
        """
        request = self._request
        url = request.url
        proxied = request.proxy is not None and not request.is_ssl()
        lines = [
            f"{request.method} {url if proxied else url.raw_path_qs} HTTP/1.1",
            *(
                f"{name}: {value}"
                for name, value in request.headers.items()
                if name != "Content-Length"
            ),
        ]
        self._head = "".join(f"{line}\r\n" for line in lines).encode()
        return self._head


def _authorize(request: aiohttp.ClientRequest, proxy: yarl.URL) -> None:
    """Show the proxy the name and password in its URL.  aiohttp does so where it makes a connection,
    which another request may have had before.
    """
    if (auth := aiohttp.BasicAuth.from_url(proxy)) is not None:
        request.headers["Proxy-Authorization"] = auth.encode()


class _Request(aiohttp.ClientRequest):
    """What a connection is made for."""

    @cached_property
    def connection_key(self) -> ConnectionKey:
        return super().connection_key

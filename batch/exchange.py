"""One POST on a pooled connection of an aiohttp session, and its answer's head.

`ClientSession.post` makes URL, headers, cookies, payload, timer and a task anew for every request:
that takes three times the CPU of what is needed here, where all requests are alike.  Connections,
TLS, proxies, names, HTTP parsing and decompression remain aiohttp's.
"""

from __future__ import annotations

import asyncio
from types import TracebackType
from typing import Any
from weakref import WeakSet

import aiohttp
import yarl
from aiohttp.client_proto import ResponseHandler
from aiohttp.connector import Connection
from aiohttp.http import HttpProcessingError
from multidict import CIMultiDictProxy

UNSENT = 1 << 16
"""Bytes of a request that the transport may still hold when its answer is whole: a server that
answers before it has read all gets no second request on that connection.
"""


class Reused(aiohttp.ServerDisconnectedError):
    """A connection closed without an answer that had given one before."""


class Exchange:
    """An answer whose head has come: `with` it, and read `content`."""

    def __init__(self, connection: Connection, head: Any, content: aiohttp.StreamReader) -> None:
        self.status: int = head.code
        self.headers: CIMultiDictProxy[str] = head.headers
        self.content = content
        self._connection = connection

    def __enter__(self) -> Exchange:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Give the connection back; one whose answer was not read to its end is closed."""
        transport = self._connection.transport
        if transport is not None and transport.get_write_buffer_size() > UNSENT:
            self._connection.close()
        else:
            self._connection.release()


class Poster:
    """Posts to one URL of a session, with the session's headers and proxy."""

    def __init__(
        self,
        session: aiohttp.ClientSession,
        url: yarl.URL,
        proxy: str | None,
        connect_timeout: float,
    ) -> None:
        """`connect_timeout` is seconds for a connection and its TLS."""
        assert session.connector is not None
        self._connector = session.connector
        self._timeout = aiohttp.ClientTimeout(total=None, sock_connect=connect_timeout)
        self._request = aiohttp.ClientRequest(
            "POST",
            url,
            headers=session.headers,
            skip_auto_headers=("Accept",),
            loop=asyncio.get_running_loop(),
            session=session,
            proxy=None if proxy is None else yarl.URL(proxy),
        )
        self._head = b""
        self._used: WeakSet[ResponseHandler] = WeakSet()

    async def post(self, body: bytes, idempotency_key: str) -> Exchange:
        """Send, and wait for the head of the answer.  Raises what aiohttp raises; `Reused` where
        a connection closed that had served another request before.
        """
        try:
            connection = await self._connector.connect(self._request, [], self._timeout)
        except TimeoutError as error:
            raise aiohttp.ConnectionTimeoutError("no connection in time") from error
        protocol = connection.protocol
        assert protocol is not None
        reused = protocol in self._used
        try:
            exchange = await self._exchanged(connection, protocol, body, idempotency_key)
        except BaseException as error:
            connection.close()
            if reused and isinstance(
                error, aiohttp.ServerDisconnectedError | aiohttp.ClientOSError
            ):
                raise Reused from error
            raise
        if not reused:
            self._used.add(protocol)
        return exchange

    async def _exchanged(
        self, connection: Connection, protocol: ResponseHandler, body: bytes, idempotency_key: str
    ) -> Exchange:
        transport = protocol.transport
        if transport is None or transport.is_closing():
            raise aiohttp.ServerDisconnectedError
        protocol.set_response_params(read_until_eof=True)
        transport.write(
            b"%bIdempotency-Key: %b\r\nContent-Length: %d\r\n\r\n%b"
            % (self._head or self._fixed(), idempotency_key.encode(), len(body), body)
        )
        while True:
            try:
                head, content = await protocol.read()
            except HttpProcessingError as error:
                raise aiohttp.ClientPayloadError(error.message) from error
            if head.code >= 200 or head.code == 101:
                return Exchange(connection, head, content)

    def _fixed(self) -> bytes:
        """Request line and headers that are the same every time; a connection to a proxy may have
        added to them.
        """
        request = self._request
        url = request.url
        proxied = request.proxy is not None and not request.is_ssl()
        lines = [
            f"POST {url if proxied else url.raw_path_qs} HTTP/1.1",
            *(
                f"{name}: {value}"
                for name, value in request.headers.items()
                if name != "Content-Length"
            ),
        ]
        self._head = "".join(f"{line}\r\n" for line in lines).encode()
        return self._head

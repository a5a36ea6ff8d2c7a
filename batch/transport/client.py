"""Request out, Attempt back; with exchange.py the only file that speaks HTTP.

`send` never raises for the network: whatever becomes of a try is a value.  What happened below HTTP
is told apart here by whether the server can have computed (and charged for) an answer: not before
the request was written, perhaps after.  No exception of the HTTP library leaves this file: theirs
show request headers when printed.
"""

from __future__ import annotations

import asyncio
import os
import re
import ssl
import time
from collections.abc import Awaitable, Callable, Iterable
from contextlib import AbstractContextManager, nullcontext
from types import TracebackType
from typing import Any, NamedTuple

import aiohttp
import msgspec
import yarl

from batch import __version__, headers
from batch.apis import APIS, Fold, with_response_format, without_stream_options
from batch.errors import UsageError
from batch.event_stream import Event, EventReader, TooLarge
from batch.lenient_json import decode
from batch.model import Attempt, Request
from batch.outcome import BadAnswer
from batch.transport.connection import Exchange, Patience, Poster, Reused
from batch.transport.endpoint import Endpoint, Target, url_of
from batch.transport.redaction import Scrubber

MAX_BODY = 16 << 20
"""Decoded bytes one answer may have."""

LARGE_BODY, LARGE_STREAM, LARGE_BODIES = 128 << 10, 2 << 20, 32
"""An answer that is larger than the first (bytes) needs one of so many places to be read on: those
that have one hold 0.5 GiB at most, whatever is in flight, and every other one the first and what
aiohttp reads ahead.  Of a stream only the texts are held: it needs one later.
"""

AFTER_THE_END = 5.0
"""Seconds in which usage may follow on a finish reason, where the server does not say `[DONE]`."""

BLANK = b"\xef\xbb\xbf \t\r\n"
STREAM = re.compile(rb"[\xef\xbb\xbf\s]*(?:data|event|id|retry|error)?:")
"""How an event stream begins, whatever its content type says."""
ESCAPED = re.compile(rb"\\[u/]")

KEEPALIVE_SECONDS = 4.0
"""Shorter than the 5 s after which uvicorn and llama.cpp close an idle socket."""

REUSED_SOCKET_SECONDS = 1.0
"""A kept-alive socket that closes without a byte of answer sooner than this had been closed before."""

SPARE_DESCRIPTORS = 64
"""Files and sockets a process needs besides its connections."""


Read = Callable[[], Awaitable[bytes]]
"""Gives what has come of a body, and nothing at its end."""
Held = Callable[[], AbstractContextManager[None]]
"""Meanwhile it is not the server that takes its time."""


async def _at_once() -> None:
    """There is room."""


class Hooks(NamedTuple):
    """What others do along the way: `before_sending` is called before requests leave, several at a
    time; they do not when it raises a BatchError, which `send` raises then.  A large answer is read on
    once there is `room`.
    """

    before_sending: Callable[[], None] = lambda: None
    room: Callable[[], Awaitable[None]] = _at_once


class Client:
    """One session to one endpoint.  `async with Client(...)`, then `send`."""

    def __init__(
        self,
        endpoint: Endpoint,
        target: Target,
        connections: int,
        run_id: str = "",
        hooks: Hooks | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        hooks = hooks or Hooks()
        self._endpoint = endpoint
        self._target = target
        self._connections = connections
        self._run_id = run_id
        self._before_sending = hooks.before_sending
        self._urls = {
            name: yarl.URL(url_of(target.base_url, api.PATH), encoded=True)
            for name, api in APIS.items()
        }
        self._names = {
            name: target.name or f"{url.authority}{url.path.removesuffix(APIS[name].PATH)}"
            for name, url in self._urls.items()
        }
        self._scrubber = Scrubber(target.secrets)
        self._local = endpoint.local
        self._takes_stream_options = True
        self._large = _Places(LARGE_BODIES, hooks.room)
        self._clock = clock
        self._session: aiohttp.ClientSession

    async def __aenter__(self) -> Client:
        _raise_descriptors(self._connections + SPARE_DESCRIPTORS)
        self._session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(
                limit=self._connections,
                limit_per_host=0,
                keepalive_timeout=KEEPALIVE_SECONDS,
                ttl_dns_cache=60,
            ),
            headers={
                "Content-Type": "application/json",
                "Accept-Encoding": "gzip",
                "User-Agent": f"batchmill/{__version__}",
                **self._target.headers,
            },
            cookie_jar=aiohttp.DummyCookieJar(),
            timeout=aiohttp.ClientTimeout(
                total=self._endpoint.total_timeout, sock_connect=self._endpoint.connect_timeout
            ),
            proxy=self._target.proxy,
            skip_auto_headers=("Accept",),
        )
        patience = Patience(
            self._endpoint.connect_timeout,
            self._endpoint.total_timeout,
            min(self._endpoint.idle_timeout, AFTER_THE_END),
        )
        self._posters = {
            name: Poster(
                self._session,
                url,
                self._target.proxy,
                patience,
                before_leaving=self._before_sending,
            )
            for name, url in self._urls.items()
        }
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        for poster in self._posters.values():
            poster.close()
        await self._session.close()

    def adapted(self, request: Request) -> Request:
        """`request` as this endpoint takes it, by what it is and what it has refused before."""
        if self._local:
            request = with_response_format(request)
        return request if self._takes_stream_options else without_stream_options(request)

    def leave_out_stream_options(self) -> None:
        """The endpoint has refused them."""
        self._takes_stream_options = False

    def oldest(self) -> float:
        """Seconds since the oldest request that is under way was sent; 0 where there is none."""
        return max(poster.oldest() for poster in self._posters.values())

    async def send(self, request: Request) -> Attempt:
        """One try.  Takes at most `total_timeout` seconds from the moment it is sent, and a twentieth
        or a second more, while there is room for its answer; raises only CancelledError, and what
        `before_sending` does.
        """
        started, began = time.time(), self._clock()
        status: int | None = None
        key = f"{self._run_id}-{request.row}-{request.hash[:16]}"
        try:
            with await self._posters[request.api].post(request.body, key) as exchange:
                status, content = exchange.status, exchange.content
                if not request.stream and content.is_eof() and content.total_bytes <= LARGE_BODY:
                    answered = self._whole(request, status, content.read_nowait())  # as nearly all
                else:
                    answered = await self._read(request, exchange, began)
                answered["headers"] = self._kept(exchange)
        except (aiohttp.ClientError, TimeoutError, OSError, ValueError) as error:
            answered = _said(error, status, self._clock() - began)
        return Attempt(
            endpoint=self._names[request.api],
            started_at=started,
            latency_s=self._clock() - began,
            status=status,
            **answered,
        )

    async def get(self, url: str) -> Attempt:
        """What is found at `url`, which must be one of the endpoint's own: the key goes with it."""
        started, began = time.time(), self._clock()
        status: int | None = None
        try:
            async with self._session.get(
                yarl.URL(url, encoded=True), allow_redirects=False
            ) as response:
                status = response.status
                raw = await self._body(response.content.readany)
            answered = self._json(raw)
        except (aiohttp.ClientError, TimeoutError, OSError, ValueError) as error:
            answered = _said(error, status, self._clock() - began)
        return Attempt(
            endpoint=url,
            started_at=started,
            latency_s=self._clock() - began,
            status=status,
            **answered,
        )

    async def _read(self, request: Request, exchange: Exchange, began: float) -> dict[str, Any]:
        if request.stream and exchange.status == 200:
            return await self._read_stream(request, exchange, began)
        return self._whole(request, exchange.status, await self._body(exchange.read, exchange.held))

    async def _body(self, read: Read, held: Held = nullcontext) -> bytes:
        """The decoded body.  Raises TooLarge."""
        with _Pieces(read, held, LARGE_BODY, self._large) as pieces:
            found = []
            while piece := await pieces.next():
                found.append(piece)
            return b"".join(found)

    async def _read_stream(
        self, request: Request, exchange: Exchange, began: float
    ) -> dict[str, Any]:
        """A stream, or what was sent in its place, whatever it is called."""
        with _Pieces(exchange.read, exchange.held, LARGE_STREAM, self._large) as pieces:
            head = b""
            while not head and (piece := await pieces.next()):
                head = piece.lstrip(BLANK)
            if head[:1] in (b"{", b"[", b"<"):
                raw = [head]
                while piece := await pieces.next():
                    raw.append(piece)
                return self._whole(request, exchange.status, b"".join(raw))
            folding = _Folding(APIS[request.api].Fold(request.choices), self._clock)
            try:
                await self._follow(folding, head, pieces, exchange)
            except (aiohttp.ClientError, TimeoutError, OSError):
                if not folding.fold.complete:
                    raise
        first_token = folding.first_token
        ttft = None if first_token is None else first_token - began
        return {**self._answer_of(folding.fold), "ttft_s": ttft}

    async def _follow(
        self, folding: _Folding, piece: bytes, pieces: _Pieces, exchange: Exchange
    ) -> None:
        """Fold the events; the idle timeout counts events, so heartbeats do not keep a stalled
        stream alive.
        """
        while piece:
            if folding.feed(piece):
                patience = self._endpoint.idle_timeout
                if folding.fold.complete:
                    patience = min(patience, AFTER_THE_END)
                exchange.within(patience)
            if folding.fold.ended:
                return
            piece = await pieces.next()
        folding.close()

    def _whole(self, request: Request, status: int, raw: bytes) -> dict[str, Any]:
        """What a body says that has been read to its end."""
        if status == 200 and raw[:1] != b"{" and STREAM.match(raw):
            folding = _Folding(APIS[request.api].Fold(request.choices), self._clock)
            folding.feed(raw)
            folding.close()
            return self._answer_of(folding.fold)
        return self._json(raw)

    def _json(self, raw: bytes) -> dict[str, Any]:
        raw = self._scrubber.clean_bytes(raw)
        answer, repaired = decode(raw)
        if ESCAPED.search(raw) and answer is not None:  # a secret may be spelled in escapes
            raw, answer = self._scrubbed(answer)
        return {"raw": raw, "answer": answer, "repaired": repaired}

    def _answer_of(self, fold: Fold) -> dict[str, Any]:
        if not fold.complete:
            message = "the stream ended before its answer did"
            return {"fault": "cut_off", "message": message, "maybe_billed": True}
        raw, answer = self._scrubbed(fold.answer())
        return {"raw": raw, "answer": answer, "repaired": fold.repaired}

    def _scrubbed(self, answer: Any) -> tuple[bytes, Any]:
        raw = msgspec.json.encode(answer)
        if not self._scrubber.suspects(raw):
            return raw, answer
        clean = self._scrubber.clean_bytes(raw)
        return clean, decode(clean)[0]

    def _kept(self, exchange: Exchange) -> dict[str, str]:
        return {
            kept: self._scrubber.clean(value)
            for name, value in exchange.headers.items()
            if (kept := headers.kept(name)) is not None
        }


class _Places(asyncio.Semaphore):
    """Those in which large answers are read on."""

    def __init__(self, count: int, room: Callable[[], Awaitable[None]]) -> None:
        super().__init__(count)
        self.room = room


class _Pieces:
    """The decoded body as it comes."""

    def __init__(self, read: Read, held: Held, most: int, places: _Places) -> None:
        """Beyond `most` bytes it goes on in one of the `places`; it is `held` until there is one."""
        self._read = read
        self._held = held
        self._most = most
        self._places = places
        self._size = 0
        self._is_large = False

    def __enter__(self) -> _Pieces:
        return self

    def __exit__(self, *_: object) -> None:
        if self._is_large:
            self._places.release()

    async def next(self) -> bytes:
        """Empty at the end.  Raises TooLarge beyond MAX_BODY, without reading on."""
        piece = await self._read()
        self._size += len(piece)
        if self._size > MAX_BODY:
            raise TooLarge(f"the answer has more than {MAX_BODY >> 20} MiB")
        if self._size > self._most and not self._is_large:
            with self._held():
                await self._places.acquire()
                self._is_large = True
                await self._places.room()
        return piece


class _Folding:
    """The events of one stream on their way into its answer."""

    def __init__(self, fold: Fold, clock: Callable[[], float]) -> None:
        self.fold = fold
        self.first_token: float | None = None
        self._clock = clock
        self._reader = EventReader()

    def feed(self, piece: bytes) -> bool:
        """Whether `piece` held an event."""
        events = self._reader.feed(piece)
        self._add(events)
        if self.first_token is None and self.fold.started:
            self.first_token = self._clock()
        return bool(events)

    def close(self) -> None:
        """The stream has ended, perhaps without the last blank line."""
        self._add(self._reader.close())

    def _add(self, events: Iterable[Event]) -> None:
        fold = self.fold
        for event in events:
            if fold.ended:
                return
            fold.add(event)


def _raise_descriptors(needed: int) -> None:
    """Let the process have as many open files as it needs.  Raises UsageError when it may not."""
    try:
        import resource
    except ImportError:  # Windows has no such limit
        return
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft == resource.RLIM_INFINITY or soft >= needed:
        return
    if hard != resource.RLIM_INFINITY and hard < needed:
        raise UsageError(
            f"this process may have {hard} open files, which is too few for {needed} connections"
            " and files: lower limits.concurrency, or raise `ulimit -n`"
        )
    resource.setrlimit(resource.RLIMIT_NOFILE, (needed, hard))


def _said(error: BaseException, status: int | None, took: float) -> dict[str, Any]:
    """What a try that ended in an exception says about itself."""
    match error:
        case TooLarge():
            return _fault("too_large", str(error), billed=True)
        case BadAnswer():
            return _fault("bad_response", str(error), billed=True)
        case aiohttp.ClientConnectorCertificateError() | ssl.SSLCertVerificationError():
            return _fault("untrusted", _untrusted(error))
        case aiohttp.ClientHttpProxyError():
            return _fault("untrusted", f"the proxy refuses (HTTP {error.status})")
        case aiohttp.ClientConnectorDNSError():
            return _fault("connection", f"no such host: {error.host}", unreachable=True)
        case aiohttp.ConnectionTimeoutError():
            return _fault("connection", "no connection within connect_timeout", unreachable=True)
        case aiohttp.ClientConnectorSSLError():
            return _fault(
                "connection", f"no TLS connection to {error.host}:{error.port}", unreachable=True
            )
        case aiohttp.ClientConnectorError():
            why = f"cannot connect to {error.host}:{error.port}: {_reason(error.os_error)}"
            return _fault("connection", why, unreachable=True)
        case TimeoutError():
            return _fault("timeout", f"no complete answer within {took:.0f} s", billed=True)
        case Reused() if took < REUSED_SOCKET_SECONDS:
            return _fault("reused_socket", "a kept-alive connection had been closed")
        case aiohttp.ServerDisconnectedError() | aiohttp.ClientOSError() if status is None:
            return _fault("connection", "the connection broke before an answer came", billed=True)
        case aiohttp.ClientPayloadError() | aiohttp.ClientConnectionError() if status is not None:
            return _fault("cut_off", "the answer was cut off", billed=True)
        case aiohttp.ClientResponseError() | aiohttp.ClientPayloadError():
            return _fault("bad_response", "the server does not speak HTTP", billed=True)
    name = type(error).__name__
    return _fault("connection", f"the connection failed ({name})", billed=status is not None)


def _fault(
    fault: str, message: str, *, billed: bool = False, unreachable: bool = False
) -> dict[str, Any]:
    return {
        "fault": fault,
        "message": message,
        "maybe_billed": billed,
        "unreachable": unreachable,
    }


def _untrusted(error: ssl.SSLError | aiohttp.ClientConnectorCertificateError) -> str:
    cause = getattr(error, "certificate_error", error)
    host = getattr(error, "host", "the server")
    why = getattr(cause, "verify_message", "") or "it does not verify"
    return (
        f"the certificate of {host} is not trusted: {why}"
        " (SSL_CERT_FILE names a file of authorities to trust)"
    )


def _reason(error: OSError) -> str:
    return os.strerror(error.errno) if error.errno and error.errno > 0 else "connection failed"

"""Request out, Attempt back: the only file that knows HTTP.

`send` never raises for the network: whatever becomes of a try is a value.  What happened below HTTP
is told apart here by whether the server can have computed (and charged for) an answer: not before
the request was written, perhaps after. No exception of the HTTP library leaves this file: theirs
show request headers when printed.
"""

from __future__ import annotations

import asyncio
import ipaddress
import json
import math
import os
import re
import ssl
import time
from collections.abc import Callable
from types import TracebackType
from typing import Annotated, Any
from urllib.parse import SplitResult, urlsplit, urlunsplit

import aiohttp
import msgspec
import yarl

from batch import __version__
from batch.apis import APIS, Fold
from batch.errors import JobError, UsageError
from batch.model import Attempt, Request
from batch.outcome import BadAnswer
from batch.sse import EventReader, TooLarge

Seconds = Annotated[float, msgspec.Meta(gt=0)]

MAX_BODY = 16 << 20
"""Decoded bytes one answer may have."""

KEPT_HEADERS = frozenset(
    {
        "content-type",
        "location",
        "retry-after",
        "retry-after-ms",
        "x-should-retry",
        "x-request-id",
        "request-id",
    }
)
KEPT_PREFIXES = ("x-ratelimit-", "anthropic-ratelimit-")

KEEPALIVE_SECONDS = 4.0
"""Shorter than the 5 s after which uvicorn and llama.cpp close an idle socket."""

REUSED_SOCKET_SECONDS = 1.0
"""A socket that closes without a byte of answer sooner than this had been closed before; later,
it may be billed.
"""


LONE_SURROGATE = re.compile("[\ud800-\udfff]")


class Endpoint(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """`[endpoint]` of a job.  Timeouts are seconds; `idle_timeout` counts after the first byte
    of a stream.
    """

    base_url: str | None = None
    api_key_env: str | None = None
    headers: dict[str, str] = {}
    connect_timeout: Seconds = 10.0
    idle_timeout: Seconds = 120.0
    total_timeout: Seconds = 900.0
    allow_http: bool = False

    @property
    def local(self) -> bool:
        """Whether the embedded model answers."""
        return self.base_url is not None and (
            self.base_url == "local" or self.base_url.startswith("local:")
        )


class Target(msgspec.Struct, frozen=True):
    """Where requests really go: resolved from the endpoint and the environment, with the key in
    it.  Never stored.
    """

    base_url: str
    headers: dict[str, str]
    name: str | None = None

    def __repr__(self) -> str:
        return f"Target({self.base_url})"


def target(endpoint: Endpoint, environment: dict[str, str]) -> Target:
    """The base URL and headers of `endpoint`.  Raises UsageError naming the variable that is
    missing.
    """
    base_url = (
        endpoint.base_url or environment.get("OPENAI_BASE_URL") or "https://api.openai.com/v1"
    )
    parts = _checked(base_url, endpoint)
    variable = "OPENAI_API_KEY" if endpoint.api_key_env is None else endpoint.api_key_env
    headers = {
        name: _expanded(name, value, environment) for name, value in endpoint.headers.items()
    }
    key = environment.get(variable, "").strip() if variable else ""
    if key:
        headers["Authorization"] = f"Bearer {_sendable(key, variable)}"
    elif (
        variable
        and not _is_private(parts.hostname or "")
        and not any(n.lower() == "authorization" for n in headers)
    ):
        raise UsageError(
            f"no API key for {parts.hostname}: set the environment variable {variable},"
            " or use --local for the embedded model"
        )
    return Target(base_url, headers)


def _checked(base_url: str, endpoint: Endpoint) -> SplitResult:
    parts = urlsplit(base_url)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise JobError(f'[endpoint] base_url: expected http(s)://… or "local", not {base_url!r}')
    if parts.username or parts.password or "key=" in parts.query:
        raise JobError(
            "[endpoint] base_url: keep secrets out of the URL; name their variable in api_key_env"
        )
    if parts.scheme == "http" and not endpoint.allow_http and not _is_private(parts.hostname):
        raise JobError(
            f"[endpoint] base_url: plain http to {parts.hostname} would send prompts and key unencrypted;"
            " use https, or allow_http = true"
        )
    return parts


def _is_private(host: str) -> bool:
    """Loopback, private and single-label names: servers of one's own, which need no key and have
    no list price.
    """
    try:
        return ipaddress.ip_address(host).is_private
    except ValueError:
        return "." not in host or host.endswith((".local", ".localhost", ".internal", ".lan"))


def _expanded(name: str, value: str, environment: dict[str, str]) -> str:
    if not value.startswith("$"):
        return _sendable(value, f"[endpoint] headers {name}")
    if value[1:] not in environment:
        raise UsageError(
            f"[endpoint] headers: {name} reads the environment variable {value[1:]}, which is not set"
        )
    return _sendable(environment[value[1:]].strip(), value[1:])


def _sendable(secret: str, where: str) -> str:
    if not secret.isascii() or not secret.isprintable():
        raise UsageError(
            f"{where} holds characters that no header may have (a line break, a curly quote?)"
        )
    return secret


def url_of(base_url: str, path: str) -> str:
    """The URL of one API below `base_url`, which may come with or without its version or the
    API's own path.
    """
    parts = urlsplit(base_url)
    root = parts.path.rstrip("/")
    named = next((api.PATH for api in APIS.values() if root.endswith(api.PATH)), None)
    if named is not None:
        root = root.removesuffix(named)
    elif root in ("", "/api"):
        root += "/v1"
    return urlunsplit((parts.scheme, parts.netloc, root + path, parts.query, ""))


class Client:
    """One session to one endpoint.  `async with Client(...)`, then `send`."""

    def __init__(
        self,
        endpoint: Endpoint,
        target: Target,
        connections: int,
        clock: Callable[[], float] = time.monotonic,
        wall_clock: Callable[[], float] = time.time,
    ) -> None:
        self._endpoint = endpoint
        self._connections = connections
        self._headers = {
            "Content-Type": "application/json",
            "Accept-Encoding": "gzip",
            "User-Agent": f"batchmill/{__version__}",
            **target.headers,
        }
        self._urls = {
            name: yarl.URL(url_of(target.base_url, api.PATH), encoded=True)
            for name, api in APIS.items()
        }
        self._names = {
            name: target.name or f"{url.authority}{url.path.removesuffix(APIS[name].PATH)}"
            for name, url in self._urls.items()
        }
        self._clock = clock
        self._wall_clock = wall_clock
        self._session: aiohttp.ClientSession

    async def __aenter__(self) -> Client:
        self._session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(
                limit=self._connections,
                limit_per_host=0,
                keepalive_timeout=KEEPALIVE_SECONDS,
                ttl_dns_cache=60,
            ),
            headers=self._headers,
            cookie_jar=aiohttp.DummyCookieJar(),
            timeout=aiohttp.ClientTimeout(
                total=self._endpoint.total_timeout, sock_connect=self._endpoint.connect_timeout
            ),
            skip_auto_headers=("Accept",),
        )
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self._session.close()

    async def send(self, request: Request) -> Attempt:
        """One try.  Takes at most `total_timeout` seconds; raises only CancelledError."""
        started, began = self._wall_clock(), self._clock()
        status: int | None = None
        try:
            async with self._session.post(
                self._urls[request.api], data=request.body, allow_redirects=False
            ) as response:
                status = response.status
                answered = await self._read(request, response, began)
        except (aiohttp.ClientError, TimeoutError, OSError, ValueError) as error:
            answered = _failed(error, status, self._clock() - began)
        return Attempt(
            endpoint=self._names[request.api],
            started_at=started,
            latency_s=self._clock() - began,
            **answered,
        )

    async def _read(
        self, request: Request, response: aiohttp.ClientResponse, began: float
    ) -> dict[str, Any]:
        headers = _kept(response)
        streamed = (
            request.stream
            and response.status == 200
            and "json" not in headers.get("content-type", "")
        )
        if streamed:
            read = await self._read_stream(response, APIS[request.api].Fold(), began)
        else:
            raw = await _body(response)
            answer, repaired = decode(raw)
            read = {"raw": raw, "answer": answer, "repaired": repaired}
        return {"status": response.status, "headers": headers, **read}

    async def _read_stream(
        self, response: aiohttp.ClientResponse, fold: Fold, began: float
    ) -> dict[str, Any]:
        """Fold the events; the idle timeout counts events, so heartbeats do not keep a stalled
        stream alive.
        """
        reader = EventReader()
        first_token: float | None = None
        loop = asyncio.get_running_loop()
        async with asyncio.timeout(None) as idle:
            async for chunk in response.content.iter_any():
                for event in reader.feed(chunk):
                    fold.add(event)
                    idle.reschedule(loop.time() + self._endpoint.idle_timeout)
                if first_token is None and fold.started:
                    first_token = self._clock() - began
                if fold.ended:
                    break
            for event in reader.close() if not fold.ended else ():
                fold.add(event)
        if not fold.complete:
            return {
                "fault": "cut_off",
                "message": "the stream ended before its answer did",
                "maybe_billed": True,
            }
        answer = fold.answer()
        return {"raw": msgspec.json.encode(answer), "answer": answer, "ttft_s": first_token}


async def _body(response: aiohttp.ClientResponse) -> bytes:
    """The decoded body.  Raises TooLarge beyond MAX_BODY, without reading on."""
    pieces: list[bytes] = []
    size = 0
    async for chunk in response.content.iter_any():
        pieces.append(chunk)
        size += len(chunk)
        if size > MAX_BODY:
            raise TooLarge(f"the answer has more than {MAX_BODY >> 20} MiB")
    return pieces[0] if len(pieces) == 1 else b"".join(pieces)


def _kept(response: aiohttp.ClientResponse) -> dict[str, str]:
    return {
        lower: value
        for name, value in response.headers.items()
        if (lower := name.lower()) in KEPT_HEADERS or lower.startswith(KEPT_PREFIXES)
    }


def decode(raw: bytes) -> tuple[Any, bool]:
    """JSON of a body, and whether its text had to be repaired.  (None, False) when it is no JSON.

    Byte-order mark and padding are stripped.  NaN and infinity become null; a lone surrogate or a
    broken character U+FFFD.
    """
    raw = raw.removeprefix(b"\xef\xbb\xbf")
    try:
        return msgspec.json.decode(raw), False
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        pass
    try:
        lenient = json.loads(
            raw.decode("utf-8", "replace"), parse_constant=lambda _: None, parse_float=_finite
        )
        clean = LONE_SURROGATE.sub("\ufffd", json.dumps(lenient, ensure_ascii=False))
        return msgspec.json.decode(clean), True
    except (ValueError, RecursionError):
        return None, False


def _finite(text: str) -> float | None:
    number = float(text)
    return number if math.isfinite(number) else None


def _failed(error: BaseException, status: int | None, took: float) -> dict[str, Any]:
    """What a try that ended in an exception says about itself: a class, one sentence, and
    whether it may be billed.
    """
    fault, message, maybe_billed = _fault(error, status, took)
    return {"status": status, "fault": fault, "message": message, "maybe_billed": maybe_billed}


def _fault(error: BaseException, status: int | None, took: float) -> tuple[str, str, bool]:
    match error:
        case TooLarge():
            return "too_large", str(error), True
        case BadAnswer():
            return "bad_response", str(error), True
        case aiohttp.ClientConnectorCertificateError() | ssl.SSLCertVerificationError():
            return "connection", "the server's certificate is not trusted", False
        case aiohttp.ClientConnectorDNSError():
            return "connection", f"no such host: {error.host}", False
        case aiohttp.ConnectionTimeoutError():
            return "connection", "no connection within connect_timeout", False
        case aiohttp.ClientConnectorError():
            return (
                "connection",
                f"cannot connect to {error.host}:{error.port}: {_reason(error.os_error)}",
                False,
            )
        case TimeoutError():
            return "timeout", f"no complete answer within {took:.0f} s", True
        case aiohttp.ServerDisconnectedError() if status is None and took < REUSED_SOCKET_SECONDS:
            return "connection", "the server closed the connection without an answer", False
        case aiohttp.ServerDisconnectedError() | aiohttp.ClientOSError() if status is None:
            return "connection", "the connection broke before an answer came", True
        case aiohttp.ClientPayloadError() | aiohttp.ClientConnectionError():
            return "cut_off", "the answer was cut off", True
        case aiohttp.ClientResponseError():
            return "bad_response", "the server does not speak HTTP", True
    return "connection", f"the connection failed ({type(error).__name__})", status is not None


def _reason(error: OSError) -> str:
    return os.strerror(error.errno) if error.errno and error.errno > 0 else "connection failed"

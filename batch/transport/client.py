"""Request out, Attempt back, on one session to one endpoint.

`send` never raises for the network: whatever becomes of a try is a value.  No exception of the HTTP
library leaves this file: theirs show request headers when printed.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Coroutine
from contextlib import closing
from types import TracebackType
from typing import Any, NamedTuple
from urllib.parse import urlsplit

import aiohttp
import yarl

from batch import __version__
from batch.apis import APIS, with_model, with_response_format, without_stream_options
from batch.model import Attempt, Request
from batch.transport import descriptors, faults, tls
from batch.transport.answers import AFTER_THE_END, AnswerReader
from batch.transport.connection import Caller, Patience
from batch.transport.connectors import connector
from batch.transport.endpoint import Endpoint, Target
from batch.transport.heads import LONGEST_LINE, MOST_LINES
from batch.transport.paths import elsewhere, url_of, wire_url
from batch.transport.pool import Pool
from batch.transport.redaction import Scrubber

PROXY_WORDS = (400, 407)
"""Statuses of whoever stands in the way: a proxy, or a port that speaks TLS."""


async def _at_once() -> None:
    """There is room."""


class Hooks(NamedTuple):
    """What others do along the way.

    `before_sending` is called once for all requests that leave together.  Where it raises a BatchError
    they do not leave, and `send` raises it.  A large answer is read on once there is `room`.  `say`
    takes a line for a person.  `marked` gives the body of a request with marks for the server's prompt
    cache; `begun` hears of requests whose answers come as streams and have begun.
    """

    before_sending: Callable[[], None] = lambda: None
    room: Callable[[], Awaitable[None]] = _at_once
    say: Callable[[str], None] = lambda _: None
    marked: Callable[[Request], bytes] | None = None
    begun: Callable[[Request], None] = lambda _: None


class _Place(NamedTuple):
    """Where the APIs are: what asks each, and what each is called."""

    callers: dict[str, Caller]
    names: dict[str, str]


class Client:
    """One session to one endpoint.  `async with Client(...)`, then `send`."""

    def __init__(
        self,
        endpoint: Endpoint,
        target: Target,
        connections: int,
        keys: str = "",
        hooks: Hooks | None = None,
        clock: Callable[[], float] = time.monotonic,
        member: int = 0,
    ) -> None:
        """`member` is the number of the endpoint, where a run asks several."""
        hooks = hooks or Hooks()
        self._member = member
        self._endpoint = endpoint
        self._target = target
        self._without_key = not target.has_key
        self._connections = connections
        self._keys = keys
        self._hooks = hooks
        self._untried = elsewhere(target.base_url)  # where to ask once, if nothing is here
        self._looking = asyncio.Lock()
        self._is_new = True  # nothing has been answered yet
        self._local = endpoint.local
        self._takes_stream_options = self._takes_cache_marks = True
        self._answers = AnswerReader(
            Scrubber(target.secrets), endpoint.idle_timeout, hooks.room, clock, hooks.begun
        )
        self._clock = clock
        self._session: aiohttp.ClientSession

    async def __aenter__(self) -> Client:
        descriptors.check(self._connections)
        self._session = self._new_session()
        table = self._endpoint
        connecting = aiohttp.ClientTimeout(
            connect=table.total_timeout, sock_connect=table.connect_timeout
        )
        assert self._session.connector is not None
        self._pool = Pool(self._session.connector, self._connections, connecting)
        self._place = self._placed(self._target.base_url)
        self._places = [self._place]
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        for place in self._places:
            for caller in place.callers.values():
                caller.close()
        await self._session.close()
        self._pool.end()
        await asyncio.sleep(0)  # a closed connection lets go of its socket in the loop's next round

    @property
    def base_url(self) -> str:
        """Where it is."""
        return self._target.base_url

    def adapted(self, request: Request) -> Request:
        """`request` as this endpoint takes it, by what it is and what it has refused before."""
        if self._local:
            request = with_response_format(request)
        return request if self._takes_stream_options else without_stream_options(request)

    def leave_out_stream_options(self) -> None:
        """The endpoint has refused them."""
        self._takes_stream_options = False

    def leave_out_cache_marks(self) -> None:
        """The endpoint has refused them."""
        self._takes_cache_marks = False

    def oldest(self) -> float:
        """Seconds since the oldest request that is under way was sent; 0 where there is none."""
        callers = (caller for place in self._places for caller in place.callers.values())
        return max(caller.oldest() for caller in callers)

    def send(self, request: Request) -> Coroutine[Any, Any, Attempt]:
        """One try.  Raises only CancelledError, and what `before_sending` raises.

        It ends `total_timeout` seconds after it was sent, or up to a second later.  Time in which there
        is no room for its answer does not count.  Where nothing is found at a base URL that may lack its
        version, the request is sent once more, with that.
        """
        return self._sent(request, self._place, looks=True)

    async def _looked(self, request: Request, place: _Place, attempt: Attempt) -> Attempt:
        """What is answered where the API may be instead; `attempt` where it is nowhere else."""
        async with self._looking:
            if self._untried is not None:
                found = await self._found(request, self._untried)
                return attempt if found is None else found
        return attempt if place is self._place else await self._sent(request, self._place)

    async def _found(self, request: Request, base_url: str) -> Attempt | None:
        """What is answered elsewhere, which is where all are asked from now on; None when nothing is
        there, either.
        """
        self._untried = None
        before, place = self._place, self._placed(base_url)
        self._places.append(place)
        attempt = await self._sent(request, place)
        if attempt.status in (None, 404, 405):
            return None
        self._place = place
        asked, answers = before.names[request.api], place.names[request.api]
        self._hooks.say(f"nothing is at {asked} (HTTP 404), but at {answers}: asking there")
        return attempt

    async def _sent(self, request: Request, place: _Place, *, looks: bool = False) -> Attempt:
        """One try; where nothing is there, it `looks` where the API may be."""
        started, began = time.time(), self._clock()
        status: int | None = None
        body, marked = request.body, False
        key = f"{self._keys}-{request.row}-{request.hash[:16]}"
        if request.again:
            key += f"-{request.again}"
        if self._hooks.marked is not None and self._takes_cache_marks:
            body = self._hooks.marked(request)
            marked = body is not request.body
            key = f"{key}-marked" if marked else key
        try:
            if self._endpoint.model is not None:
                body = with_model(body, self._endpoint.model)
            with await place.callers[request.api].post(body, key) as exchange:
                status = exchange.status
                whole = None if request.stream else exchange.whole()
                if whole is not None:
                    answered = self._answers.whole(request, status, whole)
                else:
                    answered = await self._answers.read(request, exchange, began)
                answered["headers"] = self._answers.kept_headers(exchange)
            self._is_new = False
            if status in PROXY_WORDS:
                answered = faults.of_the_way(status, answered, self._target) or answered
        except faults.EXCEPTIONS as error:
            answered = faults.fault_of(error, status, self._clock() - began, self._target.proxy)
            if status is None and await self._needs_tls(answered):
                answered = faults.fault("untrusted", faults.SPEAKS_TLS)
        attempt = Attempt(
            endpoint=place.names[request.api],
            member=self._member,
            started_at=started,
            latency_s=self._clock() - began,
            status=status,
            without_key=self._without_key,
            marked=marked,
            **answered,
        )
        if status == 200:
            self._untried = None
        return await self._looked(request, place, attempt) if looks and status == 404 else attempt

    async def _needs_tls(self, answered: dict[str, Any]) -> bool:
        """Whether a server that closes without a word to plain HTTP speaks TLS.  It is tried once, while
        there has been no answer.
        """
        url = urlsplit(self._target.base_url)
        silent = answered["fault"] == "connection" and not answered["unreachable"]
        plain = url.scheme == "http" and self._target.proxy is None
        if not (self._is_new and silent and plain):
            return False
        self._is_new = False
        return await tls.speaks_tls(url.hostname or "", url.port or 80)

    def _placed(self, base_url: str) -> _Place:
        target, table = self._target, self._endpoint
        patience = Patience(table.total_timeout, min(table.idle_timeout, AFTER_THE_END))
        urls = {
            name: yarl.URL(wire_url(url_of(base_url, api.PATH)), encoded=True)
            for name, api in APIS.items()
        }
        callers = {
            name: Caller(
                self._session,
                url,
                _http_proxy(target),
                self._pool,
                patience,
                before_leaving=self._hooks.before_sending,
            )
            for name, url in urls.items()
        }
        label = f"#{target.label}" if target.label else ""
        names = {
            name: (target.name or f"{url.authority}{url.path.removesuffix(APIS[name].PATH)}")
            + label
            for name, url in urls.items()
        }
        return _Place(callers, names)

    async def get(self, url: str) -> Attempt:
        """What is found at `url`, which must be one of the endpoint's own: the key goes with it."""
        started, began = time.time(), self._clock()
        status: int | None = None
        try:
            with closing(self._getter(url)) as getter, await getter.get() as exchange:
                status = exchange.status
                answered = await self._answers.read_json(exchange.read)
        except faults.EXCEPTIONS as error:
            answered = faults.fault_of(error, status, self._clock() - began, self._target.proxy)
        return Attempt(
            endpoint=url,
            started_at=started,
            latency_s=self._clock() - began,
            status=status,
            **answered,
        )

    def _getter(self, url: str) -> Caller:
        at = yarl.URL(wire_url(url), encoded=True)
        patience = Patience(self._endpoint.total_timeout, self._endpoint.total_timeout)
        proxy = _http_proxy(self._target)
        return Caller(self._session, at, proxy, self._pool, patience, method="GET")

    def _new_session(self) -> aiohttp.ClientSession:
        return aiohttp.ClientSession(
            connector=connector(self._target),
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
            proxy=_http_proxy(self._target),
            skip_auto_headers=("Accept",),
            max_line_size=LONGEST_LINE,
            max_field_size=LONGEST_LINE,
            max_headers=MOST_LINES,
        )


def _http_proxy(target: Target) -> str | None:
    """The proxy that reads HTTP; one of SOCKS is the connector's affair."""
    return None if target.proxy is None or target.proxy.is_socks else target.proxy.url

"""Request out, Attempt back, on one session to one endpoint.

`send` never raises for the network: whatever becomes of a try is a value.  No exception of the HTTP
library leaves this file: theirs show request headers when printed.
"""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable
from types import TracebackType
from typing import NamedTuple

import aiohttp
import yarl

from batch import __version__
from batch.apis import APIS, with_response_format, without_stream_options
from batch.errors import UsageError
from batch.model import Attempt, Request
from batch.transport import faults
from batch.transport.answers import AFTER_THE_END, AnswerReader
from batch.transport.body import LARGE_BODY
from batch.transport.connection import Patience, Poster
from batch.transport.endpoint import Endpoint, Target, url_of
from batch.transport.pool import RESTING, Pool
from batch.transport.redaction import Scrubber

SPARE_DESCRIPTORS = 64 + RESTING
"""Files and sockets a process needs besides the connections it uses."""


async def _at_once() -> None:
    """There is room."""


class Hooks(NamedTuple):
    """What others do along the way.

    `before_sending` is called once for all requests that leave together.  Where it raises a BatchError
    they do not leave, and `send` raises it.  A large answer is read on once there is `room`.
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
        self._local = endpoint.local
        self._takes_stream_options = True
        self._answers = AnswerReader(
            Scrubber(target.secrets), endpoint.idle_timeout, hooks.room, clock
        )
        self._clock = clock
        self._session: aiohttp.ClientSession

    async def __aenter__(self) -> Client:
        _raise_descriptors(self._connections + SPARE_DESCRIPTORS)
        self._session = self._new_session()
        table = self._endpoint
        patience = Patience(table.total_timeout, min(table.idle_timeout, AFTER_THE_END))
        connecting = aiohttp.ClientTimeout(
            connect=table.total_timeout, sock_connect=table.connect_timeout
        )
        assert self._session.connector is not None
        self._pool = Pool(self._session.connector, self._connections, connecting)
        self._posters = {
            name: Poster(
                self._session,
                url,
                self._target.proxy,
                self._pool,
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
        self._pool.end()

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
        """One try.  Raises only CancelledError, and what `before_sending` raises.

        It ends `total_timeout` seconds after it was sent, or up to a second later.  Time in which there
        is no room for its answer does not count.
        """
        started, began = time.time(), self._clock()
        status: int | None = None
        key = f"{self._run_id}-{request.row}-{request.hash[:16]}"
        try:
            with await self._posters[request.api].post(request.body, key) as exchange:
                status, content = exchange.status, exchange.content
                if not request.stream and content.is_eof() and content.total_bytes <= LARGE_BODY:
                    answered = self._answers.whole(request, status, content.read_nowait())
                else:
                    answered = await self._answers.read(request, exchange, began)
                answered["headers"] = self._answers.kept_headers(exchange)
        except faults.EXCEPTIONS as error:
            answered = faults.fault_of(error, status, self._clock() - began)
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
                answered = await self._answers.read_json(response.content.readany)
        except faults.EXCEPTIONS as error:
            answered = faults.fault_of(error, status, self._clock() - began)
        return Attempt(
            endpoint=url,
            started_at=started,
            latency_s=self._clock() - began,
            status=status,
            **answered,
        )

    def _new_session(self) -> aiohttp.ClientSession:
        return aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(limit=0, ttl_dns_cache=60),
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

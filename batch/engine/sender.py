"""A request to the endpoint and back: cap, record of sends, rate and client, wrapped one in the other.

Each layer does one thing before a request leaves (`admit`), while it is away (`send`) and when it is
known what became of it (`settle`).
"""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from typing import Any, Protocol

from batch.costs import token_bounds
from batch.costs.budget import Boundless, Reservations
from batch.engine import stop_reasons
from batch.limits.crossing import Obstacle
from batch.limits.limiter import Limiter
from batch.limits.pool import NEW, Past
from batch.limits.token_reservations import TooLarge
from batch.model import Attempt, Request
from batch.outcome import Accept, Outcome, Reject
from batch.results import Error
from batch.store.writer import Store
from batch.transport.client import Client
from batch.tries import Try


class Unsendable(Exception):
    """A request that may never leave."""

    def __init__(self, error: Error) -> None:
        super().__init__(error.message)
        self.error = error


class Layer(Protocol):
    """One thing that happens to every request."""

    async def admit(self, request: Request, past: Past = NEW) -> bool:
        """Wait until the request may leave, whose row was where `past` tells; False when none leaves any
        more.  Raises Unsendable for this request, and Stopped where no request may leave.
        """

    @property
    def send(self) -> Callable[[Request], Coroutine[Any, Any, Attempt]]:
        """One try.  Raises StorageError.  A layer that adds nothing here has that of the one within."""

    def settle(self, request: Request, done: Try, judged: Outcome) -> None:
        """The request is not under way any more: `done` is what became of it."""


class Sender:
    """All layers together."""

    def __init__(
        self,
        client: Client,
        store: Store,
        limiter: Limiter,
        reservations: Reservations | None = None,
    ) -> None:
        """`reservations` holds what may be spent, if that is capped."""
        self._client = client
        self.urls = {0: client.base_url}
        """Where the endpoints are that are there, by their numbers."""
        self._limiter = limiter
        recorded = Recorded(_Endpoint(client, limiter), store)
        layers: Layer = recorded if reservations is None else Capped(recorded, reservations)
        self.admit, self.send, self.settle = layers.admit, layers.send, layers.settle
        """See Layer."""
        self.at_once = limiter.at_once if reservations is None else never
        """Whether a request leaves now, as there is nothing to wait for; otherwise `admit` it."""
        self.adapted = client.adapted
        """The request as this endpoint takes it."""
        self.gate = limiter.gate
        """Who `admit`s a request goes through it: one worker at a time."""
        self.now = limiter.now
        """The moment on the clock by which requests leave."""

    @property
    def under_way(self) -> int:
        """Requests that have left and are not settled."""
        return self._limiter.in_flight

    def obstacle(self) -> Obstacle | None:
        """What requests wait for; None when they do not."""
        return self._limiter.obstacle()

    def url_of(self, endpoint: int) -> str:
        """Where an endpoint is, or was."""
        return self._client.base_url

    def words(self) -> str:
        """What requests wait for, for a person; empty when they do not."""
        return self._limiter.words()

    def shown(self) -> str:
        """What each of several endpoints has in flight: here is one."""
        return ""

    def oldest(self) -> float:
        """Seconds since the oldest request that is under way was sent; 0 where there is none."""
        return self._client.oldest()

    def starved(self) -> None:
        """Fewer were under way than might have been: rows waited for each other."""
        self._limiter.starved()

    def leave(self, endpoint: int, why: str) -> None:
        """The only endpoint stays."""

    def close(self) -> None:
        """Admit nothing more."""
        self._limiter.close()


class _Endpoint:
    """The client, what its endpoint does not take, and how fast that takes requests."""

    def __init__(self, client: Client, limiter: Limiter) -> None:
        self.send = client.send
        self._client = client
        self._limiter = limiter

    async def admit(self, request: Request, past: Past = NEW) -> bool:
        try:
            return await self._limiter.admit(request)
        except TooLarge as error:
            raise Unsendable(Error("too_large", str(error))) from None

    def settle(self, request: Request, done: Try, judged: Outcome) -> None:
        if isinstance(judged, Reject):
            if judged.stream_options:
                self._client.leave_out_stream_options()
            if judged.cache_marks:
                self._client.leave_out_cache_marks()
        attempt = done.attempt
        self._limiter.release(request, tokens(attempt, judged))
        if attempt.headers:
            self._limiter.read_headers(attempt.headers, attempt.started_at + attempt.latency_s)


class Recorded:
    """Every request is written down before it leaves."""

    def __init__(self, inner: Layer, store: Store) -> None:
        self.admit, self.settle = inner.admit, inner.settle
        self._inner = inner
        self._store = store

    def send(self, request: Request) -> Coroutine[Any, Any, Attempt]:
        for each in request.packed or (request,):
            most, rides = token_bounds.most_input(each), each.row != request.row
            self._store.sent(each.row, each.model, most, each.output_cap, rides=rides)
        return self._inner.send(request)


class Capped:
    """What a request may cost at most is reserved before it leaves."""

    def __init__(self, inner: Layer, reservations: Reservations) -> None:
        self.send = inner.send
        self._inner = inner
        self._reservations = reservations

    async def admit(self, request: Request, past: Past = NEW) -> bool:
        reservations = self._reservations
        try:
            affordable = await reservations.reserve(request)
        except Boundless as fault:
            raise Unsendable(Error("invalid_row", f"limits.max_cost_usd: {fault}")) from None
        if not affordable:
            budget = reservations.budget
            raise stop_reasons.cap_reached(budget.cap, budget.spent, reservations.wanted)
        admitted = False
        try:
            admitted = await self._inner.admit(request, past)
        finally:
            if not admitted:
                reservations.give_back(request)
        return admitted

    def settle(self, request: Request, done: Try, judged: Outcome) -> None:
        self._inner.settle(request, done, judged)
        self._reservations.settle(request, done.attempt, done.spent, done.maybe_billed)


def never(request: Request) -> bool:
    """Of senders in which every request waits for something: it may cost too much, or go elsewhere."""
    return False


def tokens(attempt: Attempt, judged: Outcome) -> int | None:
    """What an attempt took of the tokens per minute; None when that is unknown."""
    if isinstance(judged, Accept):
        usage = judged.completion.usage
        if usage is None or usage.input_tokens is None or usage.output_tokens is None:
            return None
        return usage.input_tokens + usage.output_tokens
    return None if attempt.maybe_billed or attempt.status == 200 else 0

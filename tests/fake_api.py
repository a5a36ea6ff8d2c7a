"""An OpenAI-compatible server on localhost that does what a script says, down to broken framing.

It lives in its own daemon thread and speaks HTTP on bare sockets, so a subprocess, a thread or a
coroutine can be its client.  Every answer is made of its prompt: an answer that lands in another
row shows.  The ledger is brought up to date before the last byte leaves, so whoever holds an answer
finds it there.
"""

from __future__ import annotations

import argparse
import asyncio
import base64
import contextlib
import hashlib
import math
import socket
import struct
import threading
import time
from collections import Counter, deque
from collections.abc import AsyncIterator, Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import lru_cache
from http import HTTPStatus
from types import EllipsisType
from typing import Any, Literal
from urllib.parse import unquote

import msgspec

from tests.fake_cache import FakeCache

UNSET: Any = msgspec.UNSET
REASONS = {status.value: status.phrase for status in HTTPStatus}
TLS_HELLO = b"\x16\x03"
ACCEPTING = 5
"""Rounds of the loop in which what had connected has become a connection, which can be closed."""
ERRORS: dict[int, tuple[str, str | None]] = {
    401: ("invalid_request_error", "invalid_api_key"),
    404: ("invalid_request_error", "model_not_found"),
    429: ("requests", "rate_limit_exceeded"),
}


@dataclass(frozen=True)
class Step:
    """How one attempt is answered; as it stands, a normal 200.

    `hang`, `reset` and `close` happen instead of an answer, or, together with `cut` or
    `cut_events`, after the part of it that was sent.  `clean_end` ends a stream cut by `cut_events`
    as if it were whole. `events` are a stream's whole content (bytes: as they are), `raw` is a
    whole HTTP response, or its pieces, `event_delay` apart; with `hang` the connection stays open.
    """

    status: int = 200
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes | str | dict[str, Any] | list[Any] | None = None
    delay: float = 0.0
    hang: bool = False
    reset: bool = False
    close: bool = False
    cut: int | None = None
    cut_events: int | None = None
    clean_end: bool = False
    events: Sequence[str | bytes | dict[str, Any]] | None = None
    event_delay: float = 0.0
    raw: bytes | tuple[bytes, ...] | None = None
    chunk: int | None = None
    content_type: str | None = None
    no_length: bool = False
    usage: dict[str, Any] | Literal["normal"] | None = "normal"
    finish_reason: Any = UNSET
    content: Any = UNSET
    model: Any = UNSET

    @property
    def partial(self) -> bool:
        return self.cut is not None or self.cut_events is not None

    @property
    def silent(self) -> bool:
        return (self.hang or self.reset or self.close) and not self.partial


NORMAL = Step()


@dataclass
class Embedder:
    """How requests for embeddings are answered: at most `most` texts are taken (as TEI says it, or as
    `refusal` does), and a text with the word `poison` spoils its whole request: `names` tells that the
    refusal says which it was.  `index` is how items say where they belong, `loses` a word whose texts
    get no item the first so many times they are asked about, `base64` what is done where vectors are asked
    for so.  A vector has `dimensions` numbers, those of `embedding_of` divided `by` something.
    """

    most: int | None = None
    refusal: Step | None = None
    poison: str | None = None
    poisoned: Step | None = None
    names: bool = False
    index: Literal["told", "reversed", "no first", "by turns", "none", "zero", "twice"] = "told"
    loses: tuple[str, int] | None = None
    base64: Literal["given", "refused", "silently refused", "ignored"] = "given"
    dimensions: int = 8
    by: float = 1
    lost: Counter[str] = field(default_factory=Counter)
    turn: int = 0

    def refused(self, body: dict[str, Any]) -> Step | None:
        """What a request is refused with, if it is."""
        texts = _texts(body)
        packed = body.get("encoding_format") == "base64"
        if packed and self.base64 == "refused":
            return _refused(400, "Invalid value for 'encoding_format': use float.")
        if packed and self.base64 == "silently refused":
            return _refused(400, "Bad request.")
        if self.most is not None and len(texts) > self.most:
            said = f"batch size {len(texts)} > maximum allowed batch size {self.most}"
            return self.refusal or Step(
                422, body={"message": said, "code": 422, "type": "Validation"}
            )
        spoiled = [at for at, text in enumerate(texts) if self.poison and self.poison in text]
        if not spoiled:
            return None
        if self.names and len(texts) > 1:
            at = spoiled[0]
            return _refused(400, f"Invalid 'input[{at}]': maximum input length is 8192 tokens.")
        return self.poisoned or _refused(400, "'$.input' is invalid.")

    def items(self, body: dict[str, Any]) -> list[dict[str, Any]]:
        """The items of an answer."""
        texts, packed = _texts(body), body.get("encoding_format") == "base64"
        items: list[dict[str, Any]] = []
        for at, text in enumerate(texts):
            if self.loses is not None and self.loses[0] in text:
                self.lost[text] += 1
                if self.lost[text] <= self.loses[1]:
                    continue
            vector: Any = [each / self.by for each in embedding_of(text, self.dimensions)]
            if packed and self.base64 == "given":
                vector = base64.b64encode(struct.pack(f"<{len(vector)}f", *vector)).decode()
            items.append({"object": "embedding", "index": at, "embedding": vector})
        return self._indexed(items)

    def _indexed(self, items: list[dict[str, Any]]) -> list[dict[str, Any]]:
        index = self.index
        if index == "by turns":
            self.turn += 1
            index = "reversed" if self.turn % 2 else "no first"
        for item in items:
            if index == "none" or (index == "no first" and item["index"] == 0):
                del item["index"]
            elif index == "zero":
                item["index"] = 0
            elif index == "twice" and item["index"] == 1:
                item["index"] = 2
        return items[::-1] if index == "reversed" else items


def _texts(body: dict[str, Any]) -> list[Any]:
    asked = body.get("input")
    return asked if isinstance(asked, list) else [asked]


@dataclass
class _Bucket:
    """What a limit leaves."""

    left: float = math.inf
    most: float = math.inf
    at: float = 0.0

    def wait(self, amount: float, per_second: float | None, most: float, now: float) -> float:
        """Seconds until there is enough."""
        if per_second is None:
            return 0.0
        self.left = min(most, self.left + (now - self.at) * per_second)
        self.most, self.at = most, now
        return max(0.0, (amount - self.left) / per_second)


Contents = list[tuple[str, str]]
Steps = Sequence[Step | int | EllipsisType]


@dataclass(slots=True)
class Asked:
    """One request as it arrived and what became of it.

    `status` is None while, or if, nothing was answered (or the answer was `raw`); `completed` tells
    that all of an answer was written.  The tokens are what the server charges: those of any 200 it
    began to send.
    """

    n: int
    path: str
    method: str
    headers: dict[str, str]
    body: dict[str, Any] | None
    prompt: str
    at: float
    texts: Sequence[str] = ()
    status: int | None = None
    completed: bool = False
    input_tokens: int = 0
    output_tokens: int = 0


def answer_to(prompt: str) -> str:
    """The one right answer to a prompt."""
    digest = hashlib.blake2b(prompt.encode("utf-8", "surrogatepass"), digest_size=6).hexdigest()
    return f"{f'answer to: {prompt}'[:200]} {digest}"


def embedding_of(prompt: str, dimensions: int = 8) -> list[float]:
    """The one right embedding of a prompt: floats that 32 bits hold exactly, the first 8 over and over."""
    digest = hashlib.blake2b(prompt.encode("utf-8", "surrogatepass"), digest_size=16).digest()
    first = [number / 65536 for number in struct.unpack("<8h", digest)]
    return (first * -(-dimensions // 8))[:dimensions]


class FakeAPI:
    """The server, its script and its ledger; every public attribute may be changed while it runs.

    `script` maps a word in the prompt to the steps of the first attempts, counted for each distinct
    prompt; the first word that matches decides, `...` at the end repeats the last step for ever,
    and after the steps come normal answers.  `always` answers whatever no word matches.  `latency`
    is that of an answer with neither.  `requests_per_second` and `tokens_per_second` are refused
    beyond, `burst` requests (or 20 times as many tokens) being there at once; `announces` tells the
    limits as OpenAI's headers do.  A wrong key, the rate limit and an unknown path are refused
    before all that and use up no step. Setting `script` starts the counting afresh.

    `models` are listed below every prefix, or only at the path `models_at`; `listing` answers in
    their stead.  That is no work: it stands in `listings`, and neither in the ledger nor among the
    connections.
    `refused` are fields it does not know; `cache` is its prompt cache, if it has one.

    `closes_after` so many seconds behind an answer that announced keep-alive it closes, and reads
    nothing meanwhile.  A connection is closed that has been idle for `keeps_idle` seconds.
    """

    def __init__(
        self,
        port: int = 0,
        loop_factory: Callable[[], Any] | None = None,
        *,
        in_a_thread: bool = True,
    ) -> None:
        """It answers as soon as it is there, unless it is to be `serving` in a loop of its user's."""
        self.always: Step | None = None
        self.embedder = Embedder()
        self.latency = 0.0
        self.requests_per_second: float | None = None
        self.tokens_per_second: float | None = None
        self.burst = 10
        self.retry_after_ms = True
        self.announces = False
        self._slots: int | None = None
        self.key: str | None = None
        self.models = ["fake-model", "m"]
        self.models_at: str | None = None
        self.listing: Step | None = None
        self.listings: list[Asked] = []
        self.refused: frozenset[str] = frozenset()
        self.cache: FakeCache | None = None
        self.closes_after: float | None = None
        self.keeps_idle: float | None = None
        self.remember = True
        self.ledger: list[Asked] = []
        self.in_flight = 0
        self.peak_in_flight = 0
        self.connections = 0
        self.script = {}
        self._count = 0
        self._allowed = _Bucket()
        self._allowed_tokens = _Bucket()
        self._busy = 0
        self._queue: deque[asyncio.Future[None]] = deque()
        self._open: set[_Connection] = set()
        self._listener = socket.create_server(("127.0.0.1", port), backlog=4096)
        self.port: int = self._listener.getsockname()[1]
        self.url = f"http://127.0.0.1:{self.port}/v1"
        ready = threading.Event()
        self._thread = threading.Thread(target=self._run, args=(ready, loop_factory), daemon=True)
        if in_a_thread:
            self._thread.start()
            ready.wait()

    @property
    def script(self) -> dict[str, Steps]:
        return self._script

    @script.setter
    def script(self, script: dict[str, Steps]) -> None:
        self._taken: Counter[tuple[str, str]] = Counter()
        self._script = script
        self._lengths = {len(keyword) for keyword in script}

    @property
    def slots(self) -> int | None:
        return self._slots

    @slots.setter
    def slots(self, slots: int | None) -> None:
        self._slots = slots
        if hasattr(self, "_loop"):
            self._loop.call_soon_threadsafe(self._call_next)

    def asked(self, keyword: str) -> int:
        """How many requests had this in their prompt."""
        return sum(keyword in asked.prompt for asked in list(self.ledger))

    def prompts(self) -> Counter[str]:
        """How often each prompt was sent."""
        return Counter(asked.prompt for asked in list(self.ledger) if asked.method == "POST")

    def reset_ledger(self) -> None:
        """Forget what was asked; requests in flight stay counted as such."""
        self.ledger = []
        self.connections = 0
        self.peak_in_flight = self.in_flight

    def close(self) -> None:
        """Drop every connection and wait for the thread to end; the port is free afterwards."""
        if self._thread.is_alive():
            self._loop.call_soon_threadsafe(self._stop.set)
            self._thread.join()
        self._listener.close()

    @contextlib.asynccontextmanager
    async def serving(self) -> AsyncIterator[None]:
        """Meanwhile it answers in the running loop, and by the time of that."""
        ready = asyncio.Event()
        served = asyncio.create_task(self._serve(ready.set))
        await ready.wait()
        try:
            yield
        finally:
            self._stop.set()
            await served

    def _run(self, ready: threading.Event, loop_factory: Callable[[], Any] | None) -> None:
        with asyncio.Runner(loop_factory=loop_factory) as runner:
            runner.run(self._serve(ready.set))

    async def _serve(self, ready: Callable[[], None]) -> None:
        self._loop = asyncio.get_running_loop()
        self._stop = asyncio.Event()
        server = await self._loop.create_server(
            lambda: _Connection(self), sock=self._listener.dup(), backlog=4096
        )
        ready()
        await self._stop.wait()
        for _ in range(ACCEPTING):
            await asyncio.sleep(0)
        server.close()
        for _ in range(ACCEPTING):  # what was accepted at the last moment is a connection by then
            await asyncio.sleep(0)
        for connection in list(self._open):
            connection.transport.abort()
        await asyncio.sleep(0)

    def _receive(self, connection: _Connection, asked: Asked, body: bytes) -> None:
        self._count += 1
        asked.n = self._count
        asked.body = _decoded(body)
        contents = _contents(asked.body or {})
        asked.prompt = _prompt(contents)
        listing = asked.method == "GET" and _is_models(asked.path.partition("?")[0])
        if listing:
            self.listings.append(asked)
        else:
            self._count_in(connection, asked)
        connection.asked = asked
        refusal = self._refusal(asked)
        step = refusal or (
            self.listing or NORMAL
            if listing
            else self._next_step(asked.prompt, asked.method == "POST")
        )
        delay = self.latency if step is NORMAL and not listing else step.delay
        wire = self._wire(asked, step, contents)
        queued = self.slots is not None and refusal is None and not listing
        if delay or queued or wire.pause is not None:
            connection.task = self._loop.create_task(
                self._answer_later(connection, wire, delay, queued)
            )
        else:
            connection.write(wire.pieces, wire)

    def _count_in(self, connection: _Connection, asked: Asked) -> None:
        if self.remember:
            self.ledger.append(asked)
        self.connections += not connection.counted
        connection.counted = connection.working = True
        self.in_flight += 1
        self.peak_in_flight = max(self.peak_in_flight, self.in_flight)

    async def _answer_later(
        self, connection: _Connection, wire: _Wire, delay: float, queued: bool
    ) -> None:
        async with self._slot() if queued else contextlib.nullcontext():
            await asyncio.sleep(delay)
            for piece in wire.pieces[:-1] if wire.pause is not None else []:
                connection.transport.write(piece)
                await asyncio.sleep(wire.pause or 0)
            connection.write(wire.pieces if wire.pause is None else wire.pieces[-1:], wire)
            if connection.asked is not None and wire.ending == "hang":
                await self._loop.create_future()
        connection.read_on()

    @contextlib.asynccontextmanager
    async def _slot(self) -> AsyncIterator[None]:
        turn = self._loop.create_future()
        self._queue.append(turn)
        self._call_next()
        try:
            await turn
            yield
        finally:
            if not turn.cancelled():
                self._busy -= 1
            self._call_next()

    def _call_next(self) -> None:
        while self._queue and (self.slots is None or self._busy < self.slots):
            turn = self._queue.popleft()
            if not turn.done():
                self._busy += 1
                turn.set_result(None)

    def _refusal(self, asked: Asked) -> Step | None:
        if self.key is not None and asked.headers.get("authorization") != f"Bearer {self.key}":
            return _refused(401, "Incorrect API key provided.", *ERRORS[401])
        path = asked.path.partition("?")[0]
        if _is_models(path) and self.models_at in (None, path):
            return (
                None
                if asked.method == "GET"
                else _refused(405, f"Not allowed: {asked.method} {path}")
            )
        if _shape(path) is None:
            return _refused(404, f"Invalid URL ({asked.method} {path})")
        if asked.method != "POST":
            return _refused(405, f"Not allowed: {asked.method} {path}")
        if (wait := self._wait_for_room(asked)) > 0:
            headers = {"retry-after-ms": str(math.ceil(wait * 1000))} if self.retry_after_ms else {}
            return _refused(429, "Rate limit reached for requests.", *ERRORS[429], headers=headers)
        if asked.body is None:
            return _refused(400, "We could not parse the JSON body of your request.")
        if unknown := sorted(self.refused & asked.body.keys()):
            return _refused(400, f"Unknown parameter: '{unknown[0]}'.", code="unknown_parameter")
        if path.endswith("/embeddings"):
            asked.texts = tuple(map(_text, _texts(asked.body)))
            return self.embedder.refused(asked.body)
        return None

    def _wait_for_room(self, asked: Asked) -> float:
        """Take what a request needs and return 0.0, or return the seconds until it is there.

        Tokens are those of a normal answer: what the server will charge.
        """
        now = self._loop.time()
        rate, token_rate, tokens = self.requests_per_second, self.tokens_per_second, 0
        if token_rate is not None:
            tokens = _words(asked.prompt) + 3 + _words(answer_to(asked.prompt))
        wait = max(
            self._allowed.wait(1, rate, self.burst, now),
            self._allowed_tokens.wait(tokens, token_rate, self.burst * 20, now),
        )
        if not wait:
            self._allowed.left -= 1
            self._allowed_tokens.left -= tokens
        return wait

    def _announced(self) -> dict[str, str]:
        """What OpenAI's servers say of their limits, in their spelling."""
        said: dict[str, str] = {}
        for what, bucket, rate in (
            ("requests", self._allowed, self.requests_per_second),
            ("tokens", self._allowed_tokens, self.tokens_per_second),
        ):
            if rate is not None:
                used = max(0.0, bucket.most - bucket.left)
                said |= {
                    f"x-ratelimit-limit-{what}": f"{rate * 60:.0f}",
                    f"x-ratelimit-remaining-{what}": f"{rate * 60 - used:.0f}",
                    f"x-ratelimit-reset-{what}": f"{math.ceil(used) / rate * 1000:.0f}ms",
                }
        return said

    def _next_step(self, prompt: str, scripted: bool) -> Step:
        words: Iterable[str] = self._script if scripted else ()
        if self._lengths == {len(prompt)}:  # then it has only itself in it
            words = (prompt,) if scripted and prompt in self._script else ()
        for keyword in words:
            if keyword in prompt:
                taken = self._taken[keyword, prompt]
                self._taken[keyword, prompt] += 1
                return _step_at(self._script[keyword], taken)
        return self.always or NORMAL

    def _wire(self, asked: Asked, step: Step, contents: Contents) -> _Wire:
        if step.raw is not None:
            raw = [step.raw] if isinstance(step.raw, bytes) else [*step.raw]
            pause = step.event_delay if len(raw) > 1 else None
            return _Wire(raw, "hang" if step.hang else "close", pause, whole=True)
        if step.silent:
            return _Wire([b""], _ending(step), None, whole=False)
        ending = _ending(step)
        if ending == "keep" and asked.headers.get("connection", "").lower() == "close":
            ending = "close"
        content, streamed, tokens = self._content(asked, step, contents)
        said = self._announced() if self.announces else {}
        head = _head(asked.n, step, None if streamed else len(content), ending, said)
        framed = streamed and not step.no_length
        pieces = (
            [_chunk(piece) for piece in _pieces(content, step)]
            if framed
            else _pieces(content, step)
        )
        if framed and (not step.partial or step.clean_end):
            pieces.append(b"0\r\n\r\n")
        pause = step.event_delay if step.event_delay or step.chunk else None
        return _Wire([head, *pieces], ending, pause, not step.partial, step.status, tokens)

    def _content(
        self, asked: Asked, step: Step, contents: Contents
    ) -> tuple[Any, bool, tuple[int, int]]:
        """What to send: bytes, or a stream's frames; whether it is a stream; and the tokens it
        costs.
        """
        path = asked.path.partition("?")[0]
        named = path.endswith("/responses")
        if step.events is not None:
            return [_frame(event, named) for event in step.events], True, (0, 0)
        if step.body is not None:
            return _encoded(step.body), False, _charged(step.body)
        if step.status >= 300 or step.status == 204:
            return _error(step.status), False, (0, 0)
        if _is_models(path):
            return self._model_list(path), False, (0, 0)
        shape = _shape(path)
        assert shape is not None and asked.body is not None
        tokens = sum(_words(text) for _, text in contents) + 3
        if asked.texts:  # each of them as if it had been asked about alone
            tokens = sum(_words(text) + 3 for text in asked.texts)
        said = _Said.of(asked, step, tokens, self.embedder)
        if self.cache is not None and said.usage is not None and not asked.texts:
            used = self.cache.asked(asked.n, asked.body, self._loop.time())
            said = replace(said, usage=_cached(said.usage, *used))
        if asked.body.get("stream") and shape.stream is not None:
            return [_frame(event, named) for event in shape.stream(said)], True, said.tokens
        return msgspec.json.encode(shape.whole(said)), False, said.tokens

    def _model_list(self, path: str) -> bytes:
        def entry(name: str) -> dict[str, Any]:
            return {"id": name, "object": "model", "created": 1_700_000_000, "owned_by": "fake"}

        name = unquote(path.partition("/models")[2].lstrip("/"))
        listed = {"object": "list", "data": [entry(name) for name in self.models]}
        return msgspec.json.encode(entry(name) if name else listed)


class _Connection(asyncio.Protocol):
    """One client's socket: bytes to requests, one at a time, and answers to bytes."""

    def __init__(self, api: FakeAPI) -> None:
        self.api = api
        self.asked: Asked | None = None
        self.task: asyncio.Task[None] | None = None
        self.idle: asyncio.TimerHandle | None = None
        self.buffer = bytearray()
        self.counted = False  # among the connections
        self.working = False  # on a request that is counted as in flight

    def connection_made(self, transport: Any) -> None:
        self.transport: asyncio.Transport = transport
        self.api._open.add(self)

    def connection_lost(self, _: Exception | None) -> None:
        self.api._open.discard(self)
        if self.task is not None:
            self.task.cancel()
        self.wait(None)
        self.leave()

    def data_received(self, data: bytes) -> None:
        self.wait(None)
        self.buffer += data
        if self.buffer.startswith(TLS_HELLO):
            self.transport.close()
            return
        self.read_on()

    def read_on(self) -> None:
        while self.asked is None and not self.transport.is_closing() and self.buffer:
            request = self._take()
            if request is None:
                return
            self.api._receive(self, *request)

    def _take(self) -> tuple[Asked, bytes] | None:
        end = self.buffer.find(b"\r\n\r\n")
        if end < 0:
            return None
        first, *lines = self.buffer[:end].decode("latin-1").split("\r\n")
        method, target, _ = first.split(" ")
        headers = {}
        for line in lines:
            name, _, value = line.partition(":")
            headers[name.lower()] = value.strip()
        start, stop = end + 4, end + 4 + int(headers.get("content-length", 0))
        if len(self.buffer) < stop:
            return None
        body = bytes(self.buffer[start:stop])
        del self.buffer[:stop]
        return Asked(0, target, method, headers, None, "", self.api._loop.time()), body

    def write(self, pieces: list[bytes], wire: _Wire) -> None:
        """Send the last of an answer, and end the connection the way the step wants it."""
        if self.asked is None or self.transport.is_closing():
            return
        self.asked.status = wire.status
        self.asked.completed = wire.whole
        self.asked.input_tokens, self.asked.output_tokens = wire.tokens
        if self.api.cache is not None:
            self.api.cache.ended(self.asked.n, wire.whole, self.api._loop.time())
        if wire.ending != "hang":
            self.leave()
        self.transport.write(b"".join(pieces))
        if wire.ending == "close":
            self.transport.close()
        elif wire.ending == "reset":
            self._reset()
        elif wire.ending == "keep" and self.api.closes_after is not None:
            self.transport.pause_reading()
            self.wait(self.api.closes_after)
        elif wire.ending == "keep":
            self.wait(self.api.keeps_idle)

    def wait(self, seconds: float | None) -> None:
        """Close so many seconds from now; never if that is None."""
        if self.idle is not None:
            self.idle.cancel()
        later = self.api._loop.call_later
        self.idle = None if seconds is None else later(seconds, self.transport.close)

    def leave(self) -> None:
        if self.asked is not None:
            self.api.in_flight -= self.working
            self.asked, self.working = None, False

    def _reset(self) -> None:
        linger = struct.pack("ii", 1, 0)
        self.transport.get_extra_info("socket").setsockopt(
            socket.SOL_SOCKET, socket.SO_LINGER, linger
        )
        self.transport.abort()


@dataclass(frozen=True, slots=True)
class _Wire:
    """An answer as bytes.  `pause` separates the pieces' writes; None sends them as one."""

    pieces: list[bytes]
    ending: Literal["keep", "close", "reset", "hang"]
    pause: float | None
    whole: bool
    status: int | None = None
    tokens: tuple[int, int] = (0, 0)


def _step_at(steps: Steps, taken: int) -> Step:
    if steps and steps[-1] is ...:
        steps = steps[:-1]
        taken = min(taken, len(steps) - 1)
    if taken >= len(steps):
        return NORMAL
    step = steps[taken]
    assert step is not ..., "`...` is the last of its steps"
    return step if isinstance(step, Step) else Step(status=step)


def _refused(
    status: int,
    message: str,
    kind: str = "invalid_request_error",
    code: str | None = None,
    headers: Mapping[str, str] | None = None,
) -> Step:
    error = {"message": message, "type": kind, "param": None, "code": code}
    return Step(status=status, body={"error": error}, headers=headers or {})


def _error(status: int) -> bytes:
    """The body of a failure nobody scripted a body for; redirects have none."""
    if status < 400:
        return b""
    kind, code = ERRORS.get(
        status, ("server_error" if status >= 500 else "invalid_request_error", None)
    )
    message = f"Scripted {status} {REASONS.get(status, '')}".strip()
    return msgspec.json.encode(
        {"error": {"message": message, "type": kind, "param": None, "code": code}}
    )


def _ending(step: Step) -> Literal["keep", "close", "reset", "hang"]:
    if step.hang:
        return "hang"
    if step.reset:
        return "reset"
    return "close" if step.close or step.partial or step.no_length else "keep"


def _head(n: int, step: Step, length: int | None, ending: str, announced: dict[str, str]) -> bytes:
    """The head of an answer with a body of `length` bytes; None is a stream."""
    usual = "text/event-stream; charset=utf-8" if length is None else "application/json"
    headers = {"content-type": step.content_type or usual, "x-request-id": f"req_{n}", **announced}
    if ending == "close" and not step.partial:
        headers["connection"] = "close"
    if not step.no_length:
        name, value = (
            ("transfer-encoding", "chunked") if length is None else ("content-length", str(length))
        )
        headers[name] = value
    if step.headers:
        headers.update({name.lower(): value for name, value in step.headers.items()})
    lines = "".join([f"{name}: {value}\r\n" for name, value in headers.items()])
    return f"HTTP/1.1 {step.status} {REASONS.get(step.status, 'Scripted')}\r\n{lines}\r\n".encode(
        "latin-1"
    )


def _pieces(content: bytes | list[bytes], step: Step) -> list[bytes]:
    """The part of the content that is sent, in the writes it is sent in."""
    frames = [content] if isinstance(content, bytes) else content[: step.cut_events]
    if step.cut is None and step.chunk is None:
        return frames
    sent = b"".join(frames)[: step.cut]
    size = step.chunk or max(len(sent), 1)
    return [sent[start : start + size] for start in range(0, len(sent), size)]


def _chunk(piece: bytes) -> bytes:
    return b"%x\r\n%b\r\n" % (len(piece), piece) if piece else b""


def _frame(event: str | bytes | dict[str, Any], named: bool) -> bytes:
    if isinstance(event, bytes):
        return event
    if isinstance(event, str):
        return b"".join(b"data: %b\n" % line.encode() for line in event.split("\n")) + b"\n"
    data = b"data: %b\n\n" % msgspec.json.encode(event)
    return b"event: %b\n%b" % (event["type"].encode(), data) if named and "type" in event else data


def _encoded(body: bytes | str | dict[str, Any] | list[Any]) -> bytes:
    if isinstance(body, bytes):
        return body
    return (
        body.encode("utf-8", "surrogatepass")
        if isinstance(body, str)
        else msgspec.json.encode(body)
    )


def _decoded(body: bytes) -> dict[str, Any] | None:
    try:
        value = msgspec.json.decode(body) if body else None
    except msgspec.DecodeError:
        return None
    return value if isinstance(value, dict) else None


def _text(content: Any) -> str:
    """The text in a content: a string, its text parts, or the texts of a list of inputs."""
    if isinstance(content, str):
        return content
    parts = content if isinstance(content, list) else []
    return "".join(
        part if isinstance(part, str) else str(_field(part, "text") or "") for part in parts
    )


def _field(value: Any, name: str) -> Any:
    return value.get(name) if isinstance(value, dict) else None


def _contents(body: dict[str, Any]) -> Contents:
    """Role and text of everything in a request that is input, whichever API it is for."""
    system = [("system", _text(body["instructions"]))] if "instructions" in body else []
    asked = body.get("messages", body.get("input", body.get("prompt")))
    if isinstance(asked, list) and any(isinstance(item, dict) for item in asked):
        return system + [
            (str(_field(item, "role")), _text(_field(item, "content"))) for item in asked
        ]
    return [*system, ("user", _text(asked))]


def _prompt(contents: Contents) -> str:
    """The text of the last thing the user says, or the last text when no user speaks."""
    return next((text for role, text in reversed(contents) if role == "user"), contents[-1][1])


@dataclass(frozen=True, slots=True)
class _Said:
    """What a normal answer says, before it takes the shape of an API."""

    asked: Asked
    body: dict[str, Any]
    contents: list[Any]
    finish_reason: Any
    model: Any
    usage: dict[str, Any] | None
    tokens: tuple[int, int]
    vectors: list[dict[str, Any]]

    @classmethod
    def of(cls, asked: Asked, step: Step, input_tokens: int, embedder: Embedder) -> _Said:
        body = asked.body or {}
        first = answer_to(asked.prompt) if step.content is UNSET else step.content
        contents = [first, *(f"{first} #{index}" for index in range(1, body.get("n") or 1))]
        written = 0 if "/embeddings" in asked.path else sum(_words(content) for content in contents)
        tokens = (input_tokens, written)
        usage = _usage(*tokens, asked.path) if step.usage == "normal" else step.usage
        return cls(
            asked=asked,
            body=body,
            contents=contents,
            finish_reason="stop" if step.finish_reason is UNSET else step.finish_reason,
            model=body.get("model") or "fake-model" if step.model is UNSET else step.model,
            usage=usage,
            tokens=tokens if usage is None else _charged({"usage": usage}),
            vectors=embedder.items(body) if "/embeddings" in asked.path else [],
        )

    def common(self, prefix: str, kind: str) -> dict[str, Any]:
        return {
            "id": f"{prefix}-{self.asked.n}",
            "object": kind,
            "created": int(time.time()),
            "model": self.model,
            "service_tier": "default",
            "system_fingerprint": "fp_fake",
        }

    def counted(self) -> dict[str, Any]:
        return {} if self.usage is None else {"usage": self.usage}


def _words(text: Any) -> int:
    return _words_of(text) if isinstance(text, str) else 0


@lru_cache(1_024)
def _words_of(text: str) -> int:
    return len(text.split())


def _usage(tokens_in: int, tokens_out: int, path: str) -> dict[str, Any]:
    if "/embeddings" in path:
        return {"prompt_tokens": tokens_in, "total_tokens": tokens_in}
    responses = "/responses" in path
    read, written = (
        ("input_tokens", "output_tokens") if responses else ("prompt_tokens", "completion_tokens")
    )
    return {
        read: tokens_in,
        written: tokens_out,
        "total_tokens": tokens_in + tokens_out,
        f"{read}_details": {"cached_tokens": 0},
        f"{written}_details": {"reasoning_tokens": 0},
    }


def _cached(usage: dict[str, Any], tokens: int, read: int, written: int) -> dict[str, Any]:
    """Usage of so many tokens of input, of which some were read from a cache or written to it."""
    whole = next(name for name in ("prompt_tokens", "input_tokens") if name in usage)
    details = {"cached_tokens": read, "cache_write_tokens": written}
    total = usage["total_tokens"] - usage[whole] + tokens
    return {**usage, whole: tokens, "total_tokens": total, f"{whole}_details": details}


def _charged(answer: Any) -> tuple[int, int]:
    """The tokens a scripted answer admits to."""
    usage = _field(answer, "usage")

    def count(*names: str) -> int:
        found = (_field(usage, name) for name in names)
        return next((number for number in found if isinstance(number, int)), 0)

    return count("prompt_tokens", "input_tokens"), count("completion_tokens", "output_tokens")


def _deltas(content: Any) -> list[str]:
    first, *others = content.split(" ") if isinstance(content, str) else [""]
    return [text for text in (first, *(f" {word}" for word in others)) if text]


def _chat(said: _Said) -> dict[str, Any]:
    choices = [
        {
            "index": index,
            "message": {"role": "assistant", "content": content, "refusal": None},
            "finish_reason": said.finish_reason,
            "logprobs": None,
        }
        for index, content in enumerate(said.contents)
    ]
    return {**said.common("chatcmpl", "chat.completion"), "choices": choices, **said.counted()}


def _chat_events(said: _Said) -> Iterator[dict[str, Any] | str]:
    common = said.common("chatcmpl", "chat.completion.chunk")

    def chunk(index: int, delta: dict[str, Any], finish: Any = None) -> dict[str, Any]:
        choice = {"index": index, "delta": delta, "finish_reason": finish, "logprobs": None}
        return {**common, "choices": [choice]}

    for index, content in enumerate(said.contents):
        yield chunk(index, {"role": "assistant", "content": "", "refusal": None})
        yield from (chunk(index, {"content": text}) for text in _deltas(content))
        yield chunk(index, {}, said.finish_reason)
    yield from _last_events(said, common)


def _completion(said: _Said) -> dict[str, Any]:
    choices = [
        {"text": content, "index": index, "logprobs": None, "finish_reason": said.finish_reason}
        for index, content in enumerate(said.contents)
    ]
    return {**said.common("cmpl", "text_completion"), "choices": choices, **said.counted()}


def _completion_events(said: _Said) -> Iterator[dict[str, Any] | str]:
    common = said.common("cmpl", "text_completion")

    def chunk(index: int, text: str, finish: Any = None) -> dict[str, Any]:
        choice = {"text": text, "index": index, "logprobs": None, "finish_reason": finish}
        return {**common, "choices": [choice]}

    for index, content in enumerate(said.contents):
        yield from (chunk(index, text) for text in _deltas(content))
        yield chunk(index, "", said.finish_reason)
    yield from _last_events(said, common)


def _last_events(said: _Said, common: dict[str, Any]) -> Iterator[dict[str, Any] | str]:
    if _field(said.body.get("stream_options"), "include_usage") and said.usage is not None:
        yield {**common, "choices": [], **said.counted()}
    yield "[DONE]"


def _response(said: _Said) -> dict[str, Any]:
    n = said.asked.n
    why = {"length": "max_output_tokens", "content_filter": "content_filter"}.get(
        said.finish_reason
    )
    message = {
        "id": f"msg_{n}",
        "type": "message",
        "role": "assistant",
        "status": "completed",
        "content": [{"type": "output_text", "text": said.contents[0], "annotations": []}],
    }
    return {
        "id": f"resp_{n}",
        "object": "response",
        "created_at": int(time.time()),
        "status": "incomplete" if why else "completed",
        "error": None,
        "incomplete_details": {"reason": why} if why else None,
        "model": said.model,
        "output": [{"id": f"rs_{n}", "type": "reasoning", "summary": []}, message],
        "service_tier": "default",
        **said.counted(),
    }


def _response_events(said: _Said) -> Iterator[dict[str, Any]]:
    whole = _response(said)
    reasoning, message = whole["output"]
    text = {"item_id": message["id"], "output_index": 1, "content_index": 0}
    opened = {
        **whole,
        "status": "in_progress",
        "incomplete_details": None,
        "output": [],
        "usage": None,
    }
    empty = {**message, "status": "in_progress", "content": []}
    deltas = (
        {"type": "response.output_text.delta", **text, "delta": it}
        for it in _deltas(said.contents[0])
    )
    events = [
        {"type": "response.created", "response": opened},
        {"type": "response.output_item.added", "output_index": 0, "item": reasoning},
        {"type": "response.output_item.done", "output_index": 0, "item": reasoning},
        {"type": "response.output_item.added", "output_index": 1, "item": empty},
        *deltas,
        {"type": "response.output_text.done", **text, "text": said.contents[0]},
        {"type": "response.output_item.done", "output_index": 1, "item": message},
        {"type": f"response.{whole['status']}", "response": whole},
    ]
    yield from ({**event, "sequence_number": number} for number, event in enumerate(events))


def _embeddings(said: _Said) -> dict[str, Any]:
    return {"object": "list", "data": said.vectors, "model": said.model, **said.counted()}


@dataclass(frozen=True, slots=True)
class _Shape:
    """How an API spells an answer, whole and streamed."""

    whole: Callable[[_Said], dict[str, Any]]
    stream: Callable[[_Said], Iterator[dict[str, Any] | str]] | None = None


SHAPES = {
    "/chat/completions": _Shape(_chat, _chat_events),
    "/responses": _Shape(_response, _response_events),
    "/completions": _Shape(_completion, _completion_events),
    "/embeddings": _Shape(_embeddings),
}


def _shape(path: str) -> _Shape | None:
    return next((shape for ending, shape in SHAPES.items() if path.endswith(ending)), None)


def _is_models(path: str) -> bool:
    return path.endswith("/models") or "/models/" in path


def main() -> None:
    """Run in the foreground, for trying things by hand and for benchmarks."""
    parser = argparse.ArgumentParser(prog="python -m tests.fake_api", description=main.__doc__)
    parser.add_argument("--port", type=int, default=0)
    parser.add_argument("--latency", type=float, default=0.0, help="seconds before each answer")
    parser.add_argument(
        "--rate", type=float, help="requests per second above which the answer is 429"
    )
    parser.add_argument("--dimensions", type=int, default=8, help="numbers of a vector")
    flags = parser.parse_args()
    import uvloop

    api = FakeAPI(flags.port, uvloop.new_event_loop)
    api.embedder.dimensions = flags.dimensions
    api.latency, api.requests_per_second, api.remember = flags.latency, flags.rate, False
    print(api.url, flush=True)
    with contextlib.suppress(KeyboardInterrupt):
        threading.Event().wait()
    api.close()


if __name__ == "__main__":
    main()

"""Answers read: from the bytes of a body or an event stream to the fields of an Attempt.

An answer is taken for what it is, whatever was asked for and whatever its content type says: a
stream may come where a body was asked for, and the other way round.  No secret that a server echoes
is kept.
"""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable, Iterable
from contextlib import nullcontext
from functools import partial
from typing import Any

import aiohttp
import msgspec

from batch import headers
from batch.apis import APIS, Fold
from batch.event_stream import Event, EventReader
from batch.lenient_json import decode
from batch.model import Request
from batch.transport.body import LARGE_BODY, LARGE_STREAM, Body, Held, LargeBodies, Read
from batch.transport.connection import Exchange
from batch.transport.faults import fault
from batch.transport.redaction import Scrubber
from batch.words import storable

AFTER_THE_END = 5.0
"""Seconds in which usage may follow on a finish reason, where the server does not say `[DONE]`."""

LONGEST_HEADER = 500
"""Characters of a header's value that are kept."""

BLANK = b"\xef\xbb\xbf \t\r\n"
ESCAPED = re.compile(rb"\\[u/]")
STREAM = re.compile(rb"[\xef\xbb\xbf\s]*(?:data|event|id|retry|error)?:")
"""How an event stream begins, whatever its content type says."""


class AnswerReader:
    """Reads all answers of one endpoint."""

    def __init__(
        self,
        scrubber: Scrubber,
        idle_timeout: float,
        room: Callable[[], Awaitable[None]],
        clock: Callable[[], float],
        begun: Callable[[Request], None] = lambda _: None,
    ) -> None:
        """A stream may be silent for `idle_timeout` seconds; a large answer is read on once there
        is `room`; `begun` hears of requests whose answers have their first token.
        """
        self._scrubber = scrubber
        self._idle_timeout = idle_timeout
        self._large = LargeBodies(room)
        self._clock = clock
        self._begun = begun

    async def read(self, request: Request, exchange: Exchange, began: float) -> dict[str, Any]:
        """What the answer to `request`, sent at `began`, says.  Raises TooLarge, BadAnswer and what
        the network raises.
        """
        if request.stream and exchange.status == 200:
            return await self._read_stream(request, exchange, began)
        raw = await self._body(exchange.read, exchange.held)
        return self.whole(request, exchange.status, raw)

    async def read_json(self, read: Read) -> dict[str, Any]:
        """What an answer says that is no answer to a Request.  Raises as `read` does."""
        return self._json(await self._body(read, nullcontext))

    def whole(self, request: Request, status: int, raw: bytes) -> dict[str, Any]:
        """What a body says that has been read to its end."""
        if status == 200 and raw[:1] != b"{" and STREAM.match(raw):
            answer = _StreamedAnswer(APIS[request.api].Fold(request.choices), self._clock)
            answer.feed(raw)
            answer.close()
            return self._folded(answer.fold)
        return self._json(raw)

    def kept_headers(self, exchange: Exchange) -> dict[str, str]:
        """The headers that mean something."""
        told = {}
        for name, value in exchange.headers.items():
            if (kept := headers.kept(name)) is not None:
                told[kept] = storable(self._scrubber.clean(value), LONGEST_HEADER)
        return told

    async def _body(self, read: Read, held: Held) -> bytes:
        with Body(read, held, LARGE_BODY, self._large) as body:
            return await body.rest()

    async def _read_stream(
        self, request: Request, exchange: Exchange, began: float
    ) -> dict[str, Any]:
        """A stream, or what was sent in its place."""
        with Body(exchange.read, exchange.held, LARGE_STREAM, self._large) as body:
            head = b""
            while not head and (piece := await body.next()):
                head = piece.lstrip(BLANK)
            if head[:1] in (b"{", b"[", b"<"):
                return self.whole(request, exchange.status, head + await body.rest())
            begun = partial(self._begun, request)
            answer = _StreamedAnswer(APIS[request.api].Fold(request.choices), self._clock, begun)
            try:
                await self._follow(answer, head, body, exchange)
            except (aiohttp.ClientError, TimeoutError, OSError):
                if not answer.fold.complete:
                    raise
        first_token = answer.first_token
        ttft = None if first_token is None else first_token - began
        return {**self._folded(answer.fold), "ttft_s": ttft}

    async def _follow(
        self, answer: _StreamedAnswer, piece: bytes, body: Body, exchange: Exchange
    ) -> None:
        """Fold the events as they come.  The idle timeout counts events, so heartbeats do not keep
        a stalled stream alive.
        """
        while piece:
            if answer.feed(piece):
                timeout = self._idle_timeout
                if answer.fold.complete:
                    timeout = min(timeout, AFTER_THE_END)
                exchange.within(timeout)
            if answer.fold.ended:
                return
            piece = await body.next()
        answer.close()

    def _folded(self, fold: Fold) -> dict[str, Any]:
        if not fold.complete:
            return fault("cut_off", "the stream ended before its answer did", billed=True)
        raw, answer = self._scrubbed(fold.answer())
        return {"raw": raw, "answer": answer, "repaired": fold.repaired}

    def _json(self, raw: bytes) -> dict[str, Any]:
        raw = self._scrubber.clean_bytes(raw)
        answer, repaired = decode(raw)
        escaped = raw.find(b"\\") >= 0 and ESCAPED.search(raw)
        if escaped and answer is not None:  # a secret may be spelled in escapes
            raw, answer = self._scrubbed(answer)
        return {"raw": raw, "answer": answer, "repaired": repaired}

    def _scrubbed(self, answer: Any) -> tuple[bytes, Any]:
        raw = msgspec.json.encode(answer)
        if not self._scrubber.suspects(raw):
            return raw, answer
        clean = self._scrubber.clean_bytes(raw)
        return clean, decode(clean)[0]


class _StreamedAnswer:
    """The events of one stream, folded into its answer."""

    def __init__(
        self,
        fold: Fold,
        clock: Callable[[], float],
        begun: Callable[[], None] = lambda: None,
    ) -> None:
        self.fold = fold
        self.first_token: float | None = None
        self._clock = clock
        self._begun = begun
        self._reader = EventReader()

    def feed(self, piece: bytes) -> bool:
        """Whether `piece` held an event."""
        events = self._reader.feed(piece)
        self._add(events)
        if self.first_token is None and self.fold.started:
            self.first_token = self._clock()
            self._begun()
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

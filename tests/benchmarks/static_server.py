"""A server for benchmarks: the same answer to every request, at once or after a latency.

`python -m tests.benchmarks.static_server [--details] [MEDIAN SIGMA [CHUNKS [BYTES]]]` prints its port.
With `--details` the usage of an answer in one piece has those that OpenAI sends.  With a median
(seconds) and sigma, answer N takes the N-th draw of a log-normal distribution with a fixed seed
(`latencies`), so that whoever knows them knows how fast all could have been.  With CHUNKS the
answer is a stream of so many events, the last at the end of the latency; with BYTES an answer in
one piece has a text of that size (CHUNKS being 0).  A GET gets the list of
its one model, at once, and counts for nothing.  On SIGUSR1 it prints what it has `Seen`.

It is no HTTP server: it finds the end of a request by its Content-Length, and answers.
"""

from __future__ import annotations

import asyncio
import json
import random
import signal
import sys
import time
from collections import deque
from collections.abc import Iterator, Mapping
from typing import cast

import uvloop

WORDS = " ".join(f"word{n}" for n in range(40))
USAGE = {"prompt_tokens": 20, "completion_tokens": 40, "total_tokens": 60}
DETAILS = {
    "prompt_tokens_details": {"cached_tokens": 0, "audio_tokens": 0},
    "completion_tokens_details": {
        "reasoning_tokens": 0,
        "audio_tokens": 0,
        "accepted_prediction_tokens": 0,
        "rejected_prediction_tokens": 0,
    },
}
DETAILED = "--details"


def answer(size: int = 0, details: Mapping[str, object] = {}) -> bytes:
    """A whole response with a chat completion: of about 700 bytes, or a text of `size` bytes.  Its
    usage has `details`.
    """
    words = (WORDS * (size // len(WORDS) + 1))[:size] or WORDS
    message = {"role": "assistant", "content": words, "refusal": None}
    return _response(
        {
            "id": "chatcmpl-1",
            "object": "chat.completion",
            "created": 1_767_225_600,
            "model": "m",
            "choices": [
                {"index": 0, "message": message, "logprobs": None, "finish_reason": "stop"}
            ],
            "usage": {**USAGE, **details},
        }
    )


def listing() -> bytes:
    """A whole response with a list of models."""
    return _response({"object": "list", "data": [{"id": "m", "object": "model"}]})


def _response(answer: dict[str, object]) -> bytes:
    body = json.dumps(answer).encode()
    head = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n"
    return head % len(body) + body


def stream(chunks: int) -> list[bytes]:
    """The pieces of a streamed response with so many events of content."""
    common = {"id": "chatcmpl-1", "object": "chat.completion.chunk", "created": 1, "model": "m"}

    def event(choices: list[dict[str, object]], **more: object) -> bytes:
        data = b"data: " + json.dumps({**common, "choices": choices, **more}).encode() + b"\n\n"
        return b"%x\r\n%b\r\n" % (len(data), data)

    head = (
        b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"
    )
    delta = {"index": 0, "delta": {"content": "word "}, "finish_reason": None}
    last = {"index": 0, "delta": {}, "finish_reason": "stop"}
    done = b"e\r\ndata: [DONE]\n\n\r\n0\r\n\r\n"
    end = event([last]) + event([], usage=USAGE) + done
    return [head, *[event([delta])] * chunks, end]


def latencies(median: float, sigma: float) -> Iterator[float]:
    """Seconds that the answers take, in the order in which they are asked for."""
    chance = random.Random(7)
    while True:
        yield median * chance.lognormvariate(0, sigma)


class Seen:
    """How many requests have come, when the first one had, and when the last answer had gone.

    The moments are of the monotonic clock, which the processes of a machine have in common.
    """

    def __init__(self) -> None:
        self.requests = 0
        self.first = 0.0
        self.last = 0.0

    def came(self) -> None:
        self.requests += 1
        if self.requests == 1:
            self.first = time.monotonic()

    def went(self) -> None:
        self.last = time.monotonic()

    def tell(self) -> None:
        print(self.requests, self.first, self.last, flush=True)


class Connection(asyncio.Protocol):
    """One client; requests that came at once are answered in their order."""

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        whole: bytes,
        draws: Iterator[float] | None,
        pieces: list[bytes],
        seen: Seen,
    ) -> None:
        self._loop = loop
        self._whole = whole
        self._draws = draws
        self._pieces = pieces
        self._seen = seen
        self._buffer = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        while (head := self._buffer.find(b"\r\n\r\n")) >= 0:
            end = head + 4 + _length(self._buffer[:head])
            if len(self._buffer) < end:
                return
            listed = self._buffer.startswith(b"GET ")
            self._buffer = self._buffer[end:]
            if listed:
                self._transport.write(listing())
            else:
                self._answer()

    def _answer(self) -> None:
        self._seen.came()
        if self._draws is None:
            self._end(b"".join(self._pieces) or self._whole)
            return
        takes = next(self._draws)
        if not self._pieces:
            self._loop.call_later(takes, self._end, self._whole)
            return
        head, *rest = self._pieces
        self._transport.write(head)
        step = takes / len(rest)
        self._stream(deque(rest), self._loop.time() + step, step)

    def _stream(self, rest: deque[bytes], at: float, step: float) -> None:
        if not self._transport.is_closing():
            self._loop.call_at(at, self._next, rest, at, step)

    def _next(self, rest: deque[bytes], at: float, step: float) -> None:
        piece = rest.popleft()
        if rest:
            self._transport.write(piece)
            self._stream(rest, at + step, step)
        else:
            self._end(piece)

    def _end(self, piece: bytes) -> None:
        """The last of an answer, unless its client has gone."""
        if not self._transport.is_closing():
            self._transport.write(piece)
            self._seen.went()


def _length(head: bytes) -> int:
    """What the Content-Length says, 0 where there is none."""
    head = head.lower()
    at = head.find(b"content-length:")
    return 0 if at < 0 else int(head[at + 15 : head.find(b"\r", at + 15) % (len(head) + 1)])


async def serve(draws: Iterator[float] | None, pieces: list[bytes], whole: bytes) -> None:
    loop, seen = asyncio.get_running_loop(), Seen()
    loop.add_signal_handler(signal.SIGUSR1, seen.tell)
    server = await loop.create_server(
        lambda: Connection(loop, whole, draws, pieces, seen), "127.0.0.1", 0, backlog=4096
    )
    print(server.sockets[0].getsockname()[1], flush=True)
    await server.serve_forever()


def main() -> None:
    detailed = DETAILED in sys.argv[1:]
    numbers = [float(word) for word in sys.argv[1:] if word != DETAILED]
    draws = latencies(*numbers[:2]) if len(numbers) > 1 and numbers[0] else None
    chunks, size = (*(int(number) for number in numbers[2:]), 0, 0)[:2]
    whole = answer(size, DETAILS if detailed else {})
    uvloop.run(serve(draws, stream(chunks) if chunks else [], whole))


if __name__ == "__main__":
    main()

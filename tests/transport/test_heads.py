"""The head of an answer is read as gateways send it: long, in pieces, with a length beside chunks."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from tests.fake_api import FakeAPI, Step, answer_to
from tests.transport.test_client import request, send, text_of

ANSWER = {
    "id": "c1",
    "object": "chat.completion",
    "model": "m",
    "choices": [
        {
            "index": 0,
            "message": {"role": "assistant", "content": "whole"},
            "finish_reason": "stop",
        }
    ],
    "usage": {"prompt_tokens": 1, "completion_tokens": 1, "total_tokens": 2},
}
BODY = msgspec.json.encode(ANSWER)
CHUNKS = b"%x\r\n%b\r\n0\r\n\r\n" % (len(BODY), BODY)
HINTS = b"HTTP/1.1 103 Early Hints\r\nLink: </x>\r\n\r\n"
BOTH = (
    [b"Content-Length: %d" % len(BODY), b"Transfer-Encoding: chunked"],
    [b"transfer-encoding: Chunked", b"content-length: 7"],
    [b"Content-Length: 1", b"X-A: b", b"Content-Length: 2", b"Transfer-Encoding: chunked"],
)


def head(lines: list[bytes]) -> bytes:
    return b"\r\n".join([b"HTTP/1.1 200 OK", b"Content-Type: application/json", *lines, b"", b""])


@pytest.mark.parametrize(
    "headers",
    [
        {"Content-Security-Policy": "default-src " + "https://host.example " * 600},
        {"Set-Cookie": "a=" + "b" * 60_000},
        {f"X-Trace-{number}": "c" * 100 for number in range(500)},
    ],
    ids=["12 KiB", "60 KiB", "500 headers"],
)
@pytest.mark.parametrize("stream", [False, True])
async def test_an_answer_may_have_a_long_head(api: FakeAPI, headers: Any, stream: bool) -> None:
    api.always = Step(headers=headers)
    attempt = await send(api.url, request(stream=stream))
    assert (attempt.fault, text_of(attempt)) == (None, answer_to("snow"))


@pytest.mark.parametrize("lines", BOTH)
@pytest.mark.parametrize("before", [b"", HINTS])
async def test_chunks_make_a_length_void(api: FakeAPI, lines: list[bytes], before: bytes) -> None:
    api.always = Step(raw=before + head(lines) + CHUNKS)
    attempt = await send(api.url)
    assert (attempt.fault, attempt.status, attempt.answer) == (None, 200, ANSWER)


@pytest.mark.parametrize("at", [3, 8, 30, 60, 90, 100])
async def test_a_head_may_come_in_pieces(api: FakeAPI, at: int) -> None:
    whole = head(BOTH[0]) + CHUNKS
    api.always = Step(raw=(whole[:at], whole[at:]), event_delay=0.01)
    attempt = await send(api.url)
    assert (attempt.fault, attempt.answer) == (None, ANSWER)


async def test_a_body_that_looks_like_a_head_is_a_body(api: FakeAPI) -> None:
    text = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nContent-Length: 3\r\n\r\n" * 3000
    api.always = Step(content=text)
    assert text_of(await send(api.url)) == text


@pytest.mark.parametrize(
    ("raw", "fault"),
    [
        (b"HTTP/1.1 two hundred\r\n\r\n", "bad_response"),
        (b"SSH-2.0-OpenSSH_9.9\r\n", "bad_response"),
        (b"HTTP/1.1 200 OK\r\nContent-Le", "connection"),
        (b"HTTP", "connection"),
    ],
)
async def test_what_is_no_head_is_no_answer(api: FakeAPI, raw: bytes, fault: str) -> None:
    api.always = Step(raw=raw, close=True)
    assert (await send(api.url)).fault == fault

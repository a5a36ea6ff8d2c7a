"""A server may listen on a unix socket."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest

from batch.errors import JobError
from batch.transport.client import Client
from batch.transport.endpoint import Endpoint, target
from batch.transport.paths import lists_of, url_of, wire_url
from tests.transport.test_client import request, send

ANSWER = b'{"choices": []}'


@pytest.mark.parametrize(
    ("base_url", "socket", "asked"),
    [
        ("unix:///run/x.sock", "/run/x.sock", "/v1"),
        ("unix:///run/x.sock/v1", "/run/x.sock", "/v1"),
        ("unix:///run/x.sock:/v1", "/run/x.sock", "/v1"),
        ("unix:///run/x.sock/api/v1/chat/completions", "/run/x.sock", "/api/v1"),
        ("unix:///run/a.sockets/b.socket/llm?x=1", "/run/a.sockets/b.socket", "/llm"),
        ("unix:///run/x", "/run/x", "/v1"),
        ("unix:///run/x:/v2", "/run/x", "/v2"),
    ],
)
def test_a_socket_is_told_from_the_path_on_it(base_url, socket, asked):
    made = target(Endpoint(base_url=base_url), {"ALL_PROXY": "http://p:1"})
    assert (made.socket, made.proxy, made.name) == (socket, None, f"unix:{socket}")
    url = url_of(base_url, "/chat/completions")
    assert wire_url(url).partition("?")[0] == f"http://localhost{asked}/chat/completions"
    assert url_of(url, "/chat/completions") == url
    assert wire_url(lists_of(base_url)[0]).partition("?")[0] == f"http://localhost{asked}/models"


@pytest.mark.parametrize("base_url", ["unix://run/x.sock", "unix:///", "unix://"])
def test_a_socket_has_a_whole_path(base_url):
    with pytest.raises(JobError, match="whole path of a unix socket"):
        target(Endpoint(base_url=base_url), {})


async def test_requests_go_to_a_socket(tmp_path: Path) -> None:
    asked = []

    async def answer(reader: Any, writer: Any) -> None:
        asked.append(await reader.readuntil(b"\r\n\r\n"))
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%b" % (len(ANSWER), ANSWER))
        writer.close()

    path = tmp_path / "llm.sock"
    async with await asyncio.start_unix_server(answer, path):
        table = Endpoint(base_url=f"unix://{path}")
        async with Client(table, target(table, {}), connections=1) as client:
            attempt = await client.send(request())
            listed = await client.get(lists_of(f"unix://{path}")[0])
    assert (attempt.status, attempt.endpoint, listed.status) == (200, f"unix:{path}", 200)
    assert [head.split(b" HTTP")[0] for head in asked] == [
        b"POST /v1/chat/completions",
        b"GET /v1/models",
    ]
    assert b"\r\nHost: localhost\r\n" in asked[0]


async def test_a_socket_that_is_not_there_is_named(tmp_path: Path) -> None:
    attempt = await send(f"unix://{tmp_path}/no.sock")
    assert (attempt.fault, attempt.unreachable) == ("connection", True)
    assert attempt.message == f"cannot connect to {tmp_path}/no.sock: No such file or directory"

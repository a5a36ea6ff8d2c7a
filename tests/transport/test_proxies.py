"""The environment's proxy is taken where it should be, and what it says is said as its word."""

from __future__ import annotations

import asyncio
import sys
from contextlib import asynccontextmanager
from typing import Any
from urllib.parse import urlsplit

import pytest

from batch.errors import UsageError
from batch.transport import proxies
from batch.transport.client import Client
from batch.transport.endpoint import Endpoint, target
from tests.fake_api import FakeAPI, answer_to
from tests.transport.test_client import request, text_of

PROXIES = {"http_proxy": "http://p:1", "https_proxy": "http://p:1"}


def is_exempt(listed: str, url: str) -> bool:
    return proxies.of(urlsplit(url), {**PROXIES, "NO_PROXY": listed}) is None


@pytest.mark.parametrize(
    ("listed", "url"),
    [
        ("*", "https://llm.example/v1"),
        ("10.0.0.0/8", "http://10.1.2.3:8000/v1"),
        ("192.168.0.1/16", "http://192.168.7.7/v1"),
        ("fd00::/8", "http://[fd00::5]:8000/v1"),
        ("127.0.0.1, 10.1.2.3", "http://10.1.2.3:8000/v1"),
        ("10.1.2.3:8000", "http://10.1.2.3:8000/v1"),
        ("fd00::5", "http://[fd00::5]:8000/v1"),
        ("fd00:0:0::5", "http://[fd00::5]/v1"),
        ("[fd00::5]:8000", "http://[fd00::5]:8000/v1"),
        ("*.corp.example", "https://llm.corp.example/v1"),
        ("*.corp.example", "https://a.b.corp.example/v1"),
        ("*.Corp.Example:443", "https://llm.corp.example/v1"),
        (".corp.example", "https://llm.corp.example/v1"),
        ("corp.example", "https://LLM.corp.example./v1"),
        ("corp.example", "https://corp.example/v1"),
        ("10.1.*", "http://10.1.2.3/v1"),
        ("llm-*.example", "https://llm-7.example/v1"),
        ("a b\tc llm.example", "https://llm.example/v1"),
        ("http://llm.example", "https://llm.example/v1"),
        ("", "http://localhost:8000/v1"),
        ("", "http://127.0.0.3/v1"),
    ],
)
def test_no_proxy_exempts(listed: str, url: str) -> None:
    assert is_exempt(listed, url)


@pytest.mark.parametrize(
    ("listed", "url"),
    [
        ("10.0.0.0/8", "http://11.1.2.3:8000/v1"),
        ("10.0.0.0/8", "http://[fd00::5]/v1"),
        ("10.0.0.0/8", "https://10.example.com/v1"),
        ("fd00::/8", "http://[fe00::5]/v1"),
        ("10.1.2.3:9000", "http://10.1.2.3:8000/v1"),
        ("llm.example:80", "https://llm.example/v1"),
        ("*.corp.example", "https://corp.example.org/v1"),
        ("corp.example", "https://mycorp.example/v1"),
        (".corp.example", "https://corp.example.evil.com/v1"),
        ("10.0.0.0/99,/,:,[", "http://10.1.2.3/v1"),
        ("", "https://llm.example/v1"),
    ],
)
def test_no_proxy_exempts_nothing_else(listed: str, url: str) -> None:
    assert not is_exempt(listed, url)


@pytest.mark.parametrize(
    "named", ["http://", "ftp://h:21", "http://h:port", "http://h:0", "http://a b:1", "h:1\r\nx"]
)
def test_what_is_no_proxy_is_named_by_its_variable(named: str) -> None:
    with pytest.raises(UsageError, match=r"^ALL_PROXY names no proxy"):
        proxies.of(urlsplit("https://llm.example/v1"), {"ALL_PROXY": named})


def test_a_proxy_does_not_show_its_password() -> None:
    made = proxies.of(urlsplit("https://h.example"), {"HTTPS_PROXY": "http://me:word@p:1"})
    assert made is not None and (made.url, made.variable) == ("http://me:word@p:1", "HTTPS_PROXY")
    assert "word" not in repr(made)


@pytest.mark.parametrize("scheme", proxies.SOCKS)
def test_a_socks_proxy_takes_one_package_more(scheme: str, monkeypatch: Any) -> None:
    named = {"ALL_PROXY": f"{scheme}://127.0.0.1:1080"}
    at = urlsplit("https://llm.example/v1")
    made = proxies.of(at, named)
    assert made is not None and made.is_socks
    monkeypatch.setitem(sys.modules, "aiohttp_socks", None)
    with pytest.raises(UsageError, match=r"^ALL_PROXY names a SOCKS proxy.*batchmill\[socks\]"):
        proxies.of(at, named)


@asynccontextmanager
async def listening(answer: Any):
    """The port of a server with which `answer` talks."""
    server = await asyncio.start_server(answer, "127.0.0.1", 0)
    async with server:
        yield server.sockets[0].getsockname()[1]


async def asked_through(proxy: str, base_url: str, variable: str = "ALL_PROXY"):
    table = Endpoint(base_url=base_url, api_key_env="", allow_http=True)
    at = target(table, {variable: proxy})
    async with Client(table, at, connections=1) as client:
        return await client.send(request())


def saying(status: str) -> Any:
    async def answer(reader, writer):
        await reader.read(4)
        writer.write(f"HTTP/1.1 {status}\r\nContent-Length: 0\r\n\r\n".encode())
        await writer.drain()
        writer.close()

    return answer


@pytest.mark.parametrize("base_url", ["http://llm.internal/v1", "https://llm.internal/v1"])
@pytest.mark.parametrize(
    ("status", "fault", "said"),
    [
        ("407 Proxy Authentication Required", "untrusted", "asks for a name and password"),
        ("403 Forbidden", "untrusted", "refuses (HTTP 403)"),
        ("503 Service Unavailable", "connection", "has no way (HTTP 503)"),
    ],
)
async def test_what_a_proxy_says_is_its_word(base_url, status, fault, said):
    if base_url.startswith("http:") and "407" not in status:
        return  # a proxy that reads requests answers as the server might
    async with listening(saying(status)) as port:
        attempt = await asked_through(f"http://127.0.0.1:{port}", base_url)
    assert (attempt.fault, attempt.maybe_billed) == (fault, False)
    assert "the proxy that ALL_PROXY names" in attempt.message and said in attempt.message


@pytest.mark.parametrize("proxy", ["http://127.0.0.1:9", "http://no-such.invalid:1"])
async def test_a_proxy_that_is_not_there_is_named(proxy: str) -> None:
    attempt = await asked_through(proxy, "https://llm.example/v1", "https_proxy")
    assert (attempt.fault, attempt.unreachable) == ("connection", True)
    assert "the proxy that https_proxy names" in attempt.message


def socks(port: int, seen: list[bytes]) -> Any:
    """A SOCKS 5 server that knows one place, whatever is asked for."""

    async def answer(reader, writer):
        _, methods = await reader.readexactly(2)
        wanted = await reader.readexactly(methods)
        if 2 in wanted:
            writer.write(b"\x05\x02")
            seen.append(await reader.read(100))
            writer.write(b"\x01\x00")
        else:
            writer.write(b"\x05\x00")
        head = await reader.readexactly(4)
        size = (await reader.readexactly(1))[0] if head[3] == 3 else 4
        seen.append(await reader.readexactly(size + 2))
        writer.write(b"\x05%b\x00\x01\x00\x00\x00\x00\x00\x00" % (b"\x00" if port else b"\x02"))
        if not port:
            writer.close()
            return
        there, away = await asyncio.open_connection("127.0.0.1", port)
        await asyncio.gather(passed(reader, away), passed(there, writer))

    async def passed(reader, writer):
        while piece := await reader.read(1 << 16):
            writer.write(piece)
        writer.close()

    return answer


@pytest.mark.parametrize("scheme", ["socks5", "socks5h", "socks"])
@pytest.mark.parametrize("password", ["", "me:w%40rd@"])
async def test_answers_come_through_a_socks_proxy(api: FakeAPI, scheme: str, password: str):
    seen: list[bytes] = []
    async with listening(socks(api.port, seen)) as port:
        proxy = f"{scheme}://{password}127.0.0.1:{port}"
        attempt = await asked_through(proxy, "http://llm.internal:8000/v1")
    assert (attempt.fault, text_of(attempt)) == (None, answer_to("snow"))
    assert seen[-1] == b"llm.internal\x1f\x40"
    assert seen[:-1] == ([b"\x01\x02me\x04w@rd"] if password else [])
    assert api.ledger[0].headers["host"] == "llm.internal:8000"


async def hung_up(reader, writer):
    await reader.read(1)
    writer.close()


@pytest.mark.parametrize("answer", [socks(0, []), hung_up, saying("200 OK")])
async def test_a_socks_proxy_that_refuses_has_billed_nothing(answer):
    async with listening(answer) as port:
        attempt = await asked_through(f"socks5://127.0.0.1:{port}", "https://llm.example/v1")
    assert (attempt.fault, attempt.unreachable, attempt.maybe_billed) == ("connection", True, False)
    assert "the proxy that ALL_PROXY names" in attempt.message

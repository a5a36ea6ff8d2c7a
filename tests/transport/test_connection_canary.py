"""What connection.py and pool.py use behind aiohttp's public session, so that a version that changes it
is found here, by name, and not in a run.
"""

from __future__ import annotations

import ast
import asyncio
import inspect
from pathlib import Path

import aiohttp
import pytest
import yarl
from aiohttp.client_proto import ResponseHandler
from aiohttp.client_reqrep import ConnectionKey
from aiohttp.connector import Connection
from aiohttp.http import HttpProcessingError
from multidict import CIMultiDictProxy

from batch.transport import client, heads, pool
from batch.transport import connection as exchange
from tests.fake_api import Step

USED = {
    "session": {"headers"},
    "_connector": {"connect"},
    "request": {"headers", "is_ssl", "method", "proxy", "url"},
    "connection": {"close", "protocol", "transport"},
    "protocol": {
        "_parser",
        "closed",
        "connected",
        "exception",
        "is_connected",
        "read",
        "set_exception",
        "set_response_params",
        "should_close",
        "transport",
    },
    "transport": {"abort", "get_extra_info", "get_write_buffer_size", "is_closing", "write"},
    "answer": {"code", "headers"},
    "content": {"_buffer", "exception", "is_eof", "readany", "set_exception", "total_bytes"},
}
"""What the code calls a thing of aiohttp -> what it asks of it."""

TIMEOUT = aiohttp.ClientTimeout(connect=10, sock_connect=10)
ASKED = b"POST /v1/chat/completions HTTP/1.1\r\nHost: h\r\nContent-Length: %d\r\n\r\n%b"
BODY = b'{"model":"m","messages":[{"role":"user","content":"snow"}]}'


@pytest.fixture
async def session():
    connector = aiohttp.TCPConnector(limit=4, limit_per_host=0)
    async with aiohttp.ClientSession(connector=connector, headers={"X-Ours": "1"}) as session:
        yield session


@pytest.fixture
async def request_(api, session):
    return a_request(session, f"{api.url}/chat/completions")


def a_request(session, url, proxy=None, kind=aiohttp.ClientRequest):
    return kind(
        "POST",
        yarl.URL(url),
        headers=session.headers,
        skip_auto_headers=("Accept",),
        loop=asyncio.get_running_loop(),
        session=session,
        proxy=proxy,
    )


@pytest.fixture
async def connection(session, request_):
    connection = await session.connector.connect(request_, [], TIMEOUT)
    connection.protocol.set_response_params(read_until_eof=True, read_bufsize=1 << 16)
    yield connection
    connection.close()


async def answered(connection):
    """Head and content of the next answer to a request that leaves now."""
    connection.protocol.transport.write(ASKED % (len(BODY), BODY))
    return await connection.protocol.read()


async def whole(content):
    read = b""
    while piece := await content.readany():
        read += piece
    return read


async def soon(claim):
    """Return when it holds, which nothing tells."""
    for _ in range(10_000):
        if claim():
            return
        await asyncio.sleep(0.001)
    raise AssertionError("it never came to that")


def attributes(module, owner):
    """Which attributes the code of a module takes of what it calls `owner`."""
    tree = ast.parse(Path(inspect.getfile(module)).read_text(encoding="utf-8"))
    return {
        node.attr
        for node in ast.walk(tree)
        if isinstance(node, ast.Attribute)
        and owner in (getattr(node.value, "id", None), getattr(node.value, "attr", None))
    }


@pytest.mark.parametrize("owner", USED)
def test_all_that_exchange_uses_is_held_here(owner):
    used = attributes(exchange, owner) | attributes(pool, owner) | attributes(heads, owner)
    if owner == "content":
        used |= attributes(client, owner)
    assert used == USED[owner]


async def test_aiohttp_has_all_that_exchange_uses(session, request_, connection):
    answer, content = await answered(connection)
    things = {
        "session": session,
        "_connector": session.connector,
        "request": request_,
        "connection": connection,
        "protocol": connection.protocol,
        "transport": connection.protocol.transport,
        "answer": answer,
        "content": content,
    }
    missing = [
        f"{type(things[owner]).__name__}.{name}"
        for owner, names in USED.items()
        for name in sorted(names)
        if not hasattr(things[owner], name)
    ]
    assert not missing, f"aiohttp {aiohttp.__version__} has no {', '.join(missing)}"
    kinds = (type(connection), type(connection.protocol), type(content), type(answer.headers))
    assert kinds == (Connection, ResponseHandler, aiohttp.StreamReader, CIMultiDictProxy)
    assert aiohttp.EMPTY_PAYLOAD.is_eof()


async def test_a_request_says_what_goes_into_the_head(api, session, request_):
    assert request_.url == yarl.URL(f"{api.url}/chat/completions")
    assert request_.url.raw_path_qs == "/v1/chat/completions"
    assert request_.headers["X-Ours"] == "1" and "Host" in request_.headers
    assert "Accept" not in request_.headers
    assert (request_.is_ssl(), request_.proxy) == (False, None)
    proxied = a_request(session, "https://h.example/v1", yarl.URL(api.url))
    assert (proxied.is_ssl(), proxied.proxy) == (True, yarl.URL(api.url))


async def test_a_connection_is_made_for_the_key_of_a_request_which_may_be_kept(session, request_):
    assert isinstance(vars(aiohttp.ClientRequest)["connection_key"], property)
    kept = a_request(session, request_.url, kind=exchange._Request)
    assert isinstance(kept.connection_key, ConnectionKey)
    assert kept.connection_key is kept.connection_key
    assert kept.connection_key == request_.connection_key


async def test_an_answer_is_a_head_and_a_content(connection):
    answer, content = await answered(connection)
    assert (answer.code, answer.headers["content-type"]) == (200, "application/json")
    read = await whole(content)
    assert read.startswith(b"{") and content.is_eof() and content.total_bytes == len(read)
    assert connection.protocol.connected and connection.protocol.exception() is None
    assert connection.protocol.should_close is False
    assert connection.protocol.transport.get_write_buffer_size() == 0
    assert connection.protocol.transport.is_closing() is False


async def test_a_content_that_is_all_there_lies_in_its_buffer(api, connection):
    _, content = await answered(connection)
    await soon(content.is_eof)
    assert b"".join(content._buffer).startswith(b"{") and content.exception() is None
    api.always = Step(raw=b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
    _, content = await answered(connection)
    assert content.is_eof() and content.total_bytes == 0 and content.exception() is None


async def test_an_answer_that_is_left_in_its_buffer_leaves_the_connection_as_it_was(connection):
    for _ in range(3):
        _, content = await answered(connection)
        await soon(content.is_eof)
        assert connection.protocol.should_close is False


async def test_a_connection_reads_answer_after_answer_and_is_set_up_once(connection):
    contents = [await whole((await answered(connection))[1]) for _ in range(3)]
    assert all(content.startswith(b"{") for content in contents)


async def test_an_interim_answer_has_a_head_of_its_own(api, connection):
    api.always = Step(
        raw=b"HTTP/1.1 103 Early Hints\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}"
    )
    interim, _ = await answered(connection)
    answer, content = await connection.protocol.read()
    assert (interim.code, answer.code, await whole(content)) == (103, 200, b"{}")


async def test_a_connection_tells_when_it_is_closed(api, connection):
    api.always = Step(close=True)
    closed = connection.protocol.closed
    assert connection.protocol.is_connected() and not closed.done()
    with pytest.raises(aiohttp.ServerDisconnectedError):
        await answered(connection)
    await soon(closed.done)
    assert not connection.protocol.is_connected() and closed.exception() is None


async def test_the_socket_of_a_connection_has_a_number(connection):
    assert connection.protocol.transport.get_extra_info("socket").fileno() > 0


async def test_a_connection_that_is_closed_is_gone_and_ends_with_its_connector_otherwise(
    session, request_
):
    first, second = [await session.connector.connect(request_, [], TIMEOUT) for _ in range(2)]
    protocol = second.protocol
    first.close()
    assert first.protocol is None and protocol.is_connected()
    await session.close()
    assert not protocol.is_connected()
    second.close()
    assert second.protocol is None


async def test_a_content_that_was_not_read_marks_its_connection(api, connection):
    api.always = Step(raw=b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n{}", hang=True)
    await answered(connection)
    assert connection.protocol.should_close


async def test_bytes_that_nobody_asked_for_close_a_connection(api, connection):
    whole_answer = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}"
    api.always = Step(raw=(whole_answer, b"stray"), event_delay=0.01)
    _, content = await answered(connection)
    assert await whole(content) == b"{}"
    await soon(lambda: connection.protocol.should_close)


async def test_who_waits_for_a_head_gets_the_exception_that_is_set(api, connection):
    api.always = Step(hang=True)
    waiting = asyncio.ensure_future(answered(connection))
    await asyncio.sleep(0)
    connection.protocol.set_exception(TimeoutError())
    with pytest.raises(TimeoutError):
        await waiting
    assert isinstance(connection.protocol.exception(), TimeoutError)


async def test_who_waits_for_a_content_gets_the_exception_that_is_set(api, connection):
    api.always = Step(raw=b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n{}", hang=True)
    _, content = await answered(connection)
    assert await content.readany() == b"{}"
    waiting = asyncio.ensure_future(content.readany())
    await asyncio.sleep(0)
    content.set_exception(TimeoutError())
    with pytest.raises(TimeoutError):
        await waiting


async def test_a_connection_that_ends_before_a_head_is_a_server_disconnected(api, connection):
    api.always = Step(close=True)
    with pytest.raises(aiohttp.ServerDisconnectedError):
        await answered(connection)
    assert not connection.protocol.connected and connection.protocol.transport is None


async def test_a_connection_that_is_reset_before_a_head_is_an_error_of_the_os(api, connection):
    api.always = Step(reset=True)
    with pytest.raises(aiohttp.ClientOSError):
        await answered(connection)


async def test_a_connection_that_ends_inside_a_content_is_a_payload_error(api, connection):
    api.always = Step(raw=b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n{}", close=True)
    _, content = await answered(connection)
    with pytest.raises(aiohttp.ClientPayloadError):
        await whole(content)


async def test_a_content_of_a_connection_that_is_gone_is_a_runtime_error(api, connection):
    api.always = Step(raw=b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n", hang=True)
    _, content = await answered(connection)
    transport, connection.protocol.transport = connection.protocol.transport, None
    with pytest.raises(RuntimeError):
        await content.readany()
    transport.abort()


async def test_a_head_that_is_none_is_a_processing_error_with_a_message(api, connection):
    api.always = Step(raw=b"HTTP/1.1 two hundred\r\n\r\n")
    with pytest.raises(HttpProcessingError) as caught:
        await answered(connection)
    assert caught.value.message


async def test_no_connection_in_time_is_a_timeout():
    assert issubclass(aiohttp.ConnectionTimeoutError, TimeoutError)
    assert issubclass(aiohttp.ServerDisconnectedError, aiohttp.ClientError)


async def test_a_parser_is_fed_and_may_be_told_to_pause(connection):
    parser = connection.protocol._parser
    assert all(hasattr(parser, name) for name in ("feed_data", "feed_eof", "pause_reading"))
    messages, is_upgraded, behind = parser.feed_data(b"HTTP/1.1 200 OK\r\nX: y\r\n\r\n")
    assert [answer.code for answer, _ in messages] == [200]
    assert (bool(is_upgraded), behind) == (False, b"")
    assert not list(parser.feed_data(b"{}")[0])

"""TLS is spoken as the job and the environment want it, and where it is not, that is said."""

from __future__ import annotations

import asyncio
import gc
import socket
import ssl
import threading
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest

from batch.errors import JobError, UsageError
from batch.model import Attempt
from batch.transport.client import Client
from batch.transport.endpoint import Endpoint, target
from batch.transport.faults import fault_of
from tests.fake_api import FakeAPI, Step
from tests.transport.test_client import request, send

CERTIFICATES = Path(__file__).parent / "certificates"
ANSWER = b'{"choices": []}'


def pem(name: str) -> str:
    return str(CERTIFICATES / name)


@contextmanager
def secured(wants: bool = False, version: Any = None, leaves: threading.Event | None = None):
    """The port of a server with TLS, which `wants` a certificate of its clients, and says nothing after
    its answer before it `leaves`.
    """
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH, cafile=pem("ca.pem"))
    context.load_cert_chain(pem("server.pem"))
    if wants:
        context.verify_mode = ssl.CERT_REQUIRED
    if version is not None:
        context.maximum_version = version
    with socket.create_server(("127.0.0.1", 0)) as listener:
        threading.Thread(target=_serve, args=(listener, context, leaves), daemon=True).start()
        yield listener.getsockname()[1]
        listener.shutdown(socket.SHUT_RDWR)


def _serve(
    listener: socket.socket, context: ssl.SSLContext, leaves: threading.Event | None
) -> None:
    """Answer one after the other; an alert is read before the end."""
    with suppress(OSError):
        while True:
            connection = context.wrap_socket(
                listener.accept()[0], server_side=True, do_handshake_on_connect=False
            )
            with connection, suppress(OSError):
                _talk(connection, leaves)


def _talk(connection: ssl.SSLSocket, leaves: threading.Event | None) -> None:
    try:
        connection.do_handshake()
        connection.recv(1 << 16)
        head = b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: %d\r\n\r\n"
        connection.sendall(head % len(ANSWER) + ANSWER)
        if leaves is not None:
            leaves.wait(60)
        connection.unwrap()
    except ssl.SSLError:
        with socket.socket(fileno=connection.detach()) as plain:
            plain.settimeout(5)
            plain.shutdown(socket.SHUT_WR)
            while plain.recv(1 << 16):
                pass


async def test_a_server_of_ones_own_authority_is_trusted_where_that_is_named():
    with secured() as port:
        trusted = await send(f"https://127.0.0.1:{port}/v1", ca_file=pem("ca.pem"))
        other = await send(f"https://127.0.0.1:{port}/v1", ca_file=pem("stranger.pem"))
        usual = await send(f"https://127.0.0.1:{port}/v1")
    assert (trusted.fault, trusted.status) == (None, 200)
    assert (other.fault, usual.fault) == ("untrusted", "untrusted")
    assert "endpoint.ca_file" in (usual.message or "")


def test_a_connection_is_given_up_where_the_server_does_not_read() -> None:
    """It has answered before it was asked to the end."""
    leaves = threading.Event()

    def answer(listener: socket.socket) -> None:
        connection = listener.accept()[0]
        with connection:
            connection.recv(100)
            connection.sendall(b"HTTP/1.1 413 Too Large\r\nContent-Length: 0\r\n\r\n")
            leaves.wait(60)

    with socket.create_server(("127.0.0.1", 0)) as listener:
        server = threading.Thread(target=answer, args=(listener,))
        server.start()
        long = request("snow " * (8 << 20))
        attempt = asyncio.run(send(f"http://127.0.0.1:{listener.getsockname()[1]}/v1", long))
        gc.collect()
        leaves.set()
        server.join()
    assert attempt.status == 413


async def got(url: str, **endpoint: Any) -> Attempt:
    """What is found where models are listed."""
    table = Endpoint(base_url=url, api_key_env="", **endpoint)
    async with Client(table, target(table, {}), 1) as client:
        return await client.get(f"{url}/models")


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
@pytest.mark.parametrize("asked", [send, got])
def test_a_connection_is_given_up_without_its_servers_goodbye(version: Any, asked: Any) -> None:
    """Else its socket would outlive the loop, where the server is slow to leave."""
    leaves = threading.Event()
    with secured(version=version, leaves=leaves) as port:
        url = f"https://127.0.0.1:{port}/v1"
        attempt = asyncio.run(asked(url, ca_file=pem("ca.pem")))
        gc.collect()  # pytest fails where a socket is let go of in this way
        leaves.set()
    assert attempt.status == 200


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
@pytest.mark.parametrize(
    ("shown", "said"),
    [
        ({"client_cert": pem("client.pem")}, None),
        ({"client_cert": pem("client.crt"), "client_key": pem("client.key")}, None),
        ({}, "endpoint.client_cert"),
        ({"client_cert": pem("stranger.pem")}, "refuses our certificate (unknown ca)"),
    ],
    ids=["in one file", "in two", "none", "a stranger's"],
)
async def test_a_client_shows_who_it_is(version: Any, shown: Any, said: str | None) -> None:
    with secured(wants=True, version=version) as port:
        url = f"https://127.0.0.1:{port}/v1"
        attempt = await send(url, ca_file=pem("ca.pem"), **shown)
    assert (attempt.fault, attempt.maybe_billed) == (said and "untrusted", False)
    assert said is None or said in (attempt.message or "")


@pytest.mark.parametrize(
    ("keys", "said"),
    [
        ({"ca_file": "/no/ca.pem"}, r"\[endpoint\] ca_file: cannot read /no/ca.pem: No such file"),
        ({"client_cert": "/no/c.pem"}, r"client_cert: cannot read /no/c.pem"),
        ({"client_cert": pem("client.crt"), "client_key": "/no/k"}, r"client_key: cannot read /no/k"),
        ({"ca_file": pem("client.key")}, r"ca_file: .*client.key holds no certificate"),
        ({"client_cert": pem("client.crt")}, r"client_cert: .*client.crt holds no certificate with"),
        (
            {"client_cert": pem("client.crt"), "client_key": pem("locked.key")},
            r"client_key: .*locked.key holds no key that can be used \(PEM, without a password\)",
        ),
        (
            {"client_cert": pem("client.crt"), "client_key": pem("stranger.pem")},
            r"client_key: .*stranger.pem is not the key of .*client.crt",
        ),
    ],
)  # fmt: skip
async def test_a_file_that_cannot_be_used_is_named_with_its_key(keys: Any, said: str) -> None:
    with pytest.raises(JobError, match=said):
        await send("https://127.0.0.1:9/v1", **keys)


def test_a_key_without_certificate_is_refused():
    with pytest.raises(ValueError, match="client_key: needs client_cert"):
        Endpoint(client_key="k.pem")


@pytest.mark.parametrize("variable", ["SSL_CERT_FILE", "SSL_CERT_DIR"])
def test_authorities_that_are_not_there_are_named(variable: str) -> None:
    from batch.transport.endpoint import target

    table, named = Endpoint(base_url="https://h.example", api_key_env=""), {variable: "/no/where"}
    with pytest.raises(UsageError, match=f"^{variable} names /no/where, which is not there"):
        target(table, named)
    assert target(table, {variable: "" if variable.endswith("FILE") else f"/no:{CERTIFICATES}"})
    assert target(Endpoint(base_url="http://127.0.0.1:1"), named)


@pytest.mark.parametrize(
    "alert", [b"\x15\x03\x01\x00\x02\x02\x46", b"\x15\x03\x03\x00\x02\x02\x0a"]
)
async def test_an_alert_to_plain_http_says_so(api: FakeAPI, alert: bytes) -> None:
    api.always = Step(raw=alert, close=True)
    attempt = await send(api.url)
    assert (attempt.fault, attempt.maybe_billed) == ("untrusted", False)
    assert "write https:// in base_url" in (attempt.message or "")


async def test_plain_http_to_a_port_with_tls_says_so():
    """Some close without a word: they are asked for TLS, once."""
    with secured() as port:
        attempt = await send(f"http://127.0.0.1:{port}/v1")
    assert (attempt.fault, attempt.maybe_billed) == ("untrusted", False)
    assert "write https:// in base_url" in (attempt.message or "")


@pytest.mark.parametrize(
    "page",
    [
        b"<html><head><title>400 The plain HTTP request was sent to HTTPS port</title></head></html>",
        b"Client sent an HTTP request to an HTTPS server.\n",
        b"Reason: You're speaking plain HTTP to an SSL-enabled server port.",
        b"Bad Request\r\nThis combination of host and port requires TLS.\r\n",
    ],
)
async def test_a_page_that_wants_tls_is_understood(api: FakeAPI, page: bytes) -> None:
    api.always = Step(status=400, body=page, content_type="text/html")
    attempt = await send(api.url)
    assert (attempt.fault, attempt.maybe_billed) == ("untrusted", False)
    assert "https://" in (attempt.message or "")


async def test_a_server_without_tls_that_says_nothing_is_down(api: FakeAPI) -> None:
    api.always = Step(close=True)
    attempt = await send(api.url)
    assert (attempt.fault, attempt.maybe_billed) == ("connection", True)


async def test_a_page_that_wants_a_certificate_is_understood(api: FakeAPI) -> None:
    page = b"<title>400 No required SSL certificate was sent</title>"
    api.always = Step(status=400, body=page, content_type="text/html")
    attempt = await send(api.url)
    assert attempt.fault == "untrusted" and "endpoint.client_cert" in (attempt.message or "")


async def test_tls_to_a_port_of_plain_http_says_so() -> None:
    async def answer(reader: Any, writer: Any) -> None:
        await reader.read(100)
        writer.write(b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n")
        writer.close()

    async with await asyncio.start_server(answer, "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]
        attempt = await send(f"https://127.0.0.1:{port}/v1")
    assert (attempt.fault, attempt.unreachable) == ("connection", True)
    assert "is it http:// in base_url?" in (attempt.message or "")


@pytest.mark.parametrize(
    "words",
    ["[SSL: TLSV1_ALERT_INTERNAL_ERROR] tlsv1 alert internal error", "alert the operator"],
)
def test_another_alert_is_the_moments(words: str) -> None:
    assert fault_of(OSError(1, words), None, 0.1)["fault"] == "connection"

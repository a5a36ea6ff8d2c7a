"""TLS as the job and the environment want it: whom to trust, and the client's own certificate."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

from batch.errors import JobError, UsageError

RECORDS = (b"\x15", b"\x16")
"""How an alert and a handshake begin (RFC 8446, 5.1)."""
HANDSHAKE_SECONDS = 1.0
TRUSTED = {"SSL_CERT_FILE": Path.is_file, "SSL_CERT_DIR": Path.is_dir}
"""Variables that OpenSSL reads, and what each must name."""


def check_environment(environment: Mapping[str, str]) -> None:
    """Raises UsageError where authorities are to be read from a place that is not there: OpenSSL would
    trust nobody then, and not say so.
    """
    for variable, is_there in TRUSTED.items():
        named = environment.get(variable)
        if not named:
            continue
        places = named.split(":") if variable == "SSL_CERT_DIR" else [named]
        if not any(is_there(Path(place)) for place in places):
            raise UsageError(f"{variable} names {named}, which is not there: no server is trusted")


def context(
    ca_file: str | None, client_cert: str | None, client_key: str | None
) -> ssl.SSLContext | None:
    """What `[endpoint]` asks for; None where that is the usual.  Raises JobError naming key and file."""
    named = {"ca_file": ca_file, "client_cert": client_cert, "client_key": client_key}
    for key, file in named.items():
        if file is not None:
            _check_readable(key, file)
    if ca_file is None and client_cert is None:
        return None
    made = _trusting(ca_file)
    made.set_alpn_protocols(["http/1.1"])
    if client_cert is not None:
        _show(made, client_cert, client_key)
    return made


def _check_readable(key: str, file: str) -> None:
    try:
        with Path(file).open("rb"):
            pass
    except OSError as error:
        raise JobError(f"[endpoint] {key}: cannot read {file}: {error.strerror}") from None


def _trusting(ca_file: str | None) -> ssl.SSLContext:
    try:
        return ssl.create_default_context(cafile=ca_file)
    except ssl.SSLError:
        raise JobError(f"[endpoint] ca_file: {ca_file} holds no certificate (PEM)") from None


def _show(made: ssl.SSLContext, client_cert: str, client_key: str | None) -> None:
    """Let the client have a certificate.  One whose key has a password is refused: nobody is asked."""
    try:
        made.load_cert_chain(client_cert, client_key, password="")
    except (ssl.SSLError, ValueError) as error:
        if "MISMATCH" in str(error):
            raise JobError(
                f"[endpoint] client_key: {client_key or client_cert} is not the key of {client_cert}"
            ) from None
        where = f"client_key: {client_key}" if client_key else f"client_cert: {client_cert}"
        what = "holds no key" if client_key else "holds no certificate with its key"
        raise JobError(
            f"[endpoint] {where} {what} that can be used (PEM, without a password)"
        ) from None


async def speaks_tls(host: str, port: int) -> bool:
    """Whether a server soon answers a TLS handshake, whoever it is; nothing else is sent."""
    try:
        async with asyncio.timeout(HANDSHAKE_SECONDS):
            reader, writer = await asyncio.open_connection(host, port)
            try:
                writer.write(_client_hello())
                return await reader.read(1) in RECORDS
            finally:
                writer.transport.abort()
                await asyncio.sleep(0)  # in which it lets go of its socket
    except (OSError, TimeoutError):
        return False


def _client_hello() -> bytes:
    """The first words of a client that asks for no name.  asyncio's own handshake keeps its socket when
    it is given up.
    """
    anyone = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    anyone.check_hostname, anyone.verify_mode = False, ssl.CERT_NONE
    answered, said = ssl.MemoryBIO(), ssl.MemoryBIO()
    with suppress(ssl.SSLWantReadError):
        anyone.wrap_bio(answered, said).do_handshake()
    return said.read()

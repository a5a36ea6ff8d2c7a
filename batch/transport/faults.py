"""What an exception of the network says of a request, as a fault with a message for people.

What happened below HTTP is told apart by whether the server can have computed (and charged for) an
answer: not before the request was written, perhaps after.  The messages are our own: those of the
HTTP library show request headers.
"""

from __future__ import annotations

import os
import re
import ssl
from typing import Any

import aiohttp
from aiohttp.client_exceptions import UnixClientConnectorError

from batch.event_stream import TooLarge
from batch.outcome import BadAnswer
from batch.transport.connection import REUSED_SOCKET_SECONDS, Reused, Unwritten
from batch.transport.endpoint import Target
from batch.transport.proxies import Proxy

EXCEPTIONS = (aiohttp.ClientError, TimeoutError, OSError, ValueError)
"""All that sending a request and reading its answer may raise for the network."""


PASSING = frozenset({408, 425, 429, 500, 502, 503, 504})
"""Statuses with which a proxy says that it cannot reach a server now."""
FIRST_WORDS = 4096
"""Bytes of an answer in which it says what it is about."""
TLS_ALERT = r"\x15\x03"
"""How an alert of TLS begins, as aiohttp shows the bytes that are no HTTP."""
SPEAKS_TLS = "the server speaks TLS there: write https:// in base_url"
TLS_WANTED = (
    rb"(?i)plain HTTP request was sent to (?:the )?HTTPS port|HTTP request to an HTTPS server"
    rb"|speaking plain HTTP to an SSL-enabled|combination of host and port requires TLS"
)
"""What nginx, Go, Apache and Tomcat say to plain HTTP on a port for TLS."""
WANTS_CERTIFICATE = (
    "the server wants a certificate of the client: name its file in endpoint.client_cert"
)
CERTIFICATE_WANTED = rb"(?i)No required SSL certificate was sent|SSL certificate error</title>"
"""What nginx says in HTTP to who shows no certificate, or a wrong one."""
ALERT = (
    r"ALERT[ _](CERTIFICATE_\w+|BAD_CERTIFICATE\w*|UNKNOWN_CA|UNSUPPORTED_CERTIFICATE"
    r"|HANDSHAKE_FAILURE|ACCESS_DENIED)"
)
PLAIN = r"(?i)WRONG_VERSION_NUMBER|HTTP_REQUEST|PACKET_LENGTH_TOO_LONG|RECORD_LAYER_FAILURE"
"""What OpenSSL makes of an answer that is no TLS."""


def fault_of(
    error: BaseException, status: int | None, took: float, proxy: Proxy | None = None
) -> dict[str, Any]:
    """The fields of an Attempt that ended in `error` after so many seconds.  `status` is None where
    no head of an answer had come; `proxy` stands between.
    """
    if (alert := _alert(error)) is not None:
        return fault("untrusted", alert)
    match error:
        case TooLarge():
            return fault("too_large", str(error), billed=True)
        case BadAnswer():
            return fault("bad_response", str(error), billed=True)
        case aiohttp.ClientConnectorCertificateError() | ssl.SSLCertVerificationError():
            return fault("untrusted", _untrusted(error))
        case aiohttp.ClientHttpProxyError():
            return _refused_by(proxy, error.status)
        case aiohttp.ClientConnectorError() | aiohttp.ConnectionTimeoutError():
            return fault("connection", _unreachable(error, proxy), unreachable=True)
        case TimeoutError():
            return fault("timeout", f"no complete answer within {took:.0f} s", billed=True)
        case Reused() if took < REUSED_SOCKET_SECONDS:
            return fault("reused_socket", "a kept-alive connection had been closed")
        case Unwritten():
            return fault("connection", "the server closes connections before it is asked anything")
        case aiohttp.ServerDisconnectedError() | aiohttp.ClientOSError() if status is None:
            return fault("connection", "the connection broke before an answer came", billed=True)
        case aiohttp.ClientPayloadError() | aiohttp.ClientConnectionError() if status is not None:
            return fault("cut_off", "the answer was cut off", billed=True)
        case aiohttp.ClientPayloadError() if TLS_ALERT in str(error):
            return fault("untrusted", SPEAKS_TLS)
        case aiohttp.ClientResponseError() | aiohttp.ClientPayloadError():
            return fault("bad_response", "the server does not speak HTTP", billed=True)
    name = type(error).__name__
    return fault("connection", f"the connection failed ({name})", billed=status is not None)


def fault(
    name: str, message: str, *, billed: bool = False, unreachable: bool = False
) -> dict[str, Any]:
    """The fields of an Attempt that ended in the fault `name`; `billed` if perhaps it was charged."""
    return {
        "fault": name,
        "message": message,
        "maybe_billed": billed,
        "unreachable": unreachable,
    }


def of_the_way(status: int, answered: dict[str, Any], target: Target) -> dict[str, Any] | None:
    """The fault that a whole answer tells of, where it is not the server's own but of whoever stands in
    the way; None for any other.
    """
    if status == 407:
        return _refused_by(target.proxy, status)
    raw = answered.get("raw", b"")[:FIRST_WORDS]
    if re.search(TLS_WANTED, raw) and not target.base_url.startswith("https:"):
        return fault("untrusted", SPEAKS_TLS)
    if re.search(CERTIFICATE_WANTED, raw):
        return fault("untrusted", WANTS_CERTIFICATE)
    return None


def _refused_by(proxy: Proxy | None, status: int) -> dict[str, Any]:
    """What a proxy says in place of the server, which has not been asked."""
    whose = "a proxy" if proxy is None else f"the proxy that {proxy.variable} names"
    if status == 407:
        wanted = f"{whose} asks for a name and password, or refuses them (HTTP 407)"
        return fault("untrusted", f"{wanted}: put them into its URL, http://name:password@host")
    if status in PASSING:
        return fault("connection", f"{whose} has no way (HTTP {status})", unreachable=True)
    return fault("untrusted", f"{whose} refuses (HTTP {status})")


def _alert(error: BaseException) -> str | None:
    """What an alert of TLS says of certificates.  With TLS 1.3 it comes when the handshake is over and
    the request has left, though nobody has read it.
    """
    said = f"{error} {error.__cause__ or ''} {getattr(error, 'os_error', '')}"
    found = re.search(ALERT, said.upper())
    if found is None:
        return None
    if found[1] in ("CERTIFICATE_REQUIRED", "HANDSHAKE_FAILURE"):
        return WANTS_CERTIFICATE
    words = found[1].lower().replace("_", " ")
    return f"the server refuses our certificate ({words}): check endpoint.client_cert"


def _untrusted(error: ssl.SSLError | aiohttp.ClientConnectorCertificateError) -> str:
    cause = getattr(error, "certificate_error", error)
    host = getattr(error, "host", "the server")
    why = getattr(cause, "verify_message", "") or "it does not verify"
    return (
        f"the certificate of {host} is not trusted: {why}"
        " (endpoint.ca_file or SSL_CERT_FILE names a file of authorities to trust)"
    )


def _unreachable(
    error: aiohttp.ClientConnectorError | aiohttp.ConnectionTimeoutError, proxy: Proxy | None
) -> str:
    match error:
        case aiohttp.ClientProxyConnectionError() if proxy is not None:
            return (
                f"no way through the proxy that {proxy.variable} names: {_reason(error.os_error)}"
            )
        case aiohttp.ClientConnectorDNSError() if proxy and error.host == proxy.host:
            return f"no such host: {error.host}, the proxy that {proxy.variable} names"
        case UnixClientConnectorError():
            return f"cannot connect to {error.path}: {_reason(error.os_error)}"
        case aiohttp.ClientConnectorSSLError() if re.search(PLAIN, str(error.os_error)):
            return f"{error.host}:{error.port} does not speak TLS: is it http:// in base_url?"
        case aiohttp.ConnectionTimeoutError():
            return "no connection within connect_timeout"
        case aiohttp.ClientConnectorDNSError():
            return f"no such host: {error.host}"
        case aiohttp.ClientConnectorSSLError():
            return f"no TLS connection to {error.host}:{error.port}"
    return f"cannot connect to {error.host}:{error.port}: {_reason(error.os_error)}"


def _reason(error: OSError) -> str:
    if getattr(error, "winerror", None):  # which has no errno of its own
        return error.strerror or "connection failed"
    if error.errno and error.errno > 0:
        return os.strerror(error.errno)
    return "connection failed"

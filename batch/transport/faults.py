"""What an exception of the network says of a request, as a fault with a message for people.

What happened below HTTP is told apart by whether the server can have computed (and charged for) an
answer: not before the request was written, perhaps after.  The messages are our own: those of the
HTTP library show request headers.
"""

from __future__ import annotations

import os
import ssl
from typing import Any

import aiohttp

from batch.event_stream import TooLarge
from batch.outcome import BadAnswer
from batch.transport.connection import REUSED_SOCKET_SECONDS, Reused, Unwritten

EXCEPTIONS = (aiohttp.ClientError, TimeoutError, OSError, ValueError)
"""All that sending a request and reading its answer may raise for the network."""


def fault_of(error: BaseException, status: int | None, took: float) -> dict[str, Any]:
    """The fields of an Attempt that ended in `error` after so many seconds.  `status` is None where
    no head of an answer had come.
    """
    match error:
        case TooLarge():
            return fault("too_large", str(error), billed=True)
        case BadAnswer():
            return fault("bad_response", str(error), billed=True)
        case aiohttp.ClientConnectorCertificateError() | ssl.SSLCertVerificationError():
            return fault("untrusted", _untrusted(error))
        case aiohttp.ClientHttpProxyError():
            return fault("untrusted", f"the proxy refuses (HTTP {error.status})")
        case aiohttp.ClientConnectorError() | aiohttp.ConnectionTimeoutError():
            return fault("connection", _unreachable(error), unreachable=True)
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


def _untrusted(error: ssl.SSLError | aiohttp.ClientConnectorCertificateError) -> str:
    cause = getattr(error, "certificate_error", error)
    host = getattr(error, "host", "the server")
    why = getattr(cause, "verify_message", "") or "it does not verify"
    return (
        f"the certificate of {host} is not trusted: {why}"
        " (SSL_CERT_FILE names a file of authorities to trust)"
    )


def _unreachable(error: aiohttp.ClientConnectorError | aiohttp.ConnectionTimeoutError) -> str:
    match error:
        case aiohttp.ConnectionTimeoutError():
            return "no connection within connect_timeout"
        case aiohttp.ClientConnectorDNSError():
            return f"no such host: {error.host}"
        case aiohttp.ClientConnectorSSLError():
            return f"no TLS connection to {error.host}:{error.port}"
    return f"cannot connect to {error.host}:{error.port}: {_reason(error.os_error)}"


def _reason(error: OSError) -> str:
    return os.strerror(error.errno) if error.errno and error.errno > 0 else "connection failed"

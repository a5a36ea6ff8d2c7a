"""What stands before a server that asks for no key, so that no web page uses it: only requests by
a loopback name pass, none of a foreign origin, and no answer allows other origins to read it.

A page of a foreign site can send requests to this machine, under a name that it makes lead here
(DNS rebinding) or, without one, with its `Origin`.
"""

from __future__ import annotations

import http.client
import json
import os
import re
import threading
from collections.abc import Iterable, Iterator
from contextlib import closing, contextmanager
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, NamedTuple
from urllib.parse import urlsplit

from batch.errors import UsageError

BYTES = 64 << 10

_LOOPBACK = re.compile(r"(localhost|127(\.\d{1,3}){3}|\[::1\])(:\d{1,5})?", re.IGNORECASE)

_OF_ONE_CONNECTION = {
    *("connection", "keep-alive", "proxy-connection", "te", "trailer", "upgrade", "date", "server"),
    *("transfer-encoding", "content-length"),
}
_REPLACED = {*_OF_ONE_CONNECTION, "host", "origin", "referer", "authorization", "expect"}


def refusal(target: str, hosts: list[str], origins: list[str]) -> str | None:
    """Why a request is not answered, by its target and headers; None where it is."""
    if not target.startswith("/"):
        return "the target of a request is a path"
    if len(hosts) != 1 or not _LOOPBACK.fullmatch(hosts[0].strip()):
        return "the host is not this machine: ask 127.0.0.1 or localhost"
    if not all(map(_is_own, origins)):
        return "the origin is foreign: without a key, web pages of other sites are not answered"
    return None


def _is_own(origin: str) -> bool:
    scheme, separator, host = origin.strip().partition("://")
    return bool(separator and scheme in ("http", "https") and _LOOPBACK.fullmatch(host))


@contextmanager
def guarding(base_url: str, key: str, port: int) -> Iterator[str]:
    """A guard before `base_url`, which asks for `key`; gives the base URL to ask instead.  Raises
    UsageError where the port is taken.
    """
    parts = urlsplit(base_url)
    place = Place(parts.hostname or "", parts.port or 80, key)
    try:
        server = _Server(("127.0.0.1", port), partial(_Guard, place))
    except OSError as error:
        raise UsageError(f"port {port} is taken; --port 0 finds a free one") from error
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_port}{parts.path}"
    finally:
        server.shutdown()
        server.server_close()


class Place(NamedTuple):
    """Where the server listens that is guarded, and its key."""

    host: str
    port: int
    key: str


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False
    allow_reuse_address = os.name == "posix"  # elsewhere it lets two servers have one port
    request_queue_size = 128

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A caller that goes away is no fault."""


class _Guard(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def __init__(self, place: Place, *around: Any) -> None:
        self._place = place
        super().__init__(*around)

    def _answer(self) -> None:
        hosts, origins = (self.headers.get_all(name, []) for name in ("host", "origin"))
        why = refusal(self.path, hosts, origins)
        if why is not None:
            self._refuse(403, why)
            return
        body = self._body()
        if body is None:
            self._refuse(411, "the length of the body must be said")
            return
        headers = dict(_kept(self.headers.items(), _REPLACED))
        headers["Authorization"] = f"Bearer {self._place.key}"
        with closing(http.client.HTTPConnection(self._place.host, self._place.port)) as behind:
            behind.request(self.command, self.path, body or None, headers)
            self._pass_on(behind.getresponse())

    do_GET = do_POST = do_PUT = do_DELETE = do_PATCH = do_HEAD = do_OPTIONS = _answer

    def _body(self) -> bytes | None:
        """What came with the request; None where its length cannot be told."""
        if "transfer-encoding" in self.headers:
            return b"".join(self._chunks())
        length = self.headers.get("content-length", "0")
        return self.rfile.read(int(length)) if length.isdecimal() else None

    def _chunks(self) -> Iterator[bytes]:
        while size := int(self.rfile.readline(BYTES).partition(b";")[0], 16):
            yield self.rfile.read(size)
            self.rfile.readline(BYTES)
        while self.rfile.readline(BYTES).strip():  # trailers
            pass

    def _pass_on(self, response: http.client.HTTPResponse) -> None:
        """The answer as it comes, piece by piece."""
        self.send_response(response.status, response.reason)
        for name, value in _kept(response.getheaders(), _OF_ONE_CONNECTION):
            if not name.lower().startswith("access-control-"):
                self.send_header(name, value)
        length = response.getheader("content-length")
        chunked = length is None and self.request_version != "HTTP/1.0" and not _bodiless(response)
        if length is not None:
            self.send_header("Content-Length", length)
        elif chunked:
            self.send_header("Transfer-Encoding", "chunked")
        else:
            self._close_after()
        self.end_headers()
        while piece := response.read1(BYTES):
            self.wfile.write(b"%x\r\n%b\r\n" % (len(piece), piece) if chunked else piece)
        if chunked:
            self.wfile.write(b"0\r\n\r\n")

    def _refuse(self, status: int, why: str) -> None:
        body = json.dumps({"error": {"message": why, "type": "forbidden", "code": status}}).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self._close_after()  # a body that was not read may follow
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def _close_after(self) -> None:
        self.send_header("Connection", "close")
        self.close_connection = True

    def log_message(self, format: str, *args: Any) -> None:
        """Says nothing: who asks is the caller's affair."""


def _bodiless(response: http.client.HTTPResponse) -> bool:
    return response.status in (204, 304)


def _kept(headers: Iterable[tuple[str, str]], dropped: set[str]) -> list[tuple[str, str]]:
    return [(name, value) for name, value in headers if name.lower() not in dropped]

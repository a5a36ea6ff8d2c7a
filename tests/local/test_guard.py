"""A server without a key is of no use to a web page: foreign hosts and origins are refused."""

from __future__ import annotations

import json
import socket
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from batch.errors import UsageError
from batch.local.guard import guarding

KEY = "sk-behind"


class Behind(BaseHTTPRequestHandler):
    """A server that allows every origin everything, and tells what it was asked."""

    protocol_version = "HTTP/1.1"

    def do_GET(self):
        body = self.rfile.read(int(self.headers.get("content-length", 0))).decode()
        headers = {name.lower(): value for name, value in self.headers.items()}
        asked = {"path": self.path, "body": body, "headers": headers}
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Access-Control-Allow-Origin", self.headers.get("origin", "*"))
        self.send_header("access-control-allow-credentials", "true")
        self.send_header("Access-Control-Allow-Headers", "*")
        pieces = [json.dumps(asked).encode()]
        if self.path.endswith("stream"):
            self.send_header("Transfer-Encoding", "chunked")
            pieces = [b"%x\r\n%b\r\n" % (len(piece), piece) for piece in pieces] + [b"0\r\n\r\n"]
        else:
            self.send_header("Content-Length", str(len(pieces[0])))
        self.end_headers()
        for piece in pieces:
            self.wfile.write(piece)

    do_POST = do_OPTIONS = do_GET

    def log_message(self, *_):
        pass


@pytest.fixture(scope="module")
def guarded():
    """One for all tests: it remembers nothing, and takes half a second to end."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), Behind)
    server.daemon_threads = True
    threading.Thread(target=server.serve_forever, daemon=True).start()
    with guarding(f"http://127.0.0.1:{server.server_port}/v1", KEY, 0) as base_url:
        yield base_url
    server.shutdown()
    server.server_close()


def say(base_url, *lines, body=b""):
    """The answer to a request of these lines, as it comes over the wire."""
    host, port = base_url.removeprefix("http://").removesuffix("/v1").split(":")
    with socket.create_connection((host, int(port)), 10) as wire:
        wire.sendall("\r\n".join([*lines, "Connection: close", "", ""]).encode() + body)
        return b"".join(iter(lambda: wire.recv(65536), b"")).decode()


@pytest.mark.parametrize(
    "host", ["localhost", "LOCALHOST:80", "127.0.0.1:4711", "127.0.0.2", "[::1]:1"]
)
@pytest.mark.parametrize(
    "origin", [None, "http://localhost", "http://127.0.0.1:3000", "https://[::1]:5"]
)
@pytest.mark.parametrize("method", ["GET", "POST", "OPTIONS"])
def test_who_is_of_this_machine_is_answered_without_cors(method, host, origin, guarded):
    said = [f"{method} /v1/chat HTTP/1.1", f"Host: {host}", "Authorization: Bearer else"]
    answer = say(guarded, *said, *([f"Origin: {origin}"] if origin else []))

    assert answer.startswith("HTTP/1.1 200 ")
    assert "access-control" not in answer.lower()
    asked = json.loads(answer.partition("\r\n\r\n")[2])
    assert asked["path"] == "/v1/chat"
    assert asked["headers"]["authorization"] == f"Bearer {KEY}"
    assert "origin" not in asked["headers"]


@pytest.mark.parametrize(
    "lines",
    [
        [],
        ["Host: evil.example"],
        ["Host: evil.example:80"],
        ["Host: localhost.evil.example"],
        ["Host: evil.localhost.example"],
        ["Host: 127.0.0.1.nip.io"],
        ["Host: 127.0.0.1@evil.example"],
        ["Host: 10.0.0.7"],
        ["Host: 0.0.0.0"],
        ["Host: "],
        ["Host: localhost", "Host: evil.example"],
        ["Host: localhost", "Origin: https://evil.example"],
        ["Host: localhost", "Origin: null"],
        ["Host: localhost", "Origin: http://localhost.evil.example"],
        ["Host: localhost", "Origin: http://evil.example:80"],
        ["Host: localhost", "Origin: chrome-extension://abc"],
        ["Host: localhost", "Origin: file://"],
        ["Host: localhost", "Origin: "],
        ["Host: localhost", "Origin: http://localhost", "Origin: http://evil.example"],
    ],
)
@pytest.mark.parametrize("method", ["GET", "POST", "OPTIONS"])
def test_foreign_hosts_and_origins_are_refused(method, lines, guarded):
    answer = say(guarded, f"{method} /v1/models HTTP/1.1", *lines)

    assert answer.startswith("HTTP/1.1 403 ")
    assert "access-control" not in answer.lower()
    assert "error" in json.loads(answer.partition("\r\n\r\n")[2])


@pytest.mark.parametrize("target", ["http://evil.example/v1/models", "*", "http://localhost/v1"])
def test_a_target_that_is_no_path_is_refused(target, guarded):
    assert say(guarded, f"GET {target} HTTP/1.1", "Host: localhost").startswith("HTTP/1.1 403 ")


@pytest.mark.parametrize("version", ["1.0", "1.1"])
@pytest.mark.parametrize("path", ["/v1/whole", "/v1/stream"])
def test_a_body_and_its_answer_pass_whole(path, version, guarded):
    sent = [f"POST {path} HTTP/{version}", "Host: localhost"]
    said = say(guarded, *sent, "Content-Length: 5", body=b"hello")

    assert '"body": "hello"' in said
    assert ("chunked" in said) == (path == "/v1/stream" and version == "1.1")


def test_a_body_in_chunks_passes(guarded):
    sent = ["POST /v1/whole HTTP/1.1", "Host: localhost", "Transfer-Encoding: chunked"]
    assert '"body": "hello"' in say(guarded, *sent, body=b"3\r\nhel\r\n2\r\nlo\r\n0\r\n\r\n")


def test_a_taken_port_is_named(guarded):
    port = int(guarded.removesuffix("/v1").rpartition(":")[2])
    with pytest.raises(UsageError, match=f"port {port} is taken"), guarding(guarded, KEY, port):
        pass

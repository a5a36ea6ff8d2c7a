"""No server makes the program use much memory, hang, or trust whom it should not."""

from __future__ import annotations

import json
import os
import re
import resource
import socket
import ssl
import threading
import zlib
from collections.abc import Callable, Iterable, Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path

import pytest

from tests.fake_api import FakeAPI, Step, answer_to
from tests.reading import asking, completions, peak, rows, texts, until, write

pytestmark = pytest.mark.skipif(
    os.uname().sysname != "Linux", reason="counts memory and files as Linux does"
)

MOST_MEMORY = 200 << 20
FAST = ("--set", "retry.first_delay=0.001", "--set", "retry.max_delay=0.01", "--quiet")
PIECE = 1 << 16

Answer = Callable[[], Iterable[bytes]]


@contextmanager
def listening(serve: Callable[[socket.socket], None]) -> Iterator[int]:
    """The port of a server that gives every connection a thread."""
    listener = socket.create_server(("", 0), backlog=100)

    def accept() -> None:
        with suppress(OSError):
            while True:
                connection, _ = listener.accept()
                threading.Thread(target=quietly, args=(connection,), daemon=True).start()

    def quietly(connection: socket.socket) -> None:
        with closing(connection), suppress(OSError):
            serve(connection)

    threading.Thread(target=accept, daemon=True).start()
    try:
        yield listener.getsockname()[1]
    finally:
        listener.shutdown(socket.SHUT_RDWR)
        listener.close()


def received(connection: socket.socket) -> bytes:
    """One request, whole."""
    data = b""
    while b"\r\n\r\n" not in data:
        data += connection.recv(PIECE) or b"\r\n\r\n"
    head, _, body = data.partition(b"\r\n\r\n")
    length = re.search(rb"content-length: (\d+)", head, re.I)
    while length and len(body) < int(length[1]):
        body += connection.recv(PIECE)
    return head + b"\r\n\r\n" + body


def flooding(kind: str, answer: Answer) -> Callable[[socket.socket], None]:
    """Answers a prompt with the word flood by all of `answer`, and any other as it should be."""

    def serve(connection: socket.socket) -> None:
        asked = received(connection)
        head = "HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-type: "
        if asked.startswith(b"GET"):  # it lists no models
            return
        if b"flood" in asked:
            connection.sendall(f"{head}{kind}\r\n\r\n".encode())
            for piece in answer():
                connection.sendall(piece)
            return
        prompt = json.loads(asked.partition(b"\r\n\r\n")[2])["messages"][-1]["content"]
        choice = {"message": {"content": answer_to(prompt)}, "finish_reason": "stop"}
        body = json.dumps({"choices": [choice], "model": "m"})
        connection.sendall(f"{head}application/json\r\n\r\n{body}".encode())

    return serve


def for_ever(piece: bytes, first: bytes = b"") -> Answer:
    def pieces() -> Iterator[bytes]:
        yield first
        while True:
            yield piece

    return pieces


X = b"x" * PIECE
CONTENT = b'{"choices":[{"message":{"content":"'
LINE = b'data: {"choices":[{"index":0,"delta":{"content":"%b"}}]}\n\n' % (b"x" * (1 << 20))


@pytest.mark.second_lane
@pytest.mark.parametrize("stream", ["false", "true"])
@pytest.mark.parametrize(
    ("kind", "answer", "error_class"),
    [
        ("application/json", for_ever(b" " * PIECE), "too_large"),
        ("application/json", for_ever(X, CONTENT), "too_large"),
        ("text/event-stream", for_ever(X, b"data: "), "too_large"),
        ("text/event-stream", for_ever((b": " + b"x" * 1000 + b"\n\n") * 64), "too_large"),
        ("text/event-stream", for_ever(LINE), "too_large"),
        ("application/json", lambda: [CONTENT, *[X] * 160], "bad_response"),
        ("application/json", lambda: [b'{"a":' * 100_000], "bad_response"),
    ],
    ids=["blanks", "text", "line", "beats", "long lines", "unterminated", "nested"],
)
def test_an_answer_without_end_costs_its_row_and_little_memory(
    start, tmp_path, kind, answer, error_class, stream
):
    prompts = [*texts(10), "flood 1", "flood 2", *texts(20)[10:]]
    write(tmp_path / "in.jsonl", prompts)
    settings = (*FAST, "--set", f"request.stream={stream}", "--set", "endpoint.idle_timeout=5")
    with listening(flooding(kind, answer)) as port:
        flags = ("-m", "m", "-p", "{{ text }}", "--base-url", f"http://127.0.0.1:{port}/v1")
        process = start("run", "in.jsonl", *flags, *settings, fresh=True)
        assert peak(process) < MOST_MEMORY
    assert process.returncode == 1, process.stderr.read()
    for row, prompt in zip(rows(tmp_path / "runs/in"), prompts, strict=True):
        if "flood" in prompt:
            assert (row["status"], row["error_class"]) == ("failed", error_class)
        else:
            assert row["completion"] == answer_to(prompt)


@pytest.fixture(scope="module")
def bomb() -> bytes:
    """512 MiB, packed into half of one."""
    packer = zlib.compressobj(9, wbits=31)
    zeros = bytes(1 << 20)
    return b"".join(packer.compress(zeros) for _ in range(512)) + packer.flush()


@pytest.mark.second_lane
def test_a_packed_bomb_costs_its_row_and_little_memory(api, start, tmp_path, bomb):
    prompts = ["bomb 1", *texts(20), "bomb 2"]
    write(tmp_path / "in.jsonl", prompts)
    api.script = {"bomb": [Step(body=bomb, headers={"Content-Encoding": "gzip"}), ...]}
    process = start("run", "in.jsonl", *asking(api), *FAST, fresh=True)
    assert peak(process) < MOST_MEMORY
    assert [row["error_class"] for row in rows(tmp_path / "runs/in")] == [
        "too_large",
        *[None] * 20,
        "too_large",
    ]
    assert api.asked("bomb") == 2


def limited(soft: int, hard: int) -> Callable[[], None]:
    return lambda: resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def test_too_few_open_files_are_said_before_anything_is_sent(api, start, tmp_path):
    write(tmp_path / "in.jsonl", texts(10))
    process = start("run", "in.jsonl", *asking(api), preexec_fn=limited(80, 80))
    _, stderr = process.communicate(timeout=30)
    assert (process.returncode, api.ledger) == (2, [])
    assert "80 open files" in stderr and "ulimit -n" in stderr and "Traceback" not in stderr


def test_takes_as_many_open_files_as_it_may(api, start, tmp_path):
    prompts = texts(300)
    write(tmp_path / "in.jsonl", prompts)
    api.slots = 0
    process = start("run", "in.jsonl", *asking(api, "-c", 150), preexec_fn=limited(64, 1024))
    until(lambda: api.in_flight > 64, process)
    api.slots = None
    _, stderr = process.communicate(timeout=60)
    assert process.returncode == 0, stderr


@contextmanager
def over_tls(api: FakeAPI, certificate: Path) -> Iterator[int]:
    """A port where `api` is spoken to in TLS."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)

    def serve(connection: socket.socket) -> None:
        with context.wrap_socket(connection, server_side=True) as secure:
            request = received(secure)
            with socket.create_connection(("127.0.0.1", api.port)) as plain:
                plain.sendall(request.replace(b"\r\n", b"\r\nconnection: close\r\n", 1))
                secure.sendall(b"".join(iter(lambda: plain.recv(PIECE), b"")))

    with listening(serve) as port:
        yield port


@pytest.fixture
def certificate(tmp_path: Path) -> Path:
    """Key and certificate of 127.0.0.1 and localhost, signed by nobody else."""
    path = tmp_path / "certificate.pem"
    path.write_text(PEM)
    return path


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost"])
def test_a_certificate_nobody_vouches_for_stops_the_run(
    api, batchmill, tmp_path, certificate, host
):
    write(tmp_path / "in.jsonl", texts(5))
    with over_tls(api, certificate) as port:
        flags = ("-m", "m", "-p", "{{ text }}", "--base-url", f"https://{host}:{port}/v1")
        ended = batchmill("run", "in.jsonl", *flags, env={"OPENAI_API_KEY": "sk-secret-0123456789"})
    assert (ended.exit_code, api.ledger) == (3, [])
    assert f"the certificate of {host} is not trusted: " in ended.stderr
    assert rows(tmp_path / "runs/in") == []


def test_a_certificate_in_ssl_cert_file_is_trusted(api, batchmill, tmp_path, certificate):
    prompts = texts(5)
    write(tmp_path / "in.jsonl", prompts)
    with over_tls(api, certificate) as port:
        flags = ("-m", "m", "-p", "{{ text }}", "--base-url", f"https://127.0.0.1:{port}/v1")
        ended = batchmill("run", "in.jsonl", *flags, *FAST, env={"SSL_CERT_FILE": str(certificate)})
    assert ended.exit_code == 0, ended.stderr
    assert completions(tmp_path / "runs/in") == [
        (at, answer_to(it)) for at, it in enumerate(prompts)
    ]


def test_a_trusted_certificate_of_another_host_is_not_trusted(
    api, batchmill, tmp_path, certificate
):
    write(tmp_path / "in.jsonl", texts(5))
    with over_tls(api, certificate) as port:
        flags = ("-m", "m", "-p", "{{ text }}", "--base-url", f"https://127.0.0.2:{port}/v1")
        ended = batchmill("run", "in.jsonl", *flags, env={"SSL_CERT_FILE": str(certificate)})
    assert (ended.exit_code, api.ledger) == (3, [])


PEM = """\
-----BEGIN CERTIFICATE-----
MIIBZzCCAQ2gAwIBAgIBATAKBggqhkjOPQQDAjAUMRIwEAYDVQQDDAkxMjcuMC4w
LjEwIBcNMjAwMTAxMDAwMDAwWhgPMjEyMDAxMDEwMDAwMDBaMBQxEjAQBgNVBAMM
CTEyNy4wLjAuMTBZMBMGByqGSM49AgEGCCqGSM49AwEHA0IABC9e51lNbduZS4uk
rM2H0aGm1Kr4v9s7Vd8dPu8Yv1NqQVuh8QAjrolL17/MMDx4ndvu03wRyu+4KeTB
Ieet+POjTjBMMA8GA1UdEwEB/wQFMAMBAf8wGgYDVR0RBBMwEYcEfwAAAYIJbG9j
YWxob3N0MB0GA1UdDgQWBBTakeM779mLSrm5jBvs0p8iAhoAcDAKBggqhkjOPQQD
AgNIADBFAiEAyb7mVSho/bcIkWo5338keFa0L4bJWGslJYQi3VRp8OYCIH6uZudj
ZA10XaX7LNeGJTQ7kES8s0mtUs/fZr0x7hzq
-----END CERTIFICATE-----
-----BEGIN PRIVATE KEY-----
MIGHAgEAMBMGByqGSM49AgEGCCqGSM49AwEHBG0wawIBAQQg0hO1Og8VT6d9jNXn
k3aiqIhZYWGd44qW8nswduxOCUShRANCAAQvXudZTW3bmUuLpKzNh9GhptSq+L/b
O1XfHT7vGL9TakFbofEAI66JS9e/zDA8eJ3b7tN8EcrvuCnkwSHnrfjz
-----END PRIVATE KEY-----
"""
"""Valid from 2020 to 2120; the key protects nothing."""

"""What a server may send without end does not fill this machine: the row gets its class, the others go on."""

from __future__ import annotations

import gzip
import json
import socket
import subprocess
import threading
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import psutil
import pytest

from tests.conftest import Finished
from tests.fake_api import FakeAPI, Step
from tests.reading import asking, rows, texts, write

MOST = 200 << 20  # bytes of resident memory

HEAD = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\n"


class Flood:
    """A server that answers every request with the same head and then with one block, for ever."""

    def __init__(self, head: bytes, block: bytes) -> None:
        self._head, self._block = head, block
        self._listening = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self._listening.getsockname()[1]}/v1"
        self.sent = 0
        threading.Thread(target=self._serve, daemon=True).start()

    def _serve(self) -> None:
        with suppress(OSError):
            while True:
                connection, _ = self._listening.accept()
                threading.Thread(target=self._flood, args=(connection,), daemon=True).start()

    def _flood(self, connection: socket.socket) -> None:
        with connection, suppress(OSError):
            connection.recv(65536)
            connection.sendall(self._head)
            while self.sent < 5 << 30:
                connection.sendall(self._block)
                self.sent += len(self._block)

    def close(self) -> None:
        self._listening.close()


def peak(process: psutil.Popen, most: list[int]) -> None:
    """Keep the largest resident size of a process until it ends."""
    with suppress(psutil.Error):
        seen = psutil.Process(process.pid)
        while process.poll() is None:
            most[0] = max(most[0], seen.memory_info().rss)
            with suppress(subprocess.TimeoutExpired):
                process.wait(0.02)


@pytest.fixture
def measured(start: Callable[..., psutil.Popen]) -> Callable[..., tuple[Finished, int]]:
    """Runs the program and tells its peak memory in bytes."""

    def run(*args: str) -> tuple[Finished, int]:
        process, most = start(*args), [0]
        watching = threading.Thread(target=peak, args=(process, most))
        watching.start()
        out, err = process.communicate(timeout=100)
        watching.join()
        return Finished(process.returncode, out, err), most[0]

    return run


@pytest.fixture(params=["endless body", "endless line", "endless events"])
def flood(request: pytest.FixtureRequest) -> Iterator[Flood]:
    events = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\n\r\n"
    server = {
        "endless body": Flood(HEAD + b"\r\n" + b'{"choices": "', b"x" * (1 << 20)),
        "endless line": Flood(events + b"data: ", b"x" * (1 << 20)),
        "endless events": Flood(
            events, b'data: {"choices":[{"index":0,"delta":{"content":"xxxxxxxx"}}]}\n\n' * 10_000
        ),
    }[request.param]
    yield server
    server.close()


def test_an_answer_without_end_is_given_up(flood: Flood, measured, tmp_path: Path) -> None:
    write(tmp_path / "in.jsonl", texts(2))

    done, most = measured(
        *("run", "in.jsonl", "-m", "m", "-p", "{{ text }}", "--base-url", flood.url),
        *("--set", "request.stream=true"),
    )

    assert done.exit_code == 1, done.stderr
    assert [row["error_class"] for row in rows(tmp_path / "runs/in")] == ["too_large"] * 2
    assert flood.sent < 200 << 20
    assert most < MOST


@pytest.mark.parametrize(
    ("body", "error_class"),
    [
        (gzip.compress(b" " * (512 << 20), 1), "too_large"),
        (b'{"choices":' + b"[" * 100_000, "bad_response"),
        (b'{"choices": "' + b"x" * (10 << 20), "bad_response"),
    ],
    ids=["bomb of 512 MB", "100,000 deep", "10 MB that break off"],
)
def test_a_body_that_is_too_much_costs_one_row(
    body: bytes, error_class: str, api: FakeAPI, measured, tmp_path: Path
) -> None:
    packed = b"content-encoding: gzip\r\n" if body[:2] == b"\x1f\x8b" else b""
    whole = HEAD + packed + b"content-length: %d\r\n\r\n" % len(body) + body
    api.script = {"row-2 ": [Step(raw=whole), ...]}
    write(tmp_path / "in.jsonl", [f"row-{n} says hello" for n in range(5)])

    done, most = measured("run", "in.jsonl", *asking(api, "--set", "retry.first_delay=0.01"))

    assert done.exit_code == 1, done.stderr
    assert [row["error_class"] for row in rows(tmp_path / "runs/in")] == [
        None,
        None,
        error_class,
        None,
        None,
    ]
    assert most < MOST


def test_a_line_of_a_megabyte_is_read(api: FakeAPI, batchmill, tmp_path: Path) -> None:
    chunk = {
        "choices": [{"index": 0, "delta": {"content": "y" * (1 << 20)}, "finish_reason": "stop"}]
    }
    api.always = Step(events=[json.dumps(chunk), "[DONE]"], chunk=70_000)
    write(tmp_path / "in.jsonl", texts(2))

    done = batchmill("run", "in.jsonl", *asking(api, "--set", "request.stream=true"))

    assert done.exit_code == 0, done.stderr
    assert [len(row["completion"]) for row in rows(tmp_path / "runs/in")] == [1 << 20] * 2

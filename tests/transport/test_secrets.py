"""A key is nowhere but in the environment and on the wire to the one server it is for."""

from __future__ import annotations

import signal
import socket
import threading
from base64 import b64encode
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from urllib.parse import quote

import psutil
import pytest

from batch.transport.endpoint import Endpoint, target
from tests.conftest import ROOT, Finished
from tests.fake_api import FakeAPI, Step
from tests.reading import asking, rows, texts, until, write

KEY = "sk-canary-0123456789ABCDEFGHIJ+klmnop/qrstuvwxyz"
ENV = {"OPENAI_API_KEY": KEY}
FORMS = {
    "plain": KEY,
    "url": quote(KEY, safe=""),
    "base64": b64encode(KEY.encode()).decode(),
    "header": b64encode(f"Bearer {KEY}".encode()).decode(),
    "slice": KEY[8:30],
}


def leaks(*sinks: str | bytes) -> list[bytes]:
    """Slices of the key, 12 characters or more, that stand in a sink."""
    slices = [KEY[at : at + 12].encode() for at in range(len(KEY) - 11)]
    slices += [FORMS["base64"][at : at + 16].encode() for at in range(4, 40)]
    found = [sink.encode() if isinstance(sink, str) else sink for sink in sinks]
    return [piece for piece in slices for sink in found if piece in sink]


def everything(folder: Path) -> list[bytes]:
    """Every file's bytes, and every value of the Parquet files, whose pages are compressed."""
    values = [repr(row) for row in rows(folder / "runs/in")]
    files = [path.read_bytes() for path in folder.rglob("*") if path.is_file()]
    return [*files, *(value.encode() for value in values)]


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("form", FORMS)
def test_an_echoed_key_is_found_in_no_sink(
    form: str, stream: bool, api: FakeAPI, batchmill: Callable[..., Finished], tmp_path: Path
) -> None:
    said = f"Nobody is called {FORMS[form]}"
    api.key = KEY
    api.script = {
        "row-0 ": [Step(status=400, body={"error": {"message": said, "code": "bad"}}), ...],
        "row-1 ": [
            Step(status=500, body=f"<html><title>{said}</title>", headers={"x-request-id": said}),
            ...,
        ],
        "row-2 ": [Step(content=said)],
        "row-3 ": [Step(status=503, body=said.encode())],
    }
    write(tmp_path / "in.jsonl", [f"row-{n} says hello" for n in range(6)])

    done = batchmill(
        *("run", "in.jsonl", *asking(api)),
        *("--set", f"request.stream={str(stream).lower()}", "--set", "output.response=true"),
        *("--set", "retry.first_delay=0.01", "--set", "retry.max_attempts=2"),
        env=ENV,
    )
    shown = batchmill("show", "runs/in", "-n", "9", "--json")

    assert done.exit_code == 1, done.stderr
    assert [row["status"] for row in rows(tmp_path / "runs/in")][3:] == ["ok"] * 3
    assert not leaks(done.stdout, done.stderr, shown.stdout, *everything(tmp_path))


def test_a_key_echoed_in_the_words_that_stop_a_run_is_masked(
    api: FakeAPI, batchmill: Callable[..., Finished], tmp_path: Path
) -> None:
    api.always = Step(status=401, body={"error": {"message": f"Incorrect API key: {KEY}"}})
    write(tmp_path / "in.jsonl", texts(3))

    done = batchmill("run", "in.jsonl", *asking(api), env=ENV)

    assert done.exit_code == 3
    assert "Incorrect API key: •••" in done.stderr
    assert not leaks(
        done.stdout, done.stderr, *(p.read_bytes() for p in tmp_path.rglob("*") if p.is_file())
    )


def test_the_key_is_in_no_process_list_and_no_file_while_a_run_is_under_way(
    api: FakeAPI, start: Callable[..., psutil.Popen], tmp_path: Path
) -> None:
    api.latency, api.key = 0.3, KEY
    write(tmp_path / "in.jsonl", texts(30))
    process = start("run", "in.jsonl", *asking(api, "-c", "2"), env=ENV, fresh=True)
    until(lambda: len(api.ledger) > 6, process)

    process.send_signal(signal.SIGSTOP)  # no file goes away while we look
    seen = psutil.Process(process.pid)
    words = [" ".join(each.cmdline()) for each in (seen, *seen.children(recursive=True))]

    assert api.ledger[0].headers["authorization"] == f"Bearer {KEY}"
    assert not leaks(*words, *(p.read_bytes() for p in tmp_path.rglob("*") if p.is_file()))


@pytest.mark.parametrize("key", ["sk-\ncanary-0123456789", "sk-canary’0123456789", "sk-\tcanary"])
def test_a_key_that_no_header_can_carry_is_refused_unseen(
    key: str, api: FakeAPI, batchmill: Callable[..., Finished], tmp_path: Path
) -> None:
    write(tmp_path / "in.jsonl", texts(3))

    done = batchmill("run", "in.jsonl", *asking(api, "--api-key-env", "KEY"), env={"KEY": key})

    assert done.exit_code == 2
    assert "KEY holds characters that no header may have" in done.stderr
    assert "canary" not in done.stderr
    assert not api.ledger


@pytest.mark.parametrize("url", ["https://me:{}@example.com/v1", "https://example.com/v1?key={}"])
def test_a_key_in_the_url_is_refused(
    url: str, batchmill: Callable[..., Finished], tmp_path: Path
) -> None:
    write(tmp_path / "in.jsonl", texts(1))
    done = batchmill(
        "run", "in.jsonl", "-m", "m", "-p", "{{ text }}", "--base-url", url.format("canary")
    )

    assert done.exit_code == 2
    assert "canary" not in done.stderr


@pytest.mark.parametrize("spelled", ["\\u%04x", "escaped slash", "pieces"])
def test_a_key_that_is_spelled_another_way_is_masked_too(
    spelled: str, api: FakeAPI, batchmill: Callable[..., Finished], tmp_path: Path
) -> None:
    written = KEY.replace("/", "\\/")
    if "%" in spelled:
        written = "".join(spelled % ord(letter) for letter in KEY)
    choice = '{"index":0,"delta":{"content":"%s"},"finish_reason":%s}'
    events = [(f'{{"choices":[{choice % (piece, "null")}]}}') for piece in (KEY[:20], KEY[20:])]
    steps = {
        "row-0 ": [Step(status=400, body=f'{{"error":{{"message":"{written}","code":"bad"}}}}')],
        "row-1 ": [Step(events=[f'{{"choices":[{choice % (written, "null")}]}}', "[DONE]"])],
        "row-2 ": [Step(events=[*events, "[DONE]"])],
    }
    api.script = {word: [*step, ...] for word, step in steps.items()}
    write(tmp_path / "in.jsonl", [f"row-{n} says hello" for n in range(4)])

    settings = ("--set", "request.stream=true", "--set", "output.response=true")
    done = batchmill("run", "in.jsonl", *asking(api), *settings, env=ENV)

    assert [row["status"] for row in rows(tmp_path / "runs/in")] == ["failed", "ok", "ok", "ok"]
    assert not leaks(done.stdout, done.stderr, *everything(tmp_path))


def test_a_bug_shows_its_traceback_without_the_key(
    api: FakeAPI, batchmill: Callable[..., Finished], tmp_path: Path
) -> None:
    (tmp_path / "broken").mkdir()
    (tmp_path / "broken/sitecustomize.py").write_text(
        "from batch.transport.client import Client\n"
        "async def send(self, request):\n"
        "    raise RuntimeError(repr((self._target, self._endpoint, request)))\n"
        "Client.send = send\n"
    )
    write(tmp_path / "in.jsonl", texts(2))
    path = f"{tmp_path / 'broken'}:{ROOT}"

    done = batchmill("run", "in.jsonl", *asking(api), env={**ENV, "PYTHONPATH": path})

    assert done.exit_code == 70 and "RuntimeError" in done.stderr
    assert not leaks(done.stdout, done.stderr)


def test_a_servers_words_do_not_drive_the_terminal(
    api: FakeAPI, batchmill: Callable[..., Finished], tmp_path: Path
) -> None:
    evil = "\x1b[2J\x1b]0;owned\x07 \x1b]8;;http://evil\x1b\\ \x1b]52;c;aGk=\x07 \x9b31m \x7f\x00\x08 no"
    api.always = Step(status=401, body={"error": {"message": evil}})
    write(tmp_path / "in.jsonl", texts(2))

    done = batchmill("run", "in.jsonl", *asking(api), env=ENV)

    assert done.exit_code == 3 and "owned" in done.stderr
    controls = {chr(code) for code in (*range(32), *range(127, 160))} - {"\n", "\t"}
    assert not controls & set(done.stderr + done.stdout)


# Redirects


@pytest.fixture
def elsewhere() -> Iterator[FakeAPI]:
    api = FakeAPI()
    yield api
    api.close()


@pytest.mark.parametrize("status", [301, 302, 307, 308])
@pytest.mark.parametrize("header", ["Authorization", "api-key", "Cookie"])
@pytest.mark.parametrize("origin", ["same", "port", "host"])
def test_a_redirect_gets_neither_key_nor_prompt(
    status: int,
    header: str,
    origin: str,
    api: FakeAPI,
    elsewhere: FakeAPI,
    redirected: Callable[..., str],
) -> None:
    place = {
        "same": api.url.replace("/v1", "/v2/chat/completions"),
        "port": f"{elsewhere.url}/chat/completions",
        "host": f"{elsewhere.url}/chat/completions".replace("127.0.0.1", "localhost"),
    }[origin]
    api.always = Step(status=status, headers={"Location": place}, body=b"")

    said = redirected(api, header)

    assert "redirects are not followed" in said
    assert not elsewhere.ledger
    assert all(asked.path == "/v1/chat/completions" for asked in api.ledger)


@pytest.fixture
def redirected(tmp_path: Path) -> Callable[..., str]:
    """Asks one row with the key in a header, within this process, and gives why the run stopped."""
    from batch import runner as running
    from batch import spec
    from batch.planning.terms import Terms

    def run(api: FakeAPI, header: str) -> str:
        write(tmp_path / "in.jsonl", texts(1))
        tables = {
            "input": str(tmp_path / "in.jsonl"),
            "prompt": {"user": "{{ text }}"},
            "request": {"model": "m"},
            "endpoint": {"base_url": api.url, "headers": {header: "$KEY"}, "api_key_env": ""},
        }
        how = Terms(environment={"KEY": KEY})
        ended = running.run(spec.check(tables), tmp_path / "run", how)
        assert ended.exit_code == 3
        assert api.ledger[0].headers[header.lower()] == KEY
        return str(ended.stopped)

    return run


# Proxies


class Proxy:
    """Takes connections and keeps what it was asked; it answers nothing that helps."""

    def __init__(self) -> None:
        self._listening = socket.create_server(("127.0.0.1", 0))
        self.port = self._listening.getsockname()[1]
        self.asked: list[bytes] = []
        threading.Thread(target=self._serve, daemon=True).start()

    def _serve(self) -> None:
        with suppress(OSError):
            while True:
                connection, _ = self._listening.accept()
                with connection:
                    self.asked.append(connection.recv(65536))
                    connection.sendall(
                        b"HTTP/1.1 407 Proxy Authentication Required\r\ncontent-length: 0\r\n\r\n"
                    )

    def close(self) -> None:
        self._listening.close()


@pytest.fixture
def proxy() -> Iterator[Proxy]:
    proxy = Proxy()
    yield proxy
    proxy.close()


def test_the_proxy_of_the_environment_is_used_and_its_password_not_shown(
    proxy: Proxy, batchmill: Callable[..., Finished], tmp_path: Path
) -> None:
    write(tmp_path / "in.jsonl", texts(1))
    done = batchmill(
        *(
            "run",
            "in.jsonl",
            "-m",
            "m",
            "-p",
            "{{ text }}",
            "--base-url",
            "https://api.example.com/v1",
        ),
        env={**ENV, "HTTPS_PROXY": f"http://me:canary-password-1234@127.0.0.1:{proxy.port}"},
    )

    assert done.exit_code == 3
    assert "the proxy that HTTPS_PROXY names asks for a name and password" in done.stderr
    assert "(HTTP 407)" in done.stderr
    assert proxy.asked[0].startswith(b"CONNECT api.example.com:443 ")
    assert b"canary-password" not in b"".join(everything_in(tmp_path)) + done.stderr.encode()
    assert not leaks(*proxy.asked)


def test_loopback_is_asked_without_the_proxy(
    proxy: Proxy, api: FakeAPI, batchmill: Callable[..., Finished], tmp_path: Path
) -> None:
    write(tmp_path / "in.jsonl", texts(2))
    done = batchmill(
        "run", "in.jsonl", *asking(api), env={"HTTP_PROXY": f"http://127.0.0.1:{proxy.port}"}
    )

    assert done.exit_code == 0, done.stderr
    assert not proxy.asked


@pytest.mark.parametrize("exempt", ["gpu-box", "*", "other,gpu-box:8000", ".internal,gpu-box"])
def test_no_proxy_is_obeyed(exempt: str) -> None:
    names = {"HTTP_PROXY": "http://127.0.0.1:9", "NO_PROXY": exempt}
    base_url = "http://gpu-box:8000/v1"

    assert target(Endpoint(base_url=base_url), names).proxy is None
    assert target(Endpoint(base_url=base_url), {**names, "NO_PROXY": "other"}).proxy


class Forwarding(Proxy):
    """Passes plain requests on to the one server it knows."""

    def __init__(self, port: int) -> None:
        self._to = port
        super().__init__()

    def _serve(self) -> None:
        with suppress(OSError):
            while True:
                connection, _ = self._listening.accept()
                threading.Thread(target=self._pass_on, args=(connection,), daemon=True).start()

    def _pass_on(self, connection: socket.socket) -> None:
        with connection, suppress(OSError):
            while asked := connection.recv(65536):
                self.asked.append(asked)
                with socket.create_connection(("127.0.0.1", self._to)) as server:
                    server.sendall(asked.replace(b"\r\n", b"\r\nconnection: close\r\n", 1))
                    connection.sendall(b"".join(iter(lambda: server.recv(65536), b"")))
                    return


def test_answers_come_through_a_proxy(
    api: FakeAPI, batchmill: Callable[..., Finished], tmp_path: Path
) -> None:
    forwarding = Forwarding(api.port)
    write(tmp_path / "in.jsonl", texts(3))
    flags = ("-m", "m", "-p", "{{ text }}", "--base-url", "http://gpu-box/v1")
    environment = {**ENV, "http_proxy": f"http://127.0.0.1:{forwarding.port}"}

    done = batchmill("run", "in.jsonl", *flags, env=environment)
    forwarding.close()

    assert done.exit_code == 0, done.stderr
    first_lines = {asked.partition(b" HTTP")[0] for asked in forwarding.asked}
    assert first_lines == {
        b"GET http://gpu-box/v1/models",
        b"POST http://gpu-box/v1/chat/completions",
    }
    assert len(api.ledger) == 3


def test_netrc_is_not_read(
    api: FakeAPI, batchmill: Callable[..., Finished], tmp_path: Path
) -> None:
    netrc = tmp_path / ".netrc"
    netrc.write_text("machine 127.0.0.1 login me password canary-0123456789\n")
    netrc.chmod(0o600)
    write(tmp_path / "in.jsonl", texts(1))

    assert batchmill("run", "in.jsonl", *asking(api), env={"NETRC": str(netrc)}).exit_code == 0
    assert "authorization" not in api.ledger[0].headers


def everything_in(folder: Path) -> list[bytes]:
    return [path.read_bytes() for path in folder.rglob("*") if path.is_file()]

"""The embedded model: a real server with a real model, fetched once a machine into the user's own cache."""

from __future__ import annotations

import errno
import json
import os
import signal
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

from batch import job_toml, runner, spec
from batch.errors import UsageError
from batch.local import model_file
from batch.local import server as local
from batch.model import EMBEDDED_MODEL
from batch.planning.terms import Terms
from tests.reading import ran, rows

pytest.importorskip(
    "xllamacpp", reason="the extra `local` is not installed: the embedded model is UNTESTED"
)
pytestmark = pytest.mark.second_lane

REPOSITORY = Path(__file__).parents[2]
PARENT = """
import signal, sys
from batch.local import server as local
signal.signal(signal.SIGINT, signal.SIG_IGN)
with local.serving() as server:
    print(server.base_url, server.api_key, flush=True)
    sys.stdin.read()
"""


@pytest.fixture(scope="session")
def server() -> Iterator[local.Local]:
    with local.serving() as running:
        yield running


@pytest.fixture
def parent() -> Iterator[subprocess.Popen[str]]:
    """A process of its own group, with a server."""
    process = python(PARENT)
    with process:
        yield process
        process.kill()


def python(code: str, *flags: str, **environment: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [
            sys.executable,
            *flags,
            "-c",
            f"import sys; sys.path.insert(0, {str(REPOSITORY)!r})\n{code}",
        ],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=os.environ | environment,
        start_new_session=True,
    )


def call(base_url: str, path: str, key: str, body: dict[str, Any] | None = None) -> Any:
    request = urllib.request.Request(
        f"{base_url}/{path}",
        data=None if body is None else json.dumps(body).encode(),
        headers={"Authorization": f"Bearer {key}", "Content-Type": "application/json"},
    )
    with urllib.request.urlopen(request, timeout=60) as response:
        return json.load(response)


def only_child(parent: subprocess.Popen[str]) -> psutil.Process:
    (child,) = psutil.Process(parent.pid).children()
    return child


def is_gone(process: psutil.Process) -> bool:
    try:
        process.wait(10)
    except psutil.TimeoutExpired:
        return False
    return True


def test_answers_a_chat_under_its_own_name_and_reports_usage(server: local.Local) -> None:
    body = {
        "model": EMBEDDED_MODEL,
        "messages": [{"role": "user", "content": "Say hello."}],
        "max_tokens": 4,
        "temperature": 0,
    }
    answer = call(server.base_url, "chat/completions", server.api_key, body)
    assert answer["model"] == EMBEDDED_MODEL
    assert answer["choices"][0]["message"]["content"]
    assert 0 < answer["usage"]["completion_tokens"] <= 4


TALKS: list[list[dict[str, str]]] = [
    [{"role": "user", "content": "What is the capital of France? Answer in one short sentence."}],
    [
        {"role": "system", "content": "Answer in one word."},
        {"role": "user", "content": "What colour is snow?"},
    ],
    [
        {"role": "user", "content": "My name is Bob."},
        {"role": "assistant", "content": "Hi Bob."},
        {"role": "user", "content": "What is my name?"},
    ],
]


def test_says_the_same_by_chat_and_responses_whole_and_streamed(
    server: local.Local, tmp_path: Path
) -> None:
    headers = {"Authorization": f"Bearer {server.api_key}"}
    endpoint = {"base_url": server.base_url, "api_key_env": "", "headers": headers}
    asked = [{"messages": talk} for talk in TALKS]
    said = []
    for name in ("chat", "responses"):
        for stream in (False, True):
            request = {"api": name, "stream": stream, "max_tokens": 40, "temperature": 0}
            folder = tmp_path / f"{name}{stream}"
            done = ran(None, folder, asked, request, endpoint=endpoint, limits={"concurrency": 1})
            assert all(row["flags"] == ["model_differs"] for row in done.rows), "none is cut"
            said.append([(row["completion"], row["output_tokens"]) for row in done.rows])
    assert said[1:] == [said[0]] * 3


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("name", ["chat", "responses"])
def test_the_sample_job_with_a_schema_is_held_to_it_by_either_api(
    name: str, stream: bool, tmp_path: Path
) -> None:
    sample = REPOSITORY / "jobs" / "sentiment_schema.toml"
    tables = job_toml.absolute(job_toml.read(sample), sample.parent)
    tables |= {
        "limit": 2,
        "retry": {"schema_attempts": 1},
        "output": {"path": str(tmp_path / "run")},
    }
    tables["request"] |= {"api": name, "stream": stream}
    how = Terms(environment={})
    assert runner.run(spec.check(tables), tmp_path / "run", how).exit_code == 0
    for row in rows(tmp_path / "run"):
        assert row["parsed"]["sentiment"] in ("positive", "negative")
        assert json.loads(row["completion"]) == row["parsed"]


def test_a_streamed_run_asks_for_every_row_once(tmp_path: Path) -> None:
    """The server announces keep-alive at the end of a stream, and closes."""
    prompts = [{"prompt": f"Say a word about {number}."} for number in range(20)]
    request = {"model": EMBEDDED_MODEL, "stream": True, "max_tokens": 4}
    endpoint = {"base_url": "local"}
    done = ran(None, tmp_path, prompts, request, endpoint=endpoint, limits={"concurrency": 4})
    assert done.exit_code == 0
    assert [(row["attempts"], row["unconfirmed_tokens"]) for row in done.rows] == [(1, None)] * 20


def test_offers_one_model_to_whoever_has_the_key(server: local.Local) -> None:
    models = call(server.base_url, "models", server.api_key)
    assert [model["id"] for model in models["data"]] == [EMBEDDED_MODEL]
    with pytest.raises(urllib.error.HTTPError) as refused:
        call(server.base_url, "models", "another key")
    refused.value.close()
    assert refused.value.code == 401


def test_listens_on_loopback_and_hides_the_key(server: local.Local) -> None:
    assert server.base_url.startswith("http://127.0.0.1:")
    assert server.api_key not in repr(server)
    (child,) = (c for c in psutil.Process().children() if "local/child.py" in " ".join(c.cmdline()))
    assert server.api_key not in " ".join(child.cmdline())


def test_is_gone_at_the_end_of_the_block(server: local.Local) -> None:
    before = set(psutil.Process().children())
    with local.serving() as second:
        (child,) = set(psutil.Process().children()) - before
        assert second.base_url != server.base_url
    assert not child.is_running()


def test_is_gone_when_its_parent_is_killed(parent: subprocess.Popen[str]) -> None:
    assert parent.stdout is not None
    assert parent.stdout.readline()
    child = only_child(parent)
    parent.kill()
    assert is_gone(child)


def test_goes_on_answering_after_an_interrupt_of_the_whole_group(
    parent: subprocess.Popen[str],
) -> None:
    assert parent.stdout is not None
    base_url, key = parent.stdout.readline().split()
    os.killpg(parent.pid, signal.SIGINT)
    with pytest.raises(psutil.TimeoutExpired):
        only_child(parent).wait(0.3)
    assert call(base_url, "models", key)["data"]


def test_serve_prints_its_address_asks_no_key_and_ends_well_on_an_interrupt() -> None:
    with python("from batch.cli.serve import serve; serve([])") as process:
        assert process.stdout is not None and process.stderr is not None
        base_url = process.stdout.readline().strip()
        assert base_url in process.stdout.readline()
        assert call(base_url, "models", "")["data"]
        body = {"messages": [{"role": "user", "content": "Say hello."}], "max_tokens": 4}
        assert call(base_url, "chat/completions", "", body)["choices"]
        request = urllib.request.Request(f"{base_url}/models", headers={"Host": "evil.example"})
        with pytest.raises(urllib.error.HTTPError, match="403"):
            urllib.request.urlopen(request, timeout=10)
        process.send_signal(signal.SIGINT)
        assert (process.wait(10), process.stderr.read()) == (0, "")


def test_a_taken_port_is_named(server: local.Local) -> None:
    port = int(server.base_url.removesuffix("/v1").rpartition(":")[2])
    with pytest.raises(UsageError, match=f"port {port} is taken"), local.serving(port=port):
        pass


def test_a_missing_extra_names_the_command_that_installs_it() -> None:
    code = """
import sys
sys.modules["xllamacpp"] = None
from batch import errors; from batch.local import server as local
try:
    with local.serving(): pass
except errors.UsageError as error:
    print(error)
"""
    with python(code) as process:
        out, _ = process.communicate(timeout=30)
    assert out == "the embedded model needs the extra \"local\": pip install 'batchmill[local]'\n"


def test_an_unreachable_index_gives_its_words_and_the_way_out(tmp_path: Path) -> None:
    code = """
from batch import errors; from batch.local import model_file
try:
    model_file.found()
except errors.UsageError as error:
    print(error, error.hint)
"""
    index = {
        "PIP_INDEX_URL": "http://127.0.0.1:9/simple",
        "PIP_RETRIES": "0",
        "PIP_CONFIG_FILE": os.devnull,
    }
    with python(code, XDG_CACHE_HOME=str(tmp_path), HOME=str(tmp_path), **index) as process:
        out, _ = process.communicate(timeout=60)
    assert "could not be fetched: " in out
    assert "local:/path/to/model.gguf" in out
    assert not list(tmp_path.rglob("fetch-*"))


def test_a_fetched_file_with_another_hash_is_refused_and_removed(tmp_path: Path) -> None:
    fetched, target = tmp_path / "fetched.gguf", tmp_path / "target.gguf"
    fetched.write_bytes(b"GGUF, but not ours")
    with pytest.raises(UsageError, match="not the one we know"):
        model_file._adopt(fetched, target)
    assert not fetched.exists() and not target.exists()


@pytest.mark.parametrize(
    ("content", "words"),
    [(None, os.strerror(errno.ENOENT)), (b"", "not a GGUF file"), (b"<html>", "not a GGUF file")],
)
def test_a_model_file_that_is_none_is_named(
    content: bytes | None, words: str, tmp_path: Path
) -> None:
    model = tmp_path / "model.gguf"
    if content is not None:
        model.write_bytes(content)
    with pytest.raises(UsageError, match=f"model.gguf: {words}"), local.serving(model):
        pass


def test_a_truncated_model_file_gives_the_servers_own_reason(tmp_path: Path) -> None:
    with model_file.found().open("rb") as whole:
        (tmp_path / "half.gguf").write_bytes(whole.read(40_000_000))
    with (
        pytest.raises(UsageError, match="did not start") as caught,
        local.serving(tmp_path / "half.gguf", log=tmp_path / "server.log"),
    ):
        pass
    log = (tmp_path / "server.log").read_text()
    reason = str(caught.value).partition("): ")[2]
    assert "half.gguf" in log and reason and reason in log


@pytest.mark.parametrize(
    ("status", "logged", "words"),
    [
        (-4, b"", "AVX2"),
        (
            1,
            b"ImportError: libgomp.so.1: cannot open shared object file",
            "apt-get install libgomp1",
        ),
        (1, b"Traceback\nMemoryError: no room", "MemoryError: no room"),
    ],
)
def test_a_server_that_does_not_start_says_what_to_do(
    status: int, logged: bytes, words: str, tmp_path: Path
) -> None:
    with (tmp_path / "log").open("w+b") as log:
        log.write(logged)
        assert words in str(local._not_started(status, log, 0, port=0))

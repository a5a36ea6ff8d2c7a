"""A fork of the program is the program: nobody sees that it was not started from scratch."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil
import pytest

from tests import program
from tests.conftest import Finished
from tests.reading import asking, texts, until, write

Batchmill = Callable[..., Finished]


@pytest.mark.parametrize(
    "words",
    [
        ("--help",),
        ("--version",),
        ("nothing",),
        ("status", "nowhere"),
        ("runs",),
        ("validate", "in.jsonl", "-p", "{{ texd }}"),
        ("show", "in.jsonl", "--json"),
        ("estimate", "-", "-p", "{{ text }}"),
    ],
)
def test_says_and_ends_as_a_fresh_start_does(
    batchmill: Batchmill, tmp_path: Path, words: tuple[str, ...]
):
    write(tmp_path / "in.jsonl", texts(3))
    told = {"stdin": '{"text": "a"}\n', "env": {"NO_COLOR": "1"}}
    assert batchmill(*words, **told) == batchmill(*words, **told, fresh=True)


ELSEWHERE = [{"PYTHONIOENCODING": "utf-16"}, {"PYTHONUTF8": "0", "LC_ALL": "C"}]


@pytest.mark.parametrize("env", ELSEWHERE, ids=lambda env: "_".join(env.values()))
def test_speaks_the_encoding_of_a_fresh_start(tmp_path, env):
    streams: dict[str, Any] = {"stdin": program.DEVNULL, "stdout": program.DEVNULL}
    words = ["show", "Привет 日本 é"]
    with (tmp_path / "fresh").open("wb") as streams["stderr"]:
        assert program.start(words, tmp_path, env, fresh=True, **streams).wait(30) == 2
    server = program.Server(env=env)
    with (tmp_path / "forked").open("wb") as streams["stderr"]:
        assert server.start(words, tmp_path, env, **streams).wait(30) == 2
    server.close()
    assert (tmp_path / "forked").read_bytes() == (tmp_path / "fresh").read_bytes() != b""


@pytest.mark.parametrize("closed", [[0], [2], [0, 1, 2]])
@pytest.mark.parametrize("fresh", [True, False])
def test_begins_without_the_streams_that_are_closed(start, closed, fresh):
    process = start("--help", closed=closed, fresh=fresh)
    stdout, _ = process.communicate(timeout=30)
    assert process.returncode == 0
    assert bool(stdout) == (1 not in closed)


def test_is_a_process_in_its_own_session_and_folder_with_a_user_of_its_own(start, tmp_path):
    process = start("run", "-", "-p", "x", stdin=program.PIPE)
    seen = psutil.Process(process.pid)
    assert process.poll() is None
    assert os.getsid(process.pid) == os.getpgid(process.pid) == process.pid
    assert Path(seen.cwd()) == tmp_path


def test_sees_its_own_environment_and_no_other(api, batchmill, tmp_path):
    write(tmp_path / "in.jsonl", texts(2))
    for name in ("FIRST", "SECOND"):
        key = {f"{name}_KEY": f"sk-{name}"}
        ran = batchmill("run", "in.jsonl", *asking(api, "--api-key-env", *key, "--new"), env=key)
        assert ran.exit_code == 0, ran.stderr
        assert api.ledger[-1].headers["authorization"] == f"Bearer sk-{name}"
    assert batchmill("run", "in.jsonl", *asking(api, "--new")).exit_code == 0
    assert "authorization" not in api.ledger[-1].headers


@pytest.mark.parametrize(
    ("number", "code"), [(signal.SIGKILL, -9), (signal.SIGTERM, 143), (signal.SIGINT, 130)]
)
def test_ends_by_a_signal_as_any_process_does(api, start, tmp_path, number, code):
    write(tmp_path / "in.jsonl", texts(2))
    api.slots = 0
    process = start("run", "in.jsonl", *asking(api))
    until(lambda: api.in_flight == 2, process)
    process.send_signal(number)
    api.slots = None
    process.communicate(timeout=30)
    assert process.returncode == process.poll() == code
    process.kill()  # is too late, and does no harm


def test_nothing_is_left_when_the_server_is_closed(tmp_path):
    server = program.Server()
    streams: dict[str, Any] = dict.fromkeys(("stdin", "stdout", "stderr"), program.PIPE)
    process = server.start(["run", "-", "-p", "x"], tmp_path, {}, **streams)
    server.close()
    assert process.wait(30) == -signal.SIGKILL
    process.communicate()
    assert not psutil.pid_exists(process.pid)


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="threads are counted in /proc")
def test_what_is_forked_has_one_thread(tmp_path):
    server = program.Server()
    streams: dict[str, Any] = dict.fromkeys(("stdin", "stdout", "stderr"), program.DEVNULL)
    assert server.start(["--version"], tmp_path, {}, **streams).wait(30) == 0
    assert psutil.Process(server.pid).num_threads() == 1
    server.close()

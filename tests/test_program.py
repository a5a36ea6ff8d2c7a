"""A fork of the program is the program: nobody sees that it was not started from scratch."""

from __future__ import annotations

import os
import shlex
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil
import pytest

import batch
from tests import program
from tests.conftest import Finished
from tests.fake_api import Step
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


ELSEWHERE = {"PYTHONUTF8": "0", "LC_ALL": "C"}


@pytest.mark.parametrize(
    ("coding", "words"),
    [
        ("utf-16", ("show", "Привет 日本 é")),
        ("cp1252", ("run", "in.jsonl", "-m", "m", "-p", "{{ text }}", "--dry-run")),
    ],
)
def test_speaks_the_encoding_that_its_environment_asks_for(tmp_path, coding, words):
    write(tmp_path / "in.jsonl", ["é Привет 日本"])
    told: list[list[bytes]] = []
    for fresh in (True, False):
        with (tmp_path / "out").open("wb") as out, (tmp_path / "err").open("wb") as err:
            streams: dict[str, Any] = {"stdout": out, "stderr": err}
            started = program.start(
                words, tmp_path, {program.CODING: coding}, fresh=fresh, **streams
            )
            assert started.wait(30) in (0, 2)
        told.append([(tmp_path / name).read_bytes() for name in ("out", "err")])
    assert told[0] == told[1] != [b"", b""]


def test_speaks_the_encoding_of_a_fresh_start(tmp_path):
    env = ELSEWHERE
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


@pytest.mark.skipif(not hasattr(os, "fork"), reason="a shell of Unix starts it")
def test_is_in_a_shell_what_it_is_elsewhere(api, tmp_path):
    folder = tmp_path / "f"
    folder.mkdir()
    write(folder / "in.jsonl", texts(2))
    started = shlex.join(program.in_shell())
    asked = shlex.join(["run", "in.jsonl", *map(str, asking(api, "--api-key-env", "KEY"))])
    script = f"""
cd f; KEY=sk-1 {started} {asked} 2> told; echo $?
{started} nothing 2>&1; echo $?
echo '{{"text": "a"}}' | {started} run - -m m -p '{{{{ text }}}}' --dry-run | grep -c '"a"'
{started} --version >&-; echo $?
"""
    env = {"PATH": os.environ["PATH"]}
    done = subprocess.run(
        ["bash", "-c", script], cwd=tmp_path, env=env, capture_output=True, text=True, timeout=60
    )
    first, *complaint, second, third, fourth = done.stdout.splitlines()
    assert (first, second, third, fourth, done.stderr) == ("0", "2", "1", "0", "")
    assert "nothing" in "".join(complaint)
    assert "runs/in" in (folder / "told").read_text(encoding="utf-8")
    assert api.ledger[0].headers["authorization"] == "Bearer sk-1"


@pytest.mark.skipif(not hasattr(os, "fork"), reason="a shell of Unix starts it")
def test_is_killed_in_a_shell_as_elsewhere(api, tmp_path):
    write(tmp_path / "in.jsonl", texts(2))
    api.always = Step(hang=True)
    words = [*program.in_shell(), "run", "in.jsonl", *map(str, asking(api))]
    with subprocess.Popen(words, cwd=tmp_path, env={"PATH": ""}, stderr=subprocess.DEVNULL) as asks:
        until(lambda: api.in_flight == 2)
        assert batch.open(tmp_path / "runs/in").status().state == "running"
        asks.kill()
    until(lambda: batch.open(tmp_path / "runs/in").status().state == "interrupted")


def test_nothing_is_left_when_the_server_is_closed(tmp_path):
    server = program.Server()
    streams: dict[str, Any] = dict.fromkeys(("stdin", "stdout", "stderr"), program.PIPE)
    process = server.start(["run", "-", "-p", "x"], tmp_path, {}, **streams)
    server.close()
    assert process.wait(30) == -signal.SIGKILL
    process.communicate()
    assert not psutil.pid_exists(process.pid)


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="threads are counted in /proc")
def test_what_is_forked_has_one_thread(start):
    process = start("run", "-", "-p", "x", stdin=program.PIPE)
    server = psutil.Process(process.pid).parent()
    assert server is not None
    assert server.num_threads() == 1

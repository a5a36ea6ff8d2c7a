"""What benchmarks have in common: a static server, and a client let loose on it, each a process."""

from __future__ import annotations

import json
import os
import resource
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from tests.reading import peak

ROOT = Path(__file__).resolve().parent.parent.parent


class Seen(NamedTuple):
    """What a server tells of its life so far; moments are those of `time.monotonic`."""

    requests: int
    first: float
    last: float


@dataclass(frozen=True)
class Server:
    """A static server that runs."""

    url: str
    process: subprocess.Popen[str]

    def seen(self) -> Seen:
        self.process.send_signal(signal.SIGUSR1)
        requests, first, last = _line(self.process).split()
        return Seen(int(requests), float(first), float(last))


@contextmanager
def static_server(*words: object) -> Iterator[Server]:
    """A static server in a process, and on a core, of its own; `words` are its arguments."""
    command = [sys.executable, "-m", "tests.benchmarks.static_server", *map(str, words)]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) as process:
        try:
            port = int(_line(process))
            pin(process, -1)
            yield Server(f"http://127.0.0.1:{port}/v1", process)
        finally:
            process.kill()


def _line(process: subprocess.Popen[str]) -> str:
    assert process.stdout is not None
    return process.stdout.readline()


def pin(process: subprocess.Popen[str], core: int) -> None:
    """Keep a process to one of the cores, where the system can and there are several."""
    if hasattr(os, "sched_setaffinity") and len(cores := sorted(os.sched_getaffinity(0))) > 1:
        os.sched_setaffinity(process.pid, {cores[core]})


def prepared(folder: Path, rows: int) -> Path:
    """A new folder with an input of so many rows."""
    folder.mkdir()
    lines = (json.dumps({"id": n, "text": f"question {n}: " + "why " * 20}) for n in range(rows))
    with (folder / "in.jsonl").open("w") as file:
        file.writelines(f"{line}\n" for line in lines)
    return folder


def ours(url: str, folder: Path, in_flight: int, *flags: str) -> list[str]:
    """The command that lets batchmill ask for every row of a prepared folder."""
    words = ["run", str(folder / "in.jsonl"), "-m", "m", "-p", "{{ text }}", "--base-url", url]
    words += ["-c", str(in_flight), "--api-key-env", "", "--quiet", "-o", str(folder / "run")]
    return [sys.executable, "-m", "batch", *words, *flags]


def peer(name: str, url: str, folder: Path, in_flight: int) -> list[str]:
    """The same by another."""
    words = [url, str(folder / "in.jsonl"), str(folder / "out.jsonl"), str(in_flight)]
    return [sys.executable, "-m", "tests.benchmarks.peers", name, *words]


class Failed(Exception):
    """A client ended badly; its last words."""


@contextmanager
def started(command: list[str], tree: Path = ROOT) -> Iterator[subprocess.Popen[str]]:
    """A client that runs, on another core than the server, by the program that lies in `tree`.  The
    end of the block waits for its end.  Raises Failed where that is no good one.
    """
    with subprocess.Popen(
        command, cwd=tree, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True
    ) as process:
        try:
            pin(process, 0)
            yield process
            _, said = process.communicate()
        finally:
            process.kill()
    if process.returncode != 0:
        raise Failed(said)


class Measured(NamedTuple):
    """What a client took from the start of its process to the end of it."""

    wall: float
    cpu: float
    peak_bytes: int


def measure(command: list[str], tree: Path = ROOT) -> Measured:
    before, began = _cpu_of_children(), time.monotonic()
    with started(command, tree) as process:
        most = peak(process)
        wall = time.monotonic() - began
    return Measured(wall, _cpu_of_children() - before, most)


def _cpu_of_children() -> float:
    """Seconds, user and system, of all that have ended."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def first_request(folder: Path, rows: int, tree: Path = ROOT) -> float:
    """Seconds from the start of a process to its first row's arrival at the server."""
    with static_server() as server:
        command = ours(server.url, prepared(folder, rows), rows)
        began = time.monotonic()
        with started(command, tree):
            pass
        return server.seen().first - began

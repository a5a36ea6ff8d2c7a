"""The program as its users start it: a process of its own, in a session of its own.

It is forked from a process in which everything is imported (see fork_server), which takes a tenth
of the time.  `fresh=True` starts the interpreter instead: for what is about the start itself, the
memory it takes, or what the system tells of the process.
"""

from __future__ import annotations

import functools
import io
import json
import os
import select
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from subprocess import DEVNULL, PIPE, STDOUT
from types import TracebackType
from typing import IO, Any, Protocol

ROOT = Path(__file__).resolve().parent.parent
READ_AT_START = ("AIOHTTP", "ARROW", "LANG", "LC_", "OMP_", "PYTHON", "SSL_")
"""How the names begin which the interpreter and the libraries read once: they need a fresh start."""


class Program(Protocol):
    """What a test may do with a start of the program: what it may do with a `Popen`."""

    pid: int
    returncode: Any
    stdin: Any
    stdout: Any
    stderr: Any

    def poll(self) -> int | None: ...
    def wait(self, timeout: float | None = None) -> int: ...
    def communicate(
        self, input: str | None = None, timeout: float | None = None
    ) -> tuple[str, str]: ...
    def send_signal(self, sig: int) -> None: ...
    def terminate(self) -> None: ...
    def kill(self) -> None: ...


def start(
    words: Sequence[object],
    folder: Path,
    env: Mapping[str, str] | None = None,
    *,
    fresh: bool = False,
    **options: Any,
) -> Program:
    """Start it in `folder` with nothing in its environment but `env`; `options` are those of `Popen`, and
    which of its streams are `closed`.
    """
    given = {"PATH": os.environ["PATH"], "HOME": str(folder), **(env or {})}
    options = {"stdin": DEVNULL, "stdout": PIPE, "stderr": PIPE, **options}
    argv = [str(word) for word in words]
    if "SYSTEMROOT" in os.environ:  # without it there are no sockets on Windows
        given["SYSTEMROOT"] = os.environ["SYSTEMROOT"]
    fresh = fresh or not hasattr(os, "fork")
    if not (fresh or "preexec_fn" in options or any(map(_is_read_at_start, given))):
        return _server().start(argv, folder, given, **options)
    if closed := options.pop("closed", ()):
        options["preexec_fn"] = functools.partial(_close, closed)
    return subprocess.Popen(
        [sys.executable, "-m", "batch", *argv],
        cwd=folder,
        env={"PYTHONPATH": str(ROOT), **given},
        encoding="utf-8",
        start_new_session=True,
        **options,
    )


def _close(fds: Sequence[int]) -> None:
    for fd in fds:
        os.close(fd)


def _is_read_at_start(name: str) -> bool:
    return name.startswith(READ_AT_START)


def close() -> None:
    """End the fork server of this process, and whatever it has forked."""
    if _server.cache_info().currsize:
        _server().close()
        _server.cache_clear()


class Server:
    """A fork server of this process; it ends with it, however that ends."""

    def __init__(
        self,
        words: Sequence[str] = ("-m", "tests.fork_server"),
        env: Mapping[str, str] | None = None,
        coding: str = "utf-8",
    ) -> None:
        """Python is started with these words and variables.  `coding` is what its pipes speak."""
        self._coding = coding
        self._ours, theirs = socket.socketpair()
        with theirs:
            self._process = subprocess.Popen(
                [sys.executable, *words, str(theirs.fileno())],
                cwd=ROOT,
                env={
                    "PATH": os.environ["PATH"],
                    "PYTHONPATH": str(ROOT),
                    "JE_ARROW_MALLOC_CONF": "background_thread:false",
                    **(env or {}),
                },
                pass_fds=[theirs.fileno()],
                stdin=DEVNULL,
                start_new_session=True,
            )

    def start(
        self,
        argv: list[str],
        folder: Path,
        env: dict[str, str],
        *,
        stdin: Any,
        stdout: Any,
        stderr: Any,
        seated: bool = False,
        closed: Sequence[int] = (),
    ) -> Forked:
        order = {
            "argv": argv,
            "env": env,
            "folder": str(folder),
            "umask": _umask(),
            "seated": seated,
            "closed": list(closed),
        }
        reads, told = os.pipe()
        source, feed = self._end_for(stdin, os.O_RDONLY)
        out, output = self._end_for(stdout, os.O_WRONLY)
        err, errors = (
            (os.dup(out), None) if stderr == STDOUT else self._end_for(stderr, os.O_WRONLY)
        )
        fds = [source, out, err, told]
        asked = json.dumps(order).encode()
        socket.send_fds(self._ours, [b"%08x" % len(asked)], fds)
        self._ours.sendall(asked)
        for fd in fds:
            os.close(fd)
        return Forked(argv, reads, feed, output, errors)

    def _end_for(self, wanted: Any, mode: int) -> tuple[int, IO[str] | None]:
        """The program's end of one of its standard streams, and ours if it is a pipe."""
        if wanted == DEVNULL:
            return os.open(os.devnull, mode), None
        if wanted != PIPE:
            return os.dup(wanted if isinstance(wanted, int) else wanted.fileno()), None
        reads, writes = os.pipe()
        if mode == os.O_WRONLY:
            return writes, os.fdopen(reads, encoding=self._coding)
        feed = os.fdopen(writes, "wb")
        return reads, io.TextIOWrapper(feed, encoding=self._coding, write_through=True)

    @property
    def pid(self) -> int:
        return self._process.pid

    def close(self) -> None:
        self._ours.close()
        self._process.wait()


_server = functools.cache(Server)


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask


class Forked:
    """A start of the program that the fork server has made."""

    def __init__(
        self,
        args: list[str],
        told: int,
        stdin: IO[str] | None,
        stdout: IO[str] | None,
        stderr: IO[str] | None,
    ) -> None:
        self.args = args
        self._told = os.fdopen(told, "rb", buffering=0)
        self.stdin, self.stdout, self.stderr = stdin, stdout, stderr
        self.returncode: int | None = None
        first = self._told.readline()
        assert first.startswith(b"pid "), f"the fork did not come up: {first!r}"
        self.pid = int(first[4:])

    def __enter__(self) -> Forked:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        for pipe in (self.stdout, self.stderr, self.stdin):
            if pipe is not None:
                pipe.close()
        self.wait()

    def poll(self) -> int | None:
        with suppress(subprocess.TimeoutExpired):
            return self.wait(0)
        return None

    def wait(self, timeout: float | None = None) -> int:
        if self.returncode is None:
            if not select.select([self._told], [], [], timeout)[0]:
                raise subprocess.TimeoutExpired(self.args, timeout or 0)
            self.returncode = int(self._told.readline())
            self._told.close()
        return self.returncode

    def communicate(
        self, input: str | None = None, timeout: float | None = None
    ) -> tuple[str, str]:
        said = [_Reading(pipe) for pipe in (self.stdout, self.stderr)]
        if self.stdin is not None:
            with suppress(BrokenPipeError), self.stdin as feed:
                feed.write(input or "")
        for reading in said:
            reading.join(timeout)
            if reading.is_alive():
                raise subprocess.TimeoutExpired(self.args, timeout or 0)
        self.wait(timeout)
        return said[0].text, said[1].text

    def send_signal(self, sig: int) -> None:
        if self.poll() is None:
            with suppress(ProcessLookupError):
                os.kill(self.pid, sig)

    def terminate(self) -> None:
        self.send_signal(signal.SIGTERM)

    def kill(self) -> None:
        self.send_signal(signal.SIGKILL)


class _Reading(threading.Thread):
    """All that is still said on a stream, read beside the other one."""

    def __init__(self, pipe: IO[str] | None) -> None:
        super().__init__(daemon=True)
        self.text = ""
        self._pipe = pipe
        self.start()

    def run(self) -> None:
        if self._pipe is not None:
            with self._pipe:
                self.text = self._pipe.read()

"""The program as its users start it: a process of its own, in a session of its own.

It is forked from a process in which everything is imported (see fork_server), which takes a tenth
of the time.  `fresh=True` starts the interpreter instead: for what is about the start itself, the
memory it takes, or what the system tells of the process.
"""

from __future__ import annotations

import functools
import io
import json
import marshal
import os
import select
import signal
import socket
import subprocess
import sys
import tempfile
import threading
from collections.abc import Mapping, Sequence
from contextlib import ExitStack, suppress
from pathlib import Path
from subprocess import DEVNULL, PIPE, STDOUT
from types import TracebackType
from typing import IO, Any, Protocol

ROOT = Path(__file__).resolve().parent.parent
SHELL_START = ROOT / "tests" / "shell_start.py"
READ_AT_START = ("AIOHTTP", "ARROW", "LANG", "LC_", "OMP_", "PYTHON", "SSL_")
"""How the names begin which the interpreter and the libraries read once: they need a fresh start."""
STREAMS = ("stdin", "stdout", "stderr")
CODING = "PYTHONIOENCODING"
"""What the fork server does as the interpreter would."""


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
    return name.startswith(READ_AT_START) and name != CODING


def in_shell() -> list[str]:
    """The words that start it in a shell, where there are forks: it is one there, too."""
    if not hasattr(os, "fork"):
        return [sys.executable, "-m", "batch"]
    return [sys.executable, "-IS", str(SHELL_START), _for_shells().path]


def close() -> None:
    """End the fork server of this process, and whatever it has forked."""
    if _for_shells.cache_info().currsize:
        _for_shells().close()
        _for_shells.cache_clear()
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
        self._alone = threading.Lock()
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
        reads, told = os.pipe()
        source, feed = self._end_for(stdin, os.O_RDONLY)
        out, output = self._end_for(stdout, os.O_WRONLY)
        err, errors = (
            (os.dup(out), None) if stderr == STDOUT else self._end_for(stderr, os.O_WRONLY)
        )
        fds = [source, out, err, told]
        order = {
            "argv": argv,
            "env": env,
            "folder": str(folder),
            "seated": seated,
            "closed": list(closed),
        }
        with self._alone:
            asked = json.dumps({**order, "umask": _umask()}).encode()
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

    def close(self) -> None:
        self._ours.close()
        self._process.wait()


_server = functools.cache(Server)


class ForShells:
    """Forks what shells start, which ask at `path`: see shell_start.  A fork is killed when who asked is
    gone: nobody is sent any other signal.
    """

    def __init__(self, server: Server) -> None:
        self._server = server
        self._folder = tempfile.TemporaryDirectory()
        self.path = str(Path(self._folder.name) / "asked")
        self._listening = socket.socket(socket.AF_UNIX)
        self._listening.bind(self.path)
        self._listening.listen()
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self._thread.start()

    def _serve(self) -> None:
        """Fork for whoever asks, until somebody says nothing."""
        while True:
            asking, _ = self._listening.accept()
            if not asking.recv(1, socket.MSG_PEEK):
                asking.close()
                return
            threading.Thread(target=self._fork, args=[asking], daemon=True).start()

    def _fork(self, asking: socket.socket) -> None:
        """Fork what is asked for, and tell how it ended."""
        with asking, ExitStack() as sent:
            size, fds, _, _ = socket.recv_fds(asking, 8, 3)
            for fd in fds:
                sent.callback(os.close, fd)
            told = asking.recv(int(size, 16), socket.MSG_WAITALL)
            open_, argv, env, folder = marshal.loads(told)
            streams: dict[str, Any] = dict.fromkeys(STREAMS, DEVNULL)
            streams |= {STREAMS[place]: fd for place, fd in zip(open_, fds, strict=True)}
            started = self._server.start(
                list(map(os.fsdecode, argv)),
                Path(os.fsdecode(folder)),
                {os.fsdecode(name): os.fsdecode(value) for name, value in env.items()},
                closed=[place for place in range(3) if place not in open_],
                **streams,
            )
            sent.close()
            ends = [asking.fileno(), started.fileno()]
            if ends[0] in select.select(ends, [], [])[0]:  # who asked was killed
                started.kill()
            with suppress(BrokenPipeError):
                asking.sendall(b"%d" % started.wait())

    def close(self) -> None:
        with socket.socket(socket.AF_UNIX) as last:
            last.connect(self.path)
        self._thread.join()
        self._listening.close()
        self._folder.cleanup()


@functools.cache
def _for_shells() -> ForShells:
    return ForShells(_server())


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

    def fileno(self) -> int:
        """It can be read from when it has ended."""
        return self._told.fileno()

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

"""The program without its start: a process that has imported everything, and forks for each start.

`python -m tests.fork_server FD` is that process; FD is the socket on which it is asked.  What the
interpreter reads at its start is in its environment.  What it forks becomes the program as if it had been
started: with its own words, environment, folder, session and the file descriptors it was sent.  Forking is
safe since the server has one thread: it imports, and does nothing else.
"""

from __future__ import annotations

import atexit
import contextlib
import fcntl
import gc
import importlib
import json
import os
import pkgutil
import runpy
import select
import signal
import socket
import sys
import termios
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import batch
from batch import spec
from batch.cli import NotNeeded, run

BESIDES = ("encodings.idna", "genai_prices.data", "pyarrow.acero", "pyarrow.csv", "uvloop")
"""What a run imports when it comes to it."""

CODING = "PYTHONIOENCODING"
"""What the standard streams speak, as a fork reads it itself; without errors."""

ALONE = "batch.local.child"
"""It starts a server when it is imported, in a process of its own."""


@dataclass(frozen=True)
class Order:
    """A start of the program.  `fds` are its stdin, stdout and stderr, and where its end is told.

    Where it is `seated`, its stdin is the terminal that it controls: ^C there is a signal.  Those of its
    streams that are `closed` are not there.
    """

    argv: list[str]
    env: dict[str, str]
    folder: str
    umask: int
    seated: bool
    closed: list[int]
    fds: list[int]


def serve(fd: int, become: Callable[[], None] = lambda: None) -> None:
    """Fork for what is asked on a socket.  `become` is what is done in a fork before the program begins."""
    asked = socket.socket(fileno=fd)
    _preload()
    _become(_served(asked))
    become()
    try:
        runpy.run_module("batch", run_name="__main__", alter_sys=True)
    except SystemExit as end:
        if end.code is None or isinstance(end.code, int):
            _leave(end.code or 0)
        raise


def _leave(code: int) -> None:
    """End as the interpreter does, but for taking itself apart: that takes four times as long as a
    fork.  Return where that does not go well, for the interpreter to say so.
    """
    threading._shutdown()  # type: ignore[attr-defined]
    atexit._run_exitfuncs()
    gc.collect(1)
    with contextlib.suppress(OSError):
        for stream in (sys.stdout, sys.stderr):
            if stream is not None:
                stream.flush()
        os._exit(code & 0xFF)


def _preload() -> None:
    hidden = NotNeeded()
    sys.meta_path.insert(0, hidden)
    modules = (module.name for module in pkgutil.walk_packages(batch.__path__, "batch."))
    for name in (*modules, *BESIDES):
        if name not in (ALONE, "batch.__main__"):
            with suppress(ModuleNotFoundError):  # an extra that is not installed, or not there
                importlib.import_module(name)
    sys.meta_path.remove(hidden)
    _rehearse()
    gc.collect()
    gc.freeze()


def _rehearse() -> None:
    """Do once what each start does alike and remembers: the types of a job, and the flags of `run`."""
    spec.check({"input": "in.jsonl", "request": {"model": "m"}, "prompt": {"user": "{{ text }}"}})
    with run.run.make_context("run", ["in.jsonl"], resilient_parsing=True):
        pass


def _served(asked: socket.socket) -> Order:
    """Fork for each order, and tell how each fork ended; return in a fork, with its order.

    When nobody can ask any more, whatever still runs is killed.
    """
    rings, rung = os.pipe()
    os.set_blocking(rung, False)
    signal.signal(signal.SIGCHLD, lambda *_: None)
    signal.set_wakeup_fd(rung, warn_on_full_buffer=False)
    running: dict[int, int] = {}
    while True:
        ready, _, _ = select.select([asked.fileno(), rings], [], [])
        if rings in ready:
            os.read(rings, 4096)
            _reap(running)
        if asked.fileno() in ready:
            order = _next_order(asked)
            if order is None:
                _end(running)
            elif pid := os.fork():
                running[pid] = order.fds.pop()
                _close(order.fds)
            else:
                signal.set_wakeup_fd(-1)
                signal.signal(signal.SIGCHLD, signal.SIG_DFL)
                _close([rings, rung, asked.detach(), *running.values()])
                return order


def _next_order(asked: socket.socket) -> Order | None:
    size, fds, _, _ = socket.recv_fds(asked, 8, 4)
    if not size:
        return None
    told: dict[str, Any] = json.loads(asked.recv(int(size, 16), socket.MSG_WAITALL))
    return Order(**told, fds=list(fds))


def _reap(running: dict[int, int], how: int = os.WNOHANG) -> None:
    """Tell how those ended that have."""
    while running and (ended := os.waitpid(-1, how))[0]:
        told = running.pop(ended[0])
        with contextlib.suppress(BrokenPipeError):
            os.write(told, b"%d\n" % os.waitstatus_to_exitcode(ended[1]))
        os.close(told)


def _end(running: dict[int, int]) -> None:
    for pid in running:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(pid, signal.SIGKILL)
    _reap(running, how=0)
    os._exit(0)


def _close(fds: Sequence[int]) -> None:
    for fd in fds:
        os.close(fd)


def _become(order: Order) -> None:
    """Be what a start of the program would have made of this process."""
    os.setsid()
    *standard, told = order.fds
    for place, fd in enumerate(standard):
        os.dup2(fd, place)
    _close(order.closed)
    if order.seated:
        fcntl.ioctl(0, termios.TIOCSCTTY, 0)
    os.chdir(order.folder)
    os.umask(order.umask)
    coerced = {name: os.environ[name] for name in ("LC_CTYPE",) if name in os.environ}
    os.environ.clear()
    os.environ.update(coerced | order.env)
    time.tzset()
    sys.path[0] = order.folder
    if (Path(order.folder) / batch.__name__).is_dir():
        _forget()
    sys.argv = [str(Path(batch.__path__[0]) / "__main__.py"), *map(_argument, order.argv)]
    _reopen()
    os.write(told, b"pid %d\n" % os.getpid())
    _close(order.fds)


def _forget() -> None:
    """The program is another one, which lies in its folder: it imports its own."""
    for name in list(sys.modules):
        if name.partition(".")[0] == batch.__name__:
            del sys.modules[name]


def _argument(word: str) -> str:
    """As the interpreter decodes it."""
    return os.fsdecode(word.encode("utf-8", "surrogateescape"))


def _reopen() -> None:
    """The standard streams, as the interpreter opens them on what is now there."""
    sys.stdin = _opened(0, sys.stdin)
    sys.stdout = _opened(1, sys.stdout)
    sys.stderr = _opened(2, sys.stderr)


def _opened(fd: int, before: Any) -> Any:
    with suppress(OSError):
        os.fstat(fd)
        return _stream(fd, before)
    return None


def _stream(fd: int, before: Any) -> Any:
    line_buffered = fd == 2 or os.isatty(fd)
    ways = {"encoding": before.encoding, "errors": before.errors}
    if coding := os.environ.get(CODING):
        ways = {"encoding": coding, "errors": "backslashreplace" if fd == 2 else "strict"}
    opened = open(fd, "w" if fd else "r", buffering=-1, closefd=False, **ways)  # noqa: SIM115
    opened.reconfigure(line_buffering=line_buffered)
    return opened


if __name__ == "__main__":
    serve(int(sys.argv[1]))

"""Signals that end a run in good order, and the exit codes they leave."""

from __future__ import annotations

import asyncio
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from functools import partial

from batch.errors import Interrupted

EXIT_CODES = {"SIGINT": 130, "SIGTERM": 143, "SIGHUP": 129, "SIGBREAK": 130}
"""SIGBREAK is Windows' alone: Ctrl-Break, or a window that closes."""


@contextmanager
def heard(interrupt: Callable[[str, int], None]) -> Iterator[None]:
    """Meanwhile each signal calls `interrupt` in the event loop, with its name and exit code."""
    loop = asyncio.get_running_loop()
    names = [name for name in EXIT_CODES if _handled(name)]
    before = {name: signal.getsignal(getattr(signal, name)) for name in names}
    for name in names:
        _hear(loop, getattr(signal, name), partial(interrupt, name, EXIT_CODES[name]))
    try:
        yield
    finally:
        for name in names:
            with suppress(NotImplementedError):
                loop.remove_signal_handler(getattr(signal, name))
            signal.signal(getattr(signal, name), before[name] or signal.SIG_DFL)  # as it was


def _hear(loop: asyncio.AbstractEventLoop, number: int, call: Callable[[], None]) -> None:
    try:
        loop.add_signal_handler(number, call)
    except NotImplementedError:  # on Windows
        signal.signal(number, lambda *_: loop.call_soon_threadsafe(call))


@contextmanager
def interruptible() -> Iterator[None]:
    """Meanwhile SIGTERM and its like raise Interrupted, as SIGINT raises KeyboardInterrupt, so that what
    was opened is closed.
    """
    names = [name for name in EXIT_CODES if name != "SIGINT" and _handled(name)]
    if threading.current_thread() is not threading.main_thread():
        names = []
    before = {name: signal.signal(getattr(signal, name), _raising(name)) for name in names}
    try:
        yield
    finally:
        for name, handler in before.items():
            signal.signal(getattr(signal, name), handler)


def disregard() -> None:
    """From now on nothing is left to interrupt: the process is about to leave with its exit code."""
    for name in EXIT_CODES:
        if _handled(name):
            signal.signal(getattr(signal, name), signal.SIG_IGN)


def _raising(name: str) -> Callable[[int, object], None]:
    def interrupted(*_: object) -> None:
        raise Interrupted("interrupted", exit_code=EXIT_CODES[name])

    return interrupted


def _handled(name: str) -> bool:
    number = getattr(signal, name, None)
    return number is not None and not (
        name == "SIGHUP" and signal.getsignal(number) is signal.SIG_IGN
    )

"""Signals that end a run in good order, and the exit codes they leave."""

from __future__ import annotations

import asyncio
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from batch.errors import Interrupted

EXIT_CODES = {"SIGINT": 130, "SIGTERM": 143, "SIGHUP": 129}


@contextmanager
def heard(interrupt: Callable[[str, int], None]) -> Iterator[None]:
    """Meanwhile each signal calls `interrupt` in the event loop, with its name and exit code."""
    loop = asyncio.get_running_loop()
    names = [name for name in EXIT_CODES if _handled(name)]
    before = {name: signal.getsignal(getattr(signal, name)) for name in names}
    for name in names:
        loop.add_signal_handler(getattr(signal, name), interrupt, name, EXIT_CODES[name])
    try:
        yield
    finally:
        for name in names:
            loop.remove_signal_handler(getattr(signal, name))
            signal.signal(getattr(signal, name), before[name] or signal.SIG_DFL)  # as it was


@contextmanager
def interruptible() -> Iterator[None]:
    """Meanwhile SIGTERM and SIGHUP raise Interrupted, as SIGINT raises KeyboardInterrupt, so that what
    was opened is closed.
    """
    names = [name for name in EXIT_CODES if name != "SIGINT" and _handled(name)]
    if threading.current_thread() is not threading.main_thread():
        names = []
    before = {name: signal.signal(getattr(signal, name), _interrupted) for name in names}
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


def _interrupted(number: int, _: object) -> None:
    raise Interrupted("interrupted", exit_code=EXIT_CODES[signal.Signals(number).name])


def _handled(name: str) -> bool:
    number = getattr(signal, name, None)
    return number is not None and not (
        name == "SIGHUP" and signal.getsignal(number) is signal.SIG_IGN
    )

"""One process at a time works in a run folder: an advisory lock held for the life of the run."""

from __future__ import annotations

import os
import socket
import time
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import BaseFileLock, FileLock, SoftFileLock, Timeout

from batch.errors import Refused
from batch.store.files import refused

NAME = "lock"


@contextmanager
def held(run: Path) -> Iterator[str | None]:
    """Hold the run's lock; gives a warning to print where the file system has no real locks, else
    None.

    Raises Refused with the holder's pid when another process has it; nothing is changed then.
    """
    path = run / NAME
    lock, warning = _acquired(path)
    try:
        if warning is None:
            _sign(path)
        yield warning
    finally:
        lock.release()


def _sign(path: Path) -> None:
    try:
        path.write_text(f"{os.getpid()} {socket.gethostname()}\n", encoding="utf-8")
    except OSError as error:
        raise refused(error, path) from None


def _acquired(path: Path) -> tuple[BaseFileLock, str | None]:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error")  # filelock warns where it falls back to a soft lock
            lock = FileLock(path, blocking=False, thread_local=False)
            lock.acquire()
            return lock, None
    except Timeout:
        raise _in_use(path) from None
    except (NotImplementedError, UserWarning, RuntimeWarning):
        soft = SoftFileLock(path.with_suffix(".soft"), blocking=False, thread_local=False)
        try:
            soft.acquire()
        except Timeout:
            raise _in_use(path) from None
        return (
            soft,
            f"{path.parent}: this file system has no locks; do not start the same run twice",
        )
    except OSError as error:
        raise refused(error, path) from None


def holder(run: Path) -> str | None:
    """Pid and host of the process that holds the lock, None when nobody does.  Changes nothing."""
    path = run / NAME
    if not path.exists():
        return None
    try:
        with FileLock(path, blocking=False, thread_local=False):
            return None
    except Timeout:
        return _named(path)
    except (OSError, NotImplementedError):
        return None


def _in_use(path: Path) -> Refused:
    time.sleep(0.1)  # who has just taken the lock is about to sign it
    return Refused(
        f"{path.parent} is in use by {_named(path)}",
        hint=f"wait for it, stop it, or look at it with: batchmill status {path.parent}",
    )


def _named(path: Path) -> str:
    try:
        pid, _, host = path.read_text(encoding="utf-8").strip().partition(" ")
    except OSError:
        return "another process"
    return f"process {pid} on {host}" if host else "another process"

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

from batch import command_line
from batch.errors import Refused
from batch.run_folder import RunFolder
from batch.store.files import refused


@contextmanager
def held(run: RunFolder) -> Iterator[str | None]:
    """Hold the run's lock; gives a warning to print where the file system has no real locks, else
    None.

    Raises Refused with the holder's pid when another process has it; nothing is changed then.
    """
    lock, warning = _acquired(run)
    try:
        if warning is None:
            _sign(run.lock)
        yield warning
    finally:
        lock.release()


def _sign(path: Path) -> None:
    try:
        path.write_text(f"{os.getpid()} {socket.gethostname()}\n", encoding="utf-8")
    except OSError as error:
        raise refused(error, path) from None


def _acquired(run: RunFolder) -> tuple[BaseFileLock, str | None]:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error")  # filelock warns where it falls back to a soft lock
            lock = FileLock(run.lock, blocking=False, thread_local=False)
            lock.acquire()
            return lock, None
    except Timeout:
        raise _in_use(run) from None
    except (NotImplementedError, UserWarning, RuntimeWarning):
        soft = SoftFileLock(run.soft_lock, blocking=False, thread_local=False)
        try:
            soft.acquire()
        except Timeout:
            raise _in_use(run) from None
        return (
            soft,
            f"{run.path}: this file system has no locks; do not start the same run twice",
        )
    except OSError as error:
        raise refused(error, run.lock) from None


def holder(run: RunFolder) -> str | None:
    """Pid and host of the process that holds the lock, None when nobody does.  Changes nothing."""
    if not run.lock.exists():
        return None
    try:
        with FileLock(run.lock, blocking=False, thread_local=False):
            return None
    except Timeout:
        return _named(run)
    except (OSError, NotImplementedError):
        return None


def _in_use(run: RunFolder) -> Refused:
    time.sleep(0.1)  # who has just taken the lock is about to sign it
    return Refused(
        f"{run.path} is in use by {_named(run)}",
        hint=f"wait for it, stop it, or look at it with: {command_line.of('status', run.path)}",
    )


def _named(run: RunFolder) -> str:
    try:
        pid, _, host = run.lock.read_text(encoding="utf-8").strip().partition(" ")
    except OSError:
        return "another process"
    return f"process {pid} on {host}" if host else "another process"

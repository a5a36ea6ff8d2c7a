"""One process at a time works in a run folder: an advisory lock held for the life of the run.

A lock file that was removed no longer keeps others out.  So whoever has to make it in a run that
says `running` first waits two commits and looks whether somebody else still writes; and whoever
holds it looks, before every change, whether the file is still the one that it holds.  Two writers
never live longer than a commit.
"""

from __future__ import annotations

import errno
import io
import os
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TypeVar

from filelock import BaseFileLock, FileLock, Timeout

from batch import command_line
from batch.damage import damaged
from batch.errors import BatchError, Refused, StorageError
from batch.run_folder import LEASED, LOCKED, RunFolder
from batch.store import lease, plan
from batch.store.files import is_something_else, refused
from batch.store.writer import COMMIT_SECONDS

T = TypeVar("T")

A_LOOK = 0.5
"""Seconds for which somebody who has a lock may only be looking whether anybody has it: that takes it for a
moment.
"""
MOST_NAMED = 3
"""Workers that a message names."""

LOOK_SECONDS = 0.02
"""Seconds between two looks at who holds a lock."""

Lost = Callable[[], StorageError | None]
"""Tells why nothing may be changed any more; None while what is held is held."""


@contextmanager
def held(run: RunFolder) -> Iterator[str | None]:
    """Hold the run's lock; gives a warning to print where the file system has no real locks, else
    None.

    Raises Refused with the holder's pid when another process has it, or workers share the run; nothing
    is changed then.
    """
    made = not (run.lock.exists() or run.soft_lock.exists())
    with beside_workers(run) as warning:
        if busy := at_work(run):
            raise _shared(run, busy)
        if made and _says_running(run):
            _wait_for_others(run)
        yield warning


@contextmanager
def beside_workers(run: RunFolder) -> Iterator[str | None]:
    """The same for a moment, while workers may be at work in the run."""
    lock, warning = _acquired(run)
    try:
        if warning is None:
            _sign(run.lock)
        yield warning
    finally:
        lock.release()


@contextmanager
def worker(run: RunFolder) -> Iterator[tuple[Lost, str | None]]:
    """Hold the lock of the run's worker.  Gives its guard, and a warning where the file system has no
    locks.  Raises Refused where another process has that name.
    """
    path = run.worker_lock
    lock = _lock(path)
    try:
        lock.acquire(timeout=A_LOOK, poll_interval=A_LOOK / 50, blocking=True)
    except Timeout:
        raise _taken(run, _named(path)) from None
    except OSError as error:
        if error.errno not in NO_LOCKS:
            raise refused(error, path) from None
    except NotImplementedError:
        pass
    if not lock.is_locked:
        with _leased(run) as held:
            yield held
        return
    try:
        _sign(path)
        yield _guard(path), None
    finally:
        lock.release()


@contextmanager
def _leased(run: RunFolder) -> Iterator[tuple[Lost, str | None]]:
    path = run.worker_lease
    try:
        held = lease.taken(path, f"process {os.getpid()} on {socket.gethostname()}")
    except OSError as error:
        raise refused(error, path) from None
    if held is None:
        raise _taken(run, lease.holder(path) or "another process")
    try:
        word = f"this file system has no locks: {path.name} stands for one, for {lease.TERM:.0f} s at a time"
        yield lambda: lease.lost(held, path), word
    finally:
        held.release()


@contextmanager
def of_budget(run: RunFolder) -> Iterator[None]:
    """Hold what a worker has to while it takes from the cap that all share.  Waits for the others."""
    path = run.budget_lock
    lock: BaseFileLock = FileLock(path, thread_local=False, fallback_to_soft=False)
    try:
        lock.acquire()
    except NotImplementedError:
        lock = _softly(path)
    except OSError as error:
        if error.errno not in NO_LOCKS:
            raise refused(error, path) from None
        lock = _softly(path)
    try:
        yield
    finally:
        lock.release()


def _softly(path: Path) -> BaseFileLock:
    from filelock import SoftFileLock  # 4 ms, at every start

    soft = SoftFileLock(path.with_suffix(".soft"), thread_local=False)
    soft.acquire()
    return soft


def at_work(run: RunFolder) -> dict[str, str]:
    """The workers whose locks are held, by name, and who each is.  Changes nothing.  Who only looks, as
    here, holds a lock for a moment: so what is held is looked at twice.
    """
    found = _at_work(run)
    if found:
        time.sleep(LOOK_SECONDS)
        again = _at_work(run)
        found = {name: who for name, who in found.items() if name in again}
    return found


def _at_work(run: RunFolder) -> dict[str, str]:
    found: dict[str, str] = {}
    for path in sorted(run.workers.glob(f"*{LOCKED}")):
        if (who := _holder(path)) is not None:
            found[path.name.removesuffix(LOCKED)] = who
    for path in sorted(run.workers.glob(f"*{LEASED}")):
        if (who := lease.holder(path)) is not None:
            found[path.name.removesuffix(LEASED)] = who
    return found


def guard(run: RunFolder) -> Lost:
    """To be called under the lock: what tells from then on why nothing may be changed any more, None
    while the lock file is still the one that is held now.
    """
    return _guard(run.lock if run.lock.exists() else run.soft_lock)


def _guard(path: Path) -> Lost:
    held = _identity(path)

    def lost() -> StorageError | None:
        if _identity(path) == held:
            return None
        return StorageError(
            f"{path} was removed or replaced, so that another process may work here: nothing more"
            " is written",
            hint="run the same command again once no other process is at it",
        )

    return lost


def _identity(path: Path) -> tuple[int, int] | None:
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_dev, found.st_ino


def _says_running(run: RunFolder) -> bool:
    try:
        known = plan.read(run.path)
    except BatchError:
        return False
    return known is not None and known.state == "running"


def _wait_for_others(run: RunFolder) -> None:
    """Raises Refused where somebody else still writes: a holder whose lock file was removed."""
    before = _written(run)
    time.sleep(2 * COMMIT_SECONDS)
    if _written(run) != before:
        raise Refused(
            f"{run.path} is in use by a process whose file {run.lock.name} was removed",
            hint="wait for it or stop it, then run the same command again",
        )


NO_LOCKS = frozenset({errno.ENOSYS, errno.EOPNOTSUPP, errno.ENOTSUP})
"""How a file system says that it has none."""


def _written(run: RunFolder) -> dict[Path, int]:
    """What grows while a run is under way, and how long it is."""
    paths = [*run.completions.glob("*"), *run.open.rglob("*")]
    return {path: path.lstat().st_size for path in paths if os.path.lexists(path)}


def _sign(path: Path) -> None:
    text = f"{os.getpid()} {socket.gethostname()}\n".encode()
    try:
        with path.open("r+b", buffering=0) as file:
            _beside_the_lock(file, lambda: file.write(text))
            file.truncate()
    except OSError as error:
        raise refused(error, path) from None


def _beside_the_lock(file: io.FileIO, do: Callable[[], T]) -> T:
    """On Windows a lock is the first byte, which nobody may read or write by another handle."""
    try:
        return do()
    except PermissionError:
        file.seek(1)
        return do()


def _acquired(run: RunFolder) -> tuple[BaseFileLock, str | None]:
    for path in filter(is_something_else, (run.lock, run.soft_lock)):
        raise damaged(path, "is no file")
    lock = _lock(run.lock)
    try:
        lock.acquire(timeout=A_LOOK, poll_interval=A_LOOK / 50, blocking=True)
    except Timeout:
        raise _in_use(run) from None
    except NotImplementedError:
        return _soft(run)
    except OSError as error:
        if error.errno in NO_LOCKS:
            return _soft(run)
        raise refused(error, run.lock) from None
    return lock, None


def _lock(path: Path) -> BaseFileLock:
    """The file system's own lock; filelock's way out where there is none warns, and a filter for that
    is the whole process's.
    """
    return FileLock(path, blocking=False, thread_local=False, fallback_to_soft=False)


def _soft(run: RunFolder) -> tuple[BaseFileLock, str]:
    from filelock import SoftFileLock  # 4 ms, at every start

    soft = SoftFileLock(run.soft_lock, blocking=False, thread_local=False)
    try:
        soft.acquire()
    except Timeout:
        raise _in_use(run) from None
    return soft, f"{run.path}: this file system has no locks; do not start the same run twice"


def holder(run: RunFolder) -> str | None:
    """Pid and host of the process that holds the lock, or of all workers; None when nobody does.
    Changes nothing.
    """
    workers = list(at_work(run).values())
    return _holder(run.lock) if not workers else ", ".join(workers)


def _holder(path: Path) -> str | None:
    if not path.exists():
        return None
    try:
        with _lock(path):
            return None
    except Timeout:
        return _named(path)
    except (OSError, NotImplementedError):
        return None


def named(workers: dict[str, str]) -> str:
    """Some of these workers, and who they are: what `at_work` gives."""
    some = [f"{name} ({process})" for name, process in list(workers.items())[:MOST_NAMED]]
    more = len(workers) - len(some)
    return ", ".join(some) + (f" and {more:,} more" if more else "")


def _shared(run: RunFolder, busy: dict[str, str]) -> Refused:
    return Refused(
        f"{run.path} is in use by its workers {named(busy)}",
        hint=f"wait for them, stop them, or look at them with: {_look_at(run)}",
    )


def _taken(run: RunFolder, who: str) -> Refused:
    return Refused(
        f"{run.path}: the worker {run.worker} is at work already: {who}",
        hint=f"look at it with: {_look_at(run)}",
    )


def _look_at(run: RunFolder) -> str:
    return command_line.of("status", run.path, "--workers")


def _in_use(run: RunFolder) -> Refused:
    time.sleep(0.1)  # who has just taken the lock is about to sign it
    return Refused(
        f"{run.path} is in use by {_named(run.lock)}",
        hint=f"wait for it, stop it, or look at it with: {command_line.of('status', run.path)}",
    )


def _named(path: Path) -> str:
    try:
        with path.open("rb", buffering=0) as file:
            text = _beside_the_lock(file, file.read).decode(errors="replace")
    except OSError:
        return "another process"
    pid, _, host = text.strip("\0 \n").partition(" ")
    return f"process {pid} on {host}" if host else "another process"

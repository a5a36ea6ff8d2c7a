"""A lock for file systems that have none: a file that its holder renews, and that anybody may take who has
seen it unchanged for a whole term.

No two clocks are compared: the holder and whoever waits count seconds of their own.  A holder that was
frozen for longer than its term finds that by its own clock, before it changes anything.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from batch.errors import StorageError

TERM = 30.0
"""Seconds after which a lease that nobody renews may be taken."""
MARGIN = 5.0
"""Seconds before that at which its holder stops."""
RENEWALS = 6
"""Renewals in a term."""

Clock = Callable[[], float]


class Lease:
    """One that is held.  A thread renews it."""

    def __init__(self, path: Path, signature: str, clock: Clock = time.monotonic) -> None:
        """To be made by `taken`."""
        self._path = path
        self._clock = clock
        self._signature = signature
        self._token = os.urandom(8).hex()
        self._beats = 0
        self._renewed = clock()
        self._ends = threading.Event()
        self._thread = threading.Thread(target=self._renew_for_ever, daemon=True)

    @property
    def content(self) -> bytes:
        """What the file holds: another text at each renewal."""
        return f"{self._signature}\n{self._token} {self._beats}\n".encode()

    def begin(self) -> None:
        """It has just been taken: renew it from now on."""
        self._renewed = self._clock()
        self._thread.start()

    def renew(self) -> bool:
        """Show that its holder is alive; False where the lease is another's by now."""
        if self.is_lost():
            return False
        now = self._clock()
        self._beats += 1
        draft = self._path.with_suffix(f".{self._token}")
        try:
            draft.write_bytes(self.content)
            if not self._is_ours():
                draft.unlink()
                return False
            draft.replace(self._path)
        except OSError:  # it is tried again, and runs out if that lasts
            return True
        self._renewed = now
        return True

    def is_lost(self) -> bool:
        """Whether it has run out, or another has taken it."""
        return self._clock() - self._renewed > TERM - MARGIN or not self._is_ours()

    def release(self) -> None:
        """Give it up."""
        self._ends.set()
        if self._thread.is_alive():
            self._thread.join()
        if self._is_ours():
            with suppress(OSError):
                self._path.unlink()

    def _is_ours(self) -> bool:
        return self._token.encode() in _content(self._path)

    def _renew_for_ever(self) -> None:
        while not self._ends.wait(TERM / RENEWALS):
            if not self.renew():
                return


def taken(
    path: Path,
    signature: str,
    clock: Clock = time.monotonic,
    sleep: Callable[[float], object] = time.sleep,
) -> Lease | None:
    """The lease, once it is ours; None where somebody renews it.  `signature` names its holder.  Takes a
    whole term where a holder has died.  Raises OSError.
    """
    lease = Lease(path, signature, clock)
    before, since = b"", clock()
    while not _made(path, lease.content):
        found = _content(path)
        if not before:
            before, since = found, clock()
        elif found and found != before:
            return None
        if clock() - since > TERM:
            take_away(path, before)
        sleep(TERM / RENEWALS / 5)
    lease.begin()
    return lease


def holder(path: Path) -> str | None:
    """Who holds a lease, as far as a look tells; None where it has not been renewed for a term."""
    try:
        is_fresh = time.time() - path.stat().st_mtime < TERM
    except OSError:
        return None
    return _content(path).decode(errors="replace").partition("\n")[0] if is_fresh else None


def lost(lease: Lease, path: Path) -> StorageError | None:
    """Why nothing may be changed any more; None while the lease is held."""
    if not lease.is_lost():
        return None
    return StorageError(
        f"{path} has run out, so that another process may be at work: nothing more is written",
        hint="run the same command again",
    )


def _made(path: Path, content: bytes) -> bool:
    """Whether the file was not there, and now is."""
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o666)
    except FileExistsError:
        return False
    try:
        os.write(descriptor, content)
    finally:
        os.close(descriptor)
    return True


def take_away(path: Path, stale: bytes) -> None:
    """Remove a lease that has run out, unless it is another one by now."""
    aside = path.with_suffix(f".{os.urandom(8).hex()}")
    with suppress(FileNotFoundError):
        path.rename(aside)
        if _content(aside) != stale and not path.exists():
            aside.rename(path)
        else:
            aside.unlink()


def _content(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError:
        return b""

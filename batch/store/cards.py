"""What workers that share a run tell of themselves, for whoever looks: host, process, how far each is.

Nothing is made of it, and one that cannot be written stops nothing.
"""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Callable
from contextlib import suppress

import msgspec

from batch.run_folder import CARD, RunFolder
from batch.store import lock
from batch.store.files import content

EVERY = 5.0
"""Seconds from one beat to the next."""


class Card(msgspec.Struct, frozen=True, kw_only=True):
    """One worker, as of its last `beat_at` (seconds since the epoch).  `rows` are those of its parts,
    `done` of these have their result; `exit_code` is None while it works.
    """

    worker: str
    host: str
    pid: int
    started_at: float
    beat_at: float
    rows: int | None = None
    done: int = 0
    failed: int = 0
    rows_per_second: float = 0.0
    in_flight: int = 0
    waiting: str = ""
    exit_code: int | None = None


class Worker(msgspec.Struct, frozen=True, kw_only=True):
    """A worker as a look finds it.  `state` is working, silent (it holds its lock and has not beaten
    for a while), ended or gone (killed).
    """

    card: Card
    state: str


class Beating:
    """Writes the card of a worker, at most every EVERY seconds."""

    def __init__(self, run: RunFolder, clock: Callable[[], float] = time.time) -> None:
        self._run = run
        self._clock = clock
        self._written_at = 0.0
        self._card = Card(
            worker=run.worker,
            host=socket.gethostname(),
            pid=os.getpid(),
            started_at=clock(),
            beat_at=clock(),
        )

    def tell(self, *, at_once: bool = False, **fields: object) -> None:
        """Let its card say this, too."""
        now = self._clock()
        self._card = msgspec.structs.replace(self._card, beat_at=now, **fields)
        if not at_once and now - self._written_at < EVERY:
            return
        self._written_at = now
        path = self._run.worker_card
        draft = path.with_suffix(".new")
        with suppress(OSError):
            draft.write_bytes(msgspec.json.encode(self._card))
            draft.replace(path)


def read(run: RunFolder, now: float | None = None) -> list[Worker]:
    """The workers of a run that have ever told of themselves, by name."""
    held, found = lock.at_work(run), []
    now = time.time() if now is None else now
    for path in sorted(run.workers.glob(f"*{CARD}")):
        try:
            card = msgspec.json.decode(content(path) or b"", type=Card)
        except ValueError:
            continue
        found.append(Worker(card=card, state=_state(card, card.worker in held, now)))
    return sorted(found, key=lambda worker: _order(worker.card.worker))


def _state(card: Card, is_held: bool, now: float) -> str:
    if not is_held:
        return "gone" if card.exit_code is None else "ended"
    return "silent" if now - card.beat_at > 3 * EVERY else "working"


def _order(worker: str) -> tuple[int, ...]:
    """`2-of-10` comes before `10-of-10`."""
    return tuple(int(word) for word in worker.split("-") if word.isdigit())

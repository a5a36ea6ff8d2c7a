"""run.log: what happened to a run, a JSON object a line.  No prompts, no answers, no secrets."""

from __future__ import annotations

import os
import time
from typing import Any

import msgspec

from batch.errors import StorageError
from batch.run_folder import RunFolder
from batch.store import files
from batch.store.files import Disk

TAIL = 64 << 10
"""Bytes from the end in which the latest events are looked for."""


class Log:
    """Appends events.  A log that cannot be written stops nothing: it is for reading, nothing is
    made of it.
    """

    def __init__(self, run: RunFolder) -> None:
        self._path = run.log

    def event(self, name: str, **fields: Any) -> None:
        """One line: the moment (seconds since the epoch), the event's name and its fields."""
        line = msgspec.json.encode(
            {"at": round(time.time(), 3), "event": name, **fields}, enc_hook=str
        )
        try:
            with Disk().open_notes(self._path) as file:
                file.write(line + b"\n")
        except (OSError, StorageError):
            return


def waiting(run: RunFolder) -> str | None:
    """What a running run waits for, by its log; None when it does not."""
    try:
        with files.stored(run.log) as file:
            file.seek(max(0, file.seek(0, os.SEEK_END) - TAIL))
            lines = file.read().splitlines()
    except (OSError, StorageError):
        return None
    for line in reversed(lines):
        try:
            event = msgspec.json.decode(line, type=_Event)
        except ValueError:  # cut by the tail
            continue
        if event.event == "waiting":
            since = time.strftime("%H:%M:%S", time.localtime(event.at))
            return f"{event.why}, since {since}"
        if event.event in ("going on", "start", "end"):
            return None
    return None


class _Event(msgspec.Struct, frozen=True):
    event: str
    at: float
    why: str | None = None

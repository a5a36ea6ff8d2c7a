"""run.log: what happened to a run, a JSON object a line.  No prompts, no answers, no secrets."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import msgspec

NAME = "run.log"


class Log:
    """Appends events.  A log that cannot be written stops nothing: it is for reading, nothing is
    made of it.
    """

    def __init__(self, run: Path) -> None:
        self._path = run / NAME

    def event(self, name: str, **fields: Any) -> None:
        """One line: the moment (seconds since the epoch), the event's name and its fields."""
        line = msgspec.json.encode(
            {"at": round(time.time(), 3), "event": name, **fields}, enc_hook=str
        )
        try:
            with self._path.open("ab") as file:
                file.write(line + b"\n")
        except OSError:
            return

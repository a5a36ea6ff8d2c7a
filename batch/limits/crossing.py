"""Where requests wait before they leave, and for what."""

from __future__ import annotations

import asyncio
import time

import msgspec

from batch.limits.gate import Gate

A_YEAR = 365 * 86_400.0
"""Seconds; of a longer wait no moment is told."""


class Obstacle(msgspec.Struct, frozen=True):
    """Why nothing leaves.  `kind` is down, refused or rate; `why` stays the same while it lasts, and
    `words` may tell for how long.
    """

    kind: str
    why: str
    words: str

    @classmethod
    def down(cls, why: str, seconds: float) -> Obstacle:
        """The endpoint is away, for so many seconds now."""
        probing = f"probing ({why})"
        words = f"endpoint down for {seconds:.0f} s, {probing}"
        return cls("down", f"endpoint down, {probing}", words)

    @classmethod
    def refused(cls, reason: str, wait: float) -> Obstacle:
        """The server wants nothing for so many seconds."""
        why = f"{reason}: nobody knows until when"
        if wait < A_YEAR:
            until = time.strftime("%H:%M:%S", time.localtime(time.time() + wait))
            why = f"{reason}: until {until}"
        return cls("refused", why, why)

    @classmethod
    def used_up(cls, rate: str) -> Obstacle:
        """A rate lets no more out now."""
        why = f"{rate} used up"
        return cls("rate", why, why)


class Crossing:
    """Where requests wait: a gate that one at a time goes through, and what wakes it."""

    def __init__(self) -> None:
        self.gate = Gate()
        self.changed = asyncio.Event()

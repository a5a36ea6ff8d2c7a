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


def down(why: str, seconds: float) -> Obstacle:
    """The endpoint is down, for so long now."""
    probing = f"probing ({why})"
    return Obstacle(
        "down", f"endpoint down, {probing}", f"endpoint down for {seconds:.0f} s, {probing}"
    )


def refused(reason: str, wait: float) -> Obstacle:
    """The endpoint has no room for so many seconds."""
    why = f"{reason}: nobody knows until when"
    if wait < A_YEAR:
        until = time.strftime("%H:%M:%S", time.localtime(time.time() + wait))
        why = f"{reason}: until {until}"
    return Obstacle("refused", why, why)


def used_up(rate: str) -> Obstacle:
    """Requests leave as fast as they may."""
    why = f"{rate} used up"
    return Obstacle("rate", why, why)


class Crossing:
    """Where requests wait: a gate that one at a time goes through, and what wakes it."""

    def __init__(self) -> None:
        self.gate = Gate()
        self.changed = asyncio.Event()

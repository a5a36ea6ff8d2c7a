"""Where requests wait before they leave, and for what."""

from __future__ import annotations

import asyncio

import msgspec

from batch.limits.gate import Gate


class Obstacle(msgspec.Struct, frozen=True):
    """Why nothing leaves.  `kind` is down, refused or rate; `why` stays the same while it lasts, and
    `words` may tell for how long.
    """

    kind: str
    why: str
    words: str


class Crossing:
    """Where requests wait: a gate that one at a time goes through, and what wakes it."""

    def __init__(self) -> None:
        self.gate = Gate()
        self.changed = asyncio.Event()

"""What may follow from an attempt: the values that `judge` gives and `engine` carries out."""

from __future__ import annotations

import msgspec

from batch.engine.events import Notice
from batch.engine.task import Task
from batch.errors import BatchError
from batch.model import Result
from batch.tries import Try


class Done(msgspec.Struct, frozen=True):
    """A row has its result."""

    result: Result


class Wait(msgspec.Struct, frozen=True):
    """The row, with this try behind it, is to be tried again after so many seconds."""

    task: Task
    seconds: float


class Together(msgspec.Struct, frozen=True):
    """These rows are to be asked again after so many seconds, in one request if they may share one.
    Those that are `untried` were certainly not charged for the request that they had, which is no try
    of theirs.
    """

    tasks: tuple[Task, ...]
    seconds: float = 0.0
    untried: bool = False


class Held(msgspec.Struct, frozen=True):
    """A row has ended, but its result is not made yet, and perhaps never will be."""

    row: int
    done: Try


class Leave(msgspec.Struct, frozen=True):
    """The endpoint of this number is asked no more; there are others."""

    endpoint: int
    reason: BatchError


class Stop(msgspec.Struct, frozen=True):
    """Nothing more is to be asked."""

    reason: BatchError


Decision = Done | Wait | Together | Held | Leave | Stop | Notice
"""A Notice is something that holds for many rows; it is given once."""

"""What the driver, the coordinator and the workers of a run say to each other, as JSON."""

from __future__ import annotations

from typing import Any

import msgspec

from batch import errors
from batch.errors import BatchError, Stopped
from batch.limits.lent import Lent, Used
from batch.totals import Totals


class Common(msgspec.Struct, frozen=True, kw_only=True):
    """What is shared out: the parts in which there is something to do, and the limits of the run.  Where
    it has `succeeded` before, all may begin at once.
    """

    parts: list[int]
    requests_per_minute: float | None
    tokens_per_minute: float | None
    most: int
    start: int
    finds_out: bool
    succeeded: bool


class State(msgspec.Struct, frozen=True, kw_only=True):
    """How far a worker is.  `obstacle` is what it waits for: kind, why, and words of the moment."""

    held: Totals = msgspec.field(default_factory=Totals)
    asked: Totals = msgspec.field(default_factory=Totals)
    retries: int = 0
    in_flight: int = 0
    words: str = ""
    obstacle: tuple[str, str, str] | None = None


class Report(msgspec.Struct, frozen=True, kw_only=True):
    """The beat of a worker.  It wants so many parts more, and those `done` need nobody any more.  The
    `epoch` is that of its lease: one that was taken for dead has an older one.
    """

    worker: str
    epoch: int
    used: Used
    wanted: int = 0
    done: list[int] = []
    notices: list[str] = []
    state: State = msgspec.field(default_factory=State)


class Grant(msgspec.Struct, frozen=True, kw_only=True):
    """The answer to a beat: what is lent, and `parts` that are the worker's from now on.  `over` tells
    that there will be no more; `stop` that all are to end.  One that `is_stranger` was taken for dead.
    """

    lent: Lent
    parts: list[int] = []
    over: bool = False
    stop: bool = False
    is_stranger: bool = False


class Look(msgspec.Struct, frozen=True, kw_only=True):
    """How far all workers are together; `left` parts are not done, `notices` are new."""

    state: State
    left: int
    done: int
    notices: list[str] = []


class Order(msgspec.Struct, frozen=True, kw_only=True):
    """What a worker is to do.  `job` holds the tables of the job, in which no secret stands."""

    version: str
    index: int
    of: int
    epoch: int
    folder: str
    job: dict[str, Any]
    over: dict[str, Any]
    env_file: str | None
    bounds: bool
    record_bad_rows: bool
    yes: bool
    succeeded: bool


class Reason(msgspec.Struct, frozen=True):
    """Why a run stops, on its way from one process to another."""

    kind: str
    message: str
    more: dict[str, Any]

    @classmethod
    def of(cls, error: BatchError) -> Reason:
        """That of an error."""
        return cls(type(error).__name__, str(error), vars(error))

    def error(self) -> BatchError:
        """The error that it was."""
        kind = getattr(errors, self.kind, Stopped)
        made: BatchError = kind.__new__(kind, self.message)
        made.args = (self.message,)
        vars(made).update(self.more)
        return made


class Told(msgspec.Struct, frozen=True, kw_only=True):
    """How a worker ended.  `stopped` is None where it had nothing left to do; `doubted` are the
    fingerprints of refusals for which it stopped.
    """

    stopped: Reason | None
    doubted: list[str] = []

"""Why a whole run stops.  `cli` prints one line and leaves with the exit code; anything else is a
bug.

BatchError
├── RowsFailed       1   the run is finished, and rows of it have failed
├── UsageError       2   flags, job file or input are wrong; nothing was sent
│   ├── JobError         a key of the job file (names file, line and key)
│   └── InputError       a row or file of the input (names file:line)
├── Stopped          3   the endpoint, key, quota or cap ended the run; it can be resumed
│   ├── Doubtful         a person has to look at what came, then --yes goes on
│   └── CapReached       the money the job allows is spent; a higher cap goes on
├── Refused          4   locked or not ours; nothing was changed
│   └── Different        the run in the folder is that of another job or input
├── StorageError     5   local disk
│   └── Damaged          bytes on disk are not what was written
└── Interrupted  130/143 a signal; it can be resumed
"""

from __future__ import annotations


class BatchError(Exception):
    """A run-sized failure.  `str(error)` is one line a person can act on; `hint` is what to do
    next.
    """

    exit_code = 1

    def __init__(self, message: str, *, hint: str | None = None) -> None:
        super().__init__(message)
        self.hint = hint


class RowsFailed(BatchError):
    """What `Run.raise_for_status` raises of a run that is finished: `failed` rows have no answer."""

    exit_code = 1

    def __init__(self, failed: int, run: object) -> None:
        super().__init__(f"{failed:,} rows of {run} failed", hint="run.rows(failed=True) tells why")
        self.failed = failed


class UsageError(BatchError):
    exit_code = 2


class JobError(UsageError):
    """The job file or a flag that stands for one of its keys."""


class InputError(UsageError):
    """A file or row of the input."""


class Stopped(BatchError):
    """`once` is what has to be different before the same command goes on; None where nothing has."""

    exit_code = 3

    def __init__(self, message: str, *, hint: str | None = None, once: str | None = None) -> None:
        super().__init__(message, hint=hint)
        self.once = once


class Doubtful(Stopped):
    """What came so far is hardly what was meant; `look` are the flags of `show` that tell the rows."""

    def __init__(self, message: str, *, look: str, hint: str | None = None) -> None:
        super().__init__(message, hint=hint)
        self.look = look


class CapReached(Stopped):
    """`limits.max_cost_usd` is used up; `higher` is a cap in USD with which the run would go on."""

    def __init__(self, message: str, *, higher: float) -> None:
        super().__init__(message)
        self.higher = higher


class Refused(BatchError):
    exit_code = 4


class Different(Refused):
    """The folder holds the run of another job or another input."""


class StorageError(BatchError):
    exit_code = 5


class Damaged(StorageError):
    """Bytes on disk are not what was written."""


class Interrupted(BatchError):
    exit_code = 130

    def __init__(self, message: str, *, exit_code: int = 130, hint: str | None = None) -> None:
        super().__init__(message, hint=hint)
        self.exit_code = exit_code

"""How many open files a process may have, and how many its connections need.

A library leaves that limit as it is; the command line, whose process it is, raises it.
"""

from __future__ import annotations

import math
from contextlib import suppress

import msgspec

from batch.errors import UsageError
from batch.transport.pool import RESTING

SPARE = 64 + RESTING
"""Files and sockets a process needs besides the connections it uses."""

MOST = 65_536
"""As many as the limit is raised to: more than connections to one address that a machine has ports for."""
MOST_ON_MACOS = 10_240
"""OPEN_MAX of <sys/syslimits.h>."""


def room() -> int | None:
    """Connections that there may be as the limit is now; None where there is none."""
    limits = _limits()
    return None if limits is None else limits.soft - SPARE


def check(connections: int) -> None:
    """Raises UsageError where there may not be so many."""
    limits, needed = _limits(), connections + SPARE
    if limits is not None and limits.soft < needed:
        raise UsageError(
            f"this process may have {limits.soft} open files, which is too few for {connections}"
            " connections and files: lower limits.concurrency, or raise `ulimit -n`"
        )


def raise_limit() -> None:
    """Let the process have as many open files as it may, within reason."""
    limits = _limits()
    if limits is None:
        return
    try:
        import resource
    except ImportError:
        return
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    for most in (MOST, MOST_ON_MACOS):
        wanted = int(min(limits.hard, most))
        if limits.soft >= wanted:
            return
        with suppress(ValueError, OSError):  # the system has a limit of its own besides
            resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
            return


class _Limits(msgspec.Struct, frozen=True):
    soft: int
    hard: float  # which may be infinite


def _limits() -> _Limits | None:
    """None where there is no end, and on Windows, which has no such limit."""
    try:
        import resource
    except ImportError:
        return None
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft == resource.RLIM_INFINITY:
        return None
    return _Limits(soft, math.inf if hard == resource.RLIM_INFINITY else hard)

"""How many files and sockets this process may have open."""

from __future__ import annotations

from batch.errors import UsageError

SPARE = 64
"""Files and sockets a process needs besides its connections."""


def allow(connections: int) -> None:
    """Let the process have as many open as so many connections take.  Raises UsageError when it may
    not.
    """
    try:
        import resource
    except ImportError:  # Windows has no such limit
        return
    needed = connections + SPARE
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft == resource.RLIM_INFINITY or soft >= needed:
        return
    if hard != resource.RLIM_INFINITY and hard < needed:
        raise _too_few(hard, needed)
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (needed, hard))
    except (ValueError, OSError):  # the system has a limit of its own besides, as macOS does
        raise _too_few(soft, needed) from None


def _too_few(allowed: int, needed: int) -> UsageError:
    return UsageError(
        f"this process may have {allowed} open files, which is too few for {needed} connections"
        " and files: lower limits.concurrency, or raise `ulimit -n`"
    )

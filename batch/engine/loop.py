"""The event loop in which a run is made, and how its process collects garbage meanwhile."""

from __future__ import annotations

import gc
from collections.abc import Callable, Coroutine, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

T = TypeVar("T")

SELDOM = 50_000
"""New objects between two searches for garbage."""


def run(story: Callable[[], Coroutine[Any, Any, T]]) -> T:
    """What the story comes to.  uvloop takes a quarter off the CPU of a request, where it installs; the
    story begins after its import, in which somebody may press Ctrl-C.
    """
    try:
        from uvloop import run as run_in_loop
    except ImportError:
        from asyncio import run as run_in_loop  # type: ignore[assignment]
    return run_in_loop(story())


@contextmanager
def garbage_seldom_collected() -> Iterator[None]:
    """Rows come and go without cycles: looking for garbage after every 700 new objects, through all
    modules and whatever is in flight, takes a twelfth of the CPU.  It concerns the whole process, so
    it is the affair of whoever owns that.
    """
    before = gc.get_threshold()
    gc.freeze()
    gc.set_threshold(SELDOM, *before[1:])
    try:
        yield
    finally:
        gc.set_threshold(*before)
        gc.unfreeze()

"""A start of a run for a caller in Python: in a thread and an event loop of its own.

Nothing is printed unless a bar is asked for, no signal is heard, and the process is left as it was.
"""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import msgspec

from batch import background, runner
from batch.background import Background
from batch.engine.events import Consumer, Event, Events
from batch.planning import cap
from batch.planning.terms import Terms
from batch.progress import Progress
from batch.reports.summary import Ended
from batch.runner import Surroundings
from batch.spec import Job

OnEvent = Consumer


class Start(msgspec.Struct, frozen=True, kw_only=True):
    """A job, its run folder, and the terms; `then` is called in the run's thread at its end."""

    job: Job
    folder: Path
    terms: Terms
    then: Callable[[Ended], object] = lambda _: None


class Outcome(NamedTuple):
    """The folder of a run, and how a start of it ended."""

    folder: Path
    ended: Ended


def terms(
    *,
    max_cost: Any = None,
    yes: bool = False,
    preflight: bool = True,
    environment: Mapping[str, str] | None = None,
    **more: Any,
) -> Terms:
    """The terms that keywords give.  Raises JobError for a cap that is none."""
    return Terms(
        environment=dict(os.environ if environment is None else environment),
        cap=None if max_cost is None else cap.given(max_cost),
        yes=yes,
        bounds=preflight,
        **more,
    )


Begins = Callable[[], Start]
"""Makes the start, in its thread: that may take seconds."""


def carried_out(begins: Begins, on_event: OnEvent | None, progress: bool | None) -> Outcome:
    """How a start ended.  Raises BatchError where nothing was begun, and KeyboardInterrupt once what was
    in flight is kept.
    """
    with _consumers(on_event, progress) as consumers:
        begun: Background[Outcome] = Background(partial(_run, begins, consumers))
        return begun.result()


async def carried_out_in_loop(
    begins: Begins, on_event: OnEvent | None, progress: bool | None
) -> Outcome:
    """The same for a caller in an event loop, where the events are told.  Cancelled, it raises
    CancelledError once what was in flight is kept.
    """
    loop = asyncio.get_running_loop()
    with _consumers(on_event, progress) as consumers:
        here = Events(*consumers)

        def there(event: Event) -> None:
            loop.call_soon_threadsafe(here.emit, event)

        told = (there,) if consumers else ()
        return await background.result(partial(_run, begins, told))


def _run(
    begins: Begins, consumers: tuple[Consumer, ...], background: Background[Outcome]
) -> Outcome:
    start = begins()
    around = Surroundings(consumers=consumers, hearing=background.hearing)
    ended = runner.run(start.job, start.folder, start.terms, around)
    start.then(ended)
    return Outcome(start.folder, ended)


@contextmanager
def _consumers(on_event: OnEvent | None, progress: bool | None) -> Iterator[tuple[Consumer, ...]]:
    """Who hears of events: `on_event`, and a bar, by default where a notebook shows it."""
    in_notebook = _in_ipython()
    bar = None
    if progress or (progress is None and in_notebook):
        from tqdm.auto import tqdm

        # a notebook shows stderr in red
        bar = Progress(sys.stdout, tqdm) if in_notebook else Progress()
    try:
        yield tuple(each for each in (on_event, bar) if each is not None)
    finally:
        if bar is not None:
            bar.close()


def _in_ipython() -> bool:
    module = sys.modules.get("IPython")
    return module is not None and module.get_ipython() is not None

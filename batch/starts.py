"""A start of a run for a caller in Python: in a thread and an event loop of its own.

Nothing is printed unless a bar is asked for, no signal is heard, and the process is left as it was.
"""

from __future__ import annotations

import asyncio
import contextvars
import os
import sys
import traceback
import warnings
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
    background.check()
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
    theirs = None if on_event is None else _Theirs(on_event)
    try:
        yield tuple(each for each in (theirs, bar) if each is not None)
    finally:
        if bar is not None:
            bar.close()
        if theirs is not None:
            theirs.warn()


class _Theirs:
    """What the caller gave to hear of events, called where the caller's context variables are known.
    One that fails changes nothing in the run: it hears no more, and in the end there is a warning.
    """

    def __init__(self, on_event: OnEvent) -> None:
        self._on_event = on_event
        self._context = contextvars.copy_context()
        self._failure: Exception | None = None

    def __call__(self, event: Event) -> None:
        if self._failure is None:
            try:
                self._context.run(self._on_event, event)
            except Exception as error:  # noqa: BLE001  (a stranger's code, in the middle of a commit)
                self._failure = error

    def warn(self) -> None:
        """Say in the caller's thread what went wrong, and where."""
        if self._failure is not None:
            found = traceback.format_exception(self._failure)
            text = "on_event failed and heard no more; the run was not touched by that"
            warnings.warn(f"{text}\n{''.join(found)}", RuntimeWarning, stacklevel=2)


def _in_ipython() -> bool:
    module = sys.modules.get("IPython")
    return module is not None and module.get_ipython() is not None

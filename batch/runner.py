"""The whole story of a run: prepare, open its folder, ask every row, say how it went."""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Coroutine
from contextlib import AbstractContextManager, ExitStack, nullcontext
from functools import partial
from pathlib import Path
from typing import Any

import msgspec

from batch import columns
from batch.engine import events, logged, loop, presence
from batch.engine import feed as feeding
from batch.engine.counts import Counts
from batch.engine.engine import Engine
from batch.engine.events import Consumer, Events
from batch.engine.feed import Feed
from batch.engine.gauge import Gauge
from batch.engine.judge import Judge, Standing
from batch.engine.questions import Questions
from batch.engine.sender import Sender
from batch.engine.waits import reporting
from batch.errors import StorageError
from batch.limits.limiter import Limiter
from batch.planning import confirmation, open_run, slots, spending
from batch.planning.open_run import Opened
from batch.planning.prepare import Prepared, prepare
from batch.planning.terms import Terms
from batch.reports.summary import Ended
from batch.results import Maker
from batch.spec import Job
from batch.store import sends
from batch.store.sends import Sends
from batch.transport.client import Client, Hooks
from batch.transport.endpoint import Target

Interrupt = Callable[[str, int], None]
"""Ends a run in good order; takes what to call the wish, and the exit code."""


def _deaf(_: Interrupt) -> AbstractContextManager[None]:
    return nullcontext()


class Surroundings(msgspec.Struct, frozen=True, kw_only=True):
    """Who and what is around a run.  `say` takes a line for a person, `consumers` hear what happens,
    `agrees` puts a question to a person and is None where there is nobody; `hearing` lets somebody
    interrupt the run meanwhile; `playing` runs a coroutine to its end, in a loop whose time is that of
    the `clock`.
    """

    say: Callable[[str], None] = lambda _: None
    consumers: tuple[Consumer, ...] = ()
    agrees: Callable[[str], bool] | None = None
    hearing: Callable[[Interrupt], AbstractContextManager[None]] = _deaf
    playing: Callable[[Coroutine[Any, Any, Any]], Any] | None = None
    clock: Callable[[], float] = time.monotonic


NOBODY = Surroundings()


def run(job: Job, folder: Path, terms: Terms, around: Surroundings = NOBODY) -> Ended:
    """Run a job in its folder, from wherever it stands.  Raises BatchError where nothing was begun."""
    with ExitStack() as stack:
        prepared = prepare(job, msgspec.structs.replace(terms, folder=folder), stack)
        confirmation.seek(around.agrees, prepared)
        target = _target(prepared, stack)
        opened = open_run.opened(prepared, folder, around.say, stack)
        opened.source.forget()
        for line in _first_words(prepared):
            around.say(line)
        story = partial(_ask, prepared, opened, target, around)
        return loop.run(story) if around.playing is None else around.playing(story())


def _target(prepared: Prepared, stack: ExitStack) -> Target:
    """Where requests go.  Starts the embedded model if that is where."""
    if prepared.target is not None:
        return prepared.target
    from batch.local import server

    path = (prepared.asked.endpoint.base_url or "").removeprefix("local").removeprefix(":")
    parallel = min(server.PARALLEL, slots.most_in_flight(prepared.asked))
    served = stack.enter_context(server.serving(Path(path) if path else None, parallel=parallel))
    return Target(served.base_url, {"Authorization": f"Bearer {served.api_key}"}, "local")


def _first_words(prepared: Prepared) -> list[str]:
    api = prepared.asked.request.api if prepared.first is None else prepared.first.api
    return [f"asking {prepared.place(api)}", *prepared.notices]


async def _ask(prepared: Prepared, opened: Opened, target: Target, around: Surroundings) -> Ended:
    """Ask every row that has no result yet, and leave the folder sealed."""
    asked, workers, clock = prepared.asked, slots.most_in_flight(prepared.asked), around.clock
    counts, told = Counts(opened.held()), Events(*around.consumers, logged.to(opened.log))
    plan, held = opened.plan, counts.held
    told.emit(events.Opened(opened.run.path, plan.run_id, plan.resumed, counts.now()[0]))
    unanswered = sends.gathered(opened.disk, opened.run, opened.found)
    purse = spending.purse(prepared, opened, held, unanswered, around.say)
    maker = Maker(prepared.pricer, asked.output.response, columns.EMBEDDING in opened.layout.own)
    records = Sends(opened.disk, opened.run, unanswered, maker.bearing)
    store = opened.store(asked.output.part_rows, counts.adding(told), records)
    steps = feeding.steps(opened.run, opened.source, opened.found, prepared.redo, asked.limit)
    feed = Feed(store, opened.source, steps, 2 * workers + 100, counts.take_back, clock)
    limiter = Limiter(
        asked.limits, workers, known_slots=asked.endpoint.local, clock=clock, say=told.notice
    )
    standing = Standing(held.rows_ok > 0, prepared.terms.yes)
    judge = Judge(asked.retry, limiter, maker, standing, prepared.checker, random.random)
    hooks = Hooks(store.write_down, store.room)
    async with Client(asked.endpoint, target, workers, plan.run_id, hooks, clock) as client:
        sender = Sender(client, store, limiter, purse)
        gauge = Gauge(counts, feed, sender, purse, partial(_rows, prepared, opened, feed), clock)
        is_there = partial(presence.is_there, client, target.base_url)
        questions = _questions(prepared, opened, around)
        engine = Engine(questions, sender, judge, feed, store, told, is_there)
        async with reporting(told, sender.obstacle, gauge.read, clock):
            with around.hearing(engine.interrupt):
                stopped = await engine.run(workers)
    rows = _rows_known(prepared, opened, feed)
    whole = store.summary()
    if not isinstance(stopped, StorageError):
        opened.close(rows, whole, open_run.state(prepared, opened, stopped))
        if purse is not None:
            purse.budget.close()
    left = None if purse is None else purse.budget.left
    reuse = None if plan.reuse is None else Path(plan.reuse)
    ended = Ended(opened.run, whole, counts.asked, gauge.seconds(), rows, stopped, left, reuse)
    why = None if stopped is None else str(stopped)
    told.emit(events.Ended(ended.exit_code, counts.asked, rows, why))
    return ended


def _questions(prepared: Prepared, opened: Opened, around: Surroundings) -> Questions:
    reuse = None if prepared.terms.again else opened.reuse(around.say)
    request, bounds = prepared.asked.request, prepared.bounds
    return Questions(prepared.prompter, request, bounds, reuse, prepared.checker)


def _rows_known(prepared: Prepared, opened: Opened, feed: Feed) -> int | None:
    """The number of rows of the input, None while its end has not been read."""
    limit = prepared.asked.limit
    at_the_end = feed.ended and prepared.redo.missing and (limit is None or feed.rows < limit)
    return feed.rows if at_the_end else opened.plan.rows


def _rows(prepared: Prepared, opened: Opened, feed: Feed) -> int | None:
    """The number of rows to ask, as far as it is known; before the input's end, by the share of its
    bytes read, or else the limit.
    """
    first, limit = prepared.first, prepared.asked.limit
    rows = opened.plan.rows
    if rows is None and first is not None:
        rows = first.rows
    if feed.ended:
        rows = feed.rows
    elif rows is None:
        rows = feed.rows_by_share()
    return limit if rows is None else min(rows, limit or rows)

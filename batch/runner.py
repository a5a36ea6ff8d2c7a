"""The whole story of a run: prepare, open its folder, ask every row, say how it went."""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Coroutine
from contextlib import (
    AbstractAsyncContextManager,
    AbstractContextManager,
    ExitStack,
    nullcontext,
)
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from batch import wiring
from batch.costs.budget import Reservations
from batch.engine import events, logged, loop
from batch.engine.counts import Counts
from batch.engine.engine import Engine, Interrupt
from batch.engine.events import Consumer, Events, Progressed
from batch.engine.feed import Feed
from batch.engine.gauge import Gauge
from batch.engine.judge import Judge
from batch.engine.waits import reporting
from batch.errors import StorageError
from batch.limits.crossing import Obstacle
from batch.limits.limiter import Limiter
from batch.planning import confirmation, open_run, slots, spending
from batch.planning.opened import Opened
from batch.planning.prepare import Prepared, prepare
from batch.planning.terms import Terms
from batch.reports.summary import Ended
from batch.spec import Job
from batch.store.sends import Sends
from batch.store.writer import Store
from batch.transport.client import Hooks
from batch.transport.endpoint import Target

if TYPE_CHECKING:
    from batch.planning.leases import Leases


class AtWork(msgspec.Struct, frozen=True):
    """What is at work while rows are asked."""

    engine: Engine
    store: Store
    limiter: Limiter
    leases: Leases | None
    progress: Callable[[], Progressed]
    obstacle: Callable[[], Obstacle | None]
    clock: Callable[[], float]


class Surroundings(msgspec.Struct, frozen=True, kw_only=True):
    """Who and what is around a run.  `consumers` hear what happens; `agrees` puts a question to a
    person, and is None where there is nobody; `hearing` lets somebody interrupt the run meanwhile,
    and `sharing` keeps up with others that work at it;
    `playing` runs a coroutine to its end, in a loop whose time is that of the `clock`.
    """

    consumers: tuple[Consumer, ...] = ()
    agrees: Callable[[str], bool] | None = None
    hearing: Callable[[Interrupt], AbstractContextManager[object]] = nullcontext
    sharing: Callable[[AtWork], AbstractAsyncContextManager[object]] = lambda _: nullcontext()
    playing: Callable[[Coroutine[Any, Any, Any]], Any] | None = None
    clock: Callable[[], float] = time.monotonic


NOBODY = Surroundings()


def run(job: Job, folder: Path, terms: Terms, around: Surroundings = NOBODY) -> Ended:
    """Run a job in its folder, from wherever it stands.  Raises BatchError where nothing was begun."""
    with ExitStack() as stack:
        told = Events(*around.consumers)
        prepared = prepare(job, msgspec.structs.replace(terms, folder=folder), stack)
        confirmation.seek(around.agrees, prepared)
        targets = _targets(prepared, told, stack)
        opened = open_run.opened(prepared, folder, told.notice, stack)
        told.add(logged.to(opened.log))
        if opened.shard is not None:
            from batch.engine import beats
            from batch.store.cards import Beating

            told.add(beats.to(Beating(opened.run)))
        for source in (prepared.source, opened.watched.source):
            source.forget()
        for line in prepared.first_words:
            told.notice(line)
        story = partial(_ask, prepared, opened, targets, told, around)
        return loop.run(story) if around.playing is None else around.playing(story())


def _targets(prepared: Prepared, told: Events, stack: ExitStack) -> tuple[Target, ...]:
    """Where requests go.  Starts the embedded model if that is where."""
    if prepared.targets:
        return prepared.targets
    from batch.local import server

    path = (prepared.asked.endpoint.base_url or "").removeprefix("local").removeprefix(":")
    parallel = min(server.PARALLEL, slots.most_in_flight(prepared.asked))
    model = Path(path) if path else None
    served = stack.enter_context(server.serving(model, parallel=parallel, watch=told.fetching))
    return (Target(served.base_url, {"Authorization": f"Bearer {served.api_key}"}, "local"),)


async def _ask(
    prepared: Prepared,
    opened: Opened,
    targets: tuple[Target, ...],
    told: Events,
    around: Surroundings,
) -> Ended:
    """Ask every row that has no result yet, and leave the folder sealed."""
    asked, workers, clock = prepared.asked, slots.most_in_flight(prepared.asked), around.clock
    began, plan, counts = clock(), opened.plan, Counts(opened.held())
    held = counts.now()[0]
    unanswered = opened.unanswered()
    reservations = spending.reservations(prepared, opened, held, unanswered, told.notice)
    questions = open_run.questions(prepared, opened, told.notice)
    told.emit(events.Opened(opened.run.path, plan.run_id, plan.resumed, held))
    maker = open_run.maker(prepared, opened)
    records = Sends(opened.disk, opened.run, unanswered, maker.bearing)
    store = opened.store(asked.output.part_rows, counts.adding(told), records)
    todo, window = opened.steps(prepared.redo, asked.limit, told.notice), 2 * workers + 100
    feed = Feed(store, opened.watched, todo, window, counts.take_back, clock, opened.stop_steps)
    extent = open_run.extent(prepared, opened, feed)
    caches = open_run.caches(prepared)
    cache = open_run.prompt_cache(prepared, caches, feed, clock)
    hooks = Hooks(store.write_down, store.room, told.notice)
    if cache is not None and caches is not None:
        hooks = hooks._replace(marked=open_run.marking(caches), begun=cache.begun)
    wired = wiring.Wiring(workers, plan.keys, hooks, store, reservations, clock)
    standing = open_run.standing(prepared, held.rows_ok > 0, plan.doubted)
    async with wiring.opened(prepared, targets, wired) as ends:
        judge = Judge(asked.retry, ends.limiters, maker, standing, prepared.checker, random.random)
        gauge = Gauge(counts, feed, ends.sender, reservations, extent, lambda: clock() - began)
        inputs = asked.limits.inputs_per_request
        engine = Engine(
            questions, ends.sender, judge, feed, store, told, ends.is_there, inputs, cache
        )
        obstacle = ends.sender.obstacle
        at_work = AtWork(engine, store, ends.of_run, opened.leases, gauge.read, obstacle, clock)
        async with reporting(told, obstacle, gauge.read, clock), around.sharing(at_work):
            with around.hearing(engine.interrupt):
                stopped = await engine.run(workers)
    ended = Ended(
        run=opened.run,
        whole=store.summary(),
        now=counts.now()[1],
        seconds=clock() - began,
        rows=extent.of_input(plan.rows),
        stopped=stopped,
        cap_left=None if reservations is None else reservations.budget.left,
        reuse=tuple(plan.reused),
        doubted=judge.doubted,
    )
    _close(prepared, opened, reservations, ended)
    why = None if stopped is None else str(stopped)
    told.emit(events.Ended(ended.exit_code, ended.now, ended.rows, why))
    return ended


def _close(
    prepared: Prepared,
    opened: Opened,
    reservations: Reservations | None,
    ended: Ended,
) -> None:
    """Leave the folder as the next start finds it, unless the disk takes nothing more."""
    if isinstance(ended.stopped, StorageError):
        return
    state = open_run.state(prepared, opened, ended.stopped)
    if reservations is not None:
        reservations.budget.close()
    if opened.shard is None:
        opened.close(ended.rows, ended.whole, state, ended.doubted)
    elif opened.leases is None:  # else the driver does that
        from batch.planning import joining

        joining.left(opened, state, ended.doubted)

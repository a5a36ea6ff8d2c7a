"""The whole story of a run: prepare, open its folder, ask every row, say how it went.

Everything that can be wrong with job and input is found before the folder is touched and before the
first request.
"""

from __future__ import annotations

import gc
import itertools
import random
from collections.abc import Callable, Coroutine, Iterator
from contextlib import ExitStack, contextmanager
from decimal import Decimal
from functools import partial
from pathlib import Path

import msgspec

from batch import columns, results, runs, spec
from batch.costs.budget import SLICE, Budget, Reservations
from batch.costs.prices import Pricer
from batch.engine import feed as feeding
from batch.engine.counts import Counts
from batch.engine.engine import Engine
from batch.engine.events import (
    Consumer,
    Event,
    Events,
    Notice,
    Progressed,
    RowsDone,
    Waiting,
    WentOn,
)
from batch.engine.events import Ended as Ended_
from batch.engine.events import Opened as Opened_
from batch.engine.feed import Feed
from batch.engine.judge import Judge, Standing
from batch.engine.questions import Questions
from batch.engine.sender import Sender
from batch.engine.waits import watching
from batch.errors import BatchError, Different, Interrupted, StorageError
from batch.limits.limiter import Limiter
from batch.model import Result
from batch.planning import confirmation, prepare
from batch.planning.open_run import (
    How,
    Opened,
    binds_nobody,
    check_columns,
    input_in,
    open_folder,
    reading_of,
    same_run,
    schema_of,
    set_aside,
)
from batch.planning.prepare import Rehearsed
from batch.reports.summary import Ended
from batch.requests.prompts import Prompter
from batch.results import Maker
from batch.spec import Job
from batch.store import budget_file, folder, plan, sends
from batch.store.budget_file import Cap, Drawn
from batch.store.contents import counted
from batch.store.log import Log
from batch.store.plan import Again
from batch.store.recover import Redo, finished
from batch.store.reuse import Reuse
from batch.store.sends import Sends, Unanswered
from batch.store.writer import Store
from batch.structured.validator import Checker
from batch.totals import Summary
from batch.transport import endpoint
from batch.transport.client import Client, Hooks
from batch.transport.endpoint import Target
from batch.words import duration, money

SELDOM = 50_000
"""New objects between two searches for garbage."""
A_WHILE = 5.0
"""Seconds for which the last answers are waited for without a word."""


def run(job_: Job, run_folder: Path, how: How) -> Ended:
    """Run a job in its folder, from wherever it stands.  Raises BatchError where nothing was begun."""
    prompter = job_.prompter()
    checker = prepare.checker_of(job_, how)
    asked = _changed(job_, how.again)
    folder.check_ours(run_folder)
    anew = how.new or how.reuse is not None
    if how.reuse is not None:
        runs.opened(how.reuse)
    with ExitStack() as stack:
        format_, reading = (None, None) if anew else reading_of(run_folder, job_)
        source = prepare.source_of(job_, stack, format_, reading)
        rehearsed, worthless = Rehearsed(), False
        try:
            known = None if anew else same_run(job_, run_folder, source)
        except Different:
            if not binds_nobody(run_folder):
                raise
            known, anew, worthless = None, True, True
            source = prepare.looked_at_anew(job_, source)
        asked, cap = _capped(asked, job_, run_folder, how, anew)
        if known is None:
            rehearsed = prepare.check(job_, source, prompter, how)
        elif how.again is not None and how.again.settings:
            prepare.check_parameters(asked, how)
        prepare.check_custom_ids(asked, source, prompter)
        check_columns(job_, run_folder, known, source, checker, rehearsed.apis)
        target = _target(asked, how, stack)
        pricer = prepare.pricer(asked, target.base_url)
        prepare.check_cap(asked, source, prompter, pricer, how.job_file)
        if how.agrees is not None:
            standing = (
                None if known is None else confirmation.Standing(known.rows, counted(run_folder)[0])
            )
            confirmation.seek(how.agrees, asked, source, pricer, standing or rehearsed.forecaster)
        if anew and plan.read(run_folder) is not None:
            kept, how = set_aside(run_folder, how, worthless=worthless)
            job_, source = input_in(kept, job_, run_folder, source)

        columns_of = partial(schema_of, job_, checker=checker, apis=rehearsed.apis, say=how.say)
        opened = open_folder(job_, run_folder, source, columns_of, how, stack, rehearsed.rows)
        budget_file.keep_cap(opened.disk, opened.run, cap)
        if worthless:
            folder.discard(kept)
        api = prepare.first_api(asked, source, prompter)
        how.say(f"asking {prepare.place(asked, target.base_url, api)}")
        for notice in rehearsed.notices:
            how.say(notice)
        if how.probe is not None:
            asked = msgspec.structs.replace(asked, limit=min(how.probe, asked.limit or how.probe))
        story = partial(_ask, asked, prompter, checker, target, pricer, opened, how)
        return _in_a_loop(story) if how.playing is None else how.playing(story())


def _changed(job_: Job, again: Again | None) -> Job:
    """The job with which chosen rows are asked again."""
    if again is None or not again.settings:
        return job_
    tables = spec.tables_of(job_)
    for key, value in again.settings.items():
        spec.put(tables, key, value)
    return spec.check(tables, given=runs.given_by(again, job_.request.over))


def _capped(
    asked: Job, job_: Job, run_folder: Path, how: How, anew: bool
) -> tuple[Job, Cap | None]:
    """`asked` with the cap that holds for it, and that cap where a flag has given it, now or to an
    earlier start.
    """
    in_job = job_.limits.max_cost_usd
    if how.cap is not None:
        cap: Cap | None = Cap(how.cap.usd, in_job)
        if how.cap.usd is None:
            how.say("no cap holds any more (--max-cost none)")
    else:
        cap = None if anew else budget_file.cap_of(run_folder, in_job)
        if cap is not None and cap.usd is not None:
            how.say(
                f"the cap of {money(cap.usd)} that a flag gave holds on (--max-cost none lifts it)"
            )
    if cap is None:
        return asked, None
    limits = msgspec.structs.replace(asked.limits, max_cost_usd=cap.usd)
    return msgspec.structs.replace(asked, limits=limits), cap


def _target(job_: Job, how: How, stack: ExitStack) -> Target:
    """Where requests go.  Starts the embedded model if that is where."""
    if not job_.endpoint.local:
        return endpoint.target(job_.endpoint, how.environment)
    from batch.local import server

    path = (job_.endpoint.base_url or "").removeprefix("local").removeprefix(":")
    slots = min(server.PARALLEL, most_in_flight(job_))
    served = stack.enter_context(server.serving(Path(path) if path else None, parallel=slots))
    return Target(served.base_url, {"Authorization": f"Bearer {served.api_key}"}, "local")


def _in_a_loop(story: Callable[[], Coroutine[None, None, Ended]]) -> Ended:
    """uvloop takes a quarter off the CPU of a request, where it installs.  The story begins after
    its import, in which somebody may press Ctrl-C.
    """
    try:
        from uvloop import run as run_in_loop
    except ImportError:
        from asyncio import run as run_in_loop  # type: ignore[assignment]
    with _seldom_collected():
        return run_in_loop(story())


@contextmanager
def _seldom_collected() -> Iterator[None]:
    """Rows come and go without cycles: looking for garbage after every 700 new objects, through all
    modules and whatever is in flight, takes a twelfth of the CPU.
    """
    before = gc.get_threshold()
    gc.freeze()
    gc.set_threshold(SELDOM, *before[1:])
    try:
        yield
    finally:
        gc.set_threshold(*before)
        gc.unfreeze()


async def _ask(
    job_: Job,
    prompter: Prompter,
    checker: Checker | None,
    target: Target,
    pricer: Pricer,
    opened: Opened,
    how: How,
) -> Ended:
    """Ask every row that has no result yet, and leave the folder sealed."""
    began, workers = how.clock(), most_in_flight(job_)
    redo, before = _redo(how.again), _held(opened)
    unanswered = sends.gathered(opened.disk, opened.run, opened.found)
    reservations = _reservations(job_, opened, before, unanswered, pricer, how)
    events, counts = Events(*how.consumers, _logging(opened.log)), Counts(before)
    events.emit(Opened_(opened.run.path, opened.plan.run_id, opened.plan.resumed, before.totals()))
    maker = Maker(pricer, job_.output.response, columns.EMBEDDING in opened.layout.own)

    def done(results: list[Result]) -> None:
        counts.add(results)
        events.emit(RowsDone(results))

    store = Store(
        opened.run,
        opened.layout,
        opened.found,
        part_rows=job_.output.part_rows,
        on_done=done,
        disk=opened.disk,
        sends=Sends(opened.disk, opened.run, unanswered, maker.bearing),
    )
    steps = feeding.steps(opened.run, opened.source, opened.found, redo, job_.limit)
    feed = Feed(store, opened.source, steps, 2 * workers + 100, counts.take_back, how.clock)
    limiter = Limiter(
        job_.limits,
        workers,
        known_slots=job_.endpoint.local,
        clock=how.clock,
        say=lambda text: events.emit(Notice(text)),
    )
    hooks = Hooks(store.write_down, store.room)
    standing = Standing(before.totals().rows_ok > 0, how.yes)
    async with Client(
        job_.endpoint, target, workers, opened.plan.run_id, hooks, how.clock
    ) as client:

        def progress() -> Progressed:
            rows = _rows_expected(opened, store, feed, job_.limit)
            waiting = _words(limiter, reservations, feed, client)
            seconds = how.clock() - began
            return Progressed(seconds, rows, *counts.now(), feed.retries, waiting)

        bounds = prepare.bounds_of(job_, prompter, how)
        reuse = None if how.again else _reuse(opened, how)
        engine = Engine(
            Questions(prompter, job_.request, bounds, reuse, checker),
            Sender(client, store, limiter, reservations),
            Judge(job_.retry, limiter, maker, standing, checker, random.random),
            feed,
            store,
            events,
        )
        async with watching(events, limiter.obstacle, progress, how.clock):
            with how.hearing(engine.interrupt):
                stopped = await engine.run(workers)
    at_the_end = feed.ended and redo.missing and (job_.limit is None or store.next_row < job_.limit)
    rows = store.next_row if at_the_end else opened.plan.rows
    whole = store.summary()
    if not isinstance(stopped, StorageError):
        _finish(opened, rows, whole, _state(opened, how, stopped))
        if reservations is not None:
            reservations.budget.close()
    ended = Ended(
        opened.run,
        whole,
        counts.asked,
        how.clock() - began,
        rows,
        stopped,
        cap_left=None if reservations is None else reservations.budget.left,
        reuse=None if opened.plan.reuse is None else Path(opened.plan.reuse),
    )
    why = None if stopped is None else str(stopped)
    events.emit(Ended_(ended.exit_code, counts.asked, rows, why))
    return ended


def _logging(log: Log) -> Consumer:
    """Writes what happens to run.log."""

    def take(event: Event) -> None:
        match event:
            case Waiting(_, why):
                log.event("waiting", why=why)
            case WentOn(_, seconds):
                log.event("going on", after_s=round(seconds, 1))
            case Ended_(exit_code, asked, rows, why):
                log.event(
                    "end",
                    exit_code=exit_code,
                    why=why,
                    asked=msgspec.structs.asdict(asked),
                    rows=rows,
                )

    return take


def _reservations(
    job_: Job, opened: Opened, before: Summary, unanswered: Unanswered, pricer: Pricer, how: How
) -> Reservations | None:
    """What may still be spent; None where nothing caps it.  The rows that the run holds have cost
    what they say, and what they cannot say at its most.
    """
    totals, cap = before.totals(), job_.limits.max_cost_usd
    held = Decimal(repr(totals.cost_usd + totals.unconfirmed_cost_usd))
    if cap is None:
        budget_file.begin_without_cap(opened.disk, opened.run, held)
        return None
    known = budget_file.read(opened.run) or Drawn()
    if known.held_usd is not None:  # the start before had no cap; what it had in flight is lost
        lost_usd, unbounded = results.worst_of(itertools.chain(*unanswered.values()), pricer)
        held += lost_usd
        missed = totals.unpriced_rows + totals.unbounded_attempts + unbounded
        if missed:
            how.say(
                f"what {missed:,} rows cost that were asked without a cap is not known, nor in the cap"
            )
    lost = known.spent(held) - held
    if lost > SLICE * Decimal(repr(cap)):
        how.say(
            f"{money(lost)} beyond what the rows cost counts as spent: it was in flight at a kill"
        )

    def draw(amount: Decimal) -> None:
        now = budget_file.read(opened.run) or Drawn()
        kept = msgspec.structs.replace(now, drawn_usd=amount, held_usd=None)
        budget_file.write(opened.disk, opened.run, kept)

    return Reservations(Budget(Decimal(repr(cap)), known.spent(held), draw), pricer)


def _words(limiter: Limiter, reservations: Reservations | None, feed: Feed, client: Client) -> str:
    """What the run waits for, and what is left of its cap."""
    left = "" if reservations is None else f"cap left {money(reservations.budget.left)}"
    words = (left, limiter.words() or _stragglers(feed, client))
    return ", ".join(word for word in words if word)


def _stragglers(feed: Feed, client: Client) -> str:
    """What the end of the run waits for, once that takes a while."""
    if not feed.exhausted or (seconds := client.oldest()) < A_WHILE:
        return ""
    answers = "answer" if feed.in_flight == 1 else f"{feed.in_flight:,} answers"
    oldest = "" if feed.in_flight == 1 else "the oldest "
    return f"waiting for the last {answers}, {oldest}asked {duration(seconds)} ago"


def _redo(again: Again | None) -> Redo:
    """Which finished rows are asked: those that failed for a passing reason, or those a retry
    names.
    """
    if again is None:
        return Redo()
    return Redo(frozenset(again.classes), frozenset(again.flags), missing=False)


def _reuse(opened: Opened, how: How) -> Reuse | None:
    if opened.plan.reuse is None:
        return None
    old = Path(opened.plan.reuse)
    known = plan.read(old)
    if known is None:
        how.say(f"{old} is gone: nothing more is taken from it")
        return None
    return Reuse(old, runs.layout(old, known), opened.run)


def most_in_flight(job_: Job) -> int:
    """How many requests may ever be in flight."""
    if not job_.endpoint.local:
        return job_.limits.most()
    from batch.local import server

    return job_.limits.most(server.PARALLEL)


def _held(opened: Opened) -> Summary:
    """What the run holds before anything is asked."""
    whole = Summary()
    for part in opened.found:
        if part.generation:
            for result in finished(opened.run, part):
                whole.add(result)
        elif part.footer is not None:
            whole.merge(part.footer.summary)
    return whole


def _rows_expected(opened: Opened, store: Store, feed: Feed, limit: int | None) -> int | None:
    """The number of rows to ask, as far as it is known; before the input's end, by the share of its
    bytes read, or else `limit`.
    """
    rows = opened.rows if opened.plan.rows is None else opened.plan.rows
    if feed.ended:
        rows = store.next_row
    elif rows is None:
        share = opened.source.share_before(store.next_position)
        rows = None if not share else round(store.next_row / share)
    return limit if rows is None else min(rows, limit or rows)


def _state(opened: Opened, how: How, stopped: BatchError | None) -> str:
    """How this start leaves the run.  A retry does not finish what was unfinished before it."""
    if stopped is not None:
        return "interrupted" if isinstance(stopped, Interrupted) else "stopped"
    if how.again is None or opened.stood is None:
        return "finished"
    return "interrupted" if opened.stood == "running" else opened.stood


def _finish(opened: Opened, rows: int | None, whole: Summary, state: str) -> None:
    folder.write_usage(opened.disk, opened.run, opened.plan.run_id, whole)
    plan.write(
        opened.disk, opened.run, msgspec.structs.replace(opened.plan, rows=rows, state=state)
    )

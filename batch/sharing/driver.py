"""Begins the workers of a run, sees to it that all parts are done, and tells how it went."""

from __future__ import annotations

import asyncio
import time
from contextlib import ExitStack, suppress
from decimal import Decimal
from pathlib import Path

import msgspec

from batch import __version__, spec
from batch.engine import events, logged, loop
from batch.engine.events import Events, Progressed
from batch.engine.notices import DRAIN_SECONDS, waits_for
from batch.engine.waits import EVERY, Waits
from batch.errors import BatchError, CapReached, Interrupted, Refused, Stopped, StorageError
from batch.limits.concurrency import START
from batch.limits.crossing import Obstacle
from batch.planning import confirmation, joining, leased, open_run
from batch.planning.opened import Opened
from batch.planning.prepare import Prepared, prepare
from batch.planning.terms import Shard, Terms
from batch.reports.summary import Ended
from batch.runner import Surroundings
from batch.sharing import travel
from batch.sharing.beating import Gone
from batch.sharing.messages import Common, Look, Order, State, Told
from batch.sharing.processes import Died, Opening, Processes, answer
from batch.spec import Job
from batch.store import budget_file, contents
from batch.totals import Totals

GRACE = 5.0
"""Seconds for which workers are waited for beyond those in which they wait for answers."""
MOST_DEATHS = 3
"""Deaths in a row of one worker's processes, without a part done meanwhile."""


class Plan(msgspec.Struct, frozen=True):
    """How a run is shared: so many workers, which read the variables in `env_file`, if one is named."""

    workers: int
    env_file: Path | None = None


def run(
    job: Job,
    folder: Path,
    terms: Terms,
    around: Surroundings,
    plan: Plan,
    opening: Opening,
) -> Ended:
    """Run a job with several workers, from wherever it stands.  Raises BatchError where nothing was begun.
    `opening` gives the processes.
    """
    with ExitStack() as stack:
        told = Events(*around.consumers)
        shard = Shard(0, plan.workers, "driver")
        travel.check(job)
        prepared = prepare(job, msgspec.structs.replace(terms, folder=folder, shard=shard), stack)
        confirmation.seek(around.agrees, prepared)
        opened = open_run.opened(prepared, folder, told.notice, stack)
        leased.wait_for_the_last(opened.run, told.notice)
        told.add(logged.to(opened.log))
        for source in (prepared.source, opened.watched.source):
            source.forget()
        for line in prepared.first_words:
            told.notice(line)
        driver = _Driver(prepared, opened, plan, told, around)
        if driver.parts:
            processes = stack.enter_context(opening(opened.plan.run_id, told.notice))
            driver.has(processes)
        return loop.run(driver.run)


class _Driver:
    """Of one start of a run."""

    def __init__(
        self,
        prepared: Prepared,
        opened: Opened,
        plan: Plan,
        told: Events,
        around: Surroundings,
    ) -> None:
        self._prepared = prepared
        self._opened = opened
        self.parts = leased.to_do(opened, prepared.redo, prepared.asked.limit)
        """Those in which there is something to do."""
        self._processes: Processes
        self._plan = plan
        self._told = told
        self._around = around
        self._began = time.monotonic()
        self._before = contents.counted(opened.run.path).summary.totals()
        self._stopped: BatchError | None = None
        self._stops = False
        self._doubted: set[str] = set()
        self._last = Look(state=State(), left=0, done=0)
        self._tasks: set[asyncio.Task[None]] = set()

    def has(self, processes: Processes) -> None:
        """These do it."""
        self._processes = processes

    async def run(self) -> Ended:
        plan, run, before = self._opened.plan, self._opened.run, self._before
        self._told.emit(events.Opened(run.path, plan.run_id, plan.resumed, before))
        if self.parts:
            with self._around.hearing(self._interrupt):
                await self._work(self._common())
        return self._ended()

    def _common(self) -> Common:
        prepared, limits = self._prepared, self._prepared.job.limits
        pooled = prepared.asked.is_pooled
        return Common(
            parts=self.parts,
            requests_per_minute=limits.requests_per_minute,
            tokens_per_minute=limits.tokens_per_minute,
            most=limits.most(),
            start=max(START, round((limits.requests_per_minute or 0.0) / 2)),
            finds_out=limits.concurrency == "auto" and not pooled,
            succeeded=self._before.rows_ok > 0,
        )

    async def _work(self, common: Common) -> None:
        try:
            await self._processes.begin(common)
        except (Stopped, Refused) as error:
            self._stopped = error
            return
        looking = asyncio.create_task(self._look())
        workers = min(self._plan.workers, len(common.parts))
        serving = [asyncio.create_task(self._serve(index)) for index in range(workers)]
        try:
            await asyncio.wait(serving)
            await self._see()
        finally:
            looking.cancel()
            await asyncio.wait({looking})
        for task in serving:
            task.result()

    async def _serve(self, index: int) -> None:
        """Have a worker of this number until nothing is left to do."""
        shard = Shard(index, self._plan.workers, "leased")
        deaths, done = 0, 0
        try:
            while (death := await self._worked(shard)) is not None:
                back = await self._bury(shard)
                look = await answer(self._processes.look())
                self._tell(look)
                deaths, done = (deaths + 1 if look.done == done else 1), look.done
                if self._stops or not look.left:
                    return
                if deaths >= MOST_DEATHS:
                    why = f"worker {shard.name} died {deaths} times in a row: {death}"
                    self._stop(Stopped(why))
                    return
                text = f"worker {shard.name} died ({death}): another takes its {back} parts"
                self._told.notice(text)
        except Gone:
            self._stop(Stopped("the process that shared out the run is gone"))

    async def _worked(self, shard: Shard) -> Died | None:
        """One process of a worker, from its beginning to its end; why it died, if it did."""
        epoch = await answer(self._processes.join(shard.name))
        try:
            told = await self._processes.work(shard.name, self._order(shard.index, epoch))
        except Died as death:
            return death
        self._has_ended(msgspec.json.decode(told, type=Told))
        if self._stops:  # before others take what it leaves
            await self._pass_on()
        await answer(self._processes.leave(shard.name, epoch))
        return None

    def _order(self, index: int, epoch: int) -> bytes:
        terms, opened = self._prepared.terms, self._opened
        job = msgspec.structs.replace(self._prepared.job, input=opened.plan.job.get("input"))
        env_file = self._plan.env_file
        order = Order(
            version=__version__,
            index=index,
            of=self._plan.workers,
            epoch=epoch,
            folder=str(opened.run.path.absolute()),
            job=spec.tables_of(job),
            over=dict(job.request.over),
            env_file=None if env_file is None else str(env_file.absolute()),
            bounds=terms.bounds,
            record_bad_rows=terms.record_bad_rows,
            yes=terms.yes,
            succeeded=self._before.rows_ok > 0,
        )
        return msgspec.json.encode(order)

    async def _bury(self, shard: Shard) -> int:
        """See to it that nobody writes as this worker any more, and give its parts to others."""
        while leased.is_at_work(self._opened.run, shard) and not self._stops:  # noqa: ASYNC110
            await asyncio.sleep(leased.LOOK_SECONDS)
        return await answer(self._processes.lost(shard.name))

    def _has_ended(self, told: Told) -> None:
        self._doubted.update(told.doubted)
        if told.stopped is None:
            return
        reason = told.stopped.error()
        if isinstance(reason, CapReached):  # the others have something left of it, perhaps
            if self._stopped is None:
                self._stopped = reason
            return
        self._stop(reason)

    def _stop(self, reason: BatchError) -> None:
        """Let all workers end in good order; the first reason counts."""
        if self._stopped is None or isinstance(self._stopped, CapReached):
            self._stopped = reason
        if not self._stops:
            self._stops = True
            self._spawn(self._pass_on())
            asyncio.get_running_loop().call_later(DRAIN_SECONDS + GRACE, self._processes.kill)

    async def _pass_on(self) -> None:
        with suppress(Gone):  # they find that out, too
            await answer(self._processes.stop())

    def _spawn(self, work: object) -> None:
        task = asyncio.ensure_future(work)  # type: ignore[call-overload]
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def _interrupt(self, name: str, exit_code: int) -> None:
        if self._stops:
            self._processes.kill()
            return
        self._stop(Interrupted("interrupted", exit_code=exit_code))
        self._told.notice(waits_for(name, self._last.state.in_flight))

    async def _look(self) -> None:
        waits = Waits(self._told)
        while True:
            await self._see()
            obstacle = self._last.state.obstacle
            waits.see(obstacle and Obstacle(*obstacle), time.monotonic())
            await asyncio.sleep(EVERY)

    async def _see(self) -> None:
        """Tell how far all are."""
        with suppress(Gone):
            self._tell(await answer(self._processes.look()))

    def _tell(self, look: Look) -> None:
        self._last = look
        for text in look.notices:
            self._told.notice(text)
        self._told.emit(self._progressed(look.state))

    def _progressed(self, now: State) -> Progressed:
        held = msgspec.structs.replace(self._before)
        held.merge(now.held)
        return Progressed(
            time.monotonic() - self._began,
            self._rows(),
            held,
            now.asked,
            now.retries,
            now.words,
            now.in_flight,
            self._cap_left(),
        )

    def _rows(self) -> int | None:
        """Those that are to be asked."""
        rows, limit = self._opened.plan.rows, self._prepared.asked.limit
        return rows if rows is None or limit is None else min(rows, limit)

    def _cap_left(self) -> Decimal | None:
        cap = self._prepared.asked.limits.max_cost_usd
        if cap is None:
            return None
        drawn = budget_file.of_all(self._opened.run).drawn_usd
        return max(Decimal(0), Decimal(repr(cap)) - drawn)

    def _ended(self) -> Ended:
        opened, plan = self._opened, self._opened.plan
        whole = contents.counted(opened.run.path).summary
        totals = whole.totals()
        wanted = self._rows() or 0
        is_whole = totals.rows_ok + totals.rows_failed >= wanted
        if is_whole and isinstance(self._stopped, CapReached):
            self._stopped = None
        if self._stopped is None and not is_whole:
            self._stopped = Stopped("workers ended before all rows were asked")
        state = open_run.state(self._prepared, opened, self._stopped)
        if not isinstance(self._stopped, StorageError):  # the disk takes nothing more
            joining.left(opened, state, frozenset(self._doubted))
        ended = Ended(
            run=opened.run,
            whole=whole,
            now=_since(self._before, self._last.state.held, totals),
            seconds=time.monotonic() - self._began,
            rows=plan.rows,
            stopped=self._stopped,
            cap_left=self._cap_left(),
            reuse=tuple(plan.reused),
            doubted=frozenset(self._doubted),
        )
        why = None if self._stopped is None else str(self._stopped)
        self._told.emit(events.Ended(ended.exit_code, ended.now, ended.rows, why))
        return ended


def _since(before: Totals, taken_back: Totals, after: Totals) -> Totals:
    """What was added to the rows that were there `before`, some of which were taken back."""
    sums = {
        name: getattr(after, name) - getattr(before, name) - getattr(taken_back, name)
        for name in Totals.__struct_fields__
    }
    return Totals(**sums)

"""A worker joins the run that several share, and leaves it.

The first to come plans the parts, under the lock of the run; the others wait for that.  Then each holds a
lock of its own, and works at its parts alone.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

import msgspec

from batch import command_line
from batch.damage import damaged
from batch.errors import Refused, UsageError
from batch.model import Cut
from batch.planning import beginning, begun, comparison, parts
from batch.planning.opened import Opened, Say
from batch.planning.prepare import Prepared
from batch.planning.terms import Shard
from batch.readers import Input, Watched
from batch.run_folder import CARD, RunFolder
from batch.store import budget_file, contents, folder, lock, plan, planned
from batch.store.files import Disk
from batch.store.log import Log
from batch.store.plan import PLANNED, Plan
from batch.store.recover import Damage

LOOK_SECONDS = 0.2
"""How often a worker looks whether the lock of the run is free."""
A_WHILE = 2.0
"""Seconds for which it waits without a word."""


def joined(prepared: Prepared, run: RunFolder, shard: Shard, say: Say, stack: ExitStack) -> Opened:
    """Be a worker of the run until `stack` is left.  Raises BatchError."""
    disk, whole, job = Disk(), RunFolder(run.path), prepared.job
    if job.input == "-" and shard.of > 1 and shard.kind == "stays":
        raise UsageError(
            "--shard: standard input can be read once, and every worker reads: name a file"
        )
    folder.make(disk, whole)
    disk.make_folder(run.workers)
    with _turn(whole, say) as warning:
        if warning:
            say(warning)
        grown: list[str] = []
        known = comparison.same_run(
            job, run.path, prepared.source, prepared.terms.data, grown.append
        )
        _check(run, shard, prepared, known)
        _forget_others(disk, run, shard)
        lost, word = stack.enter_context(lock.worker(run))
        if word:
            say(word)
        disk.guard(lost)
        say(f"{run.path.absolute()} ({'resuming' if known else 'new'}){_whose(shard)}")
        for line in grown:
            say(line)
        source = comparison.sampled(job, prepared.source, known)
        if job.input == "-":
            job, source = beginning.keep_input(disk, prepared, whole)
        watched = Watched(source)
        if known is None:
            if prepared.schema is None:
                raise Refused(f"{run.path}: the run that was there has just gone")
            folder.begin(disk, whole, prepared.schema)
        cuts = _planned(disk, whole, prepared, source, known, say, grew=bool(grown))
        now = msgspec.structs.replace(
            beginning.plan_of(prepared, job, source, watched.fingerprints, known),
            format=PLANNED,
            rows=planned.rows(cuts),
        )
        layout = begun.layout(run.path, now)
        plan.write(disk, whole, now)
        if prepared.cap is not None or whole.budgets():
            with lock.of_budget(whole):  # workers write there, too
                budget_file.keep_cap(disk, whole, prepared.cap)
    disk.make_folder(run.drafts)
    for path in run.drafts.iterdir():
        disk.remove(path)
    damages: list[Damage] = []
    found = [planned.found(disk, run, cut, damages) for cut in cuts if shard.has(cut.part)]
    for damage in damages:
        say(damage.words)
    log = Log(run)
    log.event(
        "start", batchmill=now.batchmill, run_id=now.run_id, resumed=now.resumed, parts=len(found)
    )
    stood = None if known is None else known.state
    return Opened(disk, run, now, watched, found, layout, log, stood, shard, cuts)


def left(opened: Opened, state: str, doubted: frozenset[str]) -> None:
    """Write what is derived of the run as it is now: whoever leaves last writes what is true of all.
    `state` is how this worker leaves its own parts.
    """
    disk, whole = opened.disk, RunFolder(opened.run.path)
    with _turn(whole, lambda _: None):
        now = plan.read(opened.run.path) or opened.plan
        others = lock.at_work(whole).keys() - {opened.run.worker}
        held = contents.counted(opened.run.path)
        if not held.opened:
            folder.write_usage(disk, whole, now.run_id, held.summary)
        totals = held.summary.totals()
        done = totals.rows_ok + totals.rows_failed
        limit = now.job.get("limit")
        wanted = (now.rows or 0) if limit is None else min(now.rows or 0, limit)
        if others and (done < wanted or state != "finished"):  # else they are just leaving, too
            state = "running"
        elif done < wanted and state == "finished":
            state = "interrupted"
        known = sorted({*now.doubted, *doubted})
        plan.write(disk, whole, msgspec.structs.replace(now, state=state, doubted=known))


def _planned(
    disk: Disk,
    run: RunFolder,
    prepared: Prepared,
    source: Input,
    known: Plan | None,
    say: Say,
    *,
    grew: bool,
) -> list[Cut]:
    """The parts of the run, planned now where it begins or its input has grown."""
    part_rows = prepared.asked.output.part_rows
    cuts = [] if known is None else planned.read(run)
    if cuts is None:
        raise damaged(run.parts, "is missing")
    if known is None or (grew and known.sampled_from is None):
        last = cuts[-1] if cuts else None
        cuts = [*cuts, *parts.of(source, part_rows, prepared.workers, last, say)]
        planned.write(disk, run, cuts)
    return cuts


def _whose(shard: Shard) -> str:
    if shard.kind == "driver":
        return f", {shard.of} workers"
    return f", worker {shard.name}" if shard.of > 1 else ""


def _check(run: RunFolder, shard: Shard, prepared: Prepared, known: Plan | None) -> None:
    """Raises Refused where this worker cannot join the run as it is."""
    if known is not None and not known.is_planned:
        raise Refused(
            f"{run.path} was begun by one process, and its parts are not planned",
            hint="finish it with one process, or let workers take its answers over to another folder:"
            f" -o FOLDER --reuse {command_line.quoted(run.path)}",
        )
    reuse = prepared.terms.reuse
    olds = [path.absolute() for path in reuse if path.absolute() != run.path.absolute()]
    if known is not None and olds and known.reused != olds:
        raise Refused(
            f"{run.path} is there already, and takes no answers from {', '.join(map(str, olds))}",
            hint="choose another folder with -o",
        )
    busy = lock.at_work(run)
    others = {name: who for name, who in busy.items() if not shard.works_with(name)}
    if others:
        raise Refused(
            f"{run.path} is in use by another number of workers: {lock.named(others)}",
            hint="start with their number, or wait for them, stop them, or look at them with:"
            f" {command_line.of('status', run.path, '--workers')}",
        )


def _forget_others(disk: Disk, run: RunFolder, shard: Shard) -> None:
    """Remove what workers told of themselves when there were more of them, or fewer."""
    for path in run.workers.glob(f"*{CARD}"):
        if not shard.works_with(path.stem):
            disk.remove(path)


@contextmanager
def _turn(run: RunFolder, say: Say) -> Iterator[str | None]:
    """Hold the lock of the run for a moment; waits while another worker has it.  Raises Refused where
    one process works at the whole run.
    """
    since, told = time.monotonic(), False
    while True:
        with ExitStack() as stack:
            try:
                warning = stack.enter_context(lock.beside_workers(run))
            except Refused as busy:
                known = plan.read(run.path)
                if known is not None and not known.is_planned:
                    raise
                if not told and time.monotonic() - since > A_WHILE:
                    say(f"waiting for the worker that plans the parts: {busy}")
                    told = True
            else:
                yield warning
                return
        time.sleep(LOOK_SECONDS)

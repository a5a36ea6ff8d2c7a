"""Workers to which a driver lends the parts of a run, and what the driver knows of them from the folder."""

from __future__ import annotations

import time
from contextlib import ExitStack

from batch.damage import damaged
from batch.engine import steps
from batch.errors import Refused
from batch.planning import begun, comparison
from batch.planning.leases import Leases
from batch.planning.opened import Opened, Say
from batch.planning.prepare import Prepared
from batch.planning.terms import LEASED, Shard
from batch.readers import Watched
from batch.run_folder import RunFolder
from batch.store import lock, planned
from batch.store.files import Disk
from batch.store.log import Log
from batch.store.recover import Redo, footer_of

OUTLIVED = 15.0
"""Seconds for which workers are waited for that have lived longer than their driver."""
LOOK_SECONDS = 0.2


def joined(prepared: Prepared, run: RunFolder, shard: Shard, say: Say, stack: ExitStack) -> Opened:
    """Be a worker of a run, which its driver has planned, until `stack` is left.  Raises BatchError."""
    disk, known = Disk(), prepared.known
    if known is None or not known.is_planned:
        raise Refused(f"{run.path}: the run that was there has just gone")
    lost, word = stack.enter_context(lock.worker(run))
    if word:
        say(word)
    disk.guard(lost)
    watched = Watched(comparison.sampled(prepared.job, prepared.source, known))
    cuts = planned.read(run)
    if cuts is None:
        raise damaged(run.parts, "is missing")
    disk.make_folder(run.drafts)
    for path in run.drafts.iterdir():
        disk.remove(path)
    log, layout = Log(run), begun.layout(run.path, known)
    log.event("start", batchmill=known.batchmill, run_id=known.run_id, resumed=known.resumed)
    leases = Leases(cuts)
    return Opened(disk, run, known, watched, [], layout, log, known.state, shard, cuts, leases)


def to_do(opened: Opened, redo: Redo, limit: int | None) -> list[int]:
    """The parts of a run in which there may be something to do.  Raises Damaged."""
    run, found = opened.run, []
    there = run.open_parts()
    for cut in opened.cuts:
        if limit is not None and cut.start_row >= limit:
            break
        footer = footer_of(run, cut.part)
        if cut.part in there or footer is None or steps.may_want(footer, redo):
            found.append(cut.part)
    return found


def wait_for_the_last(run: RunFolder, say: Say) -> None:
    """Return when no worker of an earlier driver is at work.  Raises Refused where one stays."""
    until = time.monotonic() + OUTLIVED
    told = False
    while others := _others(run):
        who = ", ".join(f"{name} ({process})" for name, process in others.items())
        if time.monotonic() > until:
            raise Refused(
                f"{run.path} is in use by workers that have lost their driver: {who}",
                hint="wait for them or stop them, then run the same command again",
            )
        if not told:
            say(f"waiting for workers of an earlier start: {who}")
            told = True
        time.sleep(LOOK_SECONDS)


def is_at_work(run: RunFolder, shard: Shard) -> bool:
    """Whether a worker holds its lock."""
    return shard.name in lock.at_work(run)


def _others(run: RunFolder) -> dict[str, str]:
    return {
        name: who
        for name, who in lock.at_work(run).items()
        if name.startswith(LEASED) and name != run.worker
    }

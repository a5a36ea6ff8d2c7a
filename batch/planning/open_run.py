"""The folder of a run that begins: locked, made or recovered, and brought to where rows can be asked;
and left as it is at the end.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import Any

import msgspec

from batch import columns, spec
from batch.costs import price_lists
from batch.engine.judge import Standing
from batch.engine.outages import START_PATIENCE
from batch.engine.questions import Questions
from batch.errors import BatchError, Different, Interrupted
from batch.model import Result
from batch.planning import begun, comparison, sources
from batch.planning.prepare import Prepared
from batch.readers import Fingerprint, Input, Watched
from batch.results import Maker
from batch.run_folder import RunFolder
from batch.store import budget_file, folder, lock, plan
from batch.store.files import Disk
from batch.store.log import Log
from batch.store.plan import Plan
from batch.store.recover import Found, finished, recover
from batch.store.reuse import Reuse
from batch.store.seal import Layout
from batch.store.sends import Sends
from batch.store.writer import Store
from batch.totals import Summary

Say = Callable[[str], None]


class Opened(msgspec.Struct, frozen=True):
    """A run folder that is locked and ready to take results."""

    disk: Disk
    run: RunFolder
    plan: Plan
    watched: Watched
    found: list[Found]
    layout: Layout
    log: Log
    stood: str | None  # the state in which an earlier start left the run

    def held(self) -> Summary:
        """What the run holds before anything is asked."""
        whole = Summary()
        for part in self.found:
            if part.generation:
                for result in finished(self.run, part):
                    whole.add(result)
            elif part.footer is not None:
                whole.merge(part.footer.summary)
        return whole

    def reuse(self, say: Say) -> Reuse | None:
        """The run whose answers are taken, if there is one."""
        if self.plan.reuse is None:
            return None
        old = Path(self.plan.reuse)
        known = plan.read(old)
        if known is None:
            say(f"{old} is gone: nothing more is taken from it")
            return None
        return Reuse(old, begun.layout(old, known), self.run)

    def store(self, part_rows: int, on_done: Callable[[list[Result]], None], sends: Sends) -> Store:
        """What takes the results."""
        return Store(
            self.run,
            self.layout,
            self.found,
            part_rows=part_rows,
            on_done=on_done,
            sends=sends,
        )

    def close(self, rows: int | None, whole: Summary, state: str, doubted: frozenset[str]) -> None:
        """Write what is derived of the run, which holds `whole` now; its input has `rows`."""
        folder.write_usage(self.disk, self.run, self.plan.run_id, whole)
        ended = msgspec.structs.replace(self.plan, rows=rows, state=state, doubted=sorted(doubted))
        plan.write(self.disk, self.run, ended)


def opened(prepared: Prepared, run: Path, say: Say, stack: ExitStack) -> Opened:
    """Lock the folder `run` until `stack` is left, and make it that of the run.  Raises BatchError."""
    kept = None
    begins = prepared.terms.anew or prepared.standing.replaces
    if begins and plan.read(run) is not None:
        kept, prepared = _set_aside(prepared, run, say)
    begun_run = _locked(prepared, RunFolder(run), say, stack)
    budget_file.keep_cap(begun_run.disk, begun_run.run, prepared.cap)
    if kept is not None and prepared.standing.replaces:
        folder.discard(kept)
    return begun_run


def questions(prepared: Prepared, opened: Opened, say: Say) -> Questions:
    """What makes requests of rows, or knows their answers from the run that is reused."""
    reuse = None if prepared.terms.again else opened.reuse(say)
    request, bounds = prepared.asked.request, prepared.bounds
    return Questions(prepared.prompter, request, bounds, reuse, prepared.checker)


def maker(prepared: Prepared, opened: Opened) -> Maker:
    """What makes results of answers."""
    asked = prepared.asked
    names = frozenset(place.endpoint.model for place in asked.places if place.endpoint.model)
    return Maker(
        prepared.pricer, asked.output.response, columns.EMBEDDING in opened.layout.own, names
    )


def standing(prepared: Prepared, succeeded: bool, doubted: list[str]) -> Standing:
    """How the run stands now; `succeeded`: it holds answers."""
    patience = prepared.asked.pool.wait_ready or START_PATIENCE
    return Standing(succeeded, prepared.terms.yes, frozenset(doubted), patience)


def state(prepared: Prepared, opened: Opened, stopped: BatchError | None) -> str:
    """How a start leaves the run.  A retry does not finish what was unfinished before it."""
    if stopped is not None:
        return "interrupted" if isinstance(stopped, Interrupted) else "stopped"
    if prepared.terms.again is None or opened.stood is None:
        return "finished"
    return "interrupted" if opened.stood == "running" else opened.stood


def _set_aside(prepared: Prepared, run: Path, say: Say) -> tuple[Path, Prepared]:
    """Keep the run that is in the folder under another name, and reuse it from there if it is
    the one meant.  One that holds nothing is not kept for long, so that is not said of it.
    """
    kept = folder.set_aside(run)
    if prepared.standing.replaces:
        say("the run that was there holds no answer and cost nothing: this one replaces it")
    else:
        say(f"the run that was there is kept as {kept}")
    terms = prepared.terms
    if terms.reuse is not None and terms.reuse.absolute() == run.absolute():
        terms = msgspec.structs.replace(terms, reuse=kept)
    job, standing = prepared.job, prepared.standing
    named = [job.input] if isinstance(job.input, str) else job.input or []
    if named and all(Path(name).parent == run.absolute() for name in named):
        # what was kept in the folder is kept again in that of the new run
        paths = [kept / Path(name).name for name in named]
        source = sources.from_files(paths, prepared.source)
        job = msgspec.structs.replace(job, input="-")
        standing = msgspec.structs.replace(standing, source=source)
    return kept, dataclasses.replace(prepared, terms=terms, job=job, standing=standing)


def _locked(prepared: Prepared, run: RunFolder, say: Say, stack: ExitStack) -> Opened:
    disk, job, source = Disk(), prepared.job, prepared.source
    folder.make(disk, run)
    if warning := stack.enter_context(lock.held(run)):
        say(warning)
    disk.guard(lock.guard(run))
    # once more, now that nobody else can change it
    grown: list[str] = []
    known = comparison.same_run(job, run.path, source, prepared.terms.data, grown.append)
    say(f"{run.path.absolute()} ({'resuming' if known else 'new'})")
    for line in grown:
        say(line)
    source = comparison.sampled(job, source, known)
    if job.input == "-":
        job, source = _keep_input(disk, prepared, run)
    watched = Watched(source)
    if known is None:
        if prepared.schema is None:
            raise Different(f"{run.path}: the run that was there has just gone")
        folder.begin(disk, run, prepared.schema)
    now = _plan(prepared, job, source, watched.fingerprints, known)
    layout = begun.layout(run.path, now)
    found, damages = recover(disk, run)
    for damage in damages:
        say(f"{damage.path}: {damage.lines} damaged lines; their rows are asked again")
    plan.write(disk, run, now)
    log = Log(run)
    log.event(
        "start", batchmill=now.batchmill, run_id=now.run_id, resumed=now.resumed, parts=len(found)
    )
    stood = None if known is None else known.state
    return Opened(disk, run, now, watched, found, layout, log, stood)


def _keep_input(disk: Disk, prepared: Prepared, run: RunFolder) -> tuple[spec.Job, Input]:
    """Keep in the folder what it lacks of standard input, or of data from memory."""
    paths = []
    for earlier, name in enumerate(prepared.source.files):
        path, read = run.kept_input("".join(Path(name).suffixes), earlier), Path(name)
        if read != path.absolute():
            with read.open("rb") as file:
                disk.put(path, iter(partial(file.read, 1 << 20), b""), run.drafts)
        paths.append(path)
    named = [str(path.absolute()) for path in paths]
    job = msgspec.structs.replace(prepared.job, input=named[0] if len(named) == 1 else named)
    return job, sources.from_files(paths, prepared.source)


def _plan(
    prepared: Prepared,
    job: spec.Job,
    source: Input,
    fingerprints: list[Fingerprint],
    known: Plan | None,
) -> Plan:
    tables, prints = spec.tables_of(job), msgspec.to_builtins(fingerprints)
    again, reuse = prepared.terms.again, prepared.terms.reuse
    data = sources.values(prepared.terms.data)
    if known is None:
        of_sample: dict[str, int] = {}
        if source.chosen is not None:
            of_sample = {"rows": len(source.chosen), "sampled_from": source.chosen.rows}
        return plan.new(
            tables,
            prints,
            source.format,
            reuse=None if reuse is None else str(reuse.absolute()),
            prices=price_lists.snapshot(),
            reading=msgspec.to_builtins(source.found()),
            over=dict(job.request.over),
            data=data,
            **of_sample,
        )
    # the columns do not change any more
    kept = {key: known.job[key] for key in ("keep",) if key in known.job}
    tables = plan.without_secrets({**tables, **kept})
    return msgspec.structs.replace(
        known,
        job=tables,
        inputs=prints,
        reading={**known.reading, **_of_more_files(known, source)},
        resumed=known.resumed + 1,
        state="running",
        prices=price_lists.snapshot(),
        data=data or known.data,
        retries=[*known.retries, again] if again else known.retries,
    )


def _of_more_files(known: Plan, source: Input) -> dict[str, Any]:
    """How files are read that came after the run had begun."""
    more = len(source.reading.dialects) > len(begun.reading(known).dialects)
    return {"dialects": msgspec.to_builtins(source.reading.dialects)} if more else {}

"""The folder of a run that begins: locked, made or recovered, and brought to where rows can be asked;
and left as it is at the end.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from batch import columns
from batch.costs import prompt_caches
from batch.costs.prompt_caches import Caches, Mark
from batch.engine.duplicates import Duplicates
from batch.engine.extent import Extent, Lent, Planned
from batch.engine.feed import Feed
from batch.engine.outages import START_PATIENCE
from batch.engine.questions import Questions
from batch.engine.standing import Standing
from batch.errors import BatchError, Different, Interrupted
from batch.model import Request
from batch.planning import beginning, begun, comparison, sources
from batch.planning.opened import Opened, Say
from batch.planning.prepare import Prepared
from batch.planning.terms import ALONE, Shard
from batch.readers import Watched
from batch.results import Maker
from batch.run_folder import RunFolder
from batch.store import budget_file, folder, lock, plan
from batch.store.files import Disk
from batch.store.log import Log
from batch.store.own_answers import OwnAnswers
from batch.store.plan import Plan
from batch.store.recover import recover

if TYPE_CHECKING:
    from batch.engine.prompt_cache import PromptCache, Waiting


def opened(prepared: Prepared, run: Path, say: Say, stack: ExitStack) -> Opened:
    """Lock the folder `run` until `stack` is left, and make it that of the run.  Raises BatchError."""
    kept = None
    begins = prepared.terms.anew or prepared.standing.replaces
    if begins and _is_only(prepared.terms.shard) and (before := plan.read(run)) is not None:
        kept, prepared = _set_aside(prepared, before, run, say)
    begun_run = _begun(prepared, run, say, stack)
    if kept is not None and prepared.standing.replaces:
        folder.discard(kept)
    return begun_run


def _is_only(shard: Shard | None) -> bool:
    """Whether nobody else may come to the run's folder: who begins anew would take it from them."""
    return shard is None or shard.kind == "driver"


def _begun(prepared: Prepared, run: Path, say: Say, stack: ExitStack) -> Opened:
    goes_on = prepared.known is not None and prepared.known.is_planned
    shard = prepared.terms.shard or (ALONE if goes_on else None)
    if shard is None:
        made = _locked(prepared, RunFolder(run), say, stack)
        budget_file.keep_cap(made.disk, made.run, prepared.cap)
        return made
    from batch.planning import joining, leased

    enter = leased.joined if shard.kind == "leased" else joining.joined
    return enter(prepared, RunFolder(run, shard.name), shard, say, stack)


def questions(prepared: Prepared, opened: Opened, say: Say) -> Questions:
    """What makes requests of rows, or knows their answers from the run that is reused."""
    reuse = None if prepared.terms.again else opened.reuse(say)
    request, bounds, duplicates = prepared.asked.request, prepared.bounds, None
    if prepared.asked.dedupe is not False and prepared.terms.again is None:
        answers = OwnAnswers(opened.run, opened.layout, opened.found)
        duplicates = Duplicates(answers, every=prepared.asked.dedupe is True)
    return Questions(prepared.prompter, request, bounds, reuse, prepared.checker, duplicates)


def prompt_cache(
    prepared: Prepared, caches: Caches | None, feed: Feed, clock: Callable[[], float]
) -> PromptCache | None:
    """What lets rows that begin alike go one after the other; None where the job does not want it, or
    several endpoints are asked, each of which has a cache of its own.
    """
    if caches is None or prepared.asked.prompt.cache == "off":
        return None
    from batch.engine.cache_leaders import CacheLeaders
    from batch.engine.prompt_cache import PromptCache

    leaders: CacheLeaders[Waiting] = CacheLeaders(caches, prepared.asked.prompt.leader_patience)
    return PromptCache(leaders, feed, clock, caches.heard)


def caches(prepared: Prepared) -> Caches | None:
    """What the endpoint's cache is like for a model; None where no model has one there, or there are
    several endpoints.
    """
    asked = prepared.asked
    if asked.is_pooled:
        return None
    provider, url, called = prepared.pricer.provider, prepared.base_url, asked.endpoint.model
    if not prompt_caches.are_at(url, provider, called or asked.request.model):
        return None
    return Caches(url, provider, called)


def marking(caches: Caches, only: Mark | None = None) -> Callable[[Request], bytes]:
    """What marks in a request's body the beginning that a server is to keep, where one wants that; with
    marks of `only` one kind.
    """
    from batch.apis import cache_marks

    def marked(request: Request) -> bytes:
        cache = caches(request.model)
        if cache is None or cache.mark is None or only not in (None, cache.mark):
            return request.body
        return cache_marks.marked(request, cache.mark, cache.least_bytes)

    return marked


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
    shard = prepared.terms.shard or ALONE
    succeeded = succeeded or prepared.terms.succeeded
    return Standing(succeeded, prepared.terms.yes, frozenset(doubted), patience, share=1 / shard.of)


def extent(prepared: Prepared, opened: Opened, feed: Feed) -> Extent | Planned | Lent:
    """How many rows are to be asked, as far as that is known."""
    leases = opened.leases
    if leases is not None:
        return Lent(lambda: leases.rows)
    limit = prepared.asked.limit
    planned = opened.rows_to_ask(limit)
    if planned is not None:
        return Planned(planned)
    return Extent(feed, prepared.rows, limit, is_whole=prepared.redo.missing)


def state(prepared: Prepared, opened: Opened, stopped: BatchError | None) -> str:
    """How a start leaves the run.  A retry does not finish what was unfinished before it."""
    if stopped is not None:
        return "interrupted" if isinstance(stopped, Interrupted) else "stopped"
    if prepared.terms.again is None or opened.stood is None:
        return "finished"
    return "interrupted" if opened.stood == "running" else opened.stood


def _set_aside(prepared: Prepared, before: Plan, run: Path, say: Say) -> tuple[Path, Prepared]:
    """Keep the run that is in the folder under another name, and reuse it from there if it is
    the one meant.  One that holds nothing is not kept for long, so that is not said of it.
    """
    kept = folder.set_aside(run)
    if prepared.standing.replaces:
        say("the run that was there holds no answer and cost nothing: this one replaces it")
    else:
        say(f"the run that was there is kept as {kept}")
    terms = prepared.terms
    if any(old.absolute() == run.absolute() for old in terms.reuse):
        olds = [kept if old.absolute() == run.absolute() else old for old in terms.reuse]
        terms = msgspec.structs.replace(terms, reuse=tuple(olds))
    job, standing = prepared.job, prepared.standing
    named = [job.input] if isinstance(job.input, str) else job.input or []
    if named and all(Path(name).parent == run.absolute() for name in named):
        # what was kept in the folder is kept again in that of the new run
        paths = [kept / Path(name).name for name in named]
        source = sources.from_files(paths, prepared.source)
        job = msgspec.structs.replace(job, input="-")
        standing = msgspec.structs.replace(standing, source=source, data=before.data)
    return kept, msgspec.structs.replace(prepared, terms=terms, job=job, standing=standing)


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
        job, source = beginning.keep_input(disk, prepared, run)
    watched = Watched(source)
    if known is None:
        if prepared.schema is None:
            raise Different(f"{run.path}: the run that was there has just gone")
        folder.begin(disk, run, prepared.schema)
    now = beginning.plan_of(prepared, job, source, watched.fingerprints, known)
    layout = begun.layout(run.path, now)
    found, damages = recover(disk, run)
    for damage in damages:
        say(damage.words)
    plan.write(disk, run, now)
    log = Log(run)
    log.event(
        "start", batchmill=now.batchmill, run_id=now.run_id, resumed=now.resumed, parts=len(found)
    )
    stood = None if known is None else known.state
    return Opened(disk, run, now, watched, found, layout, log, stood)

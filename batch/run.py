"""The whole story of a run: prepare, open its folder, ask every row, say how it went.

Everything that can be wrong with job and input is found before the folder is touched and before the
first request.
"""

from __future__ import annotations

import asyncio
import shutil
import sys
import tempfile
from collections.abc import Callable, Coroutine, Iterator
from contextlib import ExitStack
from pathlib import Path

import msgspec

from batch import apis, columns, endpoint, job, looking, media, readers
from batch.apis import APIS
from batch.asking import Asking, interruptible
from batch.checker import Checker
from batch.client import Client
from batch.endpoint import Target
from batch.errors import BatchError, Different, InputError, Interrupted, StorageError, UsageError
from batch.feed import Feed
from batch.job import Job
from batch.limiter import AUTO, Limiter
from batch.model import Row
from batch.progress import Progress
from batch.prompts import BadRow, Prompter
from batch.readers import Input
from batch.store import folder, lock, plan
from batch.store.files import Disk
from batch.store.log import Log
from batch.store.plan import Again, Plan
from batch.store.recover import Found, Redo, finished, recover
from batch.store.reuse import Reuse
from batch.store.seal import Layout
from batch.store.writer import Store
from batch.summary import Ended
from batch.usage import Summary

CHECKED_ROWS = 10_000
CHECKED_BYTES = 64 << 20
"""How much of a new input is rendered before the first request."""


class How(msgspec.Struct, frozen=True, kw_only=True):
    """How a job is run, beyond what the job says."""

    environment: dict[str, str]
    say: Callable[[str], None]
    input_format: str | None = None
    record_bad_rows: bool = False
    quiet: bool = False
    yes: bool = False
    new: bool = False
    reuse: Path | None = None
    again: Again | None = None


class Opened(msgspec.Struct, frozen=True):
    """A run folder that is locked and ready to take results."""

    disk: Disk
    run: Path
    plan: Plan
    source: Input
    found: list[Found]
    layout: Layout
    log: Log
    stood: str | None  # the state in which an earlier start left the run


def run(job_: Job, run_folder: Path, how: How) -> Ended:
    """Run a job in its folder, from wherever it stands.  Raises BatchError where nothing was begun."""
    prompter = Prompter(job_.prompt, job_.id_column)
    checker = _checker(job_)
    asked = _changed(job_, how.again)
    folder.check_ours(run_folder)
    anew = how.new or how.reuse is not None
    if how.reuse is not None:
        looking.opened(how.reuse)
    with interruptible(), ExitStack() as stack:
        source = _source(job_, how.input_format, stack)
        if anew or _same_run(job_, run_folder, source) is None:
            _check_rows(job_, source, prompter, how)
        target = _target(asked, how, stack)
        if anew and plan.read(run_folder) is not None:
            kept, how = _set_aside(run_folder, how)
            job_, source = _input_in(kept, job_, run_folder, source)
        opened = _open(job_, run_folder, source, checker, how, stack)
        return _in_a_loop(_ask(asked, prompter, checker, target, opened, how))


def _checker(job_: Job) -> Checker | None:
    return None if job_.request.schema is None else Checker(job_.request.schema)


def _changed(job_: Job, again: Again | None) -> Job:
    """The job with which chosen rows are asked again."""
    if again is None or not again.settings:
        return job_
    tables = job.tables_of(job_)
    for key, value in again.settings.items():
        job.put(tables, key, value)
    return job.check(tables)


def _set_aside(run_folder: Path, how: How) -> tuple[Path, How]:
    """Keep the run that is in the folder under another name, and reuse it from there if it is
    the one meant.
    """
    with lock.held(run_folder):
        kept = folder.set_aside(run_folder)
    how.say(f"the run that was there is kept as {kept}")
    if how.reuse is not None and how.reuse.absolute() == run_folder.absolute():
        how = msgspec.structs.replace(how, reuse=kept)
    return kept, how


def _input_in(kept: Path, job_: Job, run_folder: Path, source: Input) -> tuple[Job, Input]:
    """Standard input that was kept in the folder of a run is kept again in that of the new one."""
    if job_.input is None or Path(str(job_.input)).parent != run_folder.absolute():
        return job_, source
    path = kept / Path(str(job_.input)).name
    again = readers.resolve(str(path.absolute()), kept, source.format)
    return msgspec.structs.replace(job_, input="-"), again


def _source(job_: Job, input_format: str | None, stack: ExitStack) -> Input:
    if job_.input is None:
        raise UsageError("no input: name a file, or `input` in the job file")
    if job_.input != "-":
        return readers.resolve(job_.input, Path.cwd(), input_format)
    kept = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="batchmill-")))
    path = kept / f"stdin.{input_format or 'jsonl'}"
    with path.open("wb") as file:
        shutil.copyfileobj(sys.stdin.buffer, file, 1 << 20)
    return readers.resolve(str(path), kept, input_format)


def _same_run(
    job_: Job, run_folder: Path, source: Input, say: Callable[[str], None] | None = None
) -> Plan | None:
    """The plan of the run in the folder, None when there is none.  Raises Different."""
    known = plan.read(run_folder)
    if known is None:
        return None
    different = plan.differences(known.job, job.tables_of(job_))
    if different:
        raise Different(f"{run_folder} is the run of another job: {', '.join(different)} changed")
    before = [msgspec.convert(fingerprint, readers.Fingerprint) for fingerprint in known.inputs]
    difference = readers.compare(before, source)
    if difference.kind == "changed":
        raise Different(f"{run_folder} is the run of another input: {difference.text}")
    if difference.kind == "grown" and say is not None:
        say(f"the input grew ({difference.text}): its new rows are asked too")
    return known


def _check_rows(job_: Job, source: Input, prompter: Prompter, how: How) -> None:
    """Render the first rows of a new input.  Raises InputError naming the place of the first fault."""
    size, empty = 0, True
    for row in first_rows(source, min(CHECKED_ROWS, job_.limit or CHECKED_ROWS)):
        empty = False
        try:
            size += len(apis.build(prompter.question(row), job_.request, row.index).body)
        except BadRow as fault:
            if not how.record_bad_rows:
                hint = "mend it, or let such rows fail by themselves: --on-bad-row record"
                raise InputError(f"{row.where}: {fault}", hint=hint) from None
        if size > CHECKED_BYTES:  # of pictures
            break
    if empty:
        raise InputError(f"{', '.join(source.names)}: no rows")


def first_rows(source: Input, count: int) -> Iterator[Row]:
    """The first `count` rows of the input, or those in its first CHECKED_BYTES."""
    index = size = 0
    for batch in source.batches():
        for row in source.rows(batch, index)[: count - index]:
            yield row
            index += 1
        size += batch.table.nbytes
        if index >= count or size > CHECKED_BYTES:
            return


def _target(job_: Job, how: How, stack: ExitStack) -> Target:
    """Where requests go.  Starts the embedded model if that is where."""
    if not job_.endpoint.local:
        return endpoint.target(job_.endpoint, how.environment)
    from batch import local

    path = (job_.endpoint.base_url or "").removeprefix("local").removeprefix(":")
    slots = min(local.PARALLEL, _workers(job_))
    served = stack.enter_context(local.serving(Path(path) if path else None, parallel=slots))
    return Target(served.base_url, {"Authorization": f"Bearer {served.api_key}"}, "local")


def _open(
    job_: Job,
    run_folder: Path,
    source: Input,
    checker: Checker | None,
    how: How,
    stack: ExitStack,
) -> Opened:
    disk = Disk()
    folder.make(disk, run_folder)
    if warning := stack.enter_context(lock.held(run_folder)):
        how.say(warning)
    known = _same_run(
        job_, run_folder, source, how.say
    )  # once more, now that nobody else can change it
    how.say(f"{run_folder.absolute()} ({'resuming' if known else 'new'})")
    if job_.input == "-":
        job_, source = _keep_standard_input(disk, job_, run_folder, source)
    if known is None:
        _begin(disk, job_, run_folder, source, checker, how)
    now = _plan(job_, source, known, how)
    layout = looking.layout(run_folder, now)
    found, damages = recover(disk, run_folder)
    for damage in damages:
        how.say(f"{damage.path}: {damage.lines} damaged lines; their rows are asked again")
    plan.write(disk, run_folder, now)
    log = Log(run_folder)
    log.event(
        "start", batchmill=now.batchmill, run_id=now.run_id, resumed=now.resumed, parts=len(found)
    )
    stood = None if known is None else known.state
    return Opened(disk, run_folder, now, source, found, layout, log, stood)


def _keep_standard_input(
    disk: Disk, job_: Job, run_folder: Path, source: Input
) -> tuple[Job, Input]:
    path = run_folder / f"input{Path(source.files[0]).suffix}"
    with Path(source.files[0]).open("rb") as file:
        disk.put(path, iter(lambda: file.read(1 << 20), b""), run_folder / "tmp")
    name = str(path.absolute())
    return msgspec.structs.replace(job_, input=name), readers.resolve(
        name, run_folder, source.format
    )


def _begin(
    disk: Disk, job_: Job, run_folder: Path, source: Input, checker: Checker | None, how: How
) -> None:
    carried = source.schema(None if job_.keep is None else tuple(job_.keep))
    own = columns.chosen(job_.output.request, checker.type if checker else None)
    schema, renamed = columns.schema(carried, own)
    if checker is not None and checker.untypable is not None:
        how.say(f"the column parsed holds JSON text: Parquet has no type where {checker.untypable}")
    for old, new in renamed:
        if old == "custom_id":  # of a batch line; our own column of that name says the same
            continue
        how.say(f"the input's column {old!r} is carried as {new!r}: the name is taken")
    folder.begin(disk, run_folder, schema)


def _plan(job_: Job, source: Input, known: Plan | None, how: How) -> Plan:
    tables, prints = job.tables_of(job_), msgspec.to_builtins(source.fingerprints())
    if known is None:
        reuse = None if how.reuse is None else str(how.reuse.absolute())
        return msgspec.structs.replace(plan.new(tables, prints, source.format), reuse=reuse)
    kept = {
        key: known.job[key] for key in ("keep",) if key in known.job
    }  # the columns do not change any more
    tables = plan.without_secrets({**tables, **kept})
    return msgspec.structs.replace(
        known,
        job=tables,
        inputs=prints,
        resumed=known.resumed + 1,
        state="running",
        retries=[*known.retries, how.again] if how.again else known.retries,
    )


def _in_a_loop(story: Coroutine[None, None, Ended]) -> Ended:
    """uvloop takes a quarter off the CPU of a request, where it installs."""
    try:
        import uvloop
    except ImportError:
        return asyncio.run(story)
    return uvloop.run(story)


async def _ask(
    job_: Job,
    prompter: Prompter,
    checker: Checker | None,
    target: Target,
    opened: Opened,
    how: How,
) -> Ended:
    """Ask every row that has no result yet, and leave the folder sealed."""
    workers = _workers(job_)
    limiter = Limiter(job_.limits)
    redo = _redo(how.again)
    before = _held(opened)
    progress = Progress(before, limiter.words, quiet=how.quiet)
    store = Store(
        opened.run,
        opened.layout,
        opened.found,
        part_rows=job_.output.part_rows,
        on_done=progress.add,
        disk=opened.disk,
    )
    feed = Feed(
        opened.run,
        store,
        opened.source,
        opened.found,
        redo=redo,
        limit=job_.limit,
        window=2 * workers + 100,
        on_taken_back=progress.take_back,
    )
    progress.expect(lambda: _rows_expected(opened, store, feed, job_.limit))
    async with Client(job_.endpoint, target, workers, run_id=opened.plan.run_id) as sending:
        reuse = None if how.again else _reuse(opened, how)
        asking = Asking(
            job_,
            prompter,
            sending,
            limiter,
            feed,
            store,
            progress,
            reuse=reuse,
            checker=checker,
            succeeded=before.totals().rows_ok > 0,
            accept_empty=how.yes,
        )
        try:
            with asking.signals():
                await _ask_and_seal(asking, workers, store, feed)
        except StorageError as error:
            asking.stopped = error
        finally:
            progress.close()
    at_the_end = feed.ended and redo.missing and (job_.limit is None or store.next_row < job_.limit)
    rows = store.next_row if at_the_end else opened.plan.rows
    whole = store.summary()
    if not isinstance(asking.stopped, StorageError):
        _finish(opened, rows, whole, _state(opened, how, asking.stopped))
    ended = Ended(opened.run, whole, progress.asked_now, progress.elapsed(), rows, asking.stopped)
    opened.log.event(
        "end",
        exit_code=ended.exit_code,
        why=None if ended.stopped is None else str(ended.stopped),
        asked=msgspec.structs.asdict(ended.now),
        rows=rows,
    )
    return ended


async def _ask_and_seal(asking: Asking, workers: int, store: Store, feed: Feed) -> None:
    async with store:
        try:
            await asking.run(workers)
        finally:
            await feed.close()


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
    return Reuse(old, looking.layout(old, known), opened.run)


def _workers(job_: Job) -> int:
    """How many requests may be in flight."""
    if not job_.endpoint.local:
        return job_.limits.in_flight(AUTO)
    from batch import local

    return job_.limits.in_flight(local.PARALLEL)


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
    """The number of rows, as far as it is known; before the input's end, by the share of its
    bytes read.
    """
    rows = opened.plan.rows
    if feed.ended:
        rows = store.next_row
    elif rows is None:
        share = opened.source.share_before(store.next_position)
        rows = None if not share else round(store.next_row / share)
    return rows if limit is None or rows is None else min(rows, limit)


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


def preview(
    job_: Job, environment: dict[str, str], input_format: str | None, rows: int = 3
) -> Iterator[str]:
    """The requests of the first rows, as they would be sent; nothing is."""
    prompter = Prompter(job_.prompt, job_.id_column)
    _checker(job_)
    with ExitStack() as stack:
        source = _source(job_, input_format, stack)
        if not job_.endpoint.local:
            base_url = endpoint.target(job_.endpoint, environment).base_url
        for row in first_rows(source, min(rows, job_.limit or rows)):
            try:
                request = apis.build(prompter.question(row), job_.request, row.index)
            except BadRow as fault:
                raise InputError(f"{row.where}: {fault}") from None
            at = (
                "embedded model"
                if job_.endpoint.local
                else endpoint.url_of(base_url, APIS[request.api].PATH)
            )
            yield f"# {row.where} -> POST {at}"
            yield msgspec.json.format(media.shortened(request.body), indent=2).decode()

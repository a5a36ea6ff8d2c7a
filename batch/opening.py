"""The folder of a run that begins: compared with the job, locked, made or recovered."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from batch import columns, job, looking, old_rules, prices, readers, status
from batch.checker import Checker
from batch.errors import Different, InputError
from batch.job import Job
from batch.outputs import picked
from batch.readers import Input, Reading
from batch.rehearsal import Terms, said
from batch.store import contents, folder, lock, plan
from batch.store.drawn import Cap
from batch.store.files import Disk
from batch.store.log import Log
from batch.store.plan import Again, Plan
from batch.store.recover import Found, recover
from batch.store.seal import Layout

if TYPE_CHECKING:
    import pyarrow as pa

MOST_NAMED = 5
"""Renamed columns that are told by name: a run that is exported and asked again has all of ours."""


class How(Terms, frozen=True, kw_only=True):
    """How a job is run, beyond what the job says.  A `probe` asks so many rows at most, and leaves
    the job's own limit as it is; `cap` is what a flag says of the cost.
    `agrees` puts a question to a person, and is None where there is
    nobody.
    """

    say: Callable[[str], None]
    quiet: bool = False
    cap: Cap | None = None
    yes: bool = False
    new: bool = False
    reuse: Path | None = None
    again: Again | None = None
    probe: int | None = None
    agrees: Callable[[str], bool] | None = None


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
    rows: int | None  # of its input, where they were all looked at before it began


def set_aside(run_folder: Path, how: How, *, worthless: bool = False) -> tuple[Path, How]:
    """Keep the run that is in the folder under another name, and reuse it from there if it is
    the one meant.  One that is `worthless` is not kept for long, so that is not said of it.
    """
    with lock.held(run_folder):
        kept = folder.set_aside(run_folder)
    if worthless:
        how.say("the run that was there holds no answer and cost nothing: this one replaces it")
    else:
        how.say(f"the run that was there is kept as {kept}")
    if how.reuse is not None and how.reuse.absolute() == run_folder.absolute():
        how = msgspec.structs.replace(how, reuse=kept)
    return kept, how


def input_in(kept: Path, job_: Job, run_folder: Path, source: Input) -> tuple[Job, Input]:
    """Standard input that was kept in the folder of a run is kept again in that of the new one."""
    if job_.input is None or Path(str(job_.input)).parent != run_folder.absolute():
        return job_, source
    path = kept / Path(str(job_.input)).name
    again = readers.resolve(str(path.absolute()), kept, source.format, source.reading)
    return msgspec.structs.replace(job_, input="-"), again


def reading_of(run_folder: Path, job_: Job) -> tuple[str | None, Reading | None]:
    """The format of the job's input and how it is read, as far as the run in the folder tells."""
    known = plan.read(run_folder)
    if known is None:
        return None, None
    same = known.job.get("input") == job_.input
    return known.input_format if same else None, looking.reading_of(known)


def binds_nobody(run_folder: Path) -> bool:
    """Whether the run in the folder holds no answer, and nothing in it may have been billed."""
    _, layout = looking.opened(run_folder)
    totals = status.counted(run_folder)[0].totals()
    used = totals.input_tokens + totals.output_tokens + totals.unconfirmed_tokens
    charged = totals.maybe_billed_attempts + totals.unbounded_attempts + used
    return not totals.rows_ok and not charged and not contents.unanswered(run_folder, layout)


def same_run(
    job_: Job, run_folder: Path, source: Input, say: Callable[[str], None] | None = None
) -> Plan | None:
    """The plan of the run in the folder, None when there is none.  Raises Different."""
    known = plan.read(run_folder)
    if known is None:
        return None
    different = plan.differences(known, job.tables_of(job_), job_.request.over)
    if different:
        raise Different(f"{run_folder} is the run of another job: {', '.join(different)} changed")
    if contradicted := readers.contradicted(source, known.input_format, said(job_)):
        raise Different(f"{run_folder} reads its input otherwise: {contradicted}")
    before = [msgspec.convert(fingerprint, readers.Fingerprint) for fingerprint in known.inputs]
    difference = readers.compare(before, source)
    if difference.kind == "changed":
        raise Different(f"{run_folder} is the run of another input: {difference.text}")
    if known.rules < plan.RULES and (why := old_rules.why_different(job_, source, run_folder)):
        raise Different(f"{run_folder} began by the rules of an older version: {why}")
    if difference.kind == "grown":
        _join(run_folder, source, difference.text, say)
    return known


def _join(run_folder: Path, source: Input, growth: str, say: Callable[[str], None] | None) -> None:
    try:
        notices = source.newcomers()
    except InputError as error:
        raise Different(f"{run_folder} is the run of another input: {error}") from None
    if say is not None:
        for line in (f"the input grew ({growth}): its new rows are asked too", *notices):
            say(line)


def open_folder(
    job_: Job,
    run_folder: Path,
    source: Input,
    schema: Callable[[Input], pa.Schema],
    how: How,
    stack: ExitStack,
    rows: int | None = None,
) -> Opened:
    """Lock the folder until `stack` is left, and bring it to where rows can be asked; `schema` gives
    the columns of a run that is new, whose input has `rows`, where that is known.  Raises BatchError.
    """
    disk = Disk()
    folder.make(disk, run_folder)
    if warning := stack.enter_context(lock.held(run_folder)):
        how.say(warning)
    # once more, now that nobody else can change it
    known = same_run(job_, run_folder, source, how.say)
    how.say(f"{run_folder.absolute()} ({'resuming' if known else 'new'})")
    if job_.input == "-":
        job_, source = _keep_standard_input(disk, job_, run_folder, source)
    if known is None:
        folder.begin(disk, run_folder, schema(source))
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
    return Opened(disk, run_folder, now, source, found, layout, log, stood, rows)


def _keep_standard_input(
    disk: Disk, job_: Job, run_folder: Path, source: Input
) -> tuple[Job, Input]:
    path = run_folder / Path(source.files[0]).name.replace("stdin", "input", 1)
    with Path(source.files[0]).open("rb") as file:
        disk.put(path, iter(lambda: file.read(1 << 20), b""), run_folder / "tmp")
    name = str(path.absolute())
    return msgspec.structs.replace(job_, input=name), readers.resolve(
        name, run_folder, source.format, source.reading
    )


def schema_of(
    job_: Job,
    source: Input,
    *,
    checker: Checker | None,
    apis: Iterable[str],
    say: Callable[[str], None],
) -> pa.Schema:
    """The columns of a new run; what is unexpected of them is said."""
    carried = source.schema(None if job_.keep is None else tuple(job_.keep))
    embedding = "embeddings" in {job_.request.api, *apis}
    own = columns.chosen(job_.output.request, embedding, checker.type if checker else None)
    schema, renamed = columns.schema(carried, own)
    if checker is not None and checker.untypable is not None:
        say(f"the column parsed holds JSON text: Parquet has no type where {checker.untypable}")
    # the custom_id of a batch line is left out: our own column of that name says the same
    if told := [f"{old} as {new}" for old, new in renamed if old != "custom_id"]:
        more = f" and {len(told) - MOST_NAMED} more" if len(told) > MOST_NAMED else ""
        names = ", ".join(told[:MOST_NAMED])
        say(f"columns of the input whose names are taken are carried as others: {names}{more}")
    return schema


def _of_more_files(known: Plan, source: Input) -> dict[str, Any]:
    """How files are read that came after the run had begun."""
    more = len(source.reading.dialects) > len(looking.reading_of(known).dialects)
    return {"dialects": msgspec.to_builtins(source.reading.dialects)} if more else {}


def check_columns(
    job_: Job,
    run_folder: Path,
    known: Plan | None,
    source: Input,
    checker: Checker | None,
    apis: Iterable[str],
) -> None:
    """Raises UsageError where the file of the results is to hold columns that there will not be."""
    output = job_.output
    if output.columns is None and not output.flat:
        return
    if known is not None:
        schema = looking.layout(run_folder, known).schema
    else:
        schema = schema_of(job_, source, checker=checker, apis=apis, say=lambda _: None)
    picked.pick(schema, output.columns, output.flat)


def _plan(job_: Job, source: Input, known: Plan | None, how: How) -> Plan:
    tables, prints = job.tables_of(job_), msgspec.to_builtins(source.fingerprints())
    if known is None:
        return plan.new(
            tables,
            prints,
            source.format,
            reuse=None if how.reuse is None else str(how.reuse.absolute()),
            prices=prices.snapshot(),
            reading=msgspec.to_builtins(source.found()),
            over=dict(job_.request.over),
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
        prices=prices.snapshot(),
        retries=[*known.retries, how.again] if how.again else known.retries,
    )

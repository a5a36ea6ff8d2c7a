"""Whether the run in a folder is that of a job: the same questions about the same input."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from batch import readers, spec
from batch.errors import Different, InputError
from batch.planning import begun, sources
from batch.planning.terms import Terms
from batch.readers import Input
from batch.run_folder import RunFolder
from batch.sampling import Chosen
from batch.spec import Job
from batch.store import folder, plan
from batch.store.plan import Plan, Values

if TYPE_CHECKING:
    from batch.readers.memory import Data


class Standing(msgspec.Struct, frozen=True, kw_only=True):
    """What a job finds in its folder.  `data` tells of an input that was in memory.  `known` is the run
    that goes on, None where one begins.  `replaces` tells that a run is there which holds nothing and
    gives way; `different` says why the run that is there cannot go on.
    """

    source: Input
    data: Values | None = None
    known: Plan | None = None
    replaces: bool = False
    different: Different | None = None


def of(job: Job, terms: Terms, stack: ExitStack) -> Standing:
    """Compare a job with its folder; the source is of the job's sample, if it asks for one.  Raises
    Different where it asks, Refused for a folder that is not ours, and what the input's files raise.
    """
    found = _of(job, terms, stack)
    source = sampled(job, found.source, found.known)
    return msgspec.structs.replace(found, source=source, data=sources.values(terms.data))


def sampled(job: Job, source: Input, known: Plan | None) -> Input:
    """The input of a job that may be a sample of it: chosen when the run `known` began, or else now,
    after all rows have been counted.
    """
    if job.sample is None or (known is None and source.chosen is not None):
        return source
    rows = None if known is None else known.sampled_from
    made = Chosen(source.count() if rows is None else rows, job.sample, job.seed)
    return source if made == source.chosen else source.sample(made)


def _of(job: Job, terms: Terms, stack: ExitStack) -> Standing:
    run = terms.folder
    if run is not None and terms.asks:
        folder.check_ours(run)
    for old in terms.reuse:
        begun.opened(old)
    if run is None or terms.anew:
        return Standing(source=sources.of(job, terms, stack, None))
    source = sources.of(job, terms, stack, plan.read(run))
    try:
        return Standing(source=source, known=same_run(job, run, source, terms.data))
    except Different as different:
        if not terms.asks:
            return Standing(source=sources.anew(job, terms, source, stack), different=different)
        if terms.again is not None or not _holds_nothing(run):
            raise
        return Standing(source=sources.anew(job, terms, source, stack), replaces=True)


def same_run(
    job: Job,
    run_folder: Path,
    source: Input,
    data: Data | None,
    say: Callable[[str], None] | None = None,
) -> Plan | None:
    """The plan of the run in the folder, None when there is none.  Raises Different."""
    known = plan.read(run_folder)
    if known is None:
        return None
    different = plan.differences(known, spec.tables_of(job), job.request.over)
    if different:
        raise Different(f"{run_folder} is the run of another job: {', '.join(different)} changed")
    if contradicted := readers.contradicted(source, known.input_format, sources.said(job)):
        raise Different(f"{run_folder} reads its input otherwise: {contradicted}")
    before = [msgspec.convert(fingerprint, readers.Fingerprint) for fingerprint in known.inputs]
    difference = readers.compare(before, source)
    if difference.kind == "changed":
        text = difference.text if data is None else _other_values(known, data)
        raise Different(f"{run_folder} is the run of another input: {text}")
    if known.rules < plan.RULES:
        from batch.planning import old_rules

        if why := old_rules.why_different(job, source, run_folder):
            raise Different(f"{run_folder} began by the rules of an older version: {why}")
    if difference.kind == "grown":
        _join(run_folder, source, difference.text, known.sampled_from, say)
    return known


def _other_values(known: Plan, data: Data) -> str:
    """How data from memory differ from what a run was about."""
    if known.data is None:
        return "it was a file"
    before, now = known.data.rows, data.rows
    sizes = f"{before:,} rows before, {now:,} now" if now < before else f"its first {before:,} rows"
    return f"data with other values ({sizes})"


def _join(
    run_folder: Path,
    source: Input,
    growth: str,
    sampled_from: int | None,
    say: Callable[[str], None] | None,
) -> None:
    try:
        notices = source.new_file_notices()
    except InputError as error:
        raise Different(f"{run_folder} is the run of another input: {error}") from None
    if say is not None:
        then = "its new rows are asked too"
        if sampled_from is not None:
            then = f"the sample stays that of its first {sampled_from:,} rows"
        for line in (f"the input grew ({growth}): {then}", *notices):
            say(line)


def _holds_nothing(run_folder: Path) -> bool:
    """Whether the run in the folder holds no answer, and nothing in it may have been billed."""
    from batch.store import contents

    _, layout = begun.opened(run_folder)
    totals = contents.counted(run_folder).summary.totals()
    used = totals.input_tokens + totals.output_tokens + totals.unconfirmed_tokens
    charged = totals.maybe_billed_attempts + totals.unbounded_attempts + used
    return (
        not totals.rows_ok
        and not charged
        and not contents.unanswered(RunFolder(run_folder), layout)
    )

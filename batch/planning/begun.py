"""A run that has begun, as far as its folder tells: its plan, its job, how its input is read, and how
its results become columns.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import msgspec

from batch import columns, readers, spec
from batch.damage import damaged
from batch.errors import UsageError
from batch.readers import Reading
from batch.run_folder import PLAN, RunFolder
from batch.spec import Job
from batch.store import folder, plan
from batch.store.plan import Again, Plan
from batch.store.seal import Layout


def opened(run: Path) -> tuple[Plan, Layout]:
    """The plan and the layout of the run in a folder.  Raises UsageError when there is none."""
    known = plan.read(run)
    if known is None:
        raise UsageError(f"{run} is no run: there is no {PLAN} in it")
    return known, layout(run, known)


def layout(run: Path, known: Plan) -> Layout:
    """How results become columns in a run."""
    schema = folder.schema(RunFolder(run))
    own = columns.of_run(schema)
    carried = columns.carried(schema, own)
    if known.rules == 1:
        carried = columns.by_rules_1(carried)
    keep = known.job.get("keep")
    reader, chosen = (
        readers.READERS.get(known.input_format),
        None if keep is None else frozenset(keep),
    )
    if reader is None:
        raise damaged(RunFolder(run).plan, f"input_format: there is no {known.input_format!r}")
    return Layout(
        schema, own, lambda table: reader.carry(table, carried, chosen), plan.chosen(known)
    )


def reading(known: Plan) -> Reading:
    """How a run reads its input since it began."""
    return readers.OF_RULES_1 if known.rules == 1 else msgspec.convert(known.reading, Reading)


def job(known: Plan) -> Job:
    """The job of a run, without its endpoint."""
    return spec.check(spec.without_unknown(known.job), given=known.over)


def given(again: Again, before: Mapping[str, Any]) -> dict[str, Any]:
    """The keys of requests that flags gave, those of a retry among them."""
    return {**before, **spec.given(again.settings)}

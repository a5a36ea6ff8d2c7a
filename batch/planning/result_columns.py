"""The columns of a run that begins."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, NamedTuple

from batch import columns
from batch.apis import APIS
from batch.readers import Input
from batch.spec import Job
from batch.structured.validator import Checker

if TYPE_CHECKING:
    import pyarrow as pa

MOST_NAMED = 5
"""Renamed columns that are told by name: a run that is exported and asked again has all of ours."""


class Columns(NamedTuple):
    """They are fixed when the run begins; `notices` tell what may be unexpected of them."""

    schema: pa.Schema
    notices: tuple[str, ...]


def of(job: Job, source: Input, checker: Checker | None, apis: Iterable[str]) -> Columns:
    """What its input carries, then what its answers have; `apis` are those its rows ask."""
    carried = source.schema(None if job.keep is None else tuple(job.keep))
    asked = {job.request.api, *apis}
    of_apis = [column for name, api in APIS.items() if name in asked for column in api.COLUMNS]
    own = columns.chosen(job.output.request, of_apis, checker.type if checker else None)
    schema, renamed = columns.schema(carried, own)
    notices = []
    if checker is not None and checker.untypable is not None:
        why = checker.untypable
        notices.append(f"the column parsed holds JSON text: Parquet has no type where {why}")
    # the custom_id of a batch line is left out: our own column of that name says the same
    if told := [f"{old} as {new}" for old, new in renamed if old != "custom_id"]:
        more = f" and {len(told) - MOST_NAMED} more" if len(told) > MOST_NAMED else ""
        names = ", ".join(told[:MOST_NAMED])
        notices.append(
            f"columns of the input whose names are taken are carried as others: {names}{more}"
        )
    return Columns(schema, tuple(notices))

"""Whether a run that began by older rules would ask otherwise today.

By rules 1 a template looked at Python's attributes before keys, wrote JSON for HTML and moments as
Python does, an empty cell of CSV was an empty text, and rows' own requests were weighed in another
way.  A run goes on by today's rules only where its questions stay the same.
"""

from __future__ import annotations

from contextlib import suppress
from itertools import islice
from pathlib import Path

import pyarrow as pa

from batch.apis import weighing
from batch.planning import requests_again
from batch.readers import Input
from batch.requests.prompts import BadRow
from batch.requests.templates import rules_1
from batch.spec import Job

COMPARED = 1_000
"""Rows done whose questions are made again, to see whether they are the same."""


def why_different(job: Job, source: Input, run: Path) -> str | None:
    """Why questions of the run in a folder could be others now; None where they are the same."""
    prompt = job.prompt
    for role in ("system", "shared", "user"):
        template: str | None = getattr(prompt, role)
        for construct in rules_1.changed(template or ""):
            return f"[prompt] {role} uses {construct}, which means something else now"
    named = job.prompter().columns()
    if source.format == "csv" and named & set(source.schema(None).names):
        return "the prompt names columns of CSV, whose empty cells are null now"
    for field in source.schema(None):
        if field.name in named and _has_moments(field.type):
            return f"the prompt names {field.name}, whose dates are written as ISO 8601 now"
    if (why := _weighed_otherwise(job, source)) is not None:
        return why
    differing = islice(requests_again.differing(run, job, source), COMPARED)
    if (row := next((row for row, differs in differing if differs), None)) is not None:
        return f"row {row} would be asked something else now"
    return None


def _weighed_otherwise(job: Job, source: Input) -> str | None:
    """Whether keys of the job stand against those of a row's own body: had they been given by flags,
    which was not kept, they would win now.
    """
    prompter = job.prompter()
    if prompter.templated:
        return None
    keys = {**job.request.sent, **({"model": job.request.model} if job.request.model else {})}
    for row in source.all_rows(COMPARED):
        body = row.values.get("body")
        if body is None:
            continue
        if job.prompt.system is not None:
            return f"{row.where} has a body, in which a system's part given by a flag is put now"
        with suppress(BadRow):
            own = prompter.question(row).body or {}
            said = {key: value for key, value in keys.items() if own.get(key) is not None}
            if against := weighing.overruled(own, said):
                return f"{row.where} says {against[0]} itself, and a flag that says it wins now"
    return None


def _has_moments(kind: pa.DataType) -> bool:
    """Whether there are dates or times in a type, at any depth."""
    if pa.types.is_nested(kind):
        return any(_has_moments(kind.field(at).type) for at in range(kind.num_fields))
    if pa.types.is_dictionary(kind):
        return _has_moments(kind.value_type)
    return bool(pa.types.is_temporal(kind))

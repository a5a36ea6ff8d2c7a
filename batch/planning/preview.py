"""The requests of the first rows, as they would be sent; nothing is."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from itertools import islice

import msgspec

from batch import words
from batch.errors import InputError
from batch.model import Request
from batch.planning import sources
from batch.planning.prepare import prepare
from batch.planning.terms import Terms
from batch.requests import media
from batch.spec import Job


def of(job: Job, terms: Terms, rows: int = 3) -> Iterator[str]:
    """A line that tells the row's place, and the request, for each row.  Raises JobError and
    InputError.
    """
    with ExitStack() as stack:
        prepared = prepare(job, terms, stack)
        asked = list(islice(prepared.requests(), rows))
        if not asked:
            raise sources.no_rows(prepared.source)
        yield from (f"# {notice}" for notice in sources.notices(prepared.source))
        for row, request in asked:
            if not isinstance(request, Request):
                raise InputError(f"{row.where}: {request}")
            yield words.one_line(f"# {row.where} -> POST {prepared.place(request.api)}")
            yield msgspec.json.format(media.shortened(request.body), indent=2).decode()

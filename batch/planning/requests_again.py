"""The requests of a run made again from its input, to see whether they are those that were sent."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from batch import apis, spec
from batch.apis import Parameters
from batch.planning import begun, comparison
from batch.readers import Input
from batch.requests.prompts import BadRow
from batch.run_folder import RunFolder
from batch.spec import Job
from batch.store import contents
from batch.store.plan import Plan
from batch.store.seal import Layout


def differing(run: Path, job: Job, source: Input) -> Iterator[tuple[int, bool]]:
    """Every row that has a result, and whether it was asked something else than `job` asks of it in
    `source`.
    """
    known, layout = begun.opened(run)
    sampled = comparison.sampled(job, source, known)
    hashes = _hashes(job, sampled, [job.request, *_of_retries(known)])
    index, expected = next(hashes, (None, frozenset()))
    for row, digest in _sent(run, layout):
        while index is not None and index < row:
            index, expected = next(hashes, (None, frozenset()))
        yield row, index != row or (digest is not None and digest not in expected)


def _of_retries(known: Plan) -> list[Parameters]:
    """The parameters that retries were given."""
    return [
        spec.check(
            spec.over(known.job, again.settings), given=begun.given(again, known.over)
        ).request
        for again in known.retries
    ]


def _sent(run: Path, layout: Layout) -> Iterator[tuple[int, str | None]]:
    folder = RunFolder(run)
    for number in folder.numbers():
        table = contents.chosen(folder, number, layout, ["row", "request_hash"])
        yield from zip(*(column.to_pylist() for column in table.columns), strict=True)


def _hashes(
    job: Job, source: Input, variants: list[Parameters]
) -> Iterator[tuple[int | None, frozenset[str]]]:
    """For every row of the input, the hashes its request may have."""
    prompter = job.prompter()
    for row in source.all_rows():
        try:
            question = prompter.question(row)
            built = (apis.build(question, each, row.index) for each in variants)
            yield row.index, frozenset(request.hash for request in built)
        except BadRow:
            yield row.index, frozenset()

"""What the first rows ask, made and judged in one pass before anything is sent.

Everything that can be wrong with rows and is not the server's secret is found here, with the place
where it stands.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import chain, islice

import msgspec

from batch import apis
from batch.apis import Parameters, weighing
from batch.costs.budget import WorstCase
from batch.costs.forecast import Forecaster
from batch.errors import InputError
from batch.model import Row
from batch.planning import checks, sources
from batch.planning.terms import Terms
from batch.readers import FIRST_BYTES, FIRST_ROWS, Input
from batch.requests import preflight
from batch.requests.custom_ids import CustomIds
from batch.requests.preflight import Bounds, OutOfBounds
from batch.requests.prompts import BadRow, Prompter, Question
from batch.spec import Job

NAMED_ROWS = 100
"""How many rows tell which columns there are."""


class FirstRows(msgspec.Struct, frozen=True, kw_only=True):
    """What the first rows ask.  `api` is that of the first one, `apis` and `models` are those of all;
    `forecast` adds up their requests, and `notices` are lines for a person.  `rows` counts them where
    the input has no more, and is None where it has.
    """

    api: str
    apis: frozenset[str] = frozenset()
    models: frozenset[str] = frozenset()
    notices: tuple[str, ...] = ()
    forecast: Forecaster | None = None
    rows: int | None = None


class Asker(msgspec.Struct, frozen=True):
    """What makes requests of rows: a job, its prompter, and the bounds to which it holds them."""

    job: Job
    prompter: Prompter
    bounds: Bounds | None


def of_new(first: Sample, asker: Asker, terms: Terms, worst: WorstCase | None) -> FirstRows:
    """The `first` rows of a run that begins; `worst` tells what they may cost, under a cap.  Raises
    JobError, and InputError naming the place of the first fault.
    """
    seen = _Seen(asker, terms, worst)
    for row in first:
        try:
            seen.take(row)
        except BadRow as fault:
            if not terms.record_bad_rows:
                raise InputError(f"{row.where}: {fault}", hint=_way_out(fault)) from None
        if seen.bytes > FIRST_BYTES:  # of pictures
            break
    else:
        seen.ended = first.ended
    if not seen.rows:
        raise sources.no_rows(first.source)
    checks.is_local(asker.job, first.source, seen.apis)
    return seen.together()


def of_begun(asker: Asker, source: Input, terms: Terms, worst: WorstCase | None) -> FirstRows:
    """The first rows of a run that goes on: they were judged when it began, and only what they may
    cost at most (`worst`) can be another thing now.  Raises JobError.
    """
    job, templated = asker.job, asker.prompter.templated
    if templated and worst is None:
        return FirstRows(api=job.request.api)
    most = 1 if worst is None else min(FIRST_ROWS, job.limit or FIRST_ROWS)
    api = None
    for row in Sample(source, most):
        try:
            question = asker.prompter.question(row)
            api = api or question.api or job.request.api
            if worst is not None:
                request = apis.build(question, job.request, row.index)
                checks.cap(worst, request, row.where, terms, templated=templated)
        except BadRow:
            continue
        if templated:
            break
    return FirstRows(api=api or job.request.api)


def with_prompt_checked(rows: Iterator[Row], asker: Asker, terms: Terms) -> Iterator[Row]:
    """The rows, the first of which have been held against the prompt.  Raises JobError."""
    named = list(islice(rows, NAMED_ROWS))
    checks.prompt(asker.job, asker.prompter, named, terms)
    return chain(named, rows)


class Sample:
    """The first `count` rows of the input, or those in its first FIRST_BYTES.  It can be gone through
    once; afterwards `ended` tells whether the input has no more.
    """

    def __init__(self, source: Input, count: int) -> None:
        self.source = source
        self.ended = False
        self._count = count
        self._rows = self._read()

    def __iter__(self) -> Iterator[Row]:
        return self._rows

    def check_prompt(self, asker: Asker, terms: Terms) -> None:
        """Hold the rows against the prompt.  Raises JobError."""
        self._rows = with_prompt_checked(self._rows, asker, terms)

    def _read(self) -> Iterator[Row]:
        index = size = 0
        for batch in self.source.batches():
            rows = self.source.rows(batch, index)
            yield from rows[: self._count - index]
            index += len(rows)
            size += batch.table.nbytes
            if index >= self._count or size > FIRST_BYTES:
                return
        self.ended = True


class _Seen:
    """Rows looked at so far."""

    def __init__(self, asker: Asker, terms: Terms, worst: WorstCase | None) -> None:
        self.rows = 0
        self.bytes = 0
        self.ended = False
        self.apis: set[str] = set()
        self._asker = asker
        self._terms = terms
        self._api: str | None = None
        self._models: set[str] = set()
        self._asked = Forecaster()
        self._overruled = _Overruled()
        self._ids = CustomIds()
        self._not_sent: dict[str, int] = {}
        self._worst = worst

    def take(self, row: Row) -> None:
        """The next row.  Raises BadRow, and JobError where nobody knows what it may cost."""
        self.rows += 1
        asker = self._asker
        question = asker.prompter.question(row)
        self._api = self._api or question.api or asker.job.request.api
        if not asker.prompter.templated:  # the row speaks for itself
            self._overruled.note(question, asker.job.request)
            for name in asker.prompter.passed_over(row):
                self._not_sent[name] = self._not_sent.get(name, 0) + 1
        if question.custom_id is not None:
            self._ids.note(question.custom_id, row.where)
        request = apis.bounded(question, asker.job.request, row.index, asker.bounds)
        self.apis.add(request.api)
        self._models.add(request.model or "")
        self.bytes += len(request.body)
        self._asked.add(request)
        if self._worst is not None:
            templated = asker.prompter.templated
            checks.cap(self._worst, request, row.where, self._terms, templated=templated)
            if templated:  # all are alike but for their text
                self._worst = None

    def together(self) -> FirstRows:
        """All of it."""
        lines = (self._overruled.words(), _not_sent(self._not_sent), self._ids.words())
        return FirstRows(
            api=self._api or self._asker.job.request.api,
            apis=frozenset(self.apis),
            models=frozenset(self._models),
            notices=tuple(line for line in lines if line is not None),
            forecast=self._asked,
            rows=self.rows if self.ended else None,
        )


class _Overruled:
    """Which keys of rows' own bodies flags overrule."""

    def __init__(self) -> None:
        self._rows: dict[str, int] = {}

    def note(self, question: Question, parameters: Parameters) -> None:
        """Count one row."""
        if question.body is None or not parameters.over:
            return
        for key in weighing.overruled(question.body, parameters.over):
            self._rows[key] = self._rows.get(key, 0) + 1

    def words(self) -> str | None:
        """One line, None where rows say nothing else."""
        if not self._rows:
            return None
        keys, rows = ", ".join(self._rows), max(self._rows.values())
        return f"flags win over what rows say themselves: {keys} (in {rows:,} of the first rows)"


def _not_sent(columns: dict[str, int]) -> str | None:
    """A line on columns that look like parameters, None where there are none."""
    if not columns:
        return None
    return (
        f"columns that look like parameters are data here, and not sent: {', '.join(columns)} (a row"
        " is a request where all its keys are parameters, or where they stand in a column `body`)"
    )


def _way_out(fault: BadRow) -> str:
    hint = "mend it, or let such rows fail by themselves: --on-bad-row record"
    return f"{hint}; {preflight.WAY_OUT}" if isinstance(fault, OutOfBounds) else hint

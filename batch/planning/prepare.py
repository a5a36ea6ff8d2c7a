"""What a run would ask, made and judged before anything is sent.

Everything that can be wrong with job and input and is not the server's secret is found here, with the
place where it stands.  Rows are read a batch at a time, so memory does not grow with the input.
"""

from __future__ import annotations

import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, suppress
from pathlib import Path

import msgspec

from batch import apis, readers, spec, words
from batch.apis import APIS, Parameters, weighing
from batch.costs import prices
from batch.costs.budget import Boundless, WorstCase
from batch.costs.forecast import Forecaster
from batch.costs.prices import Pricer
from batch.errors import InputError, JobError, UsageError
from batch.model import Request, Row
from batch.planning import same_prompt
from batch.readers import FIRST_BYTES, FIRST_ROWS, Input, Reading, TextOptions, files
from batch.requests import media, preflight
from batch.requests.custom_ids import CustomIds
from batch.requests.preflight import Bounds, OutOfBounds
from batch.requests.prompts import BadRow, Prompter, Question
from batch.spec import Job
from batch.structured.validator import Checker
from batch.transport import endpoint, model_list

NAMED_ROWS = 100
"""How many rows tell which columns there are."""


class Terms(msgspec.Struct, frozen=True, kw_only=True):
    """By what a job is judged, beyond what it says.  `bounds` holds its requests to what servers
    accept; `job_file` is named where one of its keys is wrong; `same_prompt` tells that the prompt
    need not name a column.
    """

    environment: dict[str, str]
    record_bad_rows: bool = False
    bounds: bool = True
    job_file: Path | None = None
    same_prompt: bool = False


class Fault(msgspec.Struct, frozen=True):
    """A row that could not be asked; `where` is its place in the input."""

    row: int
    where: str
    message: str


class Validity(msgspec.Struct):
    """What was found in all rows: how many there are, how many of them are bad, the first faults,
    which labels (`custom_id`) more than one row bears, in words, and what was found out of the files.
    """

    rows: int = 0
    bad_rows: int = 0
    models: list[str] = []
    faults: list[Fault] = []
    duplicates: str | None = None
    notices: tuple[str, ...] = ()


class Rehearsed(msgspec.Struct, frozen=True):
    """What the first rows ask: the APIs and models, all of it added up, and lines of notice where
    they are due.  `rows` is how many there are to ask, where these are all.
    """

    apis: frozenset[str] = frozenset()
    models: frozenset[str] = frozenset()
    notices: tuple[str, ...] = ()
    forecaster: Forecaster | None = None
    rows: int | None = None


def check(job_: Job, source: Input, prompter: Prompter, terms: Terms) -> Rehearsed:
    """Judge a job and the first rows of its input.  The notice is about its models, whose list is
    fetched while the rows are read.  Raises JobError and InputError.
    """
    check_parameters(job_, terms)
    check_prompt(job_, source, prompter, terms)
    offered = None
    if terms.bounds and not job_.endpoint.local:
        target = endpoint.target(job_.endpoint, terms.environment)
        offered = model_list.Meanwhile(job_.endpoint, target)
    found = _check_rows(job_, source, prompter, terms)
    elsewhere = sorted(name for name in found.apis if not APIS[name].IS_LOCAL)
    if job_.endpoint.local and elsewhere:
        raise InputError(f"{source.names[0]}: the embedded model gives no {elsewhere[0]}")
    found = msgspec.structs.replace(found, notices=(*notices_of(source), *found.notices))
    if offered is None:
        return found
    unlisted = model_list.unlisted(set(found.models), offered.names())
    notices = found.notices if unlisted is None else (*found.notices, unlisted)
    return msgspec.structs.replace(found, notices=notices)


def notices_of(source: Input) -> tuple[str, ...]:
    """Lines about what may be unexpected of the input."""
    return (*source.notices, *source.together())


def checker_of(job_: Job, terms: Terms) -> Checker | None:
    """What holds answers to the schema of a job that has one.  Raises JobError for one that is none."""
    if job_.request.schema is None:
        return None
    try:
        return Checker(job_.request.schema)
    except JobError as error:
        raise JobError(f"{spec.place(['request', 'schema'], terms.job_file)}{error}") from None


def check_parameters(job_: Job, terms: Terms) -> None:
    """Raises JobError for a parameter in `[request]` that servers refuse."""
    if not terms.bounds:
        return
    shared = {**job_.request.sent, "model": job_.request.model}
    host = _host(job_, terms)
    for finding in preflight.of_parameters(APIS[job_.request.api], shared, host):
        where = spec.place(["request", finding.parameter], terms.job_file)
        raise JobError(f"{where}[request] {finding}", hint=preflight.WAY_OUT)


def check_prompt(job_: Job, source: Input, prompter: Prompter, terms: Terms) -> None:
    """Raises JobError for a prompt that names no column, so that all rows would be asked the same."""
    if terms.same_prompt or not prompter.templated:
        return
    columns = dict.fromkeys(name for row in first_rows(source, NAMED_ROWS) for name in row.values)
    if found := same_prompt.fault(job_.prompt, prompter, columns):
        where = spec.place(["prompt", "user"], terms.job_file)
        raise JobError(f"{where}[prompt] user: {found.problem}", hint=found.way_out)


def check_cap(
    job_: Job, source: Input, prompter: Prompter, pricer: Pricer, job_file: Path | None
) -> None:
    """A job with a cap must be able to say what its requests cost at most: all are alike in that
    where it says all but the text.  Raises JobError, naming the key to set.
    """
    if job_.limits.max_cost_usd is None:
        return
    worst, now = WorstCase(pricer), time.time()
    for row in first_rows(source, min(FIRST_ROWS, job_.limit or FIRST_ROWS)):
        try:
            worst.of(_request(job_, row, prompter, None), now)
        except BadRow:
            continue
        except Boundless as fault:
            where = spec.place(["limits", "max_cost_usd"], job_file)
            where += "[limits] max_cost_usd" if prompter.templated else f"max_cost_usd: {row.where}"
            raise JobError(f"{where}: {fault}") from None
        if prompter.templated:
            return


def check_custom_ids(job_: Job, source: Input, prompter: Prompter) -> None:
    """All rows must be told apart by their labels where OpenAI's batch format is to be written; a row
    without one is called by its number.  Raises InputError.
    """
    if job_.output.format != "openai-batch":
        return
    ids = CustomIds()
    for row in _rows(source, job_.limit):
        custom_id = None
        with suppress(BadRow):
            custom_id = prompter.custom_id(row.values)
        ids.note(custom_id or str(row.index), row.where)
    if (words := ids.words()) is not None:
        hint = "OpenAI's batch format tells rows apart by it: mend the input, or choose another --format"
        raise InputError(words, hint=hint)


def bounds_of(job_: Job, prompter: Prompter, terms: Terms) -> Bounds | None:
    """To what rows are held; None where the server is left to judge."""
    return Bounds(_host(job_, terms), prompter.templated) if terms.bounds else None


def _host(job_: Job, terms: Terms) -> str:
    if job_.endpoint.local:
        return ""
    return endpoint.host_of(endpoint.address(job_.endpoint, terms.environment))


def _check_rows(job_: Job, source: Input, prompter: Prompter, terms: Terms) -> Rehearsed:
    """Render the first rows.  Raises InputError naming the place of the first fault."""
    size = rows = 0
    spoken, wanted, asked = set(), set(), Forecaster()
    overruled, ids = Overruled(), CustomIds()
    unsent: dict[str, int] = {}
    bounds = bounds_of(job_, prompter, terms)
    most = min(FIRST_ROWS, job_.limit or FIRST_ROWS)
    first = FirstRows(source, most)
    for row in first:
        rows += 1
        try:
            question = prompter.question(row)
            overruled.note(question, job_.request)
            for name in prompter.passed_over(row):
                unsent[name] = unsent.get(name, 0) + 1
            ids.note(question.custom_id, row.where)
            request = apis.bounded(question, job_.request, row.index, bounds)
            spoken.add(request.api)
            wanted.add(request.model or "")
            size += len(request.body)
            asked.add(request)
        except BadRow as fault:
            if not terms.record_bad_rows:
                raise InputError(f"{row.where}: {fault}", hint=_hint(fault)) from None
        if size > FIRST_BYTES:  # of pictures
            break
    if not rows:
        raise no_rows(source)
    whole = rows if first.ended else None
    lines = (overruled.words(), _not_sent(unsent), ids.words())
    notices = tuple(line for line in lines if line is not None)
    return Rehearsed(frozenset(spoken), frozenset(wanted), notices, asked, whole)


def _not_sent(unsent: dict[str, int]) -> str | None:
    """A line on columns that look like parameters, None where there are none."""
    if not unsent:
        return None
    return (
        f"columns that look like parameters are data here, and not sent: {', '.join(unsent)} (a row"
        " is a request where all its keys are parameters, or where they stand in a column `body`)"
    )


class Overruled:
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


def no_rows(source: Input) -> InputError:
    return InputError(f"{', '.join(source.names)}: no rows")


def _hint(fault: BadRow) -> str:
    hint = "mend it, or let such rows fail by themselves: --on-bad-row record"
    return f"{hint}; {preflight.WAY_OUT}" if isinstance(fault, OutOfBounds) else hint


class FirstRows:
    """The first `count` rows of the input, or those in its first FIRST_BYTES; `ended` tells, once
    they have been read, that there are no more.
    """

    def __init__(self, source: Input, count: int) -> None:
        self._source = source
        self._count = count
        self.ended = False

    def __iter__(self) -> Iterator[Row]:
        index = size = 0
        for batch in self._source.batches():
            if index >= self._count or size > FIRST_BYTES:
                return
            rows = self._source.rows(batch, index)
            kept = rows[: self._count - index]
            yield from kept
            if len(kept) < len(rows):
                return
            index += len(rows)
            size += batch.table.nbytes
        self.ended = True


def first_rows(source: Input, count: int) -> Iterator[Row]:
    """The first `count` rows of the input, or those in its first FIRST_BYTES."""
    return iter(FirstRows(source, count))


def rows_in(source: Input, limit: int | None) -> int:
    """About how many rows the input has, `limit` at most: counted as far as first_rows reads, the
    rest by its share of the bytes.
    """
    rows = size = 0
    most = FIRST_ROWS if limit is None else limit
    for batch in source.batches():
        rows += len(batch.table)
        size += batch.table.nbytes
        if rows >= most or size > FIRST_BYTES:
            share = source.share_before(batch.end)
            rows = round(rows / share) if share else rows
            break
    return rows if limit is None else min(rows, limit)


def _request(job_: Job, row: Row, prompter: Prompter, bounds: Bounds | None) -> Request:
    """The request of a row, held to bounds, if there are any.  Raises BadRow."""
    return apis.bounded(prompter.question(row), job_.request, row.index, bounds)


def source_of(
    job_: Job, stack: ExitStack, format_: str | None = None, reading: Reading | None = None
) -> Input:
    """The input of a job, whose format and reading may be known from its run; standard input is kept
    in a file until `stack` ends.
    """
    format_ = job_.input_format or format_
    if job_.input is None:
        raise UsageError("no input: name a file, or `input` in the job file")
    if job_.input != "-":
        return readers.resolve(job_.input, Path.cwd(), format_, reading, said(job_))
    kept = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="batchmill-")))
    path = files.keep(sys.stdin.buffer, kept, format_)
    return readers.resolve(path, kept, format_, reading, said(job_))


def looked_at_anew(job_: Job, source: Input) -> Input:
    """The same files, whatever a run was told about them that holds no longer."""
    if source.format == "run":
        return source
    named = job_.input if job_.input not in (None, "-") else list(source.files)
    return readers.resolve(named, Path.cwd(), job_.input_format, None, said(job_))


def said(job_: Job) -> TextOptions:
    """What a job says of how its input is to be read."""
    return TextOptions(job_.delimiter, job_.encoding)


def first_api(job_: Job, source: Input, prompter: Prompter) -> str:
    """The API that the first row asks: its own, or that of the job."""
    if not prompter.templated:
        for row in first_rows(source, 1):
            with suppress(BadRow):
                return prompter.question(row).api or job_.request.api
    return job_.request.api


def pricer(job_: Job, base_url: str) -> Pricer:
    """What prices answers from `base_url`.  For a public host the lists are loaded here: 0.3 s."""
    private = endpoint.is_private(endpoint.host_of(base_url))
    provider, local = job_.endpoint.provider, job_.endpoint.local
    sells = prices.seller(base_url, provider, private=private, local=local)
    return Pricer(job_.prices, sells)


def place(job_: Job, base_url: str, api: str) -> str:
    """Where requests to an API go, for a person."""
    if job_.endpoint.local:
        return "the embedded model"
    return endpoint.url_of(base_url, APIS[api].PATH)


def preview(job_: Job, terms: Terms, rows: int = 3) -> Iterator[str]:
    """The requests of the first rows, as they would be sent; nothing is."""
    prompter = job_.prompter()
    checker_of(job_, terms)
    check_parameters(job_, terms)
    bounds = bounds_of(job_, prompter, terms)
    with ExitStack() as stack:
        source = source_of(job_, stack)
        base_url = ""
        if not job_.endpoint.local:
            base_url = endpoint.address(job_.endpoint, terms.environment)
        yield from (f"# {notice}" for notice in notices_of(source))
        check_prompt(job_, source, prompter, terms)
        for row in first_rows(source, min(rows, job_.limit or rows)):
            try:
                request = _request(job_, row, prompter, bounds)
            except BadRow as fault:
                raise InputError(f"{row.where}: {fault}") from None
            yield words.one_line(f"# {row.where} -> POST {place(job_, base_url, request.api)}")
            yield msgspec.json.format(media.shortened(request.body), indent=2).decode()


def validate(job_: Job, terms: Terms, most_faults: int) -> Validity:
    """Judge a job and every row of its input (as many as its `limit` allows); the first `most_faults`
    faults are kept, all are counted.  Raises JobError and InputError for what is no single row's.
    """
    prompter = job_.prompter()
    checker_of(job_, terms)
    check_parameters(job_, terms)
    bounds = bounds_of(job_, prompter, terms)
    found, wanted, ids = Validity(), set(), CustomIds()
    with ExitStack() as stack:
        source = source_of(job_, stack)
        found.notices = notices_of(source)
        source.schema(None if job_.keep is None else tuple(job_.keep))
        check_prompt(job_, source, prompter, terms)
        for row, asked in requests(job_, source, prompter, bounds):
            found.rows += 1
            if isinstance(asked, Request):
                wanted.add(asked.model or "")
                ids.note(asked.custom_id, row.where)
                continue
            found.bad_rows += 1
            if len(found.faults) < most_faults:
                found.faults.append(Fault(row.index, row.where, str(asked)))
        if not found.rows:
            raise no_rows(source)
    found.models, found.duplicates = sorted(wanted), ids.words()
    return found


def requests(
    job_: Job, source: Input, prompter: Prompter, bounds: Bounds | None
) -> Iterator[tuple[Row, Request | BadRow]]:
    """Every row (as many as the job's `limit` allows) with its request, or why it has none."""
    for row in _rows(source, job_.limit):
        try:
            yield row, _request(job_, row, prompter, bounds)
        except BadRow as fault:
            yield row, fault


def _rows(source: Input, limit: int | None) -> Iterator[Row]:
    """The rows of the input, `limit` of them at most."""
    index = 0
    for batch in source.batches():
        rows = source.rows(batch, index)
        yield from rows if limit is None else rows[: limit - index]
        index += len(rows)
        if limit is not None and index >= limit:
            return

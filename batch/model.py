"""The values that travel: Row, Request, Attempt, Completion, Usage, Result.

All are frozen.  "Unknown" is None everywhere, never 0, -1 or "".  Times are seconds: wall-clock
moments are seconds since the epoch, durations are monotonic differences.

None of them holds itself, so the garbage collector need not walk them (`gc=False`).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Protocol

import msgspec

if TYPE_CHECKING:
    import pyarrow as pa


class Position(msgspec.Struct, frozen=True, omit_defaults=True):
    """A place between two rows of the input, from which reading can go on.

    `file` counts the input's files, `offset` is bytes into the decompressed text, taken as UTF-8
    (Parquet and Arrow: rows into the file), `line` is the lines before it (JSON documents: rows;
    Parquet and Arrow: 0), `skip` the rows to pass over from there.  `row` is the number of the row
    that comes next; only a sample has it.
    """

    file: int = 0
    offset: int = 0
    line: int = 0
    skip: int = 0
    row: int = 0


class Batch(msgspec.Struct, frozen=True):
    """Consecutive rows of one file, as they stand there.  `end` is where the next batch starts.  In a
    sample `offsets` tells how many rows behind `start` each of them stands.
    """

    table: pa.RecordBatch
    start: Position
    end: Position
    offsets: Sequence[int] | None = None

    def cut(self, rows: int) -> tuple[Batch, Batch]:
        """The first `rows` rows, and the rest, of which there is one at least."""
        if self.offsets is None:
            middle, before, after = self._behind(rows, 0), None, None
        else:
            passed = self.offsets[rows]
            middle, before = self._behind(passed, passed), self.offsets[:rows]
            after = [offset - passed for offset in self.offsets[rows:]]
        return Batch(self.table[:rows], self.start, middle, before), Batch(
            self.table[rows:], middle, self.end, after
        )

    def _behind(self, skip: int, row: int) -> Position:
        start = self.start
        return msgspec.structs.replace(start, skip=start.skip + skip, row=start.row + row)


class Cut(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """A slice of the input that was planned as a part, before anything was asked: `rows` from the place
    `start_row` on, which begin at `start`; the next part begins at `end`.
    """

    part: int
    start_row: int
    rows: int
    start: Position
    end: Position


class Unreadable(msgspec.Struct, frozen=True):
    """A value of the input that cannot be asked about; `why` names its column and goes to the user."""

    why: str


DEFAULT_API = "chat"

EMBEDDED_MODEL = "smollm2-135m-instruct"
"""What answers where the embedded model is asked, unless a file of it is named."""


class Spoken(Protocol):
    """What an API says of itself; the modules in apis/ do."""

    @property
    def PATH(self) -> str:
        """Where it is, below the base URL."""

    @property
    def ASKED_IN(self) -> tuple[str, ...]:
        """The keys of a body one of which says what is asked, the usual one first."""

    @property
    def SYSTEM_IN(self) -> str | None:
        """The key of a body in which the system speaks; None where nobody has a role."""

    @property
    def OUTPUT_CAPS(self) -> tuple[str, ...]:
        """The parameters that bound how long an answer is, the one to advise first; none where no
        token is put out.
        """


class Row(msgspec.Struct, frozen=True, gc=False):
    """One row of the input: its columns as the prompt sees them.

    `where` is the place a message names (`reviews.jsonl:17`), `folder` that of the input file, None
    when it is not on this machine.  A row that could not be read has a `fault` and no values.
    `padded` tells that fields which are not there are null in its structs, as Arrow has it.
    """

    index: int
    values: dict[str, Any]
    where: str
    fault: str | None = None
    folder: str | None = None
    padded: bool = False


class Request(msgspec.Struct, frozen=True, gc=False):
    """One row's question, ready to send.  `hash` names the question, not its transport; `choices`
    is how many answers it asks for.  `output_cap` is the tokens they may have, all together (0 where
    none are put out), `cap_key` the parameter that sets it.  `stream_options` tells that its body
    has a field of that name.  `again` counts the whole answers to it that were not wanted.  `packed`
    are those of all its rows, where several share one request; `row` is the first of them.  `shared`
    is how many characters of its user's text other rows may begin with, too.
    """

    row: int
    custom_id: str | None
    api: str
    model: str | None
    body: bytes
    hash: str
    stream: bool = False
    choices: int = 1
    output_cap: int | None = None
    cap_key: str = "max_tokens"
    stream_options: bool = False
    again: int = 0
    packed: tuple[Request, ...] = ()
    shared: int = 0


class Attempt(msgspec.Struct, frozen=True, gc=False):
    """One HTTP try, whatever became of it.  `status` is None when no answer arrived.

    `answer` is the decoded body (a stream: folded to the blocking shape), None when it was no JSON.
    `fault` names a failure below HTTP: an error class, `reused_socket` (a kept-alive connection had
    been closed) or `untrusted` (TLS or a proxy refuses).  `maybe_billed` tells that the server may
    have computed, and charged for, an answer nobody has seen; `unreachable` that there was no
    connection at all; `repaired` that broken text in the answer was mended; `without_key` that no
    key went with it; `marked` that the request told the server's cache where its beginning
    ends.  `member` is the number of the endpoint, where a run asks several.
    """

    endpoint: str
    started_at: float
    latency_s: float
    status: int | None = None
    headers: dict[str, str] = {}
    answer: Any = None
    raw: bytes = b""
    fault: str | None = None
    message: str | None = None
    maybe_billed: bool = False
    unreachable: bool = False
    ttft_s: float | None = None
    repaired: bool = False
    member: int = 0
    without_key: bool = False
    marked: bool = False


class Usage(msgspec.Struct, frozen=True, gc=False, omit_defaults=True):
    """Tokens of one or more answers.  Input includes cached and cache-write, output includes
    reasoning.
    """

    input_tokens: int | None = None
    cached_tokens: int | None = None
    cache_write_tokens: int | None = None
    output_tokens: int | None = None
    reasoning_tokens: int | None = None


class Parts(msgspec.Struct, frozen=True, gc=False, omit_defaults=True):
    """Tokens of a kind that some models price apart, each inside the Usage it belongs to, and
    searches of the web.  `cache_write_1h` are those cache-write tokens that are kept for an hour.
    """

    input_audio: int | None = None
    input_image: int | None = None
    cached_audio: int | None = None
    cached_image: int | None = None
    cache_write_1h: int | None = None
    output_audio: int | None = None
    output_image: int | None = None
    web_searches: int | None = None


class ToolCall(msgspec.Struct, frozen=True, gc=False):
    id: str | None
    name: str | None
    arguments: str | None


class Choice(msgspec.Struct, frozen=True, gc=False, omit_defaults=True):
    index: int
    completion: str | None = None
    finish_reason: str | None = None
    refusal: str | None = None
    reasoning: str | None = None
    tool_calls: list[ToolCall] | None = None


class Completion(msgspec.Struct, frozen=True, gc=False):
    """What an accepted answer says, in our words.  `unheld` tells that it holds more than our
    columns do; `parsed` is the JSON in it that fits the job's schema; `parts` are inside `usage`.
    `embedding` is a vector as floats of 32 bits, little-endian, which its column has.
    """

    choices: list[Choice] = []
    served_model: str | None = None
    service_tier: str | None = None
    usage: Usage | None = None
    parts: Parts = Parts()
    usage_json: str | None = None
    embedding: bytes | None = None
    flags: list[str] = []
    unheld: bool = False
    parsed: str | None = None


class Sent(msgspec.Struct, frozen=True, gc=False, omit_defaults=True):
    """A request that left at the moment `at` (seconds since the epoch), when `before` attempts of
    its row had been recorded: with so many tokens at most, `output_tokens` being None where it sets
    no bound.  `free` tells that it was certainly not charged, `rides` that it is counted at another row.
    """

    row: int
    at: float
    before: int = 0
    model: str | None = None
    input_tokens: int = 0
    output_tokens: int | None = None
    free: bool = False
    rides: bool = False


class AttemptRecord(msgspec.Struct, frozen=True, gc=False, omit_defaults=True):
    """One line of a row's `attempt_log`."""

    endpoint: str
    started_at: float
    latency_s: float
    served_model: str | None = None
    http_status: int | None = None
    error_class: str | None = None
    input_tokens: int | None = None
    output_tokens: int | None = None
    cost_usd: float | None = None
    maybe_billed: bool = False


class Result(msgspec.Struct, frozen=True, gc=False, kw_only=True, omit_defaults=True):
    """The end of a row's story: what the journal keeps and the output shows, one field a column.

    `requests` are those that are counted here: of one for several rows that is at the first of them.
    None stands for as many as there were attempts.
    `parsed` is JSON text here, to the digit; its column has the type of the schema.
    `embedding` is that of a Completion; a list where a journal of an older version is read.
    """

    row: int
    status: str
    custom_id: str | None = None
    flags: list[str] = []
    completion: str | None = None
    reasoning: str | None = None
    refusal: str | None = None
    tool_calls: list[ToolCall] | None = None
    choices: list[Choice] | None = None
    parsed: str | None = None
    embedding: bytes | list[float] | None = None
    finish_reason: str | None = None
    model: str | None = None
    served_model: str | None = None
    service_tier: str | None = None
    input_tokens: int | None = None
    cached_tokens: int | None = None
    cache_write_tokens: int | None = None
    output_tokens: int | None = None
    reasoning_tokens: int | None = None
    usage_json: str | None = None
    cost_usd: float | None = None
    cost_source: str | None = None
    reported_cost_usd: float | None = None
    reused: bool = False
    attempts: int = 0
    requests: int | None = None
    maybe_billed_attempts: int = 0
    unconfirmed_tokens: int | None = None
    unconfirmed_cost_usd: float | None = None
    unbounded_attempts: int = 0
    attempt_log: list[AttemptRecord] | None = None
    http_status: int | None = None
    error_class: str | None = None
    error_code: str | None = None
    error_message: str | None = None
    latency_s: float | None = None
    ttft_s: float | None = None
    started_at: float | None = None
    finished_at: float | None = None
    endpoint: str | None = None
    request_id: str | None = None
    request_hash: str | None = None
    response_json: str | None = None
    request_json: str | None = None

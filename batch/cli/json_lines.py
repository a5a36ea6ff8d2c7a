"""What happens in a run as JSON lines, for programs: `--progress json`.

Each line is one of the values below.  docs/progress.md tells what they mean, and
docs/progress.schema.json is their schema; a later version may have more keys and more events, and
`version` changes where a key has another meaning.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any, Literal, TextIO

import msgspec

from batch import words
from batch.engine import events
from batch.totals import Totals


class Counts(msgspec.Struct, frozen=True, kw_only=True):
    """Rows done, and what they took.  `cost_usd` is that of rows whose cost is known; `unpriced_rows`
    are the others.
    """

    ok: int
    failed: int
    reused: int
    attempts: int
    input_tokens: int
    output_tokens: int
    cost_usd: float
    unpriced_rows: int
    unconfirmed_cost_usd: float

    @classmethod
    def of(cls, *totals: Totals) -> Counts:
        """What they add up to."""
        whole = Totals()
        for each in totals:
            whole.merge(each)
        return cls(
            ok=whole.rows_ok,
            failed=whole.rows_failed,
            reused=whole.rows_reused,
            attempts=whole.attempts,
            input_tokens=whole.input_tokens,
            output_tokens=whole.output_tokens,
            cost_usd=whole.cost_usd,
            unpriced_rows=whole.unpriced_rows,
            unconfirmed_cost_usd=whole.unconfirmed_cost_usd,
        )


class Line(msgspec.Struct, frozen=True, kw_only=True, tag_field="event"):
    """What every line has: `time` is the moment, in UTC, as ISO 8601."""

    version: Literal[1] = 1
    time: str


class Opened(Line, frozen=True, kw_only=True, tag="opened"):
    """The folder of the run is ready; `counts` are the rows it holds already."""

    run: str
    run_id: str
    resumed: int
    counts: Counts


class Notice(Line, frozen=True, kw_only=True, tag="notice"):
    """One line for a person."""

    text: str


class Fetching(Line, frozen=True, kw_only=True, tag="fetching"):
    """The embedded model is fetched: so many bytes of the `whole` are there."""

    there: int
    whole: int


class Progress(Line, frozen=True, kw_only=True, tag="progress"):
    """How far the run is, twice a second; `counts` are all rows that are done, those of earlier starts
    among them.  `rows` are all that are to be asked, reckoned while the input is read; null is unknown.
    """

    seconds: float
    rows: int | None
    counts: Counts
    retries: int
    in_flight: int
    rows_per_second: float
    seconds_left: float | None
    cap_left_usd: float | None
    waiting: str | None


class Waiting(Line, frozen=True, kw_only=True, tag="waiting"):
    """The run has waited for a while.  `kind` is down, refused or rate."""

    kind: str
    why: str


class WentOn(Line, frozen=True, kw_only=True, tag="went_on"):
    """What the run waited for, `seconds` long, is over."""

    kind: str
    seconds: float


class Ended(Line, frozen=True, kw_only=True, tag="ended"):
    """The last line.  `counts` are those of the whole run, `asked` those of this start; they and `run`
    are null where no run was begun.  `next` is the command to go on with, word by word, and
    `next_says` what it is for.
    """

    exit_code: int
    run: str | None = None
    rows: int | None = None
    counts: Counts | None = None
    asked: Counts | None = None
    seconds: float | None = None
    flags: dict[str, int] = {}
    failures: dict[str, int] = {}
    cap_left_usd: float | None = None
    results: str | None = None
    error: str | None = None
    hint: str | None = None
    next: tuple[str, ...] | None = None
    next_says: str | None = None


Told = Opened | Notice | Fetching | Progress | Waiting | WentOn | Ended


def schema() -> dict[str, Any]:
    """What every line keeps to, as a JSON Schema: every key is always there."""
    made = msgspec.json.schema(Told)
    del made["discriminator"]  # which is OpenAPI's
    for kind in made["$defs"].values():
        kind["required"] = list(kind["properties"])
        kind["description"] = " ".join(kind["description"].split())
        for each in kind["properties"].values():
            each.pop("default", None)
    title = "A line of batchmill run --progress json"
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", "title": title, **made}


class Lines:
    """Writes lines on a stream; a consumer of the events of a run, whose end is told apart."""

    def __init__(self, stream: TextIO, moment: Callable[[], float] = time.time) -> None:
        self._stream = stream
        self._moment = moment

    def __call__(self, event: events.Event) -> None:
        """Tell of an event.  Raises OSError where nobody reads."""
        if (line := self._line(event)) is not None:
            words.put(_encoded(line), self._stream, "json")

    def notice(self, text: str) -> None:
        """One line for a person."""
        self.write(Notice(time=self.now(), text=text))

    def failed(self, exit_code: int, error: str, hint: str | None = None) -> None:
        """That the command has ended with an error, and no more is known."""
        self.write(Ended(time=self.now(), exit_code=exit_code, error=error, hint=hint))

    def write(self, line: Told) -> None:
        """Write a line, if somebody reads it."""
        words.remark(_encoded(line), self._stream, "json")

    def now(self) -> str:
        return datetime.fromtimestamp(self._moment(), UTC).isoformat(timespec="milliseconds")

    def _line(self, event: events.Event) -> Told | None:
        now = self.now()
        match event:
            case events.Opened(run, run_id, resumed, held):
                run_path, counts = str(run.absolute()), Counts.of(held)
                return Opened(time=now, run=run_path, run_id=run_id, resumed=resumed, counts=counts)
            case events.Notice(text):
                return Notice(time=now, text=text)
            case events.Fetching(there, whole):
                return Fetching(time=now, there=there, whole=whole)
            case events.Progressed():
                return _progress(now, event)
            case events.Waiting(kind, why):
                return Waiting(time=now, kind=kind, why=why)
            case events.WentOn(kind, seconds):
                return WentOn(time=now, kind=kind, seconds=seconds)
        return None


def _progress(time: str, now: events.Progressed) -> Progress:
    return Progress(
        time=time,
        seconds=round(now.seconds, 3),
        rows=now.rows,
        counts=Counts.of(now.held, now.asked),
        retries=now.retries,
        in_flight=now.in_flight,
        rows_per_second=round(now.per_second, 3),
        seconds_left=None if now.seconds_left is None else round(now.seconds_left, 3),
        cap_left_usd=None if now.cap_left is None else float(now.cap_left),
        waiting=now.waiting or None,
    )


def _encoded(line: Told) -> str:
    return json.dumps(msgspec.to_builtins(line))

"""What an attempt means: accept, try again, reject the row, or stop the run.  Pure.

What an error body says comes first (`error_bodies`), then the HTTP status (`STATUSES`).  An error
inside a 200 counts as the status it stands for.  Words that the request itself said are not the
server's.

Four things can be wrong: the row (`Reject`: recorded, the run goes on), the moment (`TryAgain`),
the endpoint (`Pause`: rows wait for it), or the run (`Stop`: bad key, no credit, wrong URL; no row
is marked failed for it).
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from typing import Any

import msgspec

from batch import error_bodies, error_words, headers
from batch.error_bodies import ServerError
from batch.model import Attempt, Completion
from batch.words import storable


class Accept(msgspec.Struct, frozen=True, gc=False):
    """An answer, perhaps with flags in its completion."""

    completion: Completion


class TryAgain(msgspec.Struct, frozen=True):
    """The row may succeed later.

    `maybe_billed`: the answer may have been computed and charged.
    `refused`: the server had no room (429, or 503 with a wait), which uses up no chance.
    `wait`: the seconds it asked to wait.  `reset`: the seconds until its limit is whole again.
    `at_once`: nothing is wrong with the server; a kept-alive socket had been closed.
    `once`: one more try may help, two will not.
    `unreachable`: there was no connection.
    `mismatch`: the answer, in `completion`, does not fit the schema.
    """

    error_class: str
    message: str
    code: str | None = None
    maybe_billed: bool = False
    refused: bool = False
    wait: float | None = None
    reset: float | None = None
    at_once: bool = False
    once: bool = False
    unreachable: bool = False
    mismatch: bool = False
    completion: Completion | None = None


class Pause(msgspec.Struct, frozen=True):
    """The endpoint refuses what it took before: a key, a path or a model.  The row waits until a
    probe succeeds.
    """

    error_class: str
    message: str
    code: str | None = None


class Reject(msgspec.Struct, frozen=True):
    """The row cannot succeed as it is.

    `stream_options`, `cache_marks`: the server does not take such a field, and the row can do without.
    `completion`: the answer, where the row fails for what it says.
    """

    error_class: str
    message: str
    code: str | None = None
    stream_options: bool = False
    cache_marks: bool = False
    completion: Completion | None = None


class Stop(msgspec.Struct, frozen=True):
    """No row can succeed until a person changes something."""

    error_class: str
    message: str
    code: str | None = None


Unaccepted = TryAgain | Pause | Reject | Stop
Outcome = Accept | Unaccepted

TRANSIENT = frozenset(
    {
        "rate_limited",
        "overloaded",
        "server_error",
        "timeout",
        "connection",
        "cut_off",
        "bad_response",
    }
)
"""Error classes that a later run asks again by itself."""

FINAL = frozenset(
    {
        "invalid_request",
        "context_length",
        "content_filter",
        "too_large",
        "blocked",
        "schema_mismatch",
        "tool_error",
        "invalid_row",
    }
)
"""Error classes that only `batchmill retry` asks again."""

STOPPING = frozenset({"auth", "quota", "not_found", "redirect"})
"""Error classes that stop a run and are never written to rows."""

STATUSES = {
    400: "invalid_request",
    401: "auth",
    402: "quota",
    403: "auth",
    404: "not_found",
    405: "redirect",
    408: "timeout",
    409: "overloaded",
    413: "too_large",
    414: "too_large",
    422: "invalid_request",
    424: "server_error",
    425: "overloaded",
    429: "rate_limited",
    431: "too_large",
    498: "overloaded",
    499: "timeout",
    501: "invalid_request",
    503: "overloaded",
    504: "timeout",
    505: "invalid_request",
    524: "timeout",
    529: "overloaded",
}
"""HTTP status -> error class; another 4xx is the row's fault, another 5xx the server's."""

GENERATED = frozenset({"schema_mismatch", "tool_error"})
"""Error classes by which a server says that its own answer was wrong: another may be right."""

MAYBE_BILLED = frozenset({499, 504, 524})
"""Statuses of a proxy that gave up on a server, which may have gone on computing."""

CACHE_MARKS = "prompt_cache_(?:options|breakpoint)|cache_control"
"""Fields that say where the beginning of a prompt ends."""

MESSAGE_LENGTH = 500
"""Characters of a server's words that are kept."""
CODE_LENGTH = 100
"""Characters of an error's code that are kept."""


class BadAnswer(ValueError):
    """A decoded body is not an answer of the API that was asked.  Raised by the parsers in apis/."""


def judge(
    attempt: Attempt,
    parse: Callable[[Any], Completion],
    now: float,
    succeeded: bool = False,
    asked: bytes = b"",
) -> Outcome:
    """What `attempt` means.

    `parse` reads an answer of the API asked; `now` is the wall clock, for HTTP dates.  Where the
    endpoint has `succeeded` before, a key or model that it refuses now is its outage.  `asked` is the
    body of the request.
    """
    judged = _judge(attempt, parse, now, asked)
    if isinstance(judged, Accept):
        return judged
    judged = _told(judged)
    if succeeded and isinstance(judged, Stop) and judged.error_class in ("auth", "not_found"):
        return Pause(judged.error_class, judged.message, judged.code)
    return judged


def _told(judged: Unaccepted) -> Unaccepted:
    """What a server said, as it may be stored and shown."""
    message = storable(judged.message, MESSAGE_LENGTH)
    code = None if judged.code is None else storable(judged.code, CODE_LENGTH)
    return msgspec.structs.replace(judged, message=message, code=code)


def _judge(
    attempt: Attempt, parse: Callable[[Any], Completion], now: float, asked: bytes
) -> Outcome:
    if attempt.fault is not None:
        return _transport_fault(attempt)
    status = attempt.status or 0
    if 300 <= status < 400 or status == 405:
        return Stop("redirect", _redirected(attempt))
    error = error_bodies.error_in(attempt.answer)
    if status == 200 and error is None:
        return _answered(attempt, parse)
    if error is None:
        error = ServerError(_shown(attempt) or f"HTTP {status}")
    if status == 200:
        return _error_inside_success(error, attempt, now, asked)
    if 200 <= status < 300 or status > 599:
        return TryAgain("bad_response", f"HTTP {status} is no answer", maybe_billed=True)
    return _refused(status, error, attempt, now, asked)


def _transport_fault(attempt: Attempt) -> Outcome:
    message = attempt.message or attempt.fault or ""
    match attempt.fault:
        case "too_large":
            return Reject("too_large", message)
        case "untrusted":
            return Stop("connection", message)
        case "reused_socket":
            return TryAgain("connection", message, at_once=True)
    return TryAgain(
        attempt.fault or "connection",
        message,
        maybe_billed=attempt.maybe_billed,
        unreachable=attempt.unreachable,
    )


def _answered(attempt: Attempt, parse: Callable[[Any], Completion]) -> Outcome:
    if attempt.answer is None:
        page = error_bodies.page_title(attempt.raw)  # of a login or a proxy: nothing was computed
        shown = page or ("an empty body" if not attempt.raw else "a body that is not JSON")
        return TryAgain("bad_response", f"200 with {shown}", maybe_billed=page is None)
    try:
        completion = parse(attempt.answer)
    except BadAnswer as error:
        return TryAgain("bad_response", str(error), maybe_billed=True)
    if attempt.repaired:
        completion = msgspec.structs.replace(completion, flags=[*completion.flags, "text_repaired"])
    return Accept(completion)


def _error_inside_success(
    error: ServerError, attempt: Attempt, now: float, asked: bytes
) -> Outcome:
    code = error.code or ""
    number = int(code) if re.fullmatch("[45][0-9]{2}", code) else 0
    if not number and error_bodies.class_of(error, 400, asked) is None:
        return TryAgain(
            "bad_response", f"an error inside a 200: {error.message}", error.code, maybe_billed=True
        )
    return _refused(number or 400, error, attempt, now, asked)


def _refused(
    status: int, error: ServerError, attempt: Attempt, now: float, asked: bytes
) -> Outcome:
    message = error.message[:MESSAGE_LENGTH]
    named = error_bodies.class_of(error, status, asked)
    if status == 403 and attempt.answer is None and named is None:  # a firewall: of this text only
        return Reject("blocked", f"blocked before it reached the API (403, {message})")
    error_class = _class_of(status, named)
    wait = _wait(error_class, error, attempt, now, asked)
    if error_class == "quota" and status == 402 and wait is not None:  # too much under way
        error_class = "rate_limited"
    if error_class in STOPPING:
        return Stop(error_class, message, error.code)
    again = headers.should_retry(attempt.headers)
    if error_class in TRANSIENT and (again is not False or wait is not None):
        refused = error_class == "rate_limited" or (status in (503, 529) and wait is not None)
        reset = headers.reset_seconds(attempt.headers, now) if refused else None
        billed = status in MAYBE_BILLED
        return TryAgain(error_class, message, error.code, billed, refused, wait, reset)
    if error_class in GENERATED:
        return TryAgain(error_class, message, error.code, mismatch=True)
    invalid = error_class == "invalid_request"
    if again or (invalid and re.search(error_words.TRUNCATED, error.message)):
        return TryAgain(error_class, message, error.code, once=True)
    options = invalid and "stream_options" in error.message
    marks = invalid and re.search(CACHE_MARKS, error.message) is not None
    return Reject(error_class, message, error.code, stream_options=options, cache_marks=marks)


def _class_of(status: int, named: str | None) -> str:
    by_status = STATUSES.get(status, "invalid_request" if status < 500 else "server_error")
    error_class = named or by_status
    if status == 429 and error_class not in ("quota", "too_large", "overloaded"):
        return "rate_limited"
    return error_class


def _wait(
    error_class: str, error: ServerError, attempt: Attempt, now: float, asked: bytes
) -> float | None:
    """How long the server asks to wait: in its headers, or in the body."""
    told = {**error.headers, **attempt.headers}
    wait = headers.wait_seconds(told, now)
    if error_class != "rate_limited" or wait is not None:
        return wait
    until = headers.window_seconds(told, now)
    said = error_bodies.wait_of(error, now, asked)
    return until if said is None or (until is not None and math.isinf(said)) else said


def _shown(attempt: Attempt) -> str | None:
    """What a body says that is no JSON."""
    title = error_bodies.page_title(attempt.raw)
    if title is not None or attempt.status == 200 or attempt.answer is not None:
        return title
    return error_bodies.plain_text(attempt.raw)


def _redirected(attempt: Attempt) -> str:
    to = headers.location(attempt.headers)
    return (
        f"HTTP {attempt.status}: the server says the API is elsewhere ({to}); redirects are not followed"
        if to
        else f"HTTP {attempt.status}: there is no such API at {attempt.endpoint}"
    )

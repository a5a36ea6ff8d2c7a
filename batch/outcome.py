"""What an attempt means: accept, try again, reject the row, or stop the run.  Pure; one table
decides.

The table is keyed by HTTP status and by the structured codes servers send, not by words in prose.
Prose is read only where a provider gives nothing else, from the list `PHRASES`.

Four things can be wrong: the row (`Reject`: recorded, the run goes on), the moment (`TryAgain`),
the endpoint (`Pause`: rows wait for it),
or the run (`Stop`: bad key, no credit, wrong URL; no row is marked failed for it).  An error object
inside a 200 counts as the status it stands for.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import msgspec

from batch import headers
from batch.model import Attempt, Completion


class Accept(msgspec.Struct, frozen=True, gc=False):
    """An answer, perhaps with flags in its completion."""

    completion: Completion


class TryAgain(msgspec.Struct, frozen=True):
    """The row may succeed later.

    `refused`: the server had no room (429, or 503 with a wait), which uses up no chance.  `wait` is
    what it asked for, in seconds; `reset` when all is there again, where it asked for nothing.
    `maybe_billed`: the answer may have been computed and charged.
    `at_once`: nothing is wrong with the server, a kept-alive socket had been closed.  `once`: one
    more try may help, two will not.
    `unreachable`: there was no connection.  `mismatch`: an answer that does not fit the schema,
    which `completion` is.
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
    """The endpoint turned away what it took before: a key, a path or a model.  The row waits until
    a probe succeeds.
    """

    error_class: str
    message: str
    code: str | None = None


class Reject(msgspec.Struct, frozen=True):
    """The row cannot succeed as it is.  `stream_options`: it is these that the server does not take,
    and they ask for nothing but the usage of a stream.  `completion` is the answer of a row that
    fails for what it says.
    """

    error_class: str
    message: str
    code: str | None = None
    stream_options: bool = False
    completion: Completion | None = None


class Stop(msgspec.Struct, frozen=True):
    """No row can succeed until a person changes something."""

    error_class: str
    message: str
    code: str | None = None


Outcome = Accept | TryAgain | Pause | Reject | Stop

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

CODES = {
    "context_length_exceeded": "context_length",
    "exceed_context_size_error": "context_length",
    "string_above_max_length": "context_length",
    "content_filter": "content_filter",
    "content_policy_violation": "content_filter",
    "invalid_prompt": "content_filter",
    "cyber_policy": "content_filter",
    "bio_policy": "content_filter",
    "insufficient_quota": "quota",
    "billing_hard_limit_reached": "quota",
    "billing_not_active": "quota",
    "credit_balance_too_low": "quota",
    "invalid_api_key": "auth",
    "authentication_error": "auth",
    "account_deactivated": "auth",
    "model_not_found": "not_found",
    "deploymentnotfound": "not_found",
    "rate_limit_exceeded": "rate_limited",
    "rate_limit_error": "rate_limited",
    "too_many_requests": "rate_limited",
    "slow_down": "rate_limited",
    "overloaded_error": "overloaded",
    "engine_overloaded": "overloaded",
    "unavailable_error": "overloaded",
    "server_error": "server_error",
    "internal_server_error": "server_error",
    "internal_error": "server_error",
    "api_error": "server_error",
    "timeout_error": "timeout",
    "request_too_large": "too_large",
    "misalignment_policy_violation": "content_filter",
    "image_content_policy_violation": "content_filter",
    "data_residency_mismatch": "invalid_request",
    "vector_store_timeout": "timeout",
    **dict.fromkeys(
        (
            "invalid_image",
            "invalid_image_format",
            "invalid_base64_image",
            "invalid_image_url",
            "image_too_large",
            "image_too_small",
            "image_parse_error",
            "invalid_image_mode",
            "image_file_too_large",
            "unsupported_image_media_type",
            "empty_image_file",
            "image_file_not_found",
        ),
        "invalid_request",
    ),
}
"""`error.code` or `error.type`, lower case, as OpenAI, Azure, Anthropic, llama.cpp and vLLM send
them -> error class.
"""

PHRASES = (
    # vLLM and several gateways send 400 with a number or nothing as the code; the wording changes by release.
    (
        re.compile(
            r"context (?:length|window|size)|maximum model length|prompt is too long"
            r"|too many tokens|input token count|tokens`? \+ `?max_new_tokens",
            re.I,
        ),
        "context_length",
    ),
    # OpenAI answers so to one request that is larger than the whole token limit; waiting does not help.
    (re.compile(r"request too large.*limit \d+, requested \d+", re.I | re.S), "too_large"),
)  # fmt: skip

UNSUPPORTED = re.compile(r"\b(?:image|audio) input is not supported", re.I)
"""What llama.cpp says, with a 500, to a picture its model cannot see; it says so to every try."""

TRUNCATED = re.compile(
    r"(?:invalid|malformed|parse|decode)\b.{0,30}\bjson\b(?! schema)|\bjson (?:parse|decode)", re.I
)
"""What servers say to a body that is no JSON.  Ours is, so a proxy has cut it."""

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
    425: "overloaded",
    429: "rate_limited",
    431: "too_large",
    499: "timeout",
    501: "invalid_request",
    503: "overloaded",
    504: "timeout",
    505: "invalid_request",
    524: "timeout",
    529: "overloaded",
}
"""HTTP status -> error class; another 4xx is the row's fault, another 5xx the server's."""

MAYBE_BILLED = frozenset({499, 504, 524})
"""Statuses of a proxy that gave up on a server which may have gone on computing."""

MESSAGE_LENGTH = 500
"""Characters of a server's words that are kept."""


class BadAnswer(ValueError):
    """A decoded body is not an answer of the API that was asked.  Raised by the parsers in apis/."""


class ServerError(msgspec.Struct, frozen=True):
    """An error object as servers send it, in any of its shapes."""

    message: str
    code: str | None = None
    type: str | None = None


def judge(
    attempt: Attempt, parse: Callable[[Any], Completion], now: float, succeeded: bool = False
) -> Outcome:
    """What `attempt` means.

    `parse` reads an answer of the API asked; `now` is the wall clock, for HTTP dates; `succeeded`
    tells whether the endpoint has answered before, so that a refused key is its outage and not ours.
    """
    judged = _judge(attempt, parse, now)
    if succeeded and isinstance(judged, Stop) and judged.error_class in ("auth", "not_found"):
        return Pause(judged.error_class, judged.message, judged.code)
    return judged


def _judge(attempt: Attempt, parse: Callable[[Any], Completion], now: float) -> Outcome:
    if attempt.fault is not None:
        return _transport_fault(attempt)
    status = attempt.status or 0
    if 300 <= status < 400 or status == 405:
        return Stop("redirect", _redirected(attempt))
    error = error_in(attempt.answer)
    if status == 200 and error is None:
        return _answered(attempt, parse)
    if error is None:
        error = ServerError(_page_title(attempt) or f"HTTP {status}")
    if status == 200:
        return _error_inside_success(error, attempt, now)
    if 200 <= status < 300 or status > 599:
        return TryAgain("bad_response", f"HTTP {status} is no answer", maybe_billed=True)
    return _refused(status, error, attempt, now)


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
        page = _page_title(attempt)  # of a login or a proxy: nothing was computed
        shown = page or ("an empty body" if not attempt.raw else "a body that is not JSON")
        return TryAgain("bad_response", f"200 with {shown}", maybe_billed=page is None)
    try:
        completion = parse(attempt.answer)
    except BadAnswer as error:
        return TryAgain("bad_response", str(error), maybe_billed=True)
    if attempt.repaired:
        completion = msgspec.structs.replace(completion, flags=[*completion.flags, "text_repaired"])
    return Accept(completion)


def _error_inside_success(error: ServerError, attempt: Attempt, now: float) -> Outcome:
    number = int(error.code) if error.code and error.code.isdigit() else 0
    if _class_by_code(error) is None and not 400 <= number < 600:
        return TryAgain(
            "bad_response", f"an error inside a 200: {error.message}", error.code, maybe_billed=True
        )
    return _refused(number if 400 <= number < 600 else 400, error, attempt, now)


def _refused(status: int, error: ServerError, attempt: Attempt, now: float) -> Outcome:
    message = error.message[:MESSAGE_LENGTH]
    if (
        status == 403 and attempt.answer is None
    ):  # a firewall's page, not the API's word: about this text only
        return Reject("blocked", f"blocked before it reached the API (403, {message})")
    named = _class_by_code(error) if status < 500 else None
    by_status = STATUSES.get(status, "invalid_request" if status < 500 else "server_error")
    if named in (None, "rate_limited"):  # the code of a limit that no waiting helps against, too
        named = _class_by_phrase(error, status) or named
    error_class = named or by_status
    if UNSUPPORTED.search(error.message):
        error_class = "invalid_request"
    if status == 429 and error_class not in ("quota", "too_large"):
        error_class = "rate_limited"
    if error_class in STOPPING:
        return Stop(error_class, message, error.code)
    wait = headers.wait_seconds(attempt.headers, now)
    again = headers.should_retry(attempt.headers)
    if error_class in TRANSIENT and (again is not False or wait is not None):
        refused = status == 429 or (status in (503, 529) and wait is not None)
        reset = headers.reset_seconds(attempt.headers, now) if refused else None
        billed = status in MAYBE_BILLED
        return TryAgain(error_class, message, error.code, billed, refused, wait, reset)
    if again or (error_class == "invalid_request" and TRUNCATED.search(error.message)):
        return TryAgain(error_class, message, error.code, once=True)
    options = error_class == "invalid_request" and "stream_options" in error.message
    return Reject(error_class, message, error.code, stream_options=options)


def _class_by_code(error: ServerError) -> str | None:
    names = (name.lower() for name in (error.code, error.type) if name)
    return next((CODES[name] for name in names if name in CODES), None)


def _class_by_phrase(error: ServerError, status: int) -> str | None:
    if status not in (400, 413, 422, 429):
        return None
    return next((name for pattern, name in PHRASES if pattern.search(error.message)), None)


def error_in(answer: Any) -> ServerError | None:
    """The error an answer holds, in whichever shape; None when it holds none.

    Seen: {"error": {...}}, {"error": "text"}, {"errors": [...]}, {"detail": ...} (FastAPI),
    {"message", "code"}, {"object": "error", ...} (vLLM), {"type": "error", "error": {...}}
    (Anthropic).
    """
    if not isinstance(answer, dict):
        return None
    error = answer.get("error")
    if error is None and isinstance(errors := answer.get("errors"), list) and errors:
        error = errors[0]
    if error is None and (answer.get("object") == "error" or not _looks_like_an_answer(answer)):
        error = answer.get("detail") or (answer if "message" in answer else None)
    if error is None or error is False or error == "":
        return None
    return _server_error(error)


def _looks_like_an_answer(answer: dict[str, Any]) -> bool:
    return "choices" in answer or "output" in answer or "data" in answer


def _server_error(error: Any) -> ServerError:
    if not isinstance(error, dict):
        return ServerError(
            str(error) if not isinstance(error, list) else msgspec.json.encode(error).decode()
        )
    message = error.get("message") or error.get("msg") or error.get("detail") or error.get("error")
    code, kind = error.get("code"), error.get("type")
    return ServerError(
        message if isinstance(message, str) else msgspec.json.encode(error).decode(),
        None if code is None else str(code),
        kind if isinstance(kind, str) else None,
    )


def _redirected(attempt: Attempt) -> str:
    to = headers.location(attempt.headers)
    return (
        f"HTTP {attempt.status}: the server says the API is elsewhere ({to}); redirects are not followed"
        if to
        else f"HTTP {attempt.status}: there is no such API at {attempt.endpoint}"
    )


def _page_title(attempt: Attempt) -> str | None:
    """What a page that is no JSON calls itself; its text is never kept, as it may name the
    client's address.
    """
    head = attempt.raw[:4096].decode("utf-8", "replace")
    if not re.match(r"\s*<", head):
        return None
    title = re.search(r"<title[^>]*>([^<]{1,120})", head, re.I)
    return f"an HTML page “{' '.join(title[1].split())}”" if title else "an HTML page"

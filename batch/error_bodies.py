"""What the error bodies of servers say: where the error stands in them, its codes, its words.

Each dialect is a line in a table.  A body of another shape is a path in `ERRORS`, another code a
line in `CODES`; words are read only where a provider sends nothing else (`PHRASES`).
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any, NamedTuple

import msgspec

Path = tuple[str | int, ...]
"""Keys of objects and places in lists, from the outside in."""

ERRORS: tuple[Path, ...] = (
    ("error",),  # {"error": {…}} or {"error": "text"}: nearly all
    ("errors", 0),  # {"errors": [{…}]}
)
"""Where a body holds its error, whatever else it holds."""

BARE_ERRORS: tuple[Path, ...] = (
    ("detail",),  # {"detail": …}: FastAPI
)
"""Where a body that is no answer holds its error; else the body is the error, if it has a `message`."""

ANSWERS = ("choices", "output", "data")
"""Keys by which an answer is told from such a body, unless that says `"object": "error"` (vLLM)."""

MESSAGES = ("message", "msg", "detail", "error")
"""Keys of an error whose value is what it says, the usual one first."""

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


class Phrase(NamedTuple):
    """Words that name an error class.  They are read where a `code` says nothing or just "too many
    requests", or always if `over_codes`; with `statuses` only, or with any where that is None.
    """

    pattern: re.Pattern[str]
    error_class: str
    statuses: frozenset[int] | None = frozenset({400, 413, 422, 429})
    over_codes: bool = False


PHRASES = (
    # llama.cpp says this, with a 500, to every picture its model cannot see
    Phrase(
        re.compile(r"\b(?:image|audio) input is not supported", re.I),
        "invalid_request",
        statuses=None,
        over_codes=True,
    ),
    # vLLM and several gateways send 400 with a number or nothing as the code; releases differ
    Phrase(
        re.compile(
            r"context (?:length|window|size)|maximum model length|prompt is too long"
            r"|too many tokens|input token count|tokens`? \+ `?max_new_tokens",
            re.I,
        ),
        "context_length",
    ),
    # OpenAI says this to one request above the whole token limit; waiting does not help
    Phrase(re.compile(r"request too large.*limit \d+, requested \d+", re.I | re.S), "too_large"),
)

TRUNCATED = re.compile(
    r"(?:invalid|malformed|parse|decode)\b.{0,30}\bjson\b(?! schema)|\bjson (?:parse|decode)", re.I
)
"""What servers say to a body that is no JSON.  Ours is, so a proxy has cut it."""


class ServerError(msgspec.Struct, frozen=True):
    """An error object as servers send it, in any of its shapes."""

    message: str
    code: str | None = None
    type: str | None = None


def error_in(body: Any) -> ServerError | None:
    """The error that a decoded body holds, in whichever shape; None when it holds none."""
    if not isinstance(body, dict):
        return None
    error = _first(body, ERRORS)
    if error is None and not _is_answer(body):
        error = _first(body, BARE_ERRORS) or (body if "message" in body else None)
    return None if error is None else _server_error(error)


def says_nothing(error: Any) -> bool:
    """Whether it is no error: some gateways send one of empty fields beside a whole answer."""
    said = error.values() if isinstance(error, dict) else (error,)
    return not any(each.strip(" 0") if isinstance(each, str) else each for each in said)


def class_of(error: ServerError, status: int) -> str | None:
    """The error class that its code or its words name; None where they name none."""
    named = class_by_code(error) if status < 500 else None
    phrase = next((each for each in PHRASES if _says(error, status, each)), None)
    if phrase is not None and (phrase.over_codes or named in (None, "rate_limited")):
        return phrase.error_class
    return named


def class_by_code(error: ServerError) -> str | None:
    """The error class that its code or type names; None where they name none."""
    names = (name.lower() for name in (error.code, error.type) if name)
    return next((CODES[name] for name in names if name in CODES), None)


def page_title(raw: bytes) -> str | None:
    """What a page that is no JSON calls itself; None for what is no page.  Its text is never kept,
    as it may name the client's address.
    """
    head = raw[:4096].decode("utf-8", "replace")
    if not re.match(r"\s*<", head):
        return None
    title = re.search(r"<title[^>]*>([^<]{1,120})", head, re.I)
    return f"an HTML page “{' '.join(title[1].split())}”" if title else "an HTML page"


def _says(error: ServerError, status: int, phrase: Phrase) -> bool:
    applies = phrase.statuses is None or status in phrase.statuses
    return applies and phrase.pattern.search(error.message) is not None


def _is_answer(body: dict[str, Any]) -> bool:
    return body.get("object") != "error" and any(key in body for key in ANSWERS)


def _first(body: Any, paths: Iterable[Path]) -> Any:
    """What stands at the first of the paths where anything does."""
    found = (_at(body, path) for path in paths)
    return next((each for each in found if not says_nothing(each)), None)


def _at(value: Any, path: Path) -> Any:
    for step in path:
        if isinstance(step, str):
            value = value.get(step) if isinstance(value, dict) else None
        else:
            value = value[step] if isinstance(value, list) and len(value) > step else None
    return value


def _server_error(error: Any) -> ServerError:
    if not isinstance(error, dict):
        return ServerError(_json(error) if isinstance(error, list) else str(error))
    message = next((error[key] for key in MESSAGES if error.get(key)), None)
    code, kind = error.get("code"), error.get("type")
    return ServerError(
        message if isinstance(message, str) else _json(error),
        None if code is None else str(code),
        kind if isinstance(kind, str) else None,
    )


def _json(value: Any) -> str:
    return msgspec.json.encode(value).decode()

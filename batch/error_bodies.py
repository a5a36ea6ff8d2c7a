"""What the error bodies of servers say: where the error stands in them, its codes, its words.

A body of another shape is a path in `ERRORS`.  Codes are in `error_codes`; words are read only where a
provider sends nothing else (`error_words`).
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec

from batch import error_codes, error_words, headers

Path = tuple[str | int, ...]
"""Keys of objects and places in lists, from the outside in."""

ERRORS: tuple[Path, ...] = (
    ("error",),  # {"error": {…}} or {"error": "text"}: nearly all
    ("errors", 0),  # {"errors": [{…}]}
    ("Response", "Error"),  # Tencent
    ("fault",),  # Apigee
)
"""Where a body holds its error, whatever else it holds."""

BARE_ERRORS: tuple[Path, ...] = (
    ("detail", "error"),
    ("detail",),  # {"detail": …}: FastAPI
)
"""Where a body that is no answer holds its error; else the body is the error, if it has a message."""

ANSWERS = ("choices", "output", "data")
"""Keys by which an answer is told from such a body, unless that says `"object": "error"` (vLLM)."""
NO_ANSWER = [None] * len(ANSWERS)

BARE_MESSAGES = ("message", "msg", "error_msg", "Message")
"""Keys of a body that is itself the error."""
MESSAGES = (*BARE_MESSAGES, "status_msg", "faultstring", "detail", "error")
"""Keys of an error whose value is what it says, the usual one first."""
ERROR_CODES = ("code", "error_code", "status_code", "Code")
TYPES = ("type", "error_type", "__type")

WRAPPED = re.compile(r"^litellm\.\w+: (?:\w+: )*(?:\w+ ?- )?(?=[{\[])")
"""What LiteLLM writes before the body that it got."""

LONGEST_TEXT = 2_000
"""Bytes of a body in plain text that are read."""

PACIFIC = "America/Los_Angeles"
"""At whose midnight Google's daily limits begin anew."""


class ServerError(msgspec.Struct, frozen=True):
    """An error object as servers send it, in any of its shapes.

    `reasons` are further names of the same kind as `code` and `type`.  `wait` is the seconds that the
    body asks to wait, infinite where the limit lasts for days and nobody says until when.  `headers`
    are those that a router tells of.  `inner`: the error of a server behind the one that answers.
    """

    message: str
    code: str | None = None
    type: str | None = None
    reasons: tuple[str, ...] = ()
    param: str | None = None
    wait: float | None = None
    headers: dict[str, str] = {}
    inner: bool = False

    @property
    def names(self) -> tuple[str, ...]:
        """All that names it.  MiniMax's numbers mean other things than those of others."""
        if self.type == MINIMAX:
            return (f"{MINIMAX} {self.code}",)
        return tuple(name for name in (self.code, self.type, *self.reasons) if name)


MINIMAX = "base_resp"

SIGNS = frozenset({MINIMAX, *(str(path[0]) for path in ERRORS)})
"""Keys without any of which an answer holds no error, as all but a few do not."""


def error_in(body: Any) -> ServerError | None:
    """The error that a decoded body holds, in whichever shape; None when it holds none."""
    if isinstance(body, list) and body and isinstance(body[0], dict):  # Google
        return error_in(body[0])
    if not isinstance(body, dict) or (_is_answer(body) and SIGNS.isdisjoint(body)):
        return None
    error = _first(body, ERRORS)
    if error is None and (error := _of_minimax(body)) is None and not _is_answer(body):
        error = _first(body, BARE_ERRORS) or (body if _says_something(body) else None)
    return None if error is None else _read(error, body)


def says_nothing(error: Any) -> bool:
    """Whether it is no error: some gateways send one of empty fields beside a whole answer."""
    said = error.values() if isinstance(error, dict) else (error,)
    return not any(each.strip(" 0") if isinstance(each, str) else each for each in said)


def class_of(error: ServerError, status: int, asked: bytes = b"") -> str | None:
    """The error class that its code or its words name; None where they name none.  `asked` is the
    body of the request, whose words are not the server's.
    """
    if error.inner and status >= 500:  # a router's own trouble is told in a plain 5xx
        status = 400
    named = class_by_code(error) if status < 500 else None
    phrase = error_words.phrase_of(error.message, status, asked)
    if phrase is not None and (phrase.over_codes or named in (None, "rate_limited")):
        return phrase.error_class
    return named


def class_by_code(error: ServerError) -> str | None:
    """The error class that its code or type names; None where they name none."""
    return error_codes.class_of(error.names)


def wait_of(error: ServerError, now: float, asked: bytes = b"") -> float | None:
    """The seconds a refusal for want of room asks to wait, infinite for a limit of days that does not
    say until when; `now` is the wall clock.
    """
    if "perday" in "".join(error.reasons).lower():  # its own wait is too short then
        return _until_midnight(now)
    if error.wait is not None:
        return error.wait
    said = headers.duration(error_words.wait_in(error.message), whole=False)
    if said is not None:
        return said
    lasting = not error_codes.LASTING.isdisjoint(error.names)
    return math.inf if lasting or error_words.is_lasting(error.message, asked) else None


def page_title(raw: bytes) -> str | None:
    """What a page that is no JSON calls itself; None for what is no page.  Its text is never kept,
    as it may name the client's address.
    """
    head = raw[:4096].decode("utf-8", "replace")
    if not re.match(r"\s*<", head):
        return None
    title = re.search(r"<title[^>]*>([^<]{1,120})", head, re.I)
    return f"an HTML page “{' '.join(title[1].split())}”" if title else "an HTML page"


def plain_text(raw: bytes) -> str | None:
    """The text of a body that is neither JSON nor a page, on one line; None where there is none."""
    text = raw[:LONGEST_TEXT].decode("utf-8", "replace")
    shown = "".join(each if each.isprintable() else " " for each in text)
    return " ".join(shown.split()) or None


def _is_answer(body: dict[str, Any]) -> bool:
    return body.get("object") != "error" and [*map(body.get, ANSWERS)] != NO_ANSWER


def _says_something(body: dict[str, Any]) -> bool:
    return any(key in body for key in BARE_MESSAGES)


def _of_minimax(body: dict[str, Any]) -> dict[str, Any] | None:
    said = body.get(MINIMAX)
    if not isinstance(said, dict) or said.get("status_code") in (None, 0, "0"):
        return None
    return {**said, "type": MINIMAX}


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


def _read(error: Any, body: dict[str, Any]) -> ServerError:
    """`error`, which stands in `body`.  Where it holds another server's, that is what counts."""
    read = _server_error(error, body)
    inner = _inner(error)
    if inner is None:
        return read
    return msgspec.structs.replace(
        inner,
        code=inner.code or read.code,
        type=inner.type or read.type,
        reasons=(*inner.reasons, *read.reasons),
        headers={**inner.headers, **read.headers},
        inner=True,
    )


def _inner(error: Any) -> ServerError | None:
    """What another server said, as a router tells it: OpenRouter beside its own words, others in
    place of them.
    """
    told = _at(error, ("metadata", "raw"))
    if isinstance(told, dict | list):
        return error_in(told)
    text = told if isinstance(told, str) else _words(error)
    if text is None:
        return None
    inside = WRAPPED.sub("", text.strip())
    if inside[:1] in ("{", "[") and (found := _decoded(inside)) is not None:
        return error_in(found)
    shown = plain_text(told.encode()) if isinstance(told, str) else None
    return None if shown is None else ServerError(shown)


def _words(error: Any) -> str | None:
    """What an error says, where that is a text."""
    said = _first(error, ((key,) for key in MESSAGES)) if isinstance(error, dict) else error
    return said if isinstance(said, str) else None


def _decoded(text: str) -> Any:
    try:
        return msgspec.json.decode(text)
    except (msgspec.DecodeError, RecursionError):
        return None


def _server_error(error: Any, body: dict[str, Any]) -> ServerError:
    if not isinstance(error, dict):  # its code stands beside it
        message = _json(error) if isinstance(error, list) else str(error)
        error = {key: body[key] for key in (*ERROR_CODES, *TYPES) if key in body}
    else:
        message = _words(error) or _json(error)
    code, kind = (_first(error, ((key,) for key in keys)) for keys in (ERROR_CODES, TYPES))
    param = error.get("param")
    return ServerError(
        message,
        None if code is None else str(code),
        kind if isinstance(kind, str) else None,
        tuple(_reasons(error)),
        param if isinstance(param, str) else None,
        _retry_delay(error),
        headers=_headers(error),
    )


def _reasons(error: dict[str, Any]) -> Iterator[str]:
    """Its further names: Google's status and details, Azure's inner error, OpenRouter's moderation."""
    paths: list[Path] = [("status",), ("reason",), ("innererror", "code"), ("inner_error", "code")]
    details = error.get("details")
    for at in range(len(details) if isinstance(details, list) else 0):
        paths += [("details", at, "reason"), ("details", at, "violations", 0, "quotaId")]
    yield from (name for path in paths if isinstance(name := _at(error, path), str))
    if _at(error, ("metadata", "flagged_input")) or _at(error, ("metadata", "reasons")):
        yield "flagged_input"


def _retry_delay(error: dict[str, Any]) -> float | None:
    """Google's RetryInfo, or a number of seconds as some gateways put it."""
    details = error.get("details")
    for each in details if isinstance(details, list) else ():
        told = _at(each, ("retryDelay",))
        if isinstance(told, str):
            return headers.duration(told)
    told = _first(error, (("retry_after",), ("metadata", "retry_after_seconds")))
    good = isinstance(told, int | float) and not isinstance(told, bool) and 0 <= told < math.inf
    return float(told) if good else None


def _headers(error: dict[str, Any]) -> dict[str, str]:
    told = _at(error, ("metadata", "headers"))
    if not isinstance(told, dict):
        return {}
    return {name.lower(): str(value) for name, value in told.items() if value is not None}


def _until_midnight(now: float) -> float:
    from zoneinfo import ZoneInfo, ZoneInfoNotFoundError  # 10 ms, at every start

    try:
        here = datetime.fromtimestamp(now, UTC).astimezone(ZoneInfo(PACIFIC))
    except (ZoneInfoNotFoundError, OverflowError, ValueError, OSError):
        return math.inf
    tomorrow = (here + timedelta(days=1)).replace(hour=0, minute=0, second=0, microsecond=0)
    return tomorrow.timestamp() - now


def _json(value: Any) -> str:
    return msgspec.json.encode(value).decode()

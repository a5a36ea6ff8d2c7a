"""What the answers of all our APIs have in common: JSON of a server -> a Completion, flags included.

Nothing a server sends may raise anything but BadAnswer here: a field of the wrong type is not there.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Sequence
from operator import attrgetter
from typing import Any

import msgspec

from batch import usage
from batch.apis.finish_reasons import CALLS, ENDS
from batch.model import Choice, Completion
from batch.outcome import BadAnswer
from batch.usage import Reading

SILENT_ENDS = ENDS - CALLS
"""Finish reasons of an answer that may say nothing."""


def table(answer: Any) -> dict[str, Any]:
    """`answer`, if it is a JSON object at all.  Raises BadAnswer."""
    if not isinstance(answer, dict):
        raise BadAnswer(f"the answer is a JSON {type(answer).__name__}, not an object")
    return answer


def completion(
    answer: dict[str, Any],
    choices: Sequence[Choice],
    unheld: bool,
    wordless: Collection[int] = (),
) -> Completion:
    """The Completion of `choices`, which stand in `answer`; those with an index among `wordless`
    gave something that is no text, such as a picture.  Raises BadAnswer for an empty choice that
    does not say why it is.
    """
    for choice in choices:
        if choice.index in wordless:
            continue
        says_something = choice.completion or _says_something(choice)
        if not says_something and choice.finish_reason not in SILENT_ENDS:
            reason = choice.finish_reason
            raise BadAnswer(f"the answer is empty and does not say why (finish_reason {reason!r})")
    read = sorted(choices, key=attrgetter("index")) if len(choices) > 1 else [*choices]
    counted = usage.of(answer)
    return Completion(
        choices=read,
        served_model=model if isinstance(model := answer.get("model"), str) else None,
        service_tier=usage.tier(answer),
        usage=counted.usage,
        parts=counted.parts,
        usage_json=usage_json(answer),
        flags=_flags(read[0], counted, read[0].index in wordless),
        unheld=unheld,
    )


def usage_json(answer: dict[str, Any]) -> str | None:
    """The usage object as it was sent."""
    tokens = answer.get("usage")
    return None if tokens is None else msgspec.json.encode(tokens).decode()


def text(value: Any) -> str | None:
    """`value` if it is a text."""
    return value if isinstance(value, str) else None


def as_text(value: Any) -> str | None:
    """A text as it is, anything else as JSON.  Raises BadAnswer where it is too deep for that."""
    if value is None or isinstance(value, str):
        return value
    try:
        return json.dumps(value, ensure_ascii=False, separators=(",", ":"))
    except RecursionError:
        raise BadAnswer("the answer is nested too deeply") from None


def index(raw: dict[str, Any], position: int) -> int:
    """The `index` of a choice or call; its position where it names none."""
    given = raw.get("index")
    return given if isinstance(given, int) else position


def beyond(table: dict[str, Any], held: frozenset[str]) -> bool:
    """Whether a field that is not among `held` says something."""
    return not held.issuperset(table) and any(map(table.get, table.keys() - held))


def dicts(values: Any) -> list[dict[str, Any]]:
    """The JSON objects in a list."""
    if not values or not isinstance(values, list):
        return []
    return [value for value in values if isinstance(value, dict)]


def _says_something(choice: Choice) -> bool:
    return bool(choice.completion or choice.refusal or choice.tool_calls or choice.reasoning)


def _flags(first: Choice, counted: Reading, wordless: bool) -> list[str]:
    flags = []
    if first.finish_reason in ("length", "content_filter"):
        flags.append(first.finish_reason)
    if first.refusal:
        flags.append("refusal")
    if not (first.completion or first.refusal or first.tool_calls or wordless):
        flags.append("empty")
    if first.finish_reason not in ENDS:
        flags.append("finish_unknown")
    if not counted.known:
        flags.append("usage_unknown")
    return flags

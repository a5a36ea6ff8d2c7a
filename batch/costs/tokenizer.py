"""Exact counts of input tokens, with the extra `tokens` (package toktok-rs) and where its
vocabularies are those of the model.

Which model has which: https://github.com/openai/tiktoken (tiktoken/model.py).  What a chat adds to
its texts: https://developers.openai.com/cookbook/examples/how_to_count_tokens_with_tiktoken
A JSON Schema is read as input, too, and counts as the JSON that is sent.
"""

from __future__ import annotations

import importlib
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import lru_cache
from itertools import islice
from typing import Any, TypeGuard

import msgspec

from batch.model import Request, Spoken

VOCABULARIES = (
    ("o200k_base", re.compile(r"gpt-4o|chatgpt-4o|gpt-4\.|gpt-5|o[1-9]($|-)")),
    ("cl100k_base", re.compile(r"gpt-4($|-)|gpt-3\.5-|text-embedding-(3-|ada-002)")),
)
"""The first that fits the beginning of a model's name, without the vendor before it."""

A_MESSAGE, THE_ANSWER = 3, 3
"""Tokens around every message, and before the answer."""

BEYOND_TEXT = ("tools", "functions", "previous_response_id", "prediction")
"""Fields that are read, too, in a form that only the server knows."""

Count = Callable[[Sequence[Request]], list[int | None]]
"""Input tokens of each request; None where they cannot be counted.  A call takes 40 us, a request
in it 2.
"""


def counter(apis: Mapping[str, Spoken]) -> Count | None:
    """What counts tokens of requests of `apis`; None without the extra."""
    try:
        toktok = importlib.import_module("toktok")
    except ImportError:
        return None
    return lambda requests: _counted(requests, apis, toktok.batch_count)


@lru_cache(64)
def vocabulary(model: str | None) -> str | None:
    """The name of the vocabulary of a model, None where it is not known."""
    name = (model or "").rpartition("/")[2].lower()
    return next((known for known, names in VOCABULARIES if names.match(name)), None)


def _counted(
    requests: Sequence[Request], apis: Mapping[str, Spoken], count: Callable[..., list[int]]
) -> list[int | None]:
    said = [_texts(request, apis[request.api]) for request in requests]
    counts: dict[str, Iterator[int]] = {}
    for name, _ in VOCABULARIES:
        texts = [
            text
            for request, each in zip(requests, said, strict=True)
            if each is not None and vocabulary(request.model) == name
            for text in each[0]
        ]
        counts[name] = iter(count(texts, name, threads=1) if texts else ())  # it loads for 0.5 s
    return [
        None
        if each is None
        else each[1] + sum(islice(counts[vocabulary(request.model) or ""], len(each[0])))
        for request, each in zip(requests, said, strict=True)
    ]


def _texts(request: Request, api: Spoken) -> tuple[list[str], int] | None:
    """The texts of a request, and the tokens around them; None where that is not all of it."""
    if vocabulary(request.model) is None:
        return None
    body = msgspec.json.decode(request.body)
    if any(body.get(name) for name in BEYOND_TEXT):
        return None
    said = _said(api, body)
    return said if said is None else ([*said[0], *_schema(body)], said[1])


def _schema(body: dict[str, Any]) -> list[str]:
    """The format that answers are held to, where it is a schema, in the words of either API."""
    text = body.get("text")
    formats = (body.get("response_format"), text.get("format") if isinstance(text, dict) else None)
    return [
        msgspec.json.encode(each).decode()
        for each in formats
        if isinstance(each, dict) and each.get("type") == "json_schema"
    ]


def _said(api: Spoken, body: dict[str, Any]) -> tuple[list[str], int] | None:
    """The texts of a request, and the tokens around them; None where it holds more than text."""
    asked_in, messages = api.ASKED_IN[0], body.get(api.ASKED_IN[0])
    if api.SYSTEM_IN is None:
        given = [messages] if isinstance(messages, str) else messages
        return (given, 0) if _are_texts(given) else None
    if isinstance(messages, str):
        messages = [{"role": "user", "content": messages}]
    if asked_in != api.SYSTEM_IN and isinstance(first := body.get(api.SYSTEM_IN), str):
        messages = [{"role": "system", "content": first}, *(messages or ())]
    if not isinstance(messages, list):
        return None
    texts: list[str] = []
    for message in messages:
        content = message.get("content") if isinstance(message, dict) else None
        if not isinstance(content, str) or not message.keys() <= {"role", "content", "type"}:
            return None
        texts += [str(message.get("role")), content]
    return texts, A_MESSAGE * len(messages) + THE_ANSWER


def _are_texts(given: Any) -> TypeGuard[list[str]]:
    return isinstance(given, list) and all(isinstance(text, str) for text in given)

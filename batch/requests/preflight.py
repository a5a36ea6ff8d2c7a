"""What a server would refuse, found before it costs anything: parameters that are misspelt or out of
bounds, and messages that are none.  Pure.

The bounds are those that gateways state for chat completions; other APIs share most names, so a
parameter is judged by its name, wherever it stands.  What is not known here is nobody's fault, and
null stands for the server's default.  Servers of one's own may allow more: `--no-preflight`.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import msgspec

from batch.model import Request, Spoken
from batch.requests import messages
from batch.requests.known_keys import nearest
from batch.requests.messages import NOT_EMPTY, is_blank, shown
from batch.requests.prompts import BadRow, Question

WAY_OUT = "--no-preflight leaves that to the server"

CLIENT_SIDE = {
    "api_base": "base_url in [endpoint]",
    "api_key": "api_key_env in [endpoint], which names the variable that holds it",
    "api_version": "the query of base_url in [endpoint], as …?api-version=…",
    "azure_endpoint": "base_url in [endpoint]",
    "base_url": "base_url in [endpoint]",
    "concurrency": "concurrency in [limits]",
    "default_headers": "headers in [endpoint]",
    "default_query": "the query of base_url in [endpoint]",
    "extra_body": "[request] itself: every key there is sent as it is",
    "extra_headers": "headers in [endpoint]",
    "extra_query": "the query of base_url in [endpoint]",
    "headers": "headers in [endpoint]",
    "max_attempts": "max_attempts in [retry]",
    "max_retries": "max_attempts in [retry]",
    "num_retries": "max_attempts in [retry]",
    "organization": 'headers in [endpoint], as "OpenAI-Organization"',
    "project": 'headers in [endpoint], as "OpenAI-Project"',
    "request_timeout": "total_timeout in [endpoint], in seconds",
    "requests_per_minute": "requests_per_minute in [limits]",
    "rpm": "requests_per_minute in [limits]",
    "timeout": "total_timeout in [endpoint], in seconds",
}
"""Settings of a client, which are no part of a body -> what ours is called."""

LATER = "background"
"""Answers are only promised where this is true, and to be fetched later."""

TOOL_CHOICES = ("auto", "none", "required", "any")
"""Mistral says `any` where others say `required`."""
MOST_STOPS = 4

OPENAI_HOST = re.compile(r"(?:.+\.)?api\.openai\.com")
REASONING = re.compile(r"(?:ft:)?(?:o\d|gpt-5)(?![a-z0-9])")
"""OpenAI's models that refuse `max_tokens` where there is a newer word for it."""
NEWER_CAP = "max_completion_tokens"


class Finding(msgspec.Struct, frozen=True):
    """One parameter that a server would refuse, and what it should be."""

    parameter: str
    problem: str

    def __str__(self) -> str:
        return f"{self.parameter}: {self.problem}"


class OutOfBounds(BadRow):
    """A row that could be sent, and would be refused."""


class Bounds(msgspec.Struct, frozen=True):
    """To what rows are held: what `host` accepts ("" is the embedded model).  `templated` tells that
    the job says all but the text, so that only this is looked at.
    """

    host: str = ""
    templated: bool = False


def client_side(parameters: Mapping[str, Any]) -> Finding | None:
    """The first setting among the parameters of a job that is a client's, or takes another client."""
    for name in parameters:
        if name in CLIENT_SIDE:
            return Finding(name, f"no server reads this; write {CLIENT_SIDE[name]}")
    if parameters.get(LATER) is True:
        return Finding(LATER, "nobody would fetch such answers; leave it out to wait for them")
    return None


def of_parameters(api: Spoken, parameters: Mapping[str, Any], host: str = "") -> Iterator[Finding]:
    """What is wrong with parameters that every request shares; messages are not asked for.  `host`
    is the server's: OpenAI's own refuses what others accept.
    """
    for name, value in parameters.items():
        if near := nearest(name):
            yield Finding(name, f"no server knows this; did you mean {' or '.join(near)}?")
        judge = BOUNDS.get(name)
        problem = judge(value) if judge and value is not None else None
        if problem:
            yield Finding(name, f"{problem}, not {shown(value)}")
    if _refuses_max_tokens(api, parameters, host):
        yield Finding("max_tokens", f"{parameters['model']} refuses it; write {NEWER_CAP}")


def of_body(api: Spoken, body: Mapping[str, Any], host: str = "") -> Iterator[Finding]:
    """What is wrong with a whole request."""
    if misplaced := client_side(body):
        yield misplaced
    yield from of_parameters(api, body, host)
    if api.ASKED_IN[0] == "messages":
        yield from of_messages(body.get("messages"))
    elif all(body.get(name) is None for name in api.ASKED_IN):
        yield Finding(api.ASKED_IN[0], "is missing")
    else:
        yield from _empty(body, api.ASKED_IN)


def of_messages(asked: Any) -> Iterator[Finding]:
    """What is wrong with the messages of a chat."""
    for place, problem in messages.faults(asked):
        yield Finding(place, problem)


def _empty(body: Mapping[str, Any], asked_in: tuple[str, ...]) -> Iterator[Finding]:
    """What says nothing of that which is asked; other keys than the first say it without text."""
    name, *others = asked_in
    asked = body.get(name)
    if is_blank(asked) and all(body.get(other) is None for other in others):
        yield Finding(name, f"{NOT_EMPTY}, not {shown(asked)}")
    for number, part in enumerate(asked if isinstance(asked, list) else ()):
        if problem := _says_nothing(part):
            yield Finding(f"{name}[{number}]", problem)


def _says_nothing(part: Any) -> str | None:
    """Why one of several inputs asks nothing: a text, or an item of the responses API."""
    if is_blank(part):
        return f"{NOT_EMPTY}, not {shown(part)}"
    if isinstance(part, dict) and part.get("role") not in (None, "assistant"):
        return messages.empty(part.get("content"))
    return None


def check(request: Request, api: Spoken, host: str = "") -> None:
    """Raises OutOfBounds for the first thing that is wrong with a request."""
    for finding in of_body(api, msgspec.json.decode(request.body), host):
        raise OutOfBounds(str(finding))


def check_messages(question: Question) -> None:
    """Raises OutOfBounds for messages of a row that are none, whatever API they are put in the
    words of afterwards.
    """
    asked = question.messages
    if asked is None and question.body is not None:
        asked = question.body.get("messages")
    if asked is not None:
        for finding in of_messages(asked):
            raise OutOfBounds(str(finding))


def check_rendered(question: Question) -> None:
    """Raises OutOfBounds where a template says nothing for a row."""
    for message in question.messages or ():
        content = message["content"]
        is_text = isinstance(content, str) and content and not content.isspace()
        if not is_text and messages.empty(content):
            part = "system prompt" if message["role"] == "system" else "prompt"
            raise OutOfBounds(f"the {part} is empty here")


def _refuses_max_tokens(api: Spoken, parameters: Mapping[str, Any], host: str) -> bool:
    model = parameters.get("model")
    return (
        NEWER_CAP in api.OUTPUT_CAPS
        and parameters.get("max_tokens") is not None
        and isinstance(model, str)
        and REASONING.match(model) is not None
        and OPENAI_HOST.fullmatch(host) is not None
    )


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _between(low: float, high: float) -> Callable[[Any], str | None]:
    def judge(value: Any) -> str | None:
        inside = _is_number(value) and low <= value <= high
        return None if inside else f"expected a number from {low:g} to {high:g}"

    return judge


def _at_least_one(value: Any) -> str | None:
    inside = isinstance(value, int) and not isinstance(value, bool) and value >= 1
    return None if inside else "expected a whole number of at least 1"


def _whole(value: Any) -> str | None:
    inside = isinstance(value, int) and not isinstance(value, bool)
    return None if inside else "expected a whole number"


def _true_or_false(value: Any) -> str | None:
    return None if isinstance(value, bool) else "expected true or false"


def _stops(value: Any) -> str | None:
    stops = [value] if isinstance(value, str) else value
    inside = isinstance(stops, list) and all(isinstance(stop, str) for stop in stops)
    return (
        None
        if inside and len(stops) <= MOST_STOPS
        else f"expected a text, or at most {MOST_STOPS} of them"
    )


def _biases(value: Any) -> str | None:
    """llama.cpp also takes a list of pairs, and `false` for a token that must not come."""
    if isinstance(value, list):
        return None
    inside = isinstance(value, dict) and all(
        bias is False or (_is_number(bias) and -100 <= bias <= 100) for bias in value.values()
    )
    return None if inside else "expected tokens with numbers from -100 to 100"


def _tool_choice(value: Any) -> str | None:
    if value in TOOL_CHOICES if isinstance(value, str) else _names_a_tool(value):
        return None
    return f"expected {', '.join(TOOL_CHOICES)} or a function by name"


def _names_a_tool(value: Any) -> bool:
    """`{type, function: {name}}`, or `{type, name}` in the responses API; other types are the
    server's own affair.
    """
    if not isinstance(value, dict) or not isinstance(value.get("type"), str):
        return False
    if value["type"] != "function":
        return True
    function = value.get("function", value)
    return isinstance(function, dict) and isinstance(function.get("name"), str)


def _list(value: Any) -> str | None:
    return None if isinstance(value, list) else "expected a list"


def _something(value: Any) -> str | None:
    inside = isinstance(value, str) or (isinstance(value, list) and len(value) > 0)
    return None if inside else "expected text, or a list that is not empty"


def _something_or_stored(value: Any) -> str | None:
    """The responses API has a table here that names a prompt kept by the server."""
    return None if isinstance(value, dict) else _something(value)


BOUNDS: dict[str, Callable[[Any], str | None]] = {
    "temperature": _between(0, 2),
    "top_p": _between(0, 1),
    "presence_penalty": _between(-2, 2),
    "frequency_penalty": _between(-2, 2),
    "max_tokens": _at_least_one,
    "max_completion_tokens": _at_least_one,
    "max_output_tokens": _at_least_one,
    "n": _at_least_one,
    "seed": _whole,
    "stream": _true_or_false,
    "stop": _stops,
    "logit_bias": _biases,
    "tools": _list,
    "tool_choice": _tool_choice,
    "modalities": _list,
    "input": _something,
    "prompt": _something_or_stored,
}
"""Parameter -> what is wrong with a value of it, None when nothing is."""

"""The APIs we speak, and how a row's question becomes a request of one of them.

An API is a module that says what it is like, has a `body` to send, a `parse` of the blocking answer
and a `Fold` of the stream.  To add one, write the module and add a line to MODULES.  Nobody else asks
which one it is.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from hashlib import blake2b
from importlib import import_module
from typing import Any, Protocol, cast

import msgspec

from batch import json_text
from batch.apis import responses_input, weighing
from batch.columns import Column
from batch.event_stream import Event
from batch.model import DEFAULT_API, Completion, Request, Spoken
from batch.requests import preflight
from batch.requests.preflight import Bounds
from batch.requests.prompts import BadRow, Question


class Fold(Protocol):
    """Events of a stream -> one answer in the blocking shape."""

    complete: bool
    repaired: bool
    ended: bool
    started: bool

    def add(self, event: Event) -> None: ...
    def answer(self) -> dict[str, Any]: ...


class API(Spoken, Protocol):
    """What a module here offers.

    `body` takes parameters in the words of chat or in its own, and no messages where the
    parameters hold the question already.  It raises BadRow for what its API cannot be asked.
    """

    @property
    def HAS_SCHEMA(self) -> bool:
        """Whether answers can be held to a schema."""

    @property
    def IF_UNHEEDED(self) -> str:
        """What to say besides where answers do not fit theirs."""

    @property
    def IS_LOCAL(self) -> bool:
        """Whether the embedded model gives it."""

    @property
    def COLUMNS(self) -> tuple[Column, ...]:
        """The columns that the output has beyond all others'."""

    def body(
        self, messages: Sequence[dict[str, Any]] | None, parameters: dict[str, Any]
    ) -> dict[str, Any]: ...
    def parse(self, answer: Any) -> Completion: ...
    def Fold(self, choices: int = 1) -> Fold: ...


MODULES = {
    "chat": "chat_completions",
    "responses": "responses",
    "completions": "completions",
    "embeddings": "embeddings",
}
"""An API's name and the module here that speaks it: a line each.  A path that another one ends with
comes after it.
"""

APIS = {name: cast(API, import_module(f"{__name__}.{MODULES[name]}")) for name in MODULES}


class Parameters(msgspec.Struct, frozen=True):
    """`[request]` of a job: which API, and every key that is sent as it is.

    `schema` is the JSON Schema that answers are held to; `sent` then holds a `response_format`
    that says so.  `over` are the keys that flags gave (dotted where they are inside a table), which
    hold for rows with a body of their own, too.
    """

    api: str = DEFAULT_API
    model: str | None = None
    sent: dict[str, Any] = {}
    schema: dict[str, Any] | None = None
    over: dict[str, Any] = {}

    def __post_init__(self) -> None:
        if self.api not in APIS:
            raise ValueError(f"api: expected one of {', '.join(APIS)}, not {self.api!r}")
        if misplaced := preflight.client_side(self.sent):
            raise ValueError(str(misplaced))
        if self.schema is not None and not APIS[self.api].HAS_SCHEMA:
            raise ValueError(f"schema: the API {self.api!r} has none ({_WITH_SCHEMA} do)")
        try:
            APIS[self.api].body(None, self.sent)
        except BadRow as fault:
            raise ValueError(str(fault)) from None


_WITH_SCHEMA = " and ".join(sorted(name for name, api in APIS.items() if api.HAS_SCHEMA))

TRANSPORT = ("stream", "stream_options")
"""Fields of a body that change how an answer travels, not what it says."""

OUTPUT_CAPS = frozenset(cap for api in APIS.values() for cap in api.OUTPUT_CAPS)


def build(question: Question, parameters: Parameters, row: int) -> Request:
    """The request of one row.  What the row itself says wins over the job file, and flags win over
    both.

    Raises BadRow when nobody names a model (the server would choose one, and its price) or the API
    is none of ours, or not the one that a flag names.
    """
    name = parameters.api if question.api is None else _api(question, parameters)
    sent = parameters.sent
    if question.body is not None:
        sent = weighing.weighed(sent, question.body, parameters.over)
    messages = sent.get("messages") if question.messages is None else question.messages
    body = APIS[name].body(messages, sent)
    model = body.get("model") or parameters.model
    if not model:
        raise BadRow("no model: say which with -m NAME or `model` in [request]")
    body["model"] = model
    asked = dict(sorted(body.items()))
    if "stream" in asked or "stream_options" in asked:
        asked = {key: value for key, value in asked.items() if key not in TRANSPORT}
    encoded = msgspec.json.encode(asked)
    if b"null" in encoded:
        _check_numbers(asked)
    stream = body.get("stream") is True
    choices = n if isinstance(n := body.get("n"), int) else 1
    caps = APIS[name].OUTPUT_CAPS
    return Request(
        row=row,
        custom_id=question.custom_id,
        api=name,
        model=model,
        body=_with_transport(encoded, body) if stream else encoded,
        hash=blake2b(name.encode() + b"\0" + encoded, digest_size=16).hexdigest(),
        stream=stream,
        stream_options=stream and "stream_options" in body,
        choices=choices,
        output_cap=_output_cap(body, choices) if caps else 0,
        cap_key=caps[0] if caps else "",
        shared=question.shared,
    )


def _api(question: Question, parameters: Parameters) -> str:
    """The API that a row asks, which names one.  Raises BadRow."""
    name = question.api or parameters.api
    if name not in APIS:
        raise BadRow(f"the API {name!r} is not supported (known: {', '.join(APIS)})")
    if parameters.over.get("api", name) != name:
        raise BadRow(f"its url is of the API {name!r}, but --api says {parameters.over['api']!r}")
    if parameters.schema is not None and not APIS[name].HAS_SCHEMA:
        raise BadRow(f"the API {name!r} takes no schema ({_WITH_SCHEMA} do)")
    return name


def _check_numbers(asked: dict[str, Any]) -> None:
    """Raises BadRow for what would be sent as something else: NaN as null."""
    for leaf in json_text.leaves(asked):
        if not json_text.is_finite(leaf):
            name = json_text.encode(leaf)
            raise BadRow(f"the request holds {name}, which is no JSON; write a number or null")


def bounded(question: Question, parameters: Parameters, row: int, bounds: Bounds | None) -> Request:
    """The request of one row, held to bounds, if there are any.  Raises BadRow."""
    if bounds is None:
        return build(question, parameters, row)
    if bounds.templated:
        preflight.check_rendered(question)
        return build(question, parameters, row)
    preflight.check_messages(question)
    request = build(question, parameters, row)
    preflight.check(request, APIS[request.api], bounds.host)
    return request


def without_stream_options(request: Request) -> Request:
    """The same question for a server that takes no `stream_options`: its answer may come without
    usage.
    """
    if not request.stream_options:
        return request
    body = msgspec.json.decode(request.body)
    del body["stream_options"]
    lighter = msgspec.json.encode(body)
    return msgspec.structs.replace(request, body=lighter, stream_options=False)


FLEX = b'"service_tier":"flex"'


def is_flex(request: Request) -> bool:
    """Whether it asks for the cheaper tier that may have no room."""
    return FLEX in request.body


COLD = re.compile(rb'"temperature":-?0(?:\.0)?[,}]')


def gives_one_answer(request: Request) -> bool:
    """Whether asking again would be to no purpose: nothing is drawn at random, as no token is put out,
    or the likeliest always is (`temperature` 0).
    """
    if not APIS[request.api].OUTPUT_CAPS:
        return True
    if COLD.search(request.body) is None:
        return False
    return bool(
        msgspec.json.decode(request.body).get("temperature") == 0
    )  # it may be within a tool


def in_standard_tier(request: Request) -> Request:
    """The same question, out of the flex tier."""
    if not is_flex(request):
        return request
    body = msgspec.json.decode(request.body)
    body.pop("service_tier", None)
    return msgspec.structs.replace(request, body=msgspec.json.encode(body))


def with_model(body: bytes, name: str) -> bytes:
    """A body that asks for the model of this name; one that names none, as it is."""
    asked = msgspec.json.decode(body)
    return msgspec.json.encode({**asked, "model": name}) if "model" in asked else body


def with_response_format(request: Request) -> Request:
    """The same question for llama.cpp, which passes over `text.format` in the responses API and
    obeys `response_format` there.
    """
    if b'"format"' not in request.body:
        return request
    body = msgspec.json.decode(request.body)
    wanted = responses_input.response_format(body)
    if wanted is None or "response_format" in body:
        return request
    encoded = msgspec.json.encode({**body, "response_format": wanted})
    return msgspec.structs.replace(request, body=encoded)


def _output_cap(body: dict[str, Any], choices: int) -> int | None:
    """The tokens all answers together may have, those that are thrown away (`best_of`) included;
    None where nothing says.
    """
    if OUTPUT_CAPS.isdisjoint(body):
        return None
    caps = [cap for name in OUTPUT_CAPS if isinstance(cap := body.get(name), int) and cap > 0]
    if not caps:
        return None
    prompt, best_of = body.get("prompt"), body.get("best_of")
    several = isinstance(prompt, list) and not all(isinstance(part, int) for part in prompt)
    answers = max(1, choices, best_of if isinstance(best_of, int) else 1)
    return max(caps) * answers * (len(prompt) if several and prompt else 1)


def _with_transport(encoded: bytes, body: dict[str, Any]) -> bytes:
    extra = msgspec.json.encode({key: body[key] for key in TRANSPORT if key in body})
    return encoded[:-1] + b"," + extra[1:]

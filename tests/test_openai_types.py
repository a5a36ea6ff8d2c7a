"""The openai package accepts, by its own types, every body that is sent: fields it knows, with values
it allows, down to messages and items.

Its types are typed dicts: pydantic checks what they name and passes over what they do not, so that names
are compared here.  `messages` and `tools` are Iterables there, which pydantic checks only when they are
read; they are checked as lists.
"""

from __future__ import annotations

from typing import Any, get_type_hints

import msgspec
import pytest

from batch.apis import Parameters, build
from batch.prompts import Question

pytest.importorskip("openai")

from openai.types import completion_create_params, embedding_create_params
from openai.types.chat import (
    ChatCompletionMessageParam,
    ChatCompletionToolUnionParam,
)
from openai.types.chat import (
    completion_create_params as chat_create_params,
)
from openai.types.responses import ToolParam, response_create_params
from pydantic import TypeAdapter, ValidationError

TYPES: dict[tuple[str, bool], Any] = {
    ("chat", False): chat_create_params.CompletionCreateParamsNonStreaming,
    ("chat", True): chat_create_params.CompletionCreateParamsStreaming,
    ("responses", False): response_create_params.ResponseCreateParamsNonStreaming,
    ("responses", True): response_create_params.ResponseCreateParamsStreaming,
    ("completions", False): completion_create_params.CompletionCreateParamsNonStreaming,
    ("completions", True): completion_create_params.CompletionCreateParamsStreaming,
    ("embeddings", False): embedding_create_params.EmbeddingCreateParams,
}
MESSAGES = TypeAdapter(list[ChatCompletionMessageParam])
TOOLS: dict[str, Any] = {
    "chat": TypeAdapter(list[ChatCompletionToolUnionParam]),
    "responses": TypeAdapter(list[ToolParam]),
}

SCHEMA = {"type": "object", "properties": {"a": {"type": "string"}}, "required": ["a"]}
USER = {"role": "user", "content": "Snow?"}
CALL = {"id": "c1", "type": "function", "function": {"name": "look", "arguments": "{}"}}
CUSTOM_CALL = {"id": "c2", "type": "custom", "custom": {"name": "sql", "input": "SELECT"}}
HISTORY = [
    {"role": "system", "content": "Short."},
    {"role": "developer", "content": "Shorter."},
    USER,
    {"role": "assistant", "content": "Yes."},
    USER,
    {"role": "assistant", "content": None, "tool_calls": [CALL]},
    {"role": "tool", "tool_call_id": "c1", "content": "white"},
    {"role": "assistant", "content": None, "tool_calls": [CUSTOM_CALL]},
    {"role": "tool", "tool_call_id": "c2", "content": "42"},
]
SEEN = [
    {
        "role": "user",
        "content": [
            {"type": "text", "text": "What is this?"},
            {"type": "image_url", "image_url": {"url": "data:image/png;base64,AA=="}},
            {"type": "file", "file": {"file_id": "f"}},
        ],
    }
]
COMMON: dict[str, Any] = {
    "temperature": 0,
    "top_p": 1,
    "max_completion_tokens": 5,
    "metadata": {"a": "b"},
    "user": "u",
    "store": False,
    "parallel_tool_calls": False,
    "service_tier": "flex",
    "reasoning_effort": "low",
    "verbosity": "low",
    "logprobs": True,
    "top_logprobs": 2,
}
FORMS: list[dict[str, Any]] = [
    {"type": "text"},
    {"type": "json_object"},
    {"type": "json_schema", "json_schema": {"name": "s", "schema": SCHEMA, "strict": True}},
]
FUNCTION = {"type": "function", "function": {"name": "look", "parameters": SCHEMA}}
BARE = {"type": "function", "function": {"name": "look"}}
GRAMMAR = {"type": "grammar", "grammar": {"syntax": "lark", "definition": "start: WORD"}}
CUSTOM = {"type": "custom", "custom": {"name": "sql", "format": GRAMMAR}}
NAMED = {"type": "function", "function": {"name": "look"}}
SUBSET = {
    "type": "allowed_tools",
    "allowed_tools": {
        "mode": "auto",
        "tools": [{"type": "function", "function": {"name": "look"}}],
    },
}


def sent(name: str, messages: list[Any], parameters: dict[str, Any]) -> dict[str, Any]:
    request = build(Question(messages=messages), Parameters(name, "gpt-5.4", parameters), 0)
    return dict(msgspec.json.decode(request.body))


def check(name: str, body: dict[str, Any]) -> None:
    kind = TYPES[name, body.get("stream") is True]
    if isinstance(body.get("input"), list):
        body = {**body, "input": [_numbered(item) for item in body["input"]]}
    assert body.keys() <= get_type_hints(kind).keys()
    TypeAdapter(kind).validate_python(body)
    if name == "chat":
        MESSAGES.validate_python(body["messages"])
    if "tools" in body:
        TOOLS[name].validate_python(body["tools"])


def _numbered(item: dict[str, Any]) -> dict[str, Any]:
    """What the model has said must have an id and a status in the types, but not for the server."""
    if item.get("role") != "assistant":
        return item
    return {"id": "msg_1", "status": "completed", **item}


@pytest.mark.parametrize("name", ["chat", "responses"])
@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("messages", [[USER], HISTORY, SEEN], ids=["plain", "history", "parts"])
def test_messages_are_accepted(name, stream, messages):
    check(name, sent(name, messages, {**COMMON, **({"stream": True} if stream else {})}))


@pytest.mark.parametrize("name", ["chat", "responses"])
@pytest.mark.parametrize("form", FORMS, ids=lambda form: form["type"])
def test_formats_are_accepted(name, form):
    check(name, sent(name, [USER], {"response_format": form}))


@pytest.mark.parametrize("name", ["chat", "responses"])
@pytest.mark.parametrize(
    "choice",
    ["auto", "none", "required", NAMED, SUBSET],
    ids=["auto", "none", "must", "one", "some"],
)
def test_tools_are_accepted(name, choice):
    check(name, sent(name, [USER], {"tools": [FUNCTION, BARE, CUSTOM], "tool_choice": choice}))


@pytest.mark.parametrize("stream", [False, True])
def test_a_prompt_is_accepted(stream):
    parameters = {"max_tokens": 5, "logprobs": 1, "n": 2, "echo": False, "seed": 1, "stop": ["x"]}
    more = {"stream": True} if stream else {}
    check("completions", sent("completions", [USER], {**parameters, **more}))


def test_a_text_to_embed_is_accepted():
    check("embeddings", sent("embeddings", [USER], {"dimensions": 8, "user": "u"}))


@pytest.mark.parametrize(
    "broken", [{"tools": [{"type": "function", "function": {}}]}, {"reasoning_effort": "hardly"}]
)
def test_what_the_types_do_not_allow_is_found(broken):
    with pytest.raises(ValidationError):
        check("chat", sent("chat", [USER], broken))

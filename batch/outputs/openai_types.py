"""What OpenAI's own types allow in an answer, as far as other servers send something else.

A table holds the kind of every field that may not be just anything; those that are not in it may.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

import msgspec

Kinds = Mapping[str, Any]

Tier = Literal["auto", "default", "flex", "scale", "priority"]
Object = dict[str, Any] | None
State = Literal["in_progress", "completed", "incomplete"]


def allowed(raw: Any, kinds: Kinds) -> dict[str, Any]:
    """The fields of an object whose values are of their kinds; none where it is no object."""
    if not isinstance(raw, dict):
        return {}
    return {
        name: value for name, value in raw.items() if name not in kinds or _is(value, kinds[name])
    }


def _is(value: Any, kind: Any) -> bool:
    try:
        msgspec.convert(value, kind)
    except msgspec.ValidationError:
        return False
    return True


class Function(msgspec.Struct):
    name: str
    arguments: str


class FunctionCall(msgspec.Struct, tag_field="type", tag="function"):
    id: str
    function: Function


class Custom(msgspec.Struct):
    name: str
    input: str


class CustomCall(msgspec.Struct, tag_field="type", tag="custom"):
    id: str
    custom: Custom


class TopLogprob(msgspec.Struct):
    token: str
    logprob: float
    bytes: list[int] | None = None


class Logprob(TopLogprob, kw_only=True):
    top_logprobs: list[TopLogprob]


class Likelihood(msgspec.Struct):
    token: str
    logprob: float
    bytes: list[int]


class Likelihoods(Likelihood, kw_only=True):
    """A Logprob of the responses API."""

    top_logprobs: list[Likelihood]


class Logprobs(msgspec.Struct):
    content: list[Logprob] | None = None
    refusal: list[Logprob] | None = None


class TextLogprobs(msgspec.Struct):
    text_offset: list[int] | None = None
    token_logprobs: list[float] | None = None
    tokens: list[str] | None = None
    top_logprobs: list[dict[str, float]] | None = None


class Citation(msgspec.Struct):
    end_index: int
    start_index: int
    title: str
    url: str


class Annotation(msgspec.Struct):
    type: Literal["url_citation"]
    url_citation: Citation


class UrlCitation(Citation, kw_only=True):
    type: Literal["url_citation"]


class Audio(msgspec.Struct):
    id: str
    data: str
    expires_at: int
    transcript: str


class Details(msgspec.Struct):
    """Of tokens."""

    accepted_prediction_tokens: int | None = None
    audio_tokens: int | None = None
    cache_write_tokens: int | None = None
    cached_tokens: int | None = None
    image_tokens: int | None = None
    reasoning_tokens: int | None = None
    rejected_prediction_tokens: int | None = None
    text_tokens: int | None = None


class Summary(msgspec.Struct):
    type: Literal["summary_text"]
    text: str


class Thought(msgspec.Struct):
    type: Literal["reasoning_text"]
    text: str


class Incomplete(msgspec.Struct):
    reason: Literal["max_output_tokens", "content_filter"] | None = None


class Reasoning(msgspec.Struct):
    effort: Literal["none", "minimal", "low", "medium", "high", "xhigh"] | None = None
    summary: Literal["auto", "concise", "detailed"] | None = None
    generate_summary: Literal["auto", "concise", "detailed"] | None = None


class PlainText(msgspec.Struct, tag_field="type", tag="text"):
    pass


class JsonObject(msgspec.Struct, tag_field="type", tag="json_object"):
    pass


class JsonSchema(msgspec.Struct, tag_field="type", tag="json_schema"):
    name: str
    schema: dict[str, Any]
    description: str | None = None
    strict: bool | None = None


class TextConfig(msgspec.Struct):
    format: PlainText | JsonObject | JsonSchema | None = None
    verbosity: Literal["low", "medium", "high"] | None = None


class FunctionTool(msgspec.Struct):
    type: Literal["function"]
    name: str
    parameters: dict[str, Any] | None
    strict: bool | None
    description: str | None = None


ANSWER: Kinds = {
    "id": str,
    "created": int,
    "model": str,
    "service_tier": Tier | None,
    "system_fingerprint": str | None,
    "metadata": dict[str, str] | None,
    "moderation": Object,
}
CHAT: Kinds = {**ANSWER, "object": Literal["chat.completion"]}
TEXT: Kinds = {**ANSWER, "object": Literal["text_completion"]}
EMBEDDINGS: Kinds = {"model": str, "object": Literal["list"]}

CHAT_REASON = Literal["stop", "length", "tool_calls", "content_filter", "function_call"]
CHOICE: Kinds = {"index": int, "finish_reason": CHAT_REASON, "logprobs": Logprobs | None}
MESSAGE: Kinds = {
    "role": Literal["assistant"],
    "content": str | None,
    "refusal": str | None,
    "annotations": list[Annotation] | None,
    "audio": Audio | None,
    "function_call": Function | None,
    "tool_calls": list[FunctionCall | CustomCall] | None,
}
TEXT_REASON = Literal["stop", "length", "content_filter"]
TEXT_CHOICE: Kinds = {
    "index": int,
    "finish_reason": TEXT_REASON,
    "logprobs": TextLogprobs | None,
    "text": str,
}
EMBEDDING: Kinds = {"object": Literal["embedding"], "index": int, "embedding": list[float]}
USAGE: Kinds = {
    "prompt_tokens": int,
    "completion_tokens": int,
    "total_tokens": int,
    "prompt_tokens_details": Details | None,
    "completion_tokens_details": Details | None,
}

RESPONSE: Kinds = {
    "id": str,
    "object": Literal["response"],
    "created_at": float,
    "completed_at": float | None,
    "model": str,
    "status": State,
    "error": None,
    "incomplete_details": Incomplete | None,
    "instructions": str | None,
    "metadata": dict[str, str] | None,
    "parallel_tool_calls": bool,
    "temperature": float | None,
    "top_p": float | None,
    "tool_choice": Literal["none", "auto", "required"],
    "tools": list[FunctionTool],
    "background": bool | None,
    "conversation": None,
    "max_output_tokens": int | None,
    "max_tool_calls": int | None,
    "previous_response_id": str | None,
    "prompt": None,
    "prompt_cache_key": str | None,
    "prompt_cache_retention": Literal["24h"] | None,
    "reasoning": Reasoning | None,
    "safety_identifier": str | None,
    "service_tier": Tier | None,
    "text": TextConfig | None,
    "top_logprobs": int | None,
    "truncation": Literal["auto", "disabled"] | None,
    "user": str | None,
    **dict.fromkeys(("access_programs", "image", "moderation", "tool_usage"), Object),
    **dict.fromkeys(("prompt_cache_options", "prompt_cache_diagnostics"), Object),
    "input_transformations": list[dict[str, Any]] | None,
}
RESPONSE_USAGE: Kinds = {"input_tokens": int, "output_tokens": int, "total_tokens": int}
INPUT_DETAILS: Kinds = {"cached_tokens": int, "cache_write_tokens": int}
OUTPUT_DETAILS: Kinds = {"reasoning_tokens": int}

ITEM: Kinds = {"id": str, "status": State}
MESSAGE_ITEM: Kinds = {**ITEM, "role": Literal["assistant"]}
REASONING_ITEM: Kinds = {
    **ITEM,
    "summary": list[Summary],
    "content": list[Thought] | None,
    "encrypted_content": str | None,
}
CALL_ITEM: Kinds = {**ITEM, "call_id": str, "name": str, "arguments": str, "input": str}
PART: Kinds = {
    "text": str,
    "refusal": str,
    "annotations": list[UrlCitation],
    "logprobs": list[Likelihoods] | None,
}
OTHER_ITEMS = frozenset(
    {
        *("file_search_call", "web_search_call", "computer_call", "image_generation_call"),
        *("code_interpreter_call", "local_shell_call", "mcp_call", "mcp_list_tools"),
        "mcp_approval_request",
    }
)
"""Items of an answer that only OpenAI's own tools make: they are as they should be."""

"""The answers of rows in the shapes of OpenAI's APIs, each of which is what OpenAI's own types say.

An answer is rebuilt from the columns in the shape of the API that gave it; where the raw answer was kept,
its fields stand instead, as far as they are of the kind they should be.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from typing import Any

import msgspec

from batch import json_text
from batch.outputs import openai_types as kinds
from batch.outputs.openai_types import allowed
from batch.prompts import PATHS

Row = dict[str, Any]

SAID = ("completion", "finish_reason", "refusal", "tool_calls", "reasoning")
"""Columns that hold something of every answer in words."""

REASONS = {"length": "max_output_tokens", "content_filter": "content_filter"}
"""Finish reason of a chat -> why the responses API calls an answer incomplete."""

OBJECTS = {
    ("chat.completion", "choices"): "chat",
    ("text_completion", "choices"): "completions",
    ("response", "output"): "responses",
    ("list", "data"): "embeddings",
}
"""What an answer calls itself, and the field that holds what it says -> the API that gave it."""


def body(row: Row, api: str) -> Row:
    """The answer of one row; `api` is that of its job."""
    raw = _raw(row)
    match _api_by(raw) or _api_of(row, api):
        case "embeddings":
            return _embeddings(row, raw)
        case "responses":
            return _response(row, raw)
        case "completions":
            return _completion(row, raw)
    return _chat(row, raw)


def _raw(row: Row) -> Row:
    """The raw answer, as far as it was kept."""
    return _object(row["response_json"])


def _object(text: str | None) -> Row:
    """What a JSON text says; nothing where it is no object, or holds what strict JSON has no word for."""
    try:
        found = json_text.decode(text or "{}")
    except (msgspec.DecodeError, RecursionError):
        return {}
    return found if isinstance(found, dict) and json_text.is_finite(found) else {}


def _api_by(raw: Row) -> str | None:
    """Which API gave this answer; what is not carried from the input cannot tell it otherwise."""
    found = (
        api for (name, field), api in OBJECTS.items() if raw.get("object") == name and field in raw
    )
    return next(found, None)


def _api_of(row: Row, api: str) -> str:
    """Which API was asked; what is not carried from the input cannot tell."""
    if isinstance(row.get("embedding"), list) and all(row[name] is None for name in SAID):
        return "embeddings"
    url = row.get("url")
    if row.get("body") is None or not isinstance(url, str):
        return api
    return next((name for end, name in PATHS.items() if url.rstrip("/").endswith(end)), api)


def _about(row: Row, prefix: str) -> Row:
    """What every answer says of itself."""
    model = row["served_model"] or row["model"] or ""
    return {"id": f"{prefix}-{row['request_hash'] or row['row']}", "model": model}


def _created(row: Row) -> int:
    moment = row["finished_at"] or row["started_at"]
    return int(moment.timestamp()) if isinstance(moment, datetime) else 0


def _chat(row: Row, raw: Row) -> Row:
    about = {**_about(row, "chatcmpl"), "object": "chat.completion", "created": _created(row)}
    choices = _paired(row, raw, _chat_choice)
    return {**about, **allowed(raw, kinds.CHAT), "choices": choices, "usage": _usage(row)}


def _completion(row: Row, raw: Row) -> Row:
    about = {**_about(row, "cmpl"), "object": "text_completion", "created": _created(row)}
    choices = _paired(row, raw, _text_choice)
    return {**about, **allowed(raw, kinds.TEXT), "choices": choices, "usage": _usage(row)}


def _paired(row: Row, raw: Row, make: Callable[[Row, Row], Row]) -> list[Row]:
    """The choices, each with what the raw answer has of it."""
    choices = row["choices"] or [{**row, "index": 0}]
    found = raw.get("choices")
    raws = [each for each in found if isinstance(each, dict)] if isinstance(found, list) else []
    if len(choices) == len(raws) == 1:
        return [make(choices[0], raws[0])]
    by_index = {_index(each, at): each for at, each in enumerate(raws)}
    return [make(choice, by_index.get(choice["index"], {})) for choice in choices]


def _index(choice: Row, at: int) -> int:
    index = choice.get("index")
    return index if isinstance(index, int) else at


def _chat_choice(choice: Row, raw: Row) -> Row:
    calls = [
        {
            "id": call["id"] or f"call_{at}",
            "type": "function",
            "function": {name: call[name] or "" for name in ("name", "arguments")},
        }
        for at, call in enumerate(choice["tool_calls"] or ())
    ]
    message = {"role": "assistant", "content": choice["completion"], "refusal": choice["refusal"]}
    if calls:
        message["tool_calls"] = calls
    made = {
        "index": choice["index"],
        "finish_reason": _of(choice["finish_reason"], kinds.CHAT_REASON),
        "logprobs": None,
        **allowed(raw, kinds.CHOICE),
    }
    return {**made, "message": {**message, **allowed(raw.get("message"), kinds.MESSAGE)}}


def _of(reason: str | None, known: Any) -> str:
    """A finish reason in the words there are."""
    return reason if reason is not None and reason in known.__args__ else "stop"


def _text_choice(choice: Row, raw: Row) -> Row:
    return {
        "index": choice["index"],
        "text": choice["completion"] or "",
        "logprobs": None,
        "finish_reason": _of(choice["finish_reason"], kinds.TEXT_REASON),
        **allowed(raw, kinds.TEXT_CHOICE),
    }


def _usage(row: Row) -> Row | None:
    """As the server told it, completed by what is known."""
    read, written = row["input_tokens"], row["output_tokens"]
    told = allowed(_object(row["usage_json"]), kinds.USAGE)
    if read is None and "prompt_tokens" not in told:
        return None
    found = {"prompt_tokens": read or 0, "completion_tokens": written or 0, **told}
    return {"total_tokens": found["prompt_tokens"] + found["completion_tokens"], **found}


def _embeddings(row: Row, raw: Row) -> Row:
    vector = row.get("embedding") or []
    data = [{"object": "embedding", "index": 0, "embedding": vector}]
    found = raw.get("data")
    several = [allowed(each, kinds.EMBEDDING) for each in found] if isinstance(found, list) else []
    if all("embedding" in each for each in several) and several:
        data = [{"object": "embedding", "index": at, **each} for at, each in enumerate(several)]
    about = {"object": "list", "model": _about(row, "")["model"]}
    read = row["input_tokens"] or 0
    usage = {
        "prompt_tokens": read,
        "total_tokens": read,
        **allowed(_object(row["usage_json"]), kinds.USAGE),
    }
    return {**about, **allowed(raw, kinds.EMBEDDINGS), "data": data, "usage": usage}


def _response(row: Row, raw: Row) -> Row:
    """Status and items of an answer of the responses API, and what it says of the question."""
    reason = REASONS.get(row["finish_reason"] or "")
    status = "incomplete" if reason else "completed"
    made = {
        **_about(row, "resp"),
        "object": "response",
        "created_at": _created(row),
        "status": status,
        "error": None,
        "incomplete_details": {"reason": reason} if reason else None,
        "parallel_tool_calls": True,
        "tool_choice": "auto",
        "tools": [],
        **allowed(raw, kinds.RESPONSE),
    }
    return {**made, "output": _output(row, raw, status), "usage": _response_usage(row)}


def _response_usage(row: Row) -> Row | None:
    told = _object(row["usage_json"])
    found = allowed(told, kinds.RESPONSE_USAGE)
    read, written = row["input_tokens"], row["output_tokens"]
    if read is None and "input_tokens" not in found:
        return None
    made = {"input_tokens": read or 0, "output_tokens": written or 0, **found}
    total = made["input_tokens"] + made["output_tokens"]
    cached = {"cached_tokens": row["cached_tokens"] or 0, "cache_write_tokens": 0}
    thought = {"reasoning_tokens": row["reasoning_tokens"] or 0}
    return {
        "total_tokens": total,
        **made,
        "input_tokens_details": {
            **cached,
            **allowed(told.get("input_tokens_details"), kinds.INPUT_DETAILS),
        },
        "output_tokens_details": {
            **thought,
            **allowed(told.get("output_tokens_details"), kinds.OUTPUT_DETAILS),
        },
    }


def _output(row: Row, raw: Row, status: str) -> list[Row]:
    """The items as they were sent, or where one of them is none, those that the columns tell."""
    found = raw.get("output")
    items = found if isinstance(found, list) else []
    kept = [_item(item, f"item_{row['row']}_{at}", status) for at, item in enumerate(items)]
    whole = [item for item in kept if item is not None]
    if whole and len(whole) == len(items):
        return whole
    return [
        made
        for at, item in enumerate(_items(row))
        if (made := _item(item, f"item_{row['row']}_{at}", status)) is not None
    ]


def _item(item: Any, id_: str, status: str) -> Row | None:
    """An item with all that its type asks for; None where it cannot be had."""
    kind = str(item.get("type")) if isinstance(item, dict) else None
    match kind:
        case "message":
            parts = [_part(part) for part in _parts(item.get("content"))]
            made = {"id": id_, "role": "assistant", "status": status}
            whole = {**made, **allowed(item, kinds.MESSAGE_ITEM), "content": parts}
            return None if None in parts else whole
        case "reasoning":
            return {"id": id_, "summary": [], **allowed(item, kinds.REASONING_ITEM)}
        case "function_call" | "custom_tool_call":
            called = {"call_id": id_, **allowed(item, kinds.CALL_ITEM)}
            given = "arguments" if kind == "function_call" else "input"
            return called if {"name", given} <= called.keys() else None
    return item if kind in kinds.OTHER_ITEMS else None


def _parts(content: Any) -> list[Any]:
    if isinstance(content, str):
        return [{"type": "output_text", "text": content}]
    return content if isinstance(content, list) else [None]


def _part(part: Any) -> Row | None:
    made = allowed(part, kinds.PART)
    match made.get("type"):
        case "output_text" if "text" in made:
            return {"annotations": [], **made}
        case "refusal" if "refusal" in made:
            return made
    return None


def _items(row: Row) -> list[Row]:
    items: list[Row] = []
    if row["reasoning"]:
        told = {"type": "reasoning_text", "text": row["reasoning"]}
        items.append({"type": "reasoning", "content": [told]})
    content: list[Row] = []
    if row["completion"] is not None:
        content.append({"type": "output_text", "text": row["completion"]})
    if row["refusal"]:
        content.append({"type": "refusal", "refusal": row["refusal"]})
    if content:
        items.append({"type": "message", "content": content})
    for call in row["tool_calls"] or ():
        called = {name: call[name] or "" for name in ("name", "arguments")}
        items.append({"type": "function_call", "call_id": call["id"] or "", **called})
    return items

"""Rows as lines of OpenAI's Batch API: the raw answer where it was kept, else one rebuilt from the
columns in the shape of the API that gave it.

Shapes: https://platform.openai.com/docs/api-reference/batch/request-output
"""

from __future__ import annotations

from typing import Any

import msgspec

from batch.requests.prompts import PATHS

Row = dict[str, Any]

SAID = ("completion", "finish_reason", "refusal", "tool_calls", "reasoning")
"""Columns that hold something of every answer in words."""

REASONS = {"length": "max_output_tokens", "content_filter": "content_filter"}
"""Finish reason of a chat -> why the responses API calls an answer incomplete."""


def line(row: Row, api: str) -> Row:
    """One row of the output; `api` is that of its job, which a batch line's own url overrules."""
    about = {"id": f"batch_req_{row['row']}", "custom_id": row["custom_id"] or str(row["row"])}
    if row["status"] == "ok":
        kept = row["response_json"]
        body = msgspec.Raw(kept.encode()) if kept else _rebuilt(row, api)
        response = {"status_code": 200, "request_id": row["request_id"], "body": body}
        return {**about, "response": response, "error": None}
    error = {"code": row["error_code"] or row["error_class"], "message": row["error_message"]}
    if not row["http_status"] or row["http_status"] < 400:
        return {**about, "response": None, "error": error}
    body = {"error": {**error, "type": row["error_class"], "param": None}}
    response = {"status_code": row["http_status"], "request_id": row["request_id"], "body": body}
    return {**about, "response": response, "error": None}


def _rebuilt(row: Row, api: str) -> Row:
    usage = msgspec.Raw(row["usage_json"].encode()) if row["usage_json"] else None
    about = {"model": row["served_model"] or row["model"], "usage": usage}
    match _api_of(row, api):
        case "embeddings":
            item = {"object": "embedding", "index": 0, "embedding": row["embedding"]}
            return {"object": "list", "data": [item], **about}
        case "responses":
            return {"object": "response", **_response(row), **about}
        case "completions":
            choices = [_text_choice(choice) for choice in _choices(row)]
            return {"object": "text_completion", "choices": choices, **about}
    choices = [_chat_choice(choice) for choice in _choices(row)]
    return {"object": "chat.completion", "choices": choices, **about}


def _api_of(row: Row, api: str) -> str:
    """Which API answered; what is not carried from the input cannot tell."""
    if isinstance(row.get("embedding"), list) and all(row[name] is None for name in SAID):
        return "embeddings"
    url = row.get("url")
    if row.get("body") is None or not isinstance(url, str):
        return api
    return next((name for end, name in PATHS.items() if url.rstrip("/").endswith(end)), api)


def _choices(row: Row) -> list[Row]:
    return row["choices"] or [{**row, "index": 0}]


def _chat_choice(choice: Row) -> Row:
    calls = [
        {
            "id": call["id"],
            "type": "function",
            "function": {name: call[name] for name in ("name", "arguments")},
        }
        for call in choice["tool_calls"] or ()
    ]
    message = {"role": "assistant", "content": choice["completion"], "refusal": choice["refusal"]}
    return {
        "index": choice["index"],
        "message": {**message, **({"tool_calls": calls} if calls else {})},
        "finish_reason": choice["finish_reason"],
    }


def _text_choice(choice: Row) -> Row:
    return {
        "index": choice["index"],
        "text": choice["completion"] or "",
        "logprobs": None,
        "finish_reason": choice["finish_reason"],
    }


def _response(row: Row) -> Row:
    """Status and items of an answer of the responses API."""
    reason = REASONS.get(row["finish_reason"] or "")
    status = "incomplete" if reason else "completed"
    return {
        "status": status,
        "incomplete_details": {"reason": reason} if reason else None,
        "output": _items(row, status),
    }


def _items(row: Row, status: str) -> list[Row]:
    items: list[Row] = []
    if row["reasoning"]:
        told = {"type": "reasoning_text", "text": row["reasoning"]}
        items.append({"type": "reasoning", "summary": [], "content": [told]})
    content: list[Row] = []
    if row["completion"] is not None:
        content.append({"type": "output_text", "text": row["completion"], "annotations": []})
    if row["refusal"]:
        content.append({"type": "refusal", "refusal": row["refusal"]})
    if content:
        about = {"type": "message", "role": "assistant", "status": status}
        items.append({**about, "content": content})
    for call in row["tool_calls"] or ():
        called = {name: call[name] for name in ("name", "arguments")}
        items.append({"type": "function_call", "call_id": call["id"], **called})
    return items

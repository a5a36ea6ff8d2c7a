"""Rows as lines of OpenAI's Batch API: the raw answer where it was kept, else one rebuilt from the
columns in the shape of the API that gave it.

Shapes: https://platform.openai.com/docs/api-reference/batch/request-output
"""

from __future__ import annotations

from typing import Any

import msgspec

from batch.apis import APIS
from batch.apis.answers import Answered

SAID = ("completion", "finish_reason", "refusal", "tool_calls", "reasoning")
"""Columns that hold something of every answer in words."""


def line(row: Answered, api: str) -> dict[str, Any]:
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


def _rebuilt(row: Answered, api: str) -> dict[str, Any]:
    usage = msgspec.Raw(row["usage_json"].encode()) if row["usage_json"] else None
    about = {"model": row["served_model"] or row["model"], "usage": usage}
    return {**APIS[_api_of(row, api)].rebuilt(row), **about}


def _api_of(row: Answered, api: str) -> str:
    """Which API answered; what is not carried from the input cannot tell."""
    if all(row[name] is None for name in SAID):
        for name, each in APIS.items():
            if any(row.get(column.name) is not None for column in each.COLUMNS):
                return name
    url = row.get("url")
    if row.get("body") is None or not isinstance(url, str):
        return api
    return next((name for name, it in APIS.items() if url.rstrip("/").endswith(it.PATH)), api)

"""Rows as lines of OpenAI's Batch API.

Shape: https://platform.openai.com/docs/api-reference/batch/request-output
"""

from __future__ import annotations

from typing import Any

from batch.outputs import answer_bodies

Row = dict[str, Any]


def line(row: Row, api: str) -> Row:
    """One row of the output; `api` is that of its job, which a batch line's own url overrules."""
    about = {"id": f"batch_req_{row['row']}", "custom_id": custom_id(row)}
    if row["status"] == "ok":
        response = {
            "status_code": 200,
            "request_id": row["request_id"],
            "body": answer_bodies.body(row, api),
        }
        return {**about, "response": response, "error": None}
    error = {"code": row["error_code"] or row["error_class"], "message": row["error_message"]}
    if not row["http_status"] or row["http_status"] < 400:
        return {**about, "response": None, "error": error}
    body = {"error": {**error, "type": row["error_class"], "param": None}}
    response = {"status_code": row["http_status"], "request_id": row["request_id"], "body": body}
    return {**about, "response": response, "error": None}


def custom_id(row: Row) -> str:
    """By what a line is told from the others: where a row brings nothing, its number."""
    return row["custom_id"] or str(row["row"])

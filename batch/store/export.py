"""Results as one file: streamed in input order, all or nothing."""

from __future__ import annotations

import csv
import io
import os
import secrets
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO

import msgspec
import pyarrow as pa
import pyarrow.parquet as pq

from batch.store.files import refused

Tables = Iterable[pa.Table]


def parquet(tables: Tables, schema: pa.Schema, file: BinaryIO) -> None:
    """The columns with their types."""
    with pq.ParquetWriter(file, schema, compression="zstd") as writer:
        for table in tables:
            writer.write_table(table)


def jsonl(tables: Tables, schema: pa.Schema, file: BinaryIO) -> None:
    """One object a row; JSON columns as they are, times as ISO 8601, bytes as base64."""
    encoder = msgspec.json.Encoder(enc_hook=str)
    for table in tables:
        for row in table.to_pylist():
            file.write(encoder.encode(row) + b"\n")


def csv_(tables: Tables, schema: pa.Schema, file: BinaryIO) -> None:
    """Nested values as JSON text; null is empty."""
    text = io.TextIOWrapper(file, encoding="utf-8", newline="", write_through=True)
    writer = csv.writer(text)
    writer.writerow(schema.names)
    for table in tables:
        writer.writerows([_cell(value) for value in row.values()] for row in table.to_pylist())
    text.detach()


def _cell(value: Any) -> Any:
    if isinstance(value, (list, dict)):
        return msgspec.json.encode(value, enc_hook=str).decode()
    return msgspec.to_builtins(value, enc_hook=str) if value is not None else ""


FORMATS: dict[str, Callable[[Tables, pa.Schema, BinaryIO], None]] = {
    "parquet": parquet,
    "jsonl": jsonl,
    "csv": csv_,
}


SUFFIXES = {".parquet": "parquet", ".jsonl": "jsonl", ".csv": "csv"}


def write(path: Path, format_: str, tables: Tables, schema: pa.Schema) -> None:
    """Write `tables` to `path`.  Raises StorageError."""
    with whole(path) as file:
        FORMATS[format_](tables, schema, file)


ApiOf = Callable[[dict[str, Any]], str]


def openai_batch(path: Path, tables: Tables, api_of: ApiOf) -> Path:
    """The answers as OpenAI's Batch API gives them; failed rows go to the file that is returned.

    Needs the raw answers: a row whose answer was not kept is rebuilt from its columns, in the shape
    of the API that `api_of` the row names.
    """
    errors = path.with_name(f"{path.stem}.errors{path.suffix}")
    encoder = msgspec.json.Encoder()
    with whole(path) as answered, whole(errors) as failed:
        for table in tables:
            for row in table.to_pylist():
                file = answered if row["status"] == "ok" else failed
                file.write(encoder.encode(_batch_line(row, api_of(row))) + b"\n")
    return errors


def _batch_line(row: dict[str, Any], api: str) -> dict[str, Any]:
    line = {"id": f"batch_req_{row['row']}", "custom_id": row["custom_id"] or str(row["row"])}
    if row["status"] == "ok":
        kept = row["response_json"]
        body = msgspec.Raw(kept.encode()) if kept else _rebuilt(row, api)
        response = {"status_code": 200, "request_id": row["request_id"], "body": body}
        return {**line, "response": response, "error": None}
    error = {"code": row["error_code"] or row["error_class"], "message": row["error_message"]}
    if not row["http_status"] or row["http_status"] < 400:
        return {**line, "response": None, "error": error}
    body = {"error": {**error, "type": row["error_class"], "param": None}}
    response = {"status_code": row["http_status"], "request_id": row["request_id"], "body": body}
    return {**line, "response": response, "error": None}


def _rebuilt(row: dict[str, Any], api: str) -> dict[str, Any]:
    usage = msgspec.Raw(row["usage_json"].encode()) if row["usage_json"] else None
    said = {"model": row["served_model"] or row["model"], "usage": usage}
    if api == "embeddings":
        item = {"object": "embedding", "index": 0, "embedding": row.get("embedding")}
        return {"object": "list", "data": [item], **said}
    if api == "responses":
        return {"object": "response", **_status(row), "output": list(_items(row)), **said}
    choice = {"index": 0, "finish_reason": row["finish_reason"]}
    if api == "completions":
        choice |= {"text": row["completion"]}
        return {"object": "text_completion", "choices": [choice], **said}
    choice |= {"message": _message(row)}
    return {"object": "chat.completion", "choices": [choice], **said}


def _message(row: dict[str, Any]) -> dict[str, Any]:
    calls = [
        {
            "id": call["id"],
            "type": "function",
            "function": {k: call[k] for k in ("name", "arguments")},
        }
        for call in row["tool_calls"] or ()
    ]
    message = {"role": "assistant", "content": row["completion"], "refusal": row["refusal"]}
    return {**message, **({"tool_calls": calls} if calls else {})}


def _status(row: dict[str, Any]) -> dict[str, Any]:
    """A finish reason in the words of the responses API."""
    reasons = {"length": "max_output_tokens", "content_filter": "content_filter"}
    reason = reasons.get(row["finish_reason"])
    details = None if reason is None else {"reason": reason}
    return {
        "status": "completed" if reason is None else "incomplete",
        "incomplete_details": details,
    }


def _items(row: dict[str, Any]) -> Iterator[dict[str, Any]]:
    if row["reasoning"] is not None:
        part = {"type": "reasoning_text", "text": row["reasoning"]}
        yield {"type": "reasoning", "summary": [], "content": [part]}
    content = []
    if row["completion"] is not None:
        content.append({"type": "output_text", "text": row["completion"], "annotations": []})
    if row["refusal"] is not None:
        content.append({"type": "refusal", "refusal": row["refusal"]})
    if content:
        yield {"type": "message", "role": "assistant", "status": "completed", "content": content}
    for call in row["tool_calls"] or ():
        named = {k: call[k] for k in ("name", "arguments")}
        yield {"type": "function_call", "call_id": call["id"], **named}


@contextmanager
def whole(path: Path) -> Iterator[BinaryIO]:
    """A file that is there, whole, only when all went well."""
    draft = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
    try:
        with draft.open("wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        draft.replace(path)
    except OSError as error:
        raise refused(error, path) from None
    finally:
        draft.unlink(missing_ok=True)

"""Messages that no server takes: those that are none, and those that say nothing.  Pure.

What an assistant said may be empty where it did something else: it called a tool, refused, thought.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

ROLES = ("system", "developer", "user", "assistant", "tool", "function")

DEEDS = (
    *("tool_calls", "function_call", "refusal", "audio"),
    *("reasoning", "reasoning_content", "reasoning_details", "thinking"),
)
"""What an assistant's message may hold in place of content."""

TEXTS = ("text", "input_text", "output_text")
"""Types of parts that are text."""


def faults(messages: Any) -> Iterator[tuple[str, str]]:
    """What is wrong with the messages of a chat, each with its place."""
    if not isinstance(messages, list) or not messages:
        yield "messages", "expected at least one"
        return
    for number, message in enumerate(messages):
        if problem := _fault(message):
            yield f"messages[{number}]", problem


def _fault(message: Any) -> str | None:
    if not isinstance(message, dict):
        return f"expected an object with role and content, not {shown(message)}"
    role, content = message.get("role"), message.get("content")
    if role not in ROLES:
        return f"role: expected one of {', '.join(ROLES)}, not {shown(role)}"
    if content is None and role == "assistant":  # it may have called a tool, or refused
        return None
    if not isinstance(content, str) and not (isinstance(content, list) and content):
        return f"content: expected text or a list of parts, not {shown(content)}"
    if role == "assistant" and any(message.get(deed) for deed in DEEDS):
        return None
    return empty(content)


def empty(content: Any) -> str | None:
    """Where a content says nothing, in words; None where all of it says something."""
    if isinstance(content, str):
        return f"content: {NOT_EMPTY}, not {shown(content)}" if is_blank(content) else None
    for number, part in enumerate(content if isinstance(content, list) else ()):
        if isinstance(part, dict) and part.get("type") in TEXTS and is_blank(part.get("text")):
            return f"content[{number}]: {NOT_EMPTY}, not {shown(part['text'])}"
    return None


NOT_EMPTY = "expected a text that is not empty"


def is_blank(text: Any) -> bool:
    return isinstance(text, str) and (not text or text.isspace())


def shown(value: Any) -> str:
    if value is None:
        return "nothing"
    text = json.dumps(value, ensure_ascii=False, default=str)
    return text if len(text) <= 60 else f"{text[:60]}…"

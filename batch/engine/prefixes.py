"""How a prompt begins: what a server's cache would hold of it."""

from __future__ import annotations

from typing import Any

import msgspec

from batch.model import Request

USER_BYTES = 256
"""Bytes of the user's text that count."""


class _Message(msgspec.Struct):
    role: str = ""
    content: Any = None


class _Body(msgspec.Struct):
    messages: list[_Message] = []
    instructions: str | None = None
    input: Any = None
    prompt: Any = None


_bodies = msgspec.json.Decoder(_Body)


def of(request: Request) -> bytes | None:
    """The system prompt and the first bytes of the user's text; None where the body tells neither."""
    try:
        body = _bodies.decode(request.body)
    except msgspec.DecodeError:
        return None
    texts = [body.instructions or ""]
    for message in body.messages:
        texts.append(_text(message.content))
        if message.role not in ("system", "developer"):
            break
    user = texts.pop() if body.messages else _text(body.input or body.prompt)
    begins = "\0".join(texts).encode("utf-8", "surrogatepass")
    return begins + b"\0" + user.encode("utf-8", "surrogatepass")[:USER_BYTES]


def _text(content: Any) -> str:
    if isinstance(content, str):
        return content
    return "" if content is None else msgspec.json.encode(content).decode()

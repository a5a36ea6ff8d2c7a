"""How prompts begin: what a server's cache would hold of them."""

from __future__ import annotations

from typing import Any

import msgspec

from batch.model import Request

USER_BYTES = 256
"""Bytes of the user's text that count."""
MANY = 16
"""So many system prompts are no variants of one: each tells enough by itself, whatever is asked."""


class _Message(msgspec.Struct):
    role: str = ""
    content: Any = None


class _Body(msgspec.Struct):
    messages: list[_Message] = []
    instructions: str | None = None
    input: Any = None
    prompt: Any = None


_bodies = msgspec.json.Decoder(_Body)


class Prefixes:
    """Those of the prompts of a run.  It is the system prompt and the first bytes of the user's text;
    where system prompts differ from row to row, as with a document in each, it is they alone.
    """

    def __init__(self) -> None:
        self._systems: set[bytes] = set()  # at most MANY

    def of(self, request: Request) -> bytes | None:
        """How a prompt begins; None where the body tells nothing of it."""
        try:
            body = _bodies.decode(request.body)
        except msgspec.DecodeError:
            return None
        system, user = _parts(body)
        if len(self._systems) < MANY:
            self._systems.add(system)
            return system + b"\0" + user[:USER_BYTES]
        return system


def _parts(body: _Body) -> tuple[bytes, bytes]:
    """What stands before the user's text, and that."""
    texts = [body.instructions or ""]
    for message in body.messages:
        if message.role not in ("system", "developer"):
            return _bytes("\0".join(texts)), _bytes(_text(message.content))
        texts.append(_text(message.content))
    return _bytes("\0".join(texts)), _bytes(_text(body.input or body.prompt))


def _text(content: Any) -> str:
    if isinstance(content, str):
        return content
    return "" if content is None else msgspec.json.encode(content).decode()


def _bytes(text: str) -> bytes:
    return text.encode("utf-8", "surrogatepass")

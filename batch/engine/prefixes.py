"""How prompts begin: what a server's cache would hold of them.

`Prefixes` tells prompts apart by their first bytes, to choose a server; `shared` tells what of a long
prompt others may have in common with it.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from hashlib import blake2b
from typing import Any, NamedTuple

import msgspec

from batch.apis.cache_marks import is_one_text
from batch.model import Request

USER_BYTES = 256
"""Bytes of the user's text that count."""
MANY = 16
"""So many system prompts are no variants of one: each tells enough by itself, whatever is asked."""

HASH_BYTES = 16
DEEPEST = 8
"""Levels of a content in which texts are looked for; parts of a message have three."""


class _Message(msgspec.Struct):
    role: str = ""
    content: Any = None


class _Body(msgspec.Struct):
    messages: list[_Message] = []
    instructions: str | None = None
    input: Any = None
    prompt: Any = None
    tools: msgspec.Raw = msgspec.Raw()


_bodies = msgspec.json.Decoder(_Body)

MOST_SHARED = 4
"""Beginnings of a prompt that are told."""


def shared(request: Request, least: int, *, marked: bool = False) -> tuple[bytes, ...]:
    """The hashes of the `beginnings` of a prompt."""
    return tuple([each.digest for each in beginnings(request, least, marked=marked)])


class Beginning(NamedTuple):
    """How a prompt begins: the hash of that, and its bytes of text."""

    digest: bytes
    size: int


def beginnings(request: Request, least: int, *, marked: bool = False) -> Sequence[Beginning]:
    """How a prompt begins, as far as other rows may begin so, too, the shortest first: its messages but
    for the last, and of that what the job's templates have in common; each of at least `least` bytes of
    text.  Of those that have to be `marked`, the ones that can be.
    """
    if len(request.body) < least or not request.cap_key:  # no token is put out: nothing is cached
        return ()
    if not request.shared and is_one_text(request.body):
        return ()
    try:
        body = _bodies.decode(request.body)
    except msgspec.DecodeError:
        return ()
    *earlier, last = _said(body)
    begins = blake2b(f"{request.api}\0{request.model}".encode(), digest_size=HASH_BYTES)
    begins.update(body.tools)
    size = 0
    found: list[Beginning] = []
    for role, content in earlier:
        begins.update(b"\0%b\0" % role.encode())
        for text in _texts(content):
            begins.update(raw := _bytes(text))
            size += len(raw)
        can_be = not marked or role in ("system", "developer")
        if size >= least and can_be and len(found) < MOST_SHARED - 1:
            found.append(Beginning(begins.digest(), size))
    head = _bytes(_first_text(last[1])[: request.shared])
    if head and size + len(head) >= least:
        begins.update(b"\0%b\0%b" % (last[0].encode(), head))
        found.append(Beginning(begins.digest(), size + len(head)))
    return found


def _said(body: _Body) -> list[tuple[str, Any]]:
    """What a prompt consists of, each with who says it; what depends on the row comes last."""
    items = body.messages or body.input
    told = isinstance(items, list) and all(isinstance(each, _Message | dict) for each in items)
    if not items or not told:
        items = [_Message("user", items or body.prompt)]
    said = [
        (each.role, each.content)
        if isinstance(each, _Message)
        else (str(each.get("role")), each.get("content"))
        for each in items
    ]
    return said if body.instructions is None else [("instructions", body.instructions), *said]


class Prefixes:
    """Those of the prompts of a run.  It is the system prompt and the first bytes of the user's text;
    where system prompts differ from row to row, as with a document in each, it is they alone.
    """

    def __init__(self) -> None:
        self._systems: set[bytes] = set()  # hashes; at most MANY

    def of(self, request: Request) -> bytes | None:
        """The hash of how a prompt begins; None where the body tells nothing of it."""
        try:
            body = _bodies.decode(request.body)
        except msgspec.DecodeError:
            return None
        begins, user = _parts(body)
        system = begins.digest()
        if len(self._systems) < MANY:
            self._systems.add(system)
            begins.update(_beginning(user))
            return begins.digest()
        return system


def _parts(body: _Body) -> tuple[blake2b, Any]:
    """What stands before the user's text, hashed, and that."""
    before = blake2b(digest_size=HASH_BYTES)
    for text in _texts(body.instructions):
        before.update(_bytes(text))
    for message in body.messages:
        if message.role not in ("system", "developer"):
            return before, message.content
        before.update(b"\0")
        for text in _texts(message.content):
            before.update(_bytes(text))
    return before, body.input or body.prompt


def _first_text(content: Any) -> str:
    """What a content says first: it may be a list of parts, of which pictures come later."""
    if isinstance(content, list) and content and isinstance(content[0], dict):
        content = content[0].get("text")
    return content if isinstance(content, str) else ""


def _beginning(content: Any) -> bytes:
    """The first bytes of a text, or of those in a list of parts; of an image no more is read."""
    found = b"\0"
    for text in _texts(content):
        found += _bytes(text[:USER_BYTES])
        if len(found) > USER_BYTES:
            break
    return found[: USER_BYTES + 1]


def _texts(content: Any, depth: int = 0) -> Iterator[str]:
    """All texts in what JSON says, from the first to the last."""
    if isinstance(content, str):
        yield content
    elif isinstance(content, list | dict) and depth < DEEPEST:
        for each in content.values() if isinstance(content, dict) else content:
            yield from _texts(each, depth + 1)


def _bytes(text: str) -> bytes:
    return text.encode("utf-8", "surrogatepass")

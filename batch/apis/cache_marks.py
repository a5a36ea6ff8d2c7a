"""Says in a request where the beginning ends that a server is to keep in its prompt cache.

Transport: the text is the same, and so is the request's hash.  Facts:
developers.openai.com/api/docs/guides/prompt-caching (2026-09-23): from GPT-5.6 on a text block takes a
breakpoint, in chat and responses (not in `instructions`); in the mode `explicit` nothing else is
written, and without a breakpoint nothing at all, which costs nothing.
openrouter.ai, prompt caching (2026-10): `cache_control` of a text block is passed on to Anthropic, and is
a breakpoint to OpenAI.
docs.litellm.ai, prompt caching (2026-10-07): LiteLLM passes it on, too.
"""

from __future__ import annotations

import re
from typing import Any, Literal

import msgspec

from batch.model import Request

MARKS: dict[str, dict[str, Any]] = {
    "breakpoint": {"prompt_cache_breakpoint": {"mode": "explicit"}},
    "cache_control": {"cache_control": {"type": "ephemeral"}},
}
"""What a text block says, by the kind of mark."""
ONLY_THERE = {"prompt_cache_options": {"mode": "explicit"}}
"""What a request says for nothing to be written but what a breakpoint ends."""

OWN = re.compile(rb'"(?:prompt_cache_(?:options|breakpoint)|cache_control)":')
"""Fields by which rows or the job say it themselves."""

PLACES = {"chat": ("messages", "text"), "responses": ("input", "input_text")}
"""API -> where its messages are, and what a text block is called."""


def is_one_text(body: bytes) -> bool:
    """Whether nothing stands before the user's text: a tenth of the time it takes to decode a long one."""
    return body.count(b'"role":') < 2 and b'"instructions":' not in body


def marked(request: Request, mark: Literal["breakpoint", "cache_control"], least: int) -> bytes:
    """The body with marks behind the system prompt and behind what rows share of the user's text,
    where that makes `least` bytes from the start; as it is where there is nothing to say.
    """
    if len(request.body) < least or request.api not in PLACES or OWN.search(request.body):
        return request.body
    if not request.shared and is_one_text(request.body):
        if mark == "cache_control":
            return request.body
        return b"%b,%b" % (request.body[:-1], msgspec.json.encode(ONLY_THERE)[1:])
    body = msgspec.json.decode(request.body)
    place, kind = PLACES[request.api]
    said = body.get(place)
    if isinstance(said, str):
        said = [{"role": "user", "content": said}]
    if not isinstance(said, list) or not all(isinstance(each, dict) for each in said):
        return request.body
    made = _with_marks(
        said, request.shared, kind, MARKS[mark], least - _size(body.get("instructions"))
    )
    if made != said:
        body[place] = made
    elif mark == "cache_control":
        return request.body
    if mark == "breakpoint":
        body |= ONLY_THERE
    return msgspec.json.encode(body)


def _with_marks(
    said: list[dict[str, Any]], shared: int, kind: str, mark: dict[str, Any], least: int
) -> list[dict[str, Any]]:
    """Messages with a mark behind the last of the system's, and within the last of all."""
    made = list(said)
    by_system = 0
    while by_system < len(made) and made[by_system].get("role") in ("system", "developer"):
        by_system += 1
    size = sum(_size(each.get("content")) for each in made[:by_system])
    if by_system and size >= least and isinstance(text := made[by_system - 1].get("content"), str):
        block = {"type": kind, "text": text, **mark}
        made[by_system - 1] = {**made[by_system - 1], "content": [block]}
    if shared and by_system == len(made) - 1:
        content = made[-1].get("content")
        alone: list[Any] = [{"type": kind, "text": content}]
        blocks = content if isinstance(content, list) and content else alone
        first = blocks[0]
        if isinstance(first, dict) and isinstance(text := first.get("text"), str):
            head, tail = text[:shared], text[shared:]
            if size + _size(head) >= least:
                rest = [{**first, "text": tail}] if tail else []
                begins = {**first, "text": head, **mark}
                made[-1] = {**made[-1], "content": [begins, *rest, *blocks[1:]]}
    return made


def _size(text: Any) -> int:
    return len(text.encode("utf-8", "surrogatepass")) if isinstance(text, str) else 0

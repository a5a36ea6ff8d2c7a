"""How prompts begin, by what a cache would hold of them."""

from __future__ import annotations

import json

import pytest

from batch.engine.prefixes import MANY, USER_BYTES, Prefixes
from batch.model import Request


def asking(**body) -> Request:
    return Request(0, None, "chat", "m", json.dumps(body).encode(), "hash")


def chat(system: str, user: object) -> Request:
    return asking(
        messages=[{"role": "system", "content": system}, {"role": "user", "content": user}]
    )


@pytest.mark.parametrize(
    ("one", "other", "alike"),
    [
        (chat("s", "u" * USER_BYTES + "a"), chat("s", "u" * USER_BYTES + "b"), True),
        (chat("s", "a"), chat("s", "b"), False),
        (chat("s", "a"), chat("t", "a"), False),
        (
            chat("s", [{"type": "text", "text": "a"}]),
            chat("s", [{"type": "text", "text": "b"}]),
            False,
        ),
        (asking(instructions="s", input="a"), asking(instructions="s", input="a"), True),
        (asking(instructions="s", input="a"), asking(instructions="t", input="a"), False),
        (asking(prompt="a"), asking(prompt="b"), False),
        (asking(input=["a"]), asking(input=["a"]), True),
    ],
)
def test_prompts_begin_alike_by_system_prompt_and_first_bytes(one, other, alike):
    prefixes = Prefixes()
    assert (prefixes.of(one) == prefixes.of(other)) == alike


def test_many_system_prompts_tell_enough_by_themselves():
    prefixes = Prefixes()
    for number in range(MANY):
        prefixes.of(chat(f"document {number}", "a"))
    assert prefixes.of(chat("document 1", "a")) == prefixes.of(chat("document 1", "b"))
    assert prefixes.of(chat("document 1", "a")) != prefixes.of(chat("document 2", "a"))


def test_what_is_no_prompt_has_no_prefix():
    assert Prefixes().of(Request(0, None, "chat", "m", b"[1]", "hash")) is None

"""How prompts begin, by what a cache would hold of them."""

from __future__ import annotations

import json
import tracemalloc

import pytest

from batch.engine.prefixes import HASH_BYTES, MANY, USER_BYTES, Prefixes
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


@pytest.mark.parametrize("system", ["s", "a document " * 50_000])
def test_a_prefix_is_short_whatever_the_prompt(system):
    """Many of them are remembered."""
    prefixes = Prefixes()
    found = {len(prefixes.of(chat(f"{system}{n}", "a")) or b"") for n in range(2 * MANY)}
    assert found == {HASH_BYTES}


def test_of_an_image_no_more_than_its_beginning_is_read():
    def image(data: str) -> Request:
        url = {"url": f"data:image/png;base64,{data}"}
        return chat("s", [{"type": "image_url", "image_url": url}])

    prefixes = Prefixes()
    one, other = image("A" * 4_000_000), image("A" * 4_000_000 + "B")
    tracemalloc.start()
    try:
        found = prefixes.of(one)
        _, most = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert most < 1.5 * len(one.body)
    assert found == prefixes.of(other) != prefixes.of(image("B" * 4_000_000))


def test_texts_behind_an_image_and_deep_in_a_list_count():
    image = {"type": "image_url", "image_url": {"url": "data:,x"}}
    one, other = ([image, {"type": "text", "text": text}] for text in "ab")
    deep: object = "a"
    for _ in range(500):
        deep = [deep]
    prefixes = Prefixes()
    assert prefixes.of(chat("s", one)) != prefixes.of(chat("s", other))
    assert prefixes.of(chat("s", deep)) is not None

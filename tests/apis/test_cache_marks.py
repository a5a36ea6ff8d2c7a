"""Marks for prompt caches change no word of a request."""

from __future__ import annotations

import json

import pytest

from batch.apis import Parameters, build
from batch.apis.cache_marks import marked
from batch.requests.prompts import Question

LEAST = 1_000
LONG, OTHER = "a" * 1_200, "b" * 1_200


def request(*said, api="chat", shared=0, sent=None):
    messages = [{"role": role, "content": content} for role, content in said]
    return build(Question(messages=messages, shared=shared), Parameters(api, "m", sent or {}), 0)


def words(body):
    """What a request says, whoever says it, and how often a mark stands there."""
    found, marks = [], 0
    for message in body.get("messages", body.get("input")):
        content = message["content"]
        for part in content if isinstance(content, list) else [{"text": content}]:
            found.append(part.get("text") or json.dumps(part))
            marks += "cache_control" in part or "prompt_cache_breakpoint" in part
    return "".join(found), marks


PICTURE = {"type": "image_url", "image_url": {"url": "https://example.com/a.png"}}


@pytest.mark.parametrize("mark", ["breakpoint", "cache_control"])
@pytest.mark.parametrize(
    ("asked", "marks"),
    [
        (request(("user", LONG + "x"), shared=1_200), 1),
        (request(("user", LONG), shared=1_200), 1),
        (request(("user", LONG + "x"), shared=900), 0),
        (request(("user", LONG + "x")), 0),
        (request(("system", LONG), ("user", "x")), 1),
        (request(("system", LONG), ("user", OTHER + "x"), shared=1_200), 2),
        (request(("system", "a" * 600), ("user", OTHER + "x"), shared=600), 1),
        (request(("system", "short"), ("user", "x" * 2_000)), 0),
        (request(("system", LONG), ("user", "x"), ("assistant", "y"), ("user", "z")), 1),
        (request(("user", [{"type": "text", "text": LONG + "x"}, PICTURE]), shared=1_200), 1),
        (request(("user", LONG + "x"), shared=1_200, api="responses"), 1),
        (request(("user", LONG + "x"), api="responses"), 0),
    ],
)
def test_a_mark_stands_where_what_rows_share_ends(asked, marks, mark):
    before, after = json.loads(asked.body), json.loads(marked(asked, mark, LEAST))
    if isinstance(before.get("input"), str):
        before["input"] = [{"role": "user", "content": before["input"]}]
    if isinstance(after.get("input"), str):
        after["input"] = [{"role": "user", "content": after["input"]}]
    assert words(after) == (words(before)[0], marks)
    options = after.pop("prompt_cache_options", None)
    assert options == ({"mode": "explicit"} if mark == "breakpoint" else None)
    place = "messages" if "messages" in before else "input"
    assert {**after, place: None} == {**before, place: None}
    assert [each["role"] for each in after[place]] == [each["role"] for each in before[place]]


@pytest.mark.parametrize(
    "asked",
    [
        request(("user", "x"), shared=1),
        request(("user", LONG), api="completions", shared=1_000),
        request(("user", LONG), api="embeddings", shared=1_000),
        request(("user", LONG), shared=1_000, sent={"prompt_cache_options": {"mode": "implicit"}}),
        request(("user", [{"type": "text", "text": LONG, "cache_control": {}}]), shared=1_000),
    ],
)
@pytest.mark.parametrize("mark", ["breakpoint", "cache_control"])
def test_what_has_nothing_to_say_stays_as_it_is(asked, mark):
    assert marked(asked, mark, LEAST) is asked.body


def test_instructions_of_responses_take_no_mark():
    asked = request(("system", LONG), ("user", OTHER), api="responses")
    after = json.loads(marked(asked, "breakpoint", LEAST))
    assert after == {**json.loads(asked.body), "prompt_cache_options": {"mode": "explicit"}}

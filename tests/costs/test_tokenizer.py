"""Input tokens, counted exactly where the vocabulary and the form are known, and nowhere else."""

from __future__ import annotations

import json
from typing import Any

import pytest

from batch import apis
from batch.apis import APIS, Parameters
from batch.costs.tokenizer import counter
from batch.requests.prompts import Question

SYSTEM = {"role": "system", "content": "You are a helpful assistant."}
USER = {"role": "user", "content": "hello world"}


def counted(parameters: dict[str, Any], *messages: dict[str, Any], api: str = "chat") -> int | None:
    count = counter(APIS)
    assert count is not None, "the tests have the extra"
    question = Question(messages=list(messages))
    sent = {key: value for key, value in parameters.items() if key != "model"}
    asked = Parameters(api, parameters.get("model", "gpt-5.4"), sent)
    (found,) = count([apis.build(question, asked, 0)])
    return found


@pytest.mark.parametrize(
    ("messages", "tokens"),
    [((USER,), 3 + 1 + 2 + 3), ((SYSTEM, USER), 3 + 1 + 6 + 3 + 1 + 2 + 3)],
)
@pytest.mark.parametrize("api", ["chat", "responses"])
def test_a_chat_is_its_texts_and_what_stands_around_them(messages, tokens, api):
    assert counted({}, *messages, api=api) == tokens


def test_a_text_alone_is_its_tokens():
    assert counted({"model": "gpt-3.5-turbo-instruct"}, USER, api="completions") == 2
    assert counted({"model": "text-embedding-3-small"}, USER, api="embeddings") == 2


def test_special_tokens_in_a_prompt_are_text():
    found = counted({}, {"role": "user", "content": "<|endoftext|>"})
    assert found is not None
    assert found > 3 + 1 + 1 + 3


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        ({"model": "claude-sonnet-4-5"}, USER),
        ({"tools": [{"type": "function", "function": {"name": "f"}}]}, USER),
        ({}, {"role": "user", "content": [{"type": "image_url", "image_url": {"url": "u"}}]}),
        ({}, {"role": "user", "name": "Ann", "content": "hi"}),
    ],
)
def test_what_only_the_server_can_count_is_not_counted(parameters, message):
    assert counted(parameters, message) is None


SCHEMA = {
    "name": "answer",
    "strict": True,
    "schema": {
        "type": "object",
        "properties": {"mood": {"enum": ["good", "bad"]}},
        "required": ["mood"],
        "additionalProperties": False,
    },
}


@pytest.mark.parametrize("api", ["chat", "responses"])
def test_a_schema_counts_as_the_json_that_is_sent(api):
    wanted = {"type": "json_schema", "json_schema": SCHEMA}
    sent = wanted if api == "chat" else {"type": "json_schema", **SCHEMA}
    text = json.dumps(sent, separators=(",", ":"))
    alone = counted({}, {"role": "user", "content": text}, api=api)
    found = counted({"response_format": wanted}, USER, api=api)
    assert alone is not None
    assert found == 3 + 1 + 2 + 3 + (alone - 3 - 1 - 3)


@pytest.mark.parametrize("api", ["chat", "responses"])
def test_a_format_without_a_schema_adds_nothing(api):
    assert counted({"response_format": {"type": "json_object"}}, USER, api=api) == 3 + 1 + 2 + 3


def test_requests_counted_together_keep_their_own_counts():
    count = counter(APIS)
    assert count is not None
    asked = [("gpt-4", "a b c"), ("gpt-5.4", "hello world"), ("llama", "x"), ("gpt-4", "a")]
    requests = [
        apis.build(Question(messages=[{"role": "user", "content": text}]), Parameters("chat", m), 0)
        for m, text in asked
    ]
    assert count(requests) == [7 + 3, 7 + 2, None, 7 + 1]

"""The two APIs that take one text: a completion comes as text, an embedding as a list of floats."""

from __future__ import annotations

import base64
import json
import struct
from pathlib import Path
from typing import Any

import duckdb
import msgspec
import pyarrow as pa
import pytest

from batch import looking
from batch.apis import APIS, Parameters, build
from batch.model import Request
from batch.outcome import BadAnswer
from batch.prompts import BadRow, Question
from tests.fake_api import FakeAPI, Step, answer_to, embedding_of
from tests.reading import ran, table

USER = {"role": "user", "content": "Snow is"}
PROMPTS = [{"prompt": "Snow is"}, {"prompt": "Coal is"}]


def asked(name: str, messages: list[Any], **sent: Any) -> dict[str, Any]:
    request: Request = build(Question(messages=messages), Parameters(name, "m", sent), 0)
    return dict(msgspec.json.decode(request.body))


def test_the_text_of_the_user_is_the_prompt():
    assert asked("completions", [USER], max_completion_tokens=5, logprobs=2) == {
        "model": "m",
        "prompt": "Snow is",
        "max_tokens": 5,
        "logprobs": 2,
    }


def test_an_embedding_is_asked_for_as_numbers_and_never_as_a_stream():
    body = {"model": "m", "input": "Snow is", "encoding_format": "float"}
    assert asked("embeddings", [USER], stream=True, stream_options={}) == body
    packed = asked("embeddings", [USER], encoding_format="base64", dimensions=3)
    assert packed == {**body, "encoding_format": "base64", "dimensions": 3}


@pytest.mark.parametrize("name", ["completions", "embeddings"])
@pytest.mark.parametrize(
    "messages",
    [
        [{"role": "system", "content": "Short."}, USER],
        [USER, USER],
        [{"role": "assistant", "content": "hi"}],
        [{"role": "user", "content": [{"type": "text", "text": "hi"}]}],
    ],
)
def test_more_than_one_text_is_refused(name, messages):
    with pytest.raises(BadRow, match=f"the API {name} takes one text"):
        asked(name, messages)


@pytest.mark.parametrize("stream", [False, True])
def test_completions_are_the_same_by_either_transport(api: FakeAPI, tmp_path, stream):
    request = {"api": "completions", "stream": stream}
    done = ran(api, tmp_path, PROMPTS, request, prompt={"user": "{{ prompt }}"})
    for row, prompt in zip(done.rows, ("Snow is", "Coal is"), strict=True):
        assert row["completion"] == answer_to(prompt)
        assert (row["finish_reason"], row["flags"], row["status"]) == ("stop", [], "ok")
        assert row["input_tokens"] == 5 and row["output_tokens"] == len(answer_to(prompt).split())


def test_embeddings_are_a_column_of_floats(api: FakeAPI, tmp_path):
    done = ran(api, tmp_path, PROMPTS, {"api": "embeddings", "stream": True})
    assert done.exit_code == 0
    assert [row["embedding"] for row in done.rows] == [
        embedding_of("Snow is"),
        embedding_of("Coal is"),
    ]
    assert [row["flags"] for row in done.rows] == [[], []]
    assert [row["response_json"] for row in done.rows] == [None, None]
    assert {row["output_tokens"] for row in done.rows} == {0}
    assert table(tmp_path / "run").schema.field("embedding").type == pa.list_(pa.float32())
    parts = f"{tmp_path}/run/completions/*.parquet"
    longest = duckdb.sql(f"SELECT max(len(embedding)) FROM '{parts}'").fetchall()
    assert longest == [(8,)]


def test_embeddings_are_exported_as_the_batch_api_writes_them(api: FakeAPI, tmp_path, batchmill):
    ran(api, tmp_path, PROMPTS, {"api": "embeddings"})
    assert batchmill("export", "run", "-o", "x.jsonl", "--format", "openai-batch").exit_code == 0
    lines = [msgspec.json.decode(line) for line in (tmp_path / "x.jsonl").read_bytes().splitlines()]
    bodies = [line["response"]["body"] for line in lines]
    assert [body["data"][0]["embedding"] for body in bodies] == [
        embedding_of("Snow is"),
        embedding_of("Coal is"),
    ]


def exported(folder: Path) -> list[dict[str, Any]]:
    """The bodies of the answers in `folder/run`, as the Batch API would have given them."""
    list(looking.export(folder / "run", folder / "x.jsonl", "openai-batch"))
    lines = (folder / "x.jsonl").read_bytes().splitlines()
    return [msgspec.json.decode(line)["response"]["body"] for line in lines]


@pytest.mark.parametrize("finish", ["stop", "length"])
@pytest.mark.parametrize(
    ("name", "kind"),
    [("chat", "chat.completion"), ("responses", "response"), ("completions", "text_completion")],
)
def test_an_answer_is_exported_in_the_shape_of_its_api(api, tmp_path, name, kind, finish):
    api.always = Step(finish_reason=finish)
    request = {"api": name, "max_tokens": 50}
    done = ran(api, tmp_path, PROMPTS, request, output={"response": False})
    assert [row["response_json"] for row in done.rows] == [None, None]
    for body, row in zip(exported(tmp_path), done.rows, strict=True):
        read = APIS[name].parse(body)
        assert body["object"] == kind
        assert read.choices[0].completion == row["completion"]
        assert read.choices[0].finish_reason == row["finish_reason"] == finish
        assert read.usage.output_tokens == row["output_tokens"]


def test_the_line_of_a_batch_file_says_in_which_shape_it_is_exported(api, tmp_path):
    asked = {
        "/v1/responses": {"input": "Is snow white?"},
        "/v1/completions": {"prompt": "Snow is"},
        "/v1/chat/completions": {"messages": [{"role": "user", "content": "Snow?"}]},
    }
    lines = [
        {"custom_id": url, "method": "POST", "url": url, "body": {"model": "m", **body}}
        for url, body in asked.items()
    ]
    ran(api, tmp_path, lines, {}, output={"response": False})
    kinds = [body["object"] for body in exported(tmp_path)]
    assert kinds == ["response", "text_completion", "chat.completion"]


def test_what_is_said_of_a_batch_file_of_embeddings(api, tmp_path, batchmill):
    line = {"custom_id": "a", "method": "POST", "url": "/v1/embeddings"}
    line["body"] = {"model": "m", "input": "Snow is"}
    (tmp_path / "in.jsonl").write_text(json.dumps(line))
    ended = batchmill("run", "in.jsonl", "--base-url", api.url)
    assert ended.exit_code == 0, ended.stderr
    assert f"asking {api.url}/embeddings\n" in ended.stderr
    assert "  embedding   8 floats\n" in batchmill("show", "runs/in").stdout


def test_a_chat_has_no_column_of_embeddings(api: FakeAPI, tmp_path):
    (row,) = ran(api, tmp_path, [{**PROMPTS[0], "embedding": "mine"}], {}).rows
    assert row["embedding"] == "mine" and "input_embedding" not in row


def vector(embedding: Any, **more: Any) -> dict[str, Any]:
    item = {"object": "embedding", "index": 0, "embedding": embedding, **more}
    return {"object": "list", "model": "m", "data": [item], "usage": {"prompt_tokens": 3}}


def test_base64_is_little_endian_floats_of_32_bits():
    numbers = [0.5, -1.25, 3.0e38]
    packed = base64.b64encode(struct.pack("<3f", *numbers)).decode()
    assert APIS["embeddings"].parse(vector(packed)).embedding == pytest.approx(numbers, rel=1e-6)


@pytest.mark.parametrize(
    "broken", [None, [], "", "AAA", "AAAAAAA=", "?", [1, "2"], [True], [None], [1e39], [[1.0]], {}]
)
def test_what_is_no_vector_is_refused(broken):
    with pytest.raises(BadAnswer, match="embedding"):
        APIS["embeddings"].parse(vector(broken))


def test_a_vector_may_lack_usage_and_that_is_flagged(api: FakeAPI, tmp_path):
    api.always = Step(usage=None)
    (row,) = ran(api, tmp_path, PROMPTS[:1], {"api": "embeddings"}).rows
    assert (row["status"], row["flags"], row["input_tokens"]) == ("ok", ["usage_unknown"], None)


def test_vectors_beyond_the_first_are_kept_in_the_raw_answer(api: FakeAPI, tmp_path):
    line = {
        "custom_id": "a",
        "method": "POST",
        "url": "/v1/embeddings",
        "body": {"model": "fake-model", "input": ["one", "two"]},
    }
    (row,) = ran(api, tmp_path, [line], {}).rows
    assert row["embedding"] == embedding_of("one")
    assert len(msgspec.json.decode(row["response_json"])["data"]) == 2

"""The two APIs that take one text: a completion comes as text, an embedding as a list of floats."""

from __future__ import annotations

import base64
import io
import struct
from pathlib import Path
from typing import Any

import duckdb
import msgspec
import pyarrow as pa
import pytest

from batch import runs
from batch.apis import APIS, Parameters, build
from batch.errors import InputError
from batch.model import Request
from batch.outcome import BadAnswer
from batch.outputs import form
from batch.requests.prompts import BadRow, Question
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
    assert [row["flags"] for row in done.rows] == [["usage_shared"], ["usage_shared"]]
    assert [row["response_json"] for row in done.rows] == [None, None]
    assert {row["output_tokens"] for row in done.rows} == {0}
    assert table(tmp_path / "run").schema.field("embedding").type == pa.list_(pa.float32())
    parts = f"{tmp_path}/run/completions/*.parquet"
    longest = duckdb.sql(f"SELECT max(len(embedding)) FROM '{parts}'").fetchall()
    assert longest == [(8,)]


def test_vectors_are_reused_with_their_rows(api: FakeAPI, tmp_path, batchmill):
    done = ran(api, tmp_path, PROMPTS, {"api": "embeddings"})
    command = ("run", tmp_path / "in.jsonl", "-m", "fake-model", "--api", "embeddings")
    again = batchmill(*command, "--base-url", api.url, "-o", "new", "--reuse", "run")
    assert again.exit_code == 0, again.stderr
    assert len(api.ledger) == 1
    vectors = [row["embedding"] for row in done.rows]
    assert table(tmp_path / "new")["embedding"].to_pylist() == vectors


def test_embeddings_are_exported_as_the_batch_api_writes_them(api: FakeAPI, tmp_path, batchmill):
    ran(api, tmp_path, PROMPTS, {"api": "embeddings"})
    assert batchmill("export", "run", "-o", "x.jsonl", "--format", "openai-batch").exit_code == 0
    lines = [msgspec.json.decode(line) for line in (tmp_path / "x.jsonl").read_bytes().splitlines()]
    bodies = [line["response"]["body"] for line in lines]
    assert [body["data"][0]["embedding"] for body in bodies] == [
        embedding_of("Snow is"),
        embedding_of("Coal is"),
    ]


@pytest.mark.parametrize("name", ["chat", "completions", "responses"])
@pytest.mark.parametrize("by_row", [False, True])
def test_a_rebuilt_answer_has_the_shape_of_its_api(api: FakeAPI, tmp_path, name, by_row):
    api.always = Step(content="Snow is white.", finish_reason="length")
    body = {"messages": [USER]} if name == "chat" else {"prompt": "Snow is", "input": "Snow is"}
    asked = batch_line(f"/v1{APIS[name].PATH}", body) if by_row else PROMPTS[0]
    request = {} if by_row else {"api": name}
    (row,) = ran(api, tmp_path, [asked], request, output={"response": False}).rows
    assert row["response_json"] is None
    export(tmp_path)
    line = msgspec.json.decode((tmp_path / "x.jsonl").read_bytes())
    read = APIS[name].parse(line["response"]["body"])
    assert (read.choices[0].completion, read.flags) == ("Snow is white.", ["length"])
    objects = {"chat": "chat.completion", "completions": "text_completion"}
    assert line["response"]["body"]["object"] == objects.get(name, "response")


def test_choices_of_a_rebuilt_answer_are_all_there(api: FakeAPI, tmp_path):
    ran(api, tmp_path, PROMPTS[:1], {"n": 2})
    export(tmp_path)
    body = msgspec.json.decode((tmp_path / "x.jsonl").read_bytes())["response"]["body"]
    assert [choice["index"] for choice in body["choices"]] == [0, 1]


def export(folder: Path) -> None:
    """Write the run as OpenAI's Batch API does."""
    file = form.named(str(folder / "x.jsonl"), "openai-batch")
    assert file is not None
    runs.Run(folder / "run").write(file, io.BytesIO())


def batch_line(url: str, body: dict[str, Any]) -> dict[str, Any]:
    return {"method": "POST", "url": url, "body": {"model": "m", **body}}


CHAT_LINE = batch_line("/v1/chat/completions", {"messages": [USER]})
VECTOR_LINE = batch_line("/v1/embeddings", {"input": "Snow is"})


def test_vectors_have_their_column_when_any_row_asks_for_one(api: FakeAPI, tmp_path):
    done = ran(api, tmp_path, [CHAT_LINE, VECTOR_LINE], {})
    assert [row["completion"] for row in done.rows] == [answer_to("Snow is"), None]
    assert [row["embedding"] for row in done.rows] == [None, embedding_of("Snow is")]


def test_the_embedded_model_is_asked_for_no_vector(tmp_path):
    with pytest.raises(InputError, match=r"in\.jsonl: the embedded model gives no embeddings"):
        ran(None, tmp_path, [CHAT_LINE, VECTOR_LINE], {}, endpoint={"base_url": "local"})
    assert not (tmp_path / "run").exists()


def test_a_vector_that_nobody_foresaw_is_kept_in_the_raw_answer(api: FakeAPI, tmp_path):
    kept: dict[str, Any] = {"output": {"response": False}}
    ran(api, tmp_path, [CHAT_LINE], {}, **kept)
    *_, last = ran(api, tmp_path, [CHAT_LINE, VECTOR_LINE], {}, **kept).rows  # the input grew
    assert "embedding" not in last
    assert msgspec.json.decode(last["response_json"])["data"][0]["embedding"] == embedding_of(
        "Snow is"
    )


def test_a_chat_has_no_column_of_embeddings(api: FakeAPI, tmp_path):
    (row,) = ran(api, tmp_path, [{**PROMPTS[0], "embedding": "mine"}], {}).rows
    assert row["embedding"] == "mine" and "input_embedding" not in row


def vector(embedding: Any, **more: Any) -> dict[str, Any]:
    item = {"object": "embedding", "index": 0, "embedding": embedding, **more}
    return {"object": "list", "model": "m", "data": [item], "usage": {"prompt_tokens": 3}}


def test_base64_is_little_endian_floats_of_32_bits():
    numbers = [0.5, -1.25, 3.0e38]
    packed = struct.pack("<3f", *numbers)
    for sent in (numbers, base64.b64encode(packed).decode()):
        assert APIS["embeddings"].parse(vector(sent)).embedding == packed


@pytest.mark.parametrize("number", [float("inf"), float("-inf"), float("nan")])
def test_base64_of_what_is_no_number_is_refused(number):
    packed = base64.b64encode(struct.pack("<3f", 0.5, number, -number)).decode()
    with pytest.raises(BadAnswer, match="embedding"):
        APIS["embeddings"].parse(vector(packed))


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

"""OpenAI's batch format: every line is what OpenAI's own types say, whoever answered."""

from __future__ import annotations

import copy
import gzip
import json
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

pytest.importorskip("openai")

from openai.types import Completion, CreateEmbeddingResponse
from openai.types.chat import ChatCompletion
from openai.types.responses import Response

from batch import columns
from batch.outputs import batch_lines
from tests.fake_api import Step, answer_to
from tests.reading import asking, texts, tree, write

TYPES: dict[str, Any] = {
    "chat": ChatCompletion,
    "completions": Completion,
    "embeddings": CreateEmbeddingResponse,
    "responses": Response,
}
URLS = {
    "chat": "/v1/chat/completions",
    "completions": "/v1/completions",
    "embeddings": "/v1/embeddings",
    "responses": "/v1/responses",
}


def check(line: dict[str, Any], api: str) -> dict[str, Any]:
    """The body of a line, which is what the types of its API say, to the letter."""
    assert line.keys() == {"id", "custom_id", "response", "error"}
    assert (line["response"]["status_code"], line["error"]) == (200, None)
    body: dict[str, Any] = line["response"]["body"]
    TYPES[api].model_validate_json(json.dumps(body), strict=True)
    return body


def decoded(path):
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def row(**more: Any) -> dict[str, Any]:
    """A row of the output in which nothing more is known than what is given."""
    own = {column.name: None for column in columns.COLUMNS}
    moment = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
    known = {"row": 7, "status": "ok", "model": "m", "finished_at": moment, "request_hash": "ab"}
    return {**own, **known, **more}


LOGPROB = {"token": "a", "logprob": -0.5, "bytes": [97]}
LOGPROBS = [{**LOGPROB, "top_logprobs": [LOGPROB]}]
CALL = {"id": "c", "type": "function", "function": {"name": "f", "arguments": "{}"}}
USAGE = {
    "prompt_tokens": 3,
    "completion_tokens": 4,
    "total_tokens": 7,
    "prompt_tokens_details": {"cached_tokens": 1, "audio_tokens": None},
    "completion_tokens_details": {"reasoning_tokens": 2},
}
RAW: dict[str, dict[str, Any]] = {
    "chat": {
        "id": "chatcmpl-1",
        "object": "chat.completion",
        "created": 1,
        "model": "m",
        "service_tier": "default",
        "system_fingerprint": "f",
        "choices": [
            {
                "index": 0,
                "finish_reason": "stop",
                "logprobs": {"content": LOGPROBS, "refusal": None},
                "message": {
                    "role": "assistant",
                    "content": "said",
                    "refusal": None,
                    "tool_calls": [CALL],
                    "function_call": {"name": "f", "arguments": "{}"},
                    "annotations": [
                        {
                            "type": "url_citation",
                            "url_citation": {
                                "start_index": 0,
                                "end_index": 1,
                                "title": "t",
                                "url": "u",
                            },
                        }
                    ],
                    "audio": {"id": "a", "data": "", "expires_at": 1, "transcript": "t"},
                },
            }
        ],
        "usage": USAGE,
    },
    "completions": {
        "id": "cmpl-1",
        "object": "text_completion",
        "created": 1,
        "model": "m",
        "choices": [
            {
                "index": 0,
                "text": "said",
                "finish_reason": "length",
                "logprobs": {
                    "text_offset": [0],
                    "token_logprobs": [-0.5],
                    "tokens": ["said"],
                    "top_logprobs": [{"said": -0.5}],
                },
            }
        ],
        "usage": USAGE,
    },
    "embeddings": {
        "object": "list",
        "model": "m",
        "data": [
            {"object": "embedding", "index": 0, "embedding": [0.5, 1]},
            {"object": "embedding", "index": 1, "embedding": [0.25, 2.0]},
        ],
        "usage": {"prompt_tokens": 3, "total_tokens": 3},
    },
    "responses": {
        "id": "resp_1",
        "object": "response",
        "created_at": 1,
        "completed_at": 2.5,
        "model": "m",
        "status": "completed",
        "error": None,
        "incomplete_details": None,
        "instructions": "be brief",
        "metadata": {"a": "b"},
        "parallel_tool_calls": True,
        "temperature": 1,
        "top_p": 0.5,
        "tool_choice": "auto",
        "tools": [{"type": "function", "name": "f", "parameters": {}, "strict": True}],
        "max_output_tokens": 7,
        "previous_response_id": None,
        "reasoning": {"effort": "low", "summary": None},
        "service_tier": "default",
        "text": {"format": {"type": "text"}, "verbosity": "low"},
        "truncation": "disabled",
        "user": None,
        "output": [
            {
                "id": "rs_1",
                "type": "reasoning",
                "summary": [{"type": "summary_text", "text": "s"}],
                "content": [{"type": "reasoning_text", "text": "r"}],
            },
            {
                "id": "msg_1",
                "type": "message",
                "role": "assistant",
                "status": "completed",
                "content": [
                    {
                        "type": "output_text",
                        "text": "said",
                        "annotations": [
                            {
                                "type": "url_citation",
                                "start_index": 0,
                                "end_index": 1,
                                "title": "t",
                                "url": "u",
                            }
                        ],
                        "logprobs": LOGPROBS,
                    },
                    {"type": "refusal", "refusal": "no"},
                ],
            },
            {
                "id": "fc_1",
                "type": "function_call",
                "call_id": "c",
                "name": "f",
                "arguments": "{}",
                "status": "completed",
            },
            {"id": "ct_1", "type": "custom_tool_call", "call_id": "c", "name": "f", "input": "i"},
        ],
        "usage": {
            "input_tokens": 3,
            "input_tokens_details": {"cached_tokens": 1, "cache_write_tokens": 0},
            "output_tokens": 4,
            "output_tokens_details": {"reasoning_tokens": 2},
            "total_tokens": 7,
        },
    },
}
SCALARS = st.one_of(
    st.none(), st.booleans(), st.integers(-5, 5), st.floats(allow_nan=False), st.text(max_size=3),
    st.sampled_from(["MAX_TOKENS", "eos", "abort", "standard", "list", [], {}, [None], [{}], {"a": 1}]),
)  # fmt: skip


def places(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """The paths of all that a value holds."""
    inside = (
        value.items()
        if isinstance(value, dict)
        else enumerate(value)
        if isinstance(value, list)
        else ()
    )
    return [found for key, held in inside for found in ((*path, key), *places(held, (*path, key)))]


@st.composite
def damaged(draw: Any, api: str) -> dict[str, Any]:
    """An answer in which some values are others, or missing."""
    answer = copy.deepcopy(RAW[api])
    for _ in range(draw(st.integers(1, 4))):
        *parents, last = draw(st.sampled_from(places(answer)))
        held: Any = answer
        for key in parents:
            held = held[key]
        if draw(st.booleans()):
            del held[last]
        else:
            held[last] = copy.deepcopy(draw(SCALARS))
        if not places(answer):
            break
    return answer


@pytest.mark.parametrize("api", TYPES)
def test_an_answer_by_the_types_stays_as_it_is(api):
    raw = {"response_json": json.dumps(RAW[api]), "usage_json": json.dumps(RAW[api]["usage"])}
    vector = {"embedding": [0.5, 1.0]} if api == "embeddings" else {}
    body = check(batch_lines.line(row(**raw, **vector), api), api)
    assert body == RAW[api]


@pytest.mark.parametrize("api", TYPES)
@given(data=st.data())
@settings(deadline=None, max_examples=150)
def test_whatever_a_server_answers_a_line_is_what_the_types_say(api, data):
    raw = data.draw(damaged(api))
    held = {
        "response_json": json.dumps(raw),
        "usage_json": json.dumps(raw.get("usage")),
        "completion": data.draw(st.sampled_from([None, "said"])),
        "finish_reason": data.draw(st.sampled_from([None, "stop", "length", "MAX_TOKENS"])),
        "embedding": [0.5] if api == "embeddings" else None,
        "input_tokens": data.draw(st.sampled_from([None, 3])),
    }
    check(batch_lines.line(row(**held), api), api)


CALLS = [{"id": None, "name": "f", "arguments": None}, {"id": "c", "name": None, "arguments": "{}"}]


@pytest.mark.parametrize("api", TYPES)
@given(data=st.data())
@settings(deadline=None, max_examples=100)
def test_an_answer_rebuilt_from_its_columns_is_what_the_types_say(api, data):
    choice = st.fixed_dictionaries(
        {
            "completion": st.sampled_from([None, "", "said"]),
            "finish_reason": st.sampled_from([None, "stop", "length", "tool_calls", "eos"]),
            "refusal": st.sampled_from([None, "no"]),
            "reasoning": st.sampled_from([None, "thought"]),
            "tool_calls": st.sampled_from([None, [], CALLS]),
        }
    )
    several = data.draw(st.none() | st.lists(choice, min_size=2, max_size=3))
    tokens = st.sampled_from([None, 0, 5])
    made = {
        **data.draw(choice),
        "choices": several and [{"index": at, **each} for at, each in enumerate(several)],
        "input_tokens": data.draw(tokens),
        "output_tokens": data.draw(tokens),
        "usage_json": data.draw(st.sampled_from([None, "null", "[]", '{"prompt_tokens": "3"}'])),
        "finished_at": data.draw(st.sampled_from([None, datetime(2026, 1, 2, tzinfo=UTC)])),
        "request_hash": data.draw(st.sampled_from([None, "ab"])),
    }
    if api == "embeddings":
        made = {**row(), "embedding": [0.5, 1.0]}
    body = check(batch_lines.line(row(**made), api), api)
    if api == "chat" and several:
        said = [each["message"]["content"] for each in body["choices"]]
        assert said == [each["completion"] for each in several]


def lines_of(prompts, api="chat", ids=None):
    """An input in OpenAI's batch format."""
    field = {"responses": "input", "embeddings": "input", "completions": "prompt"}.get(api)
    for at, text in enumerate(prompts):
        body = {"messages": [{"role": "user", "content": text}]} if field is None else {field: text}
        custom_id = f"id-{at}" if ids is None else ids[at]
        line = {"custom_id": custom_id, "method": "POST", "url": URLS[api]}
        yield json.dumps({**line, "body": {"model": "m", **body}})


def batch_input(path, *args, **more):
    path.write_text("".join(f"{line}\n" for line in lines_of(*args, **more)))


@pytest.mark.parametrize("response", ["true", "false"])
@pytest.mark.parametrize("api_name", TYPES)
def test_a_run_writes_what_openai_would(api, batchmill, tmp_path, api_name, response):
    prompts = texts(4)
    batch_input(tmp_path / "in.jsonl", prompts, api_name)
    command = ("run", "in.jsonl", "--base-url", api.url, "-o", "out.jsonl")
    more = ("--format", "openai-batch", "--set", f"output.response={response}")
    ended = batchmill(*command, *more)
    assert ended.exit_code == 0, ended.stderr
    found = decoded(tmp_path / "out.jsonl")
    assert [line["custom_id"] for line in found] == ["id-0", "id-1", "id-2", "id-3"]
    bodies = [check(line, api_name) for line in found]
    assert {body["model"] for body in bodies} == {"m"}
    if api_name == "chat":
        said = [body["choices"][0]["message"]["content"] for body in bodies]
        assert said == [answer_to(text) for text in prompts]
    assert not (tmp_path / "out.errors.jsonl").exists()
    exported = ("export", "out.jsonl", "-o", "again.jsonl", "--format", "openai-batch")
    assert batchmill(*exported).exit_code == 0
    assert decoded(tmp_path / "again.jsonl") == found


def test_the_file_of_failed_rows_is_there_while_there_are_any(api, batchmill, tmp_path):
    write(tmp_path / "in.jsonl", texts(4))
    api.script = {"text 00002": [500]}
    more = ("--format", "openai-batch", "--set", "retry.max_attempts=1", "-o", "out.jsonl.gz")
    command = ("run", "in.jsonl", *asking(api, *more))
    assert batchmill(*command).exit_code == 1
    with gzip.open(tmp_path / "out.errors.jsonl.gz", "rt") as file:
        assert [json.loads(line)["custom_id"] for line in file] == ["2"]
    exported = ("export", "out.jsonl.gz", "--format", "openai-batch", "-o")
    assert batchmill(*exported, "all.jsonl").exit_code == 0
    (tmp_path / "other.errors.jsonl").write_text('{"mine": 1}\n')
    assert batchmill(*exported, "other.jsonl").exit_code == 4

    assert batchmill(*command).exit_code == 0
    assert not (tmp_path / "out.errors.jsonl.gz").exists()
    assert (tmp_path / "all.errors.jsonl").exists()
    for name in ("all.jsonl", "other.jsonl"):
        assert batchmill(*exported, name, "--force").exit_code == 0
        assert len(decoded(tmp_path / name)) == 4
    assert not (tmp_path / "all.errors.jsonl").exists()
    assert (tmp_path / "other.errors.jsonl").read_text() == '{"mine": 1}\n'


def test_a_stream_gets_answers_and_failures_in_order(api, batchmill, tmp_path):
    write(tmp_path / "in.jsonl", texts(4))
    api.script = {"text 00002": [Step(400, body={"error": {"message": "no"}}), ...]}
    ended = batchmill("run", "in.jsonl", *asking(api, "-o", "-", "--format", "openai-batch"))
    assert ended.exit_code == 1
    found = [json.loads(line) for line in ended.stdout.splitlines()]
    statuses = [(line["custom_id"], line["response"]["status_code"]) for line in found]
    assert statuses == [("0", 200), ("1", 200), ("2", 400), ("3", 200)]


@pytest.mark.parametrize(
    ("ids", "where"),
    [
        (["a", "b", "a"], "'a' (in.jsonl:3)"),
        (["a", None, "1"], "'1' (in.jsonl:3)"),
        (["2", "b", ""], "'2' (in.jsonl:3)"),
        ([f"{n}x" for n in range(10_050)] + ["7x"], "'7x' (in.jsonl:10051)"),
    ],
)
def test_rows_that_could_not_be_told_apart_are_refused_before_anything_is_sent(
    api, batchmill, tmp_path, ids, where
):
    batch_input(tmp_path / "in.jsonl", texts(len(ids)), ids=ids)
    before = tree(tmp_path)
    command = ("run", "in.jsonl", "--base-url", api.url, "-o", "out.jsonl")
    refused = batchmill(*command, "--format", "openai-batch")
    assert refused.exit_code == 2
    assert where in refused.stderr
    assert (tree(tmp_path), api.ledger) == (before, [])


def test_an_export_says_which_rows_cannot_be_told_apart(api, batchmill, tmp_path):
    batch_input(tmp_path / "in.jsonl", texts(3), ids=["a", "0", "a"])
    assert batchmill("run", "in.jsonl", "--base-url", api.url, "-o", "run").exit_code == 0
    ended = batchmill("export", "run", "-o", "out.jsonl", "--format", "openai-batch")
    assert ended.exit_code == 0
    said = "1 row bears a custom_id that an earlier row bears: 'a' (row 2)"
    assert ended.stderr.splitlines() == [said, "wrote out.jsonl"]

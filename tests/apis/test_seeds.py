"""Four gateways as their own pages describe them: requests and answers in exactly those shapes.

Texts are invented; fields, paths, ids, statuses and what is missing are the gateways'.
"""

from __future__ import annotations

import json
import time
from typing import Any

import pytest

from batch.errors import JobError
from tests.fake_api import FakeAPI, Step
from tests.reading import Ran, ran, rows

HELLO = {"messages": [{"role": "user", "content": "Hello"}]}


def bodies(api: FakeAPI) -> list[Any]:
    return [entry.body for entry in api.ledger]


# TokenOff: the base URL ends in /api; another model answers; usage comes with the finish reason

SERVED = {"created": 1776337380, "model": "gpt-4.1"}
USED = {"prompt_tokens": 7, "completion_tokens": 13, "total_tokens": 20}


def tokenoff(api: FakeAPI, folder: Any, step: Step, *, stream: bool, said: str = "Hello") -> Ran:
    api.always = step
    endpoint = {"base_url": f"http://127.0.0.1:{api.port}/api", "api_key_env": ""}
    asked = [{"messages": [{"role": "user", "content": said}]}]
    request = {"model": "gpt-5.4", **({"stream": True} if stream else {})}
    return ran(api, folder, asked, request, endpoint=endpoint)


def tokenoff_chunk(delta: dict[str, Any], finish: str | None = None, **more: Any) -> dict[str, Any]:
    return {
        "id": "resp_01",
        "object": "chat.completion.chunk",
        **SERVED,
        "choices": [{"index": 0, "delta": delta, "finish_reason": finish}],
        **more,
    }


def tokenoff_null_chunk(
    content: str | None, finish: str | None, role: str | None
) -> dict[str, Any]:
    """A chunk with every null the page prints."""
    delta = {"content": content, "function_call": None, "refusal": None}
    choice = {"delta": {**delta, "role": role, "tool_calls": None}, "finish_reason": finish}
    tokens = {"completion_tokens": 11, "prompt_tokens": 7, "total_tokens": 18}
    details = {"completion_tokens_details": None, "prompt_tokens_details": None}
    return {
        "id": "resp_02",
        "choices": [{**choice, "index": 0, "logprobs": None}],
        "created": 1776337905,
        "model": "gpt-4.1",
        "object": "chat.completion.chunk",
        "service_tier": None,
        "system_fingerprint": None,
        "usage": {**tokens, **details} if finish else None,
    }


GREETINGS = {"English": "Good day to you!", "Chinese": "你好!今天过得怎么样?"}


@pytest.mark.parametrize("language", GREETINGS)
def test_seed_000_and_001_tokenoff_blocking(api: FakeAPI, tmp_path, language):
    message = {"role": "assistant", "content": GREETINGS[language]}
    step = Step(
        body={
            "id": "resp_07",
            "object": "chat.completion",
            **SERVED,
            "choices": [{"index": 0, "message": message, "finish_reason": "stop"}],
            "usage": USED,
        }
    )
    (row,) = tokenoff(api, tmp_path, step, stream=False).rows
    assert (row["status"], row["completion"]) == ("ok", GREETINGS[language])
    assert (row["finish_reason"], row["flags"]) == ("stop", ["model_differs"])
    assert (row["model"], row["served_model"]) == ("gpt-5.4", "gpt-4.1")
    assert (row["input_tokens"], row["output_tokens"]) == (7, 13)
    assert row["response_json"] is None
    assert bodies(api) == [{"model": "gpt-5.4", **HELLO}]
    assert [entry.path for entry in api.ledger] == ["/api/v1/chat/completions"]


@pytest.mark.parametrize("language", GREETINGS)
def test_seed_000_and_001_tokenoff_streaming(api: FakeAPI, tmp_path, language):
    words = list(GREETINGS[language])
    step = Step(
        events=[
            tokenoff_chunk({"role": "assistant", "content": ""}),
            *(tokenoff_chunk({"content": word}) for word in words),
            tokenoff_chunk({}, "stop", usage=USED),
            "[DONE]",
        ]
    )
    (row,) = tokenoff(api, tmp_path, step, stream=True).rows
    assert (row["status"], row["completion"]) == ("ok", GREETINGS[language])
    assert (row["finish_reason"], row["flags"]) == ("stop", ["model_differs"])
    assert (row["input_tokens"], row["output_tokens"]) == (7, 13)
    assert row["ttft_s"] is not None and row["response_json"] is None
    options = {"stream": True, "stream_options": {"include_usage": True}}
    assert bodies(api) == [{"model": "gpt-5.4", **HELLO, **options}]


@pytest.mark.parametrize("language", GREETINGS)
def test_seed_000_and_001_tokenoff_streaming_with_nulls(api: FakeAPI, tmp_path, language):
    words = list(GREETINGS[language])
    step = Step(
        events=[
            tokenoff_null_chunk("", None, "assistant"),
            *(tokenoff_null_chunk(word, None, None) for word in words),
            tokenoff_null_chunk(None, "stop", None),
            "[DONE]",
        ]
    )
    (row,) = tokenoff(api, tmp_path, step, stream=True).rows
    assert (row["completion"], row["finish_reason"]) == (GREETINGS[language], "stop")
    assert (row["input_tokens"], row["output_tokens"]) == (7, 11)
    assert (row["refusal"], row["tool_calls"], row["service_tier"]) == (None, None, None)
    assert row["response_json"] is None


# TokenOps: neither usage nor finish reason; output_text stands bare in output[]

FIELD = '{"name":"phone","type":"string"}'


def test_seed_002_tokenops_chat(api: FakeAPI, tmp_path):
    message = {"role": "assistant", "content": FIELD}
    body = {"id": "chatcmpl_123", "object": "chat.completion"}
    api.always = Step(body={**body, "choices": [{"index": 0, "message": message}]})
    prompt = {"system": "You answer in JSON.", "user": "{{ text }}"}
    asked = [{"text": "Define a form field."}]
    done = ran(api, tmp_path, asked, {"model": "gpt-4.1-mini"}, prompt=prompt)
    (row,) = done.rows
    assert (row["status"], row["completion"]) == ("ok", FIELD)
    assert row["flags"] == ["finish_unknown", "usage_unknown"]
    nothing = ("finish_reason", "served_model", "input_tokens", "output_tokens", "usage_json")
    assert [row[name] for name in nothing] == [None] * 5
    assert json.loads(row["response_json"])["id"] == "chatcmpl_123"
    messages = [
        {"role": "system", "content": "You answer in JSON."},
        {"role": "user", "content": "Define a form field."},
    ]
    assert bodies(api) == [{"model": "gpt-4.1-mini", "messages": messages}]


def test_seed_002_tokenops_responses(api: FakeAPI, tmp_path):
    item = {"type": "output_text", "text": FIELD}
    api.always = Step(body={"id": "resp_123", "status": "completed", "output": [item]})
    request = {"model": "gpt-4.1-mini", "api": "responses"}
    (row,) = ran(api, tmp_path, [{"prompt": "Define a form field."}], request).rows
    assert (row["status"], row["completion"]) == ("ok", FIELD)
    assert (row["finish_reason"], row["flags"]) == ("stop", ["usage_unknown"])
    assert (row["input_tokens"], row["output_tokens"]) == (None, None)
    assert [entry.path for entry in api.ledger] == ["/v1/responses"]
    assert bodies(api) == [{"model": "gpt-4.1-mini", "input": "Define a form field."}]


def test_seed_002_tokenops_history_and_tools_by_either_endpoint(api: FakeAPI, tmp_path):
    call = {"id": "c1", "type": "function", "function": {"name": "add", "arguments": "{}"}}
    history = [
        {"role": "system", "content": "Be short."},
        {"role": "user", "content": "Add a field."},
        {"role": "assistant", "content": None, "tool_calls": [call]},
        {"role": "tool", "tool_call_id": "c1", "content": "done"},
        {"role": "user", "content": "Which one?"},
    ]
    for name in ("chat", "responses"):
        done = ran(api, tmp_path / name, [{"messages": history}], {"api": name})
        assert done.rows[0]["completion"].startswith("answer to: Which one?")
    chat, responses = bodies(api)
    assert chat["messages"] == history
    assert responses["instructions"] == "Be short."
    kinds = [item.get("type", item.get("role")) for item in responses["input"]]
    assert kinds == ["user", "function_call", "function_call_output", "user"]


# The gateway that says what it refuses: 400 for bounds, 429, 500, 502, and 504 after three minutes

BOUNDS = [
    ({"temperature": 3}, "temperature must be between 0 and 2"),
    ({"top_p": 2}, "top_p must be between 0 and 1"),
    ({"max_tokens": 0}, "max_tokens must be a positive integer"),
    ({"stop": ["a", "b", "c", "d", "e"]}, "stop may hold at most 4 sequences"),
    ({}, "model is required"),
    ({}, "messages must be a non-empty array"),
]


@pytest.mark.parametrize(("request_", "message"), BOUNDS)
def test_seed_003_gateway_a_bound_stops_a_job_that_breaks_it_everywhere(
    api: FakeAPI, tmp_path, request_, message
):
    error = {"message": message, "type": "invalid_request_error"}
    api.always = Step(400, body={"error": error})
    asked = [{"prompt": f"p{n}"} for n in range(3)]
    if request_:
        with pytest.raises(JobError, match=next(iter(request_))):
            ran(api, tmp_path, asked, request_)
    assert not api.ledger
    done = ran(api, tmp_path, asked, request_, bounds=False)
    assert (done.exit_code, done.rows) == (3, [])
    assert message in (done.stopped or "")


@pytest.mark.parametrize(
    ("status", "error_class", "attempts", "billed"),
    [
        (400, "invalid_request", 1, 0),
        (500, "server_error", 3, 0),
        (502, "server_error", 3, 0),
        (504, "timeout", 2, 2),
    ],
)
def test_seed_003_gateway_a_failure_of_one_row(
    api: FakeAPI, tmp_path, status, error_class, attempts, billed
):
    error = {"message": "no", "type": "x"}
    api.script = {"bad": [Step(status, body={"error": error}), ...]}
    asked = [{"prompt": "good"}, {"prompt": "bad"}, {"prompt": "better"}]
    retry = {"max_attempts": 3, "first_delay": 0.001, "max_delay": 0.002}
    done = ran(api, tmp_path, asked, {}, retry=retry)
    assert [row["status"] for row in done.rows] == ["ok", "failed", "ok"]
    bad = done.rows[1]
    assert (bad["error_class"], bad["http_status"]) == (error_class, status)
    assert (bad["attempts"], bad["maybe_billed_attempts"]) == (attempts, billed)


@pytest.mark.parametrize("status", [429, 500, 502, 504])
def test_seed_003_gateway_recovers(api: FakeAPI, tmp_path, status):
    api.script = {"snow": [status]}
    (row,) = ran(api, tmp_path, [{"prompt": "snow"}], {}).rows
    assert (row["status"], row["attempts"], row["http_status"]) == ("ok", 2, 200)
    assert row["maybe_billed_attempts"] == (status == 504)


def test_seed_003_gateway_streams_from_a_path_of_its_own(api: FakeAPI, tmp_path):
    """Its chat lies below /api, and usage comes in the last chunk."""
    endpoint = {"base_url": f"http://127.0.0.1:{api.port}/api/v1", "api_key_env": ""}
    done = ran(api, tmp_path, [{"prompt": "snow"}], {"stream": True}, endpoint=endpoint)
    assert done.rows[0]["output_tokens"] and done.rows[0]["flags"] == []
    assert [entry.path for entry in api.ledger] == ["/api/v1/chat/completions"]


def test_seed_003_gateway_limits_each_key(api: FakeAPI, tmp_path):
    api.requests_per_second, api.burst = 100, 2
    began = time.monotonic()
    done = ran(api, tmp_path, [{"prompt": f"p{n}"} for n in range(12)], {})
    assert done.exit_code == 0 and len(rows(tmp_path / "run")) == 12
    assert time.monotonic() - began > 10 / 100


# The gateway of many vendors: reasoning, tools, n, modalities

VENDORS = {
    "model": "deepseek-v4-pro",
    "temperature": 0.2,
    "top_p": 0.9,
    "n": 2,
    "stop": ["END"],
    "max_completion_tokens": 200,
    "presence_penalty": 0.5,
    "frequency_penalty": -0.5,
    "logit_bias": {"50256": -100},
    "user": "u-1",
    "tools": [
        {
            "type": "function",
            "function": {"name": "look", "parameters": {"type": "object", "properties": {}}},
        }
    ],
    "tool_choice": "required",
    "response_format": {"type": "json_object"},
    "seed": 7,
    "reasoning_effort": "high",
    "modalities": ["text", "audio"],
    "audio": {"voice": "alloy", "format": "wav"},
}
CALLS = [{"id": "c1", "type": "function", "function": {"name": "look", "arguments": '{"a":1}'}}]


def vendor_message(index: int) -> dict[str, Any]:
    if index:
        return {"content": None, "tool_calls": CALLS}
    return {"content": "Snow.", "reasoning_content": "Hm. Cold.", "audio": {"data": "AA=="}}


def vendor_step(stream: bool) -> Step:
    about = {"id": "x", "created": 1776337380, "model": "deepseek-v4-pro"}
    used = {"usage": {**USED, "completion_tokens_details": {"reasoning_tokens": 5}}}
    ends = ["stop", "tool_calls"]
    if not stream:
        choices = [
            {
                "index": index,
                "message": {"role": "assistant", **vendor_message(index)},
                "finish_reason": ends[index],
            }
            for index in (0, 1)
        ]
        return Step(body={**about, "object": "chat.completion", "choices": choices, **used})
    deltas: list[tuple[int, dict[str, Any], str | None]] = [
        (0, {"role": "assistant", "reasoning_content": "Hm."}, None),
        (1, {"role": "assistant", "tool_calls": [{"index": 0, **CALLS[0]}]}, None),
        (0, {"reasoning_content": " Cold."}, None),
        (0, {"content": "Snow.", "audio": {"data": "AA=="}}, None),
        (1, {}, "tool_calls"),
        (0, {}, "stop"),
    ]
    events = [
        {**about, "choices": [{"index": index, "delta": delta, "finish_reason": finish}]}
        for index, delta, finish in deltas
    ]
    return Step(events=[*events, {**about, "choices": [], **used}, "[DONE]"])


@pytest.mark.parametrize("stream", [False, True])
def test_seed_004_multi_vendor(api: FakeAPI, tmp_path, stream):
    api.always = vendor_step(stream)
    request = {**VENDORS, **({"stream": True} if stream else {})}
    (row,) = ran(api, tmp_path, [HELLO], request).rows
    assert (row["completion"], row["reasoning"]) == ("Snow.", "Hm. Cold.")
    assert (row["finish_reason"], row["flags"]) == ("stop", [])
    assert (row["output_tokens"], row["reasoning_tokens"]) == (13, 5)
    second = row["choices"][1]
    assert (second["completion"], second["finish_reason"]) == (None, "tool_calls")
    assert second["tool_calls"] == [{"id": "c1", "name": "look", "arguments": '{"a":1}'}]
    kept = json.loads(row["response_json"])["choices"][0]["message"]
    assert kept["audio"] == {"data": "AA=="}
    options = {"stream": True, "stream_options": {"include_usage": True}} if stream else {}
    assert bodies(api) == [{**VENDORS, **HELLO, **options}]


@pytest.mark.parametrize("stream", [False, True])
def test_seed_004_multi_vendor_answers_in_sound_alone(api: FakeAPI, tmp_path, stream):
    sound = {"content": None, "audio": {"data": "AAAA", "transcript": "Snow."}}
    pieces = [{"audio": {"data": "AA"}}, {"audio": {"data": "AA", "transcript": "Snow."}}]
    ended = {"index": 0, "finish_reason": "stop"}
    events = [{"model": "m", "choices": [{"index": 0, "delta": piece}]} for piece in pieces]
    last = {"model": "m", "choices": [{**ended, "delta": {}}], "usage": USED}
    body = {"model": "m", "choices": [{**ended, "message": sound}], "usage": USED}
    api.always = Step(events=[*events, last, "[DONE]"]) if stream else Step(body=body)
    asked = {"modalities": ["text", "audio"], "stream": stream, "model": "m"}
    done = ran(api, tmp_path, [HELLO] * 60, asked)
    assert (done.exit_code, done.stopped) == (0, None)
    for row in done.rows:
        assert (row["completion"], row["flags"]) == ("Snow.", [])
        assert json.loads(row["response_json"])["choices"][0]["message"]["audio"]["data"] == "AAAA"


def test_seed_004_multi_vendor_tool_exchange(api: FakeAPI, tmp_path):
    """What a tool said goes back as the row's history, and an ordinary answer comes."""
    exchange = [
        *HELLO["messages"],
        {"role": "assistant", "content": None, "tool_calls": CALLS},
        {"role": "tool", "tool_call_id": "c1", "content": "42"},
    ]
    (row,) = ran(api, tmp_path, [{"messages": exchange}], {"tool_choice": "none"}).rows
    assert row["status"] == "ok" and row["tool_calls"] is None
    assert bodies(api)[0]["messages"] == exchange

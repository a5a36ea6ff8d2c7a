"""A stream is a transport: it changes nothing that is read, and what a server does not take is left out."""

from __future__ import annotations

import re
from typing import Any

import pytest

from batch import outcome
from batch.apis import APIS, Parameters, build, without_stream_options
from batch.model import Attempt, Request
from batch.outcome import Reject
from batch.requests.prompts import Question
from tests.fake_api import FakeAPI, Step, answer_to
from tests.reading import ran, rows, texts, write

PROMPTS = [{"prompt": text} for text in texts(6)]


def asked(name: str = "chat", **sent: Any) -> Request:
    messages = [{"role": "user", "content": "hi"}]
    return build(Question(messages=messages), Parameters(name, "m", sent), 0)


@pytest.mark.parametrize("name", ["chat", "completions"])
def test_stream_options_are_dropped_and_nothing_else(name):
    plain, stream = asked(name, temperature=0), asked(name, temperature=0, stream=True)
    assert stream.stream_options and not plain.stream_options
    lighter = without_stream_options(stream)
    assert b"stream_options" in stream.body and b"stream_options" not in lighter.body
    assert lighter.body == plain.body[:-1] + b',"stream":true}'
    assert (lighter.hash, lighter.stream, lighter.stream_options) == (plain.hash, True, False)
    assert without_stream_options(plain) is plain


@pytest.mark.parametrize(
    ("status", "body", "dropped"),
    [
        (400, {"error": {"message": "Unknown parameter: 'stream_options'."}}, True),
        (422, {"detail": [{"loc": ["body", "stream_options"], "msg": "Extra inputs"}]}, True),
        (400, {"error": "stream_options is not supported"}, True),
        (400, {"error": {"message": "Unknown parameter: 'foo'."}}, False),
        (401, {"error": {"message": "stream_options need a key"}}, False),
    ],
)
def test_a_refusal_names_the_stream_options(status, body, dropped):
    attempt = Attempt("h", 0.0, 0.1, status=status, answer=body)
    judged = outcome.judge(attempt, APIS["chat"].parse, 0.0)
    assert (isinstance(judged, Reject) and judged.stream_options) is dropped


@pytest.mark.parametrize("name", ["chat", "completions"])
def test_a_server_without_stream_options_is_asked_without_them(api: FakeAPI, tmp_path, name):
    api.refused = frozenset({"stream_options"})
    retry = {"max_attempts": 1, "first_delay": 60}
    done = ran(api, tmp_path, PROMPTS, {"api": name, "stream": True}, retry=retry)
    assert done.exit_code == 0
    assert [row["completion"] for row in done.rows] == [answer_to(row["prompt"]) for row in PROMPTS]
    assert all(row["flags"] == ["usage_unknown"] for row in done.rows)
    refused = [entry for entry in api.ledger if entry.status == 400]
    assert len(refused) <= 2, "only what was in flight together is refused"
    assert sum(row["attempts"] for row in done.rows) == len(PROMPTS) + len(refused)


def test_what_holds_for_every_row_is_said_once(api: FakeAPI, tmp_path, batchmill):
    api.refused = frozenset({"stream_options"})
    api.always = Step(model="cheaper")
    write(tmp_path / "in.jsonl", texts(8))
    flags = ("-m", "m", "-p", "{{ text }}", "--base-url", api.url, "--set", "request.stream=true")
    done = batchmill("run", "in.jsonl", *flags)
    assert done.exit_code == 0
    assert len(re.findall("takes no stream_options", done.stderr)) == 1
    assert len(re.findall("answers as cheaper where m was asked for", done.stderr)) == 1
    told = [row["flags"] for row in rows(tmp_path / "runs" / "in")]
    assert told == [["usage_unknown", "model_differs"]] * 8


@pytest.mark.parametrize(
    ("model", "served", "differs"),
    [
        ("gpt-5.4-mini", "gpt-5.4-mini-2026-03-17", False),
        ("claude-x", "claude-x-20250929", False),
        ("gpt-4", "gpt-4-0613", False),
        ("gpt-4-0613", "gpt-4-1106", True),
        ("gpt-5.4", "gpt-5.4-mini", True),
        ("gpt-5.4", "gpt-4.1", True),
        ("gpt-5.4", None, False),
    ],
)
def test_a_snapshot_is_no_other_model(api: FakeAPI, tmp_path, model, served, differs):
    api.always = Step(model=served)
    done = ran(api, tmp_path, PROMPTS[:1], {"model": model})
    assert done.rows[0]["flags"] == (["model_differs"] if differs else [])
    assert done.rows[0]["served_model"] == served


def chunk(delta: dict[str, Any], index: int = 0, finish: str | None = None) -> dict[str, Any]:
    choice = {"index": index, "delta": delta, "finish_reason": finish}
    return {"model": "fake-model", "choices": [choice]}


def usage(written: int) -> dict[str, Any]:
    return {"usage": {"prompt_tokens": 3, "completion_tokens": written}}


TEXT = [
    chunk({"role": "assistant", "content": ""}),
    chunk({"content": "a"}),
    chunk({"content": "b"}),
]
END = chunk({}, 0, "stop")
LAST = {"model": "fake-model", "choices": []}


@pytest.mark.parametrize(
    "events",
    [
        [*TEXT, END, {**LAST, **usage(2)}, "[DONE]"],
        [*TEXT, {**END, **usage(2)}, "[DONE]"],
        [*({**event, **usage(n)} for n, event in enumerate(TEXT)), {**END, **usage(2)}, "[DONE]"],
        [*({**event, "usage": None} for event in TEXT), {**END, **usage(2)}],
        [{**TEXT[0], **usage(2)}, *TEXT[1:], END, {**LAST, "usage": None}, "[DONE]"],
    ],
    ids=["at the end", "with the finish reason", "everywhere", "null before", "null after"],
)
def test_usage_is_read_wherever_it_comes_and_never_added_up(api: FakeAPI, tmp_path, events):
    api.always = Step(events=events)
    (row,) = ran(api, tmp_path, PROMPTS[:1], {"stream": True}).rows
    assert (row["completion"], row["input_tokens"], row["output_tokens"]) == ("ab", 3, 2)
    assert row["flags"] == [] and row["ttft_s"] is not None


def test_choices_that_come_interleaved_are_told_apart(api: FakeAPI, tmp_path):
    call = {"index": 0, "id": "c", "type": "function", "function": {"name": "f", "arguments": "{"}}
    more = {"index": 0, "function": {"arguments": "}"}}
    api.always = Step(
        events=[
            chunk({"content": "a"}),
            chunk({"tool_calls": [call]}, 1),
            chunk({"content": "b"}),
            chunk({"tool_calls": [more]}, 1, "tool_calls"),
            chunk({"reasoning": "hm", "content": "c"}, 0, "stop"),
            {**LAST, **usage(5)},
            "[DONE]",
        ]
    )
    (row,) = ran(api, tmp_path, PROMPTS[:1], {"stream": True, "n": 2}).rows
    assert (row["completion"], row["reasoning"], row["flags"]) == ("abc", "hm", [])
    assert [choice["finish_reason"] for choice in row["choices"]] == ["stop", "tool_calls"]
    assert row["choices"][1]["tool_calls"] == [{"id": "c", "name": "f", "arguments": "{}"}]


def test_what_no_column_holds_is_kept_whole(api: FakeAPI, tmp_path):
    """Logprobs and sound come in pieces; response_json has them as a blocking answer has."""
    events = [chunk({"content": "a"}), chunk({"content": "b"}, 0, "stop"), {**LAST, **usage(2)}]
    for event, token in zip(events, "ab", strict=False):
        event["choices"][0]["logprobs"] = {"content": [{"token": token}], "refusal": None}
    events[0]["choices"][0]["delta"]["audio"] = {"id": "x", "data": "AA", "transcript": "a"}
    events[1]["choices"][0]["delta"]["audio"] = {"data": "BB", "transcript": "b"}
    api.always = Step(events=[*events, "[DONE]"])
    (row,) = ran(api, tmp_path, PROMPTS[:1], {"stream": True}).rows
    assert (
        '"logprobs":{"content":[{"token":"a"},{"token":"b"}],"refusal":null}'
        in row["response_json"]
    )
    assert '"audio":{"id":"x","data":"AABB","transcript":"ab"}' in row["response_json"]


def test_what_the_columns_hold_is_not_kept_twice(api: FakeAPI, tmp_path):
    done = ran(api, tmp_path, PROMPTS[:1], {"stream": True})
    assert done.rows[0]["response_json"] is None

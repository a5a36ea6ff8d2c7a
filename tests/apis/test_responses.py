"""A job says `api = "responses"` and nothing else changes: neither what is asked nor what is read."""

from __future__ import annotations

import json
from typing import Any

import msgspec
import pytest

from batch import outcome
from batch.apis import APIS, Parameters, build
from batch.event_stream import Event
from batch.model import Attempt, ToolCall
from batch.outcome import Accept, BadAnswer, Reject, Stop, TryAgain
from batch.requests.prompts import BadRow, Question
from tests.fake_api import FakeAPI, Step
from tests.reading import ran

responses = APIS["responses"]
USER = {"role": "user", "content": "Snow?"}
SYSTEM = {"role": "system", "content": "Short."}
SCHEMA = {"type": "object", "properties": {}}


def sent(messages: list[Any] | None = None, **parameters: Any) -> dict[str, Any]:
    """The body of a request, without its model."""
    question = Question(messages=[USER] if messages is None else messages)
    request = build(question, Parameters("responses", "m", parameters), 0)
    body = dict(msgspec.json.decode(request.body))
    del body["model"]
    return body


@pytest.mark.parametrize(
    ("messages", "expected"),
    [
        ([USER], {"input": "Snow?"}),
        ([SYSTEM, USER], {"instructions": "Short.", "input": "Snow?"}),
        ([{**SYSTEM, "role": "developer"}, USER], {"instructions": "Short.", "input": "Snow?"}),
        ([SYSTEM], {"input": [SYSTEM]}),
        ([USER, SYSTEM], {"input": [USER, SYSTEM]}),
        ([SYSTEM, SYSTEM, USER], {"instructions": "Short.", "input": [SYSTEM, USER]}),
        ([{**USER, "name": "Ann"}], {"input": [{**USER, "name": "Ann"}]}),
    ],
)
def test_messages_become_instructions_and_input(messages, expected):
    assert sent(messages) == expected


def test_what_was_said_before_keeps_its_order():
    said = {"role": "assistant", "content": "Yes.", "refusal": None, "tool_calls": None}
    text = {"type": "output_text", "text": "Yes.", "annotations": []}
    assert sent([SYSTEM, USER, said, USER]) == {
        "instructions": "Short.",
        "input": [USER, {"type": "message", "role": "assistant", "content": [text]}, USER],
    }


def test_a_refusal_stays_one():
    no = {"type": "refusal", "refusal": "No."}
    for said in ({"content": [no]}, {"refusal": "No.", "content": None}):
        assert sent([USER, {"role": "assistant", **said}, USER])["input"][1]["content"] == [no]


def test_tool_calls_and_their_outputs_are_items_of_their_own():
    call = {"id": "c1", "type": "function", "function": {"name": "look", "arguments": "{}"}}
    items = sent(
        [
            USER,
            {"role": "assistant", "content": None, "tool_calls": [call, {**call, "id": "c2"}]},
            {"role": "tool", "tool_call_id": "c1", "content": "white"},
            {"role": "tool", "tool_call_id": "c2", "content": [{"type": "text", "text": "cold"}]},
        ]
    )["input"]
    assert items == [
        USER,
        {"type": "function_call", "call_id": "c1", "name": "look", "arguments": "{}"},
        {"type": "function_call", "call_id": "c2", "name": "look", "arguments": "{}"},
        {"type": "function_call_output", "call_id": "c1", "output": "white"},
        {
            "type": "function_call_output",
            "call_id": "c2",
            "output": [{"type": "input_text", "text": "cold"}],
        },
    ]


@pytest.mark.parametrize(
    ("part", "expected"),
    [
        ({"type": "text", "text": "a"}, {"type": "input_text", "text": "a"}),
        (
            {"type": "image_url", "image_url": {"url": "http://x", "detail": "low"}},
            {"type": "input_image", "image_url": "http://x", "detail": "low"},
        ),
        (
            {"type": "image_url", "image_url": "http://x"},
            {"type": "input_image", "image_url": "http://x", "detail": "auto"},
        ),
        (
            {"type": "file", "file": {"file_id": "f"}},
            {"type": "input_file", "file_id": "f"},
        ),
        (
            {"type": "input_audio", "input_audio": {"data": "AA", "format": "wav"}},
            {"type": "input_audio", "input_audio": {"data": "AA", "format": "wav"}},
        ),
        ({"type": "input_video", "x": 1}, {"type": "input_video", "x": 1}),
    ],
)
def test_parts_of_a_message_are_renamed(part, expected):
    asked = sent([{"role": "user", "content": [part]}])
    assert asked == {"input": [{"role": "user", "content": [expected]}]}


FORMAT = {"type": "json_schema", "name": "s", "schema": SCHEMA, "strict": True}
TOOL = {"type": "function", "name": "look", "parameters": SCHEMA, "strict": False}


@pytest.mark.parametrize(
    ("chat", "expected"),
    [
        ({"max_tokens": 5}, {"max_output_tokens": 5}),
        ({"max_completion_tokens": 5}, {"max_output_tokens": 5}),
        ({"max_tokens": 9, "max_completion_tokens": 5}, {"max_output_tokens": 5}),
        ({"max_tokens": 9, "max_output_tokens": 5}, {"max_output_tokens": 5}),
        ({"max_tokens": None}, {}),
        ({"reasoning_effort": "low"}, {"reasoning": {"effort": "low"}}),
        (
            {"reasoning_effort": "low", "reasoning": {"summary": "auto"}},
            {"reasoning": {"effort": "low", "summary": "auto"}},
        ),
        ({"verbosity": "low"}, {"text": {"verbosity": "low"}}),
        (
            {
                "verbosity": "low",
                "response_format": {
                    "type": "json_schema",
                    "json_schema": {"name": "s", "schema": SCHEMA, "strict": True},
                },
            },
            {"text": {"format": FORMAT, "verbosity": "low"}},
        ),
        (
            {"response_format": {"type": "json_object"}},
            {"text": {"format": {"type": "json_object"}}},
        ),
        (
            {
                "tools": [{"type": "function", "function": {"name": "look", "parameters": SCHEMA}}],
                "tool_choice": {"type": "function", "function": {"name": "look"}},
            },
            {"tools": [TOOL], "tool_choice": {"type": "function", "name": "look"}},
        ),
        (
            {"tools": [{"type": "function", "function": {"name": "look", "strict": True}}]},
            {"tools": [{**TOOL, "strict": True}]},
        ),
        (
            {
                "tools": [
                    {
                        "type": "custom",
                        "custom": {
                            "name": "sql",
                            "format": {
                                "type": "grammar",
                                "grammar": {"syntax": "lark", "definition": "x"},
                            },
                        },
                    }
                ],
                "tool_choice": "required",
            },
            {
                "tools": [
                    {
                        "type": "custom",
                        "name": "sql",
                        "format": {"type": "grammar", "syntax": "lark", "definition": "x"},
                    }
                ],
                "tool_choice": "required",
            },
        ),
        (
            {
                "tool_choice": {
                    "type": "allowed_tools",
                    "allowed_tools": {
                        "mode": "auto",
                        "tools": [{"type": "function", "function": {"name": "look"}}],
                    },
                }
            },
            {
                "tool_choice": {
                    "type": "allowed_tools",
                    "mode": "auto",
                    "tools": [{"type": "function", "name": "look"}],
                }
            },
        ),
        (
            {"logprobs": True, "top_logprobs": 2},
            {"include": ["message.output_text.logprobs"], "top_logprobs": 2},
        ),
        ({"logprobs": False, "n": 1, "modalities": ["text"]}, {}),
        ({"stream": True}, {"stream": True}),
        (
            {
                "stream": True,
                "stream_options": {"include_usage": True, "include_obfuscation": False},
            },
            {"stream": True, "stream_options": {"include_obfuscation": False}},
        ),
    ],
)
def test_parameters_are_renamed(chat, expected):
    assert sent(**chat) == {"input": "Snow?", **expected}


def test_a_parameter_without_another_name_is_sent_as_it_is():
    same: dict[str, Any] = {
        "temperature": 0,
        "top_p": 1,
        "stop": ["x"],
        "seed": 3,
        "presence_penalty": 1,
    }
    same |= {
        "logit_bias": {"5": 1},
        "user": "u",
        "metadata": {"a": "b"},
        "top_k": 3,
        "store": False,
    }
    assert sent(**same) == {"input": "Snow?", **same}


@pytest.mark.parametrize(
    "lost",
    [
        {"n": 2},
        {"audio": {"voice": "x", "format": "wav"}},
        {"modalities": ["text", "audio"]},
        {"functions": []},
        {"function_call": "auto"},
        {"prediction": {"type": "content", "content": "x"}},
        {"web_search_options": {}},
    ],
)
def test_a_parameter_that_cannot_be_said_is_an_error_that_names_it(lost):
    with pytest.raises(ValueError, match=f"^{next(iter(lost))}: the responses API has no such"):
        Parameters("responses", "m", lost)
    with pytest.raises(BadRow, match=f"^{next(iter(lost))}: "):
        body = {"model": "m", "input": "hi", **lost}
        build(Question(body=body, api="responses"), Parameters(), 0)


def test_a_call_of_a_custom_tool_and_its_output_keep_their_kind():
    call = {"id": "c", "type": "custom", "custom": {"name": "sql", "input": "SELECT"}}
    said = {"role": "tool", "tool_call_id": "c", "content": "42"}
    items = sent([USER, {"role": "assistant", "content": None, "tool_calls": [call]}, said])[
        "input"
    ]
    assert items[1:] == [
        {"type": "custom_tool_call", "call_id": "c", "name": "sql", "input": "SELECT"},
        {"type": "custom_tool_call_output", "call_id": "c", "output": "42"},
    ]


def test_a_custom_tool_is_called_the_same_whole_and_streamed():
    item = {"type": "custom_tool_call", "id": "i", "call_id": "c", "name": "sql", "input": "SELECT"}
    added = {"type": "response.output_item.added", "output_index": 0, "item": {**item, "input": ""}}
    delta = {"type": "response.custom_tool_call_input.delta", "output_index": 0, "item_id": "i"}
    fold = responses.Fold()
    for event in (added, {**delta, "delta": "SEL"}, {**delta, "delta": "ECT"}):
        fold.add(Event("message", json.dumps(event).encode()))
    fold.add(Event("message", json.dumps({"type": "response.completed", "response": {}}).encode()))
    whole = responses.parse(answer(output=[item]))
    assert whole.choices[0].tool_calls == [ToolCall("c", "sql", "SELECT")]
    assert (whole.choices[0].finish_reason, whole.flags, whole.unheld) == ("tool_calls", [], False)
    assert responses.parse(fold.answer()).choices == whole.choices


def test_a_call_of_an_unknown_kind_is_an_error():
    call = {"id": "c", "type": "telepathy", "telepathy": {}}
    with pytest.raises(BadRow, match="tool call"):
        sent([USER, {"role": "assistant", "tool_calls": [call]}])


def test_a_row_in_words_of_its_own_goes_as_it_is():
    body = {
        "model": "m",
        "input": [{"role": "user", "content": [{"type": "input_text", "text": "hi"}]}],
        "instructions": None,
        "max_output_tokens": 5,
        "reasoning": {"effort": "low", "summary": "auto"},
        "text": {"format": FORMAT},
        "tools": [TOOL, {"type": "web_search"}],
        "tool_choice": {"type": "function", "name": "look"},
        "include": ["reasoning.encrypted_content"],
    }
    request = build(Question(body=body, api="responses"), Parameters(), 0)
    assert msgspec.json.decode(request.body) == body


def test_a_row_wins_over_the_job_whichever_words_either_uses():
    body = {"model": "m", "input": "hi", "max_output_tokens": 5}
    job = Parameters("responses", "x", {"max_tokens": 9, "temperature": 0})
    request = build(Question(body=body, api="responses"), job, 0)
    assert msgspec.json.decode(request.body) == {**body, "temperature": 0}


# What comes back


def answer(**fields: Any) -> dict[str, Any]:
    used = {"input_tokens": 9, "output_tokens": 4}
    return {"id": "r", "status": "completed", "model": "m", "output": [], "usage": used, **fields}


def text(said: str, **more: Any) -> dict[str, Any]:
    return {"type": "output_text", "text": said, "annotations": [], **more}


def message(*parts: dict[str, Any], **more: Any) -> dict[str, Any]:
    return {"type": "message", "role": "assistant", "content": list(parts), **more}


CALL = {"type": "function_call", "call_id": "c1", "name": "look", "arguments": "{}"}
THOUGHT = {"type": "reasoning", "summary": [], "content": []}


@pytest.mark.parametrize(
    ("output", "completion"),
    [
        ([message(text("a"))], "a"),
        ([text("a")], "a"),
        ([THOUGHT, CALL, message(text("a"))], "a"),
        ([message(text("a")), THOUGHT], "a"),
        ([message(text("a"), text("b")), message(text("c"))], "abc"),
        ([message(text("a")), {"type": "brand_new"}], "a"),
        ([{"type": "message", "content": "a"}], "a"),
        ([CALL], None),
    ],
)
def test_text_is_read_wherever_it_stands(output, completion):
    assert responses.parse(answer(output=output)).choices[0].completion == completion


@pytest.mark.parametrize("output", [{}, {"output": []}, {"output": None}, {"output": [THOUGHT]}])
def test_text_beside_the_items_is_read_too(output):
    whole = {**answer(), **output} if output else {"status": "completed"}
    assert responses.parse({**whole, "output_text": "a"}).choices[0].completion == "a"


def test_all_that_an_answer_says_has_a_column():
    thought = {
        "type": "reasoning",
        "content": [{"type": "reasoning_text", "text": "Hm."}],
        "summary": [],
    }
    read = responses.parse(
        answer(
            output=[thought, CALL, message({"type": "refusal", "refusal": "no"})],
            model="m-1",
            service_tier="flex",
        )
    )
    choice = read.choices[0]
    assert (choice.reasoning, choice.refusal) == ("Hm.", "no")
    assert choice.tool_calls == [ToolCall("c1", "look", "{}")]
    assert (read.served_model, read.service_tier, read.unheld) == ("m-1", "flex", False)
    assert (read.usage.input_tokens, read.usage.output_tokens) == (9, 4)


@pytest.mark.parametrize(
    ("fields", "finish", "flags"),
    [
        ({"output": [text("a")]}, "stop", []),
        ({"output": [CALL]}, "tool_calls", []),
        ({"output": []}, "stop", ["empty"]),
        ({"output": [text("a")], "status": None}, None, ["finish_unknown"]),
        (
            {
                "output": [text("a")],
                "status": "incomplete",
                "incomplete_details": {"reason": "max_output_tokens"},
            },
            "length",
            ["length"],
        ),
        (
            {
                "output": [],
                "status": "incomplete",
                "incomplete_details": {"reason": "content_filter"},
            },
            "content_filter",
            ["content_filter", "empty"],
        ),
        (
            {"output": [text("a")], "status": "incomplete", "incomplete_details": None},
            "incomplete",
            ["finish_unknown"],
        ),
        (
            {"output": [text("a")], "status": "incomplete", "incomplete_details": {"reason": "x"}},
            "x",
            ["finish_unknown"],
        ),
        ({"output": [text("a")], "max_output_tokens": 4}, "length", ["length"]),
        ({"output": [text("a")], "max_output_tokens": 5}, "stop", []),
    ],
)
def test_how_an_answer_ended_is_told_in_the_words_of_a_chat(fields, finish, flags):
    read = responses.parse(answer(**fields))
    assert (read.choices[0].finish_reason, read.flags) == (finish, flags)


@pytest.mark.parametrize("status", ["in_progress", "queued", "cancelled", "failed"])
def test_an_answer_that_is_not_there_may_have_cost_and_is_asked_again(status):
    attempt = Attempt("h", 0.0, 0.1, status=200, answer=answer(status=status, output=[text("a")]))
    judged = outcome.judge(attempt, responses.parse, 0.0)
    assert isinstance(judged, TryAgain)
    assert (judged.error_class, judged.maybe_billed) == ("bad_response", True)


@pytest.mark.parametrize(
    ("code", "kind", "error_class"),
    [
        ("server_error", TryAgain, "server_error"),
        ("rate_limit_exceeded", TryAgain, "rate_limited"),
        ("vector_store_timeout", TryAgain, "timeout"),
        ("invalid_prompt", Reject, "content_filter"),
        ("invalid_image_format", Reject, "invalid_request"),
        ("context_length_exceeded", Reject, "context_length"),
        ("insufficient_quota", Stop, "quota"),
    ],
)
def test_a_failed_answer_counts_by_the_code_in_it(code, kind, error_class):
    failed = answer(status="failed", error={"code": code, "message": "no"})
    judged = outcome.judge(Attempt("h", 0.0, 0.1, status=200, answer=failed), responses.parse, 0.0)
    assert type(judged) is kind and not isinstance(judged, Accept)
    assert judged.error_class == error_class


@pytest.mark.parametrize(
    ("fields", "unheld"),
    [
        ({"output": [message(text("a"))]}, False),
        ({"output": [text("a")], "temperature": 1, "tools": [TOOL], "text": {"x": 1}}, False),
        ({"output": [message(text("a", annotations=[{"type": "url_citation"}]))]}, True),
        ({"output": [message(text("a", logprobs=[{"token": "a"}]))]}, True),
        ({"output": [message(text("a", logprobs=[]))]}, False),
        ({"output": [text("a"), {"type": "web_search_call", "id": "w"}]}, True),
        ({"output": [text("a"), {**THOUGHT, "encrypted_content": "x"}]}, True),
        ({"output": [text("a"), {**THOUGHT, "encrypted_content": None}]}, False),
        ({"output": [message(text("a"), {"type": "output_audio", "data": "x"})]}, True),
        ({"output": [text("a")], "citations": ["x"]}, True),
    ],
)
def test_the_raw_answer_is_kept_exactly_when_no_column_holds_it(fields, unheld):
    assert responses.parse(answer(**fields)).unheld is unheld


@pytest.mark.parametrize(
    ("item", "completion", "flags"),
    [
        ({"type": "image_generation_call", "id": "i", "result": "AA=="}, None, []),
        (message({"type": "output_audio", "data": "AA==", "transcript": "Snow."}), "Snow.", []),
        ({"type": "image_generation_call", "id": "i", "result": None}, None, ["empty"]),
    ],
)
def test_an_answer_in_sound_or_pictures_is_not_empty(item, completion, flags):
    read = responses.parse(answer(output=[item]))
    assert (read.choices[0].completion, read.flags, read.unheld) == (completion, flags, True)


def test_an_empty_answer_that_does_not_say_why_is_refused():
    with pytest.raises(BadAnswer, match="empty"):
        responses.parse(answer(status=None))


# Through the whole pipeline

ROWS = [{"text": "Is snow white?"}, {"text": "Is coal?"}]
SAME = ("completion", "finish_reason", "input_tokens", "output_tokens", "flags", "status")
PROMPT = {"system": "Be short.", "user": "{{ text }}"}


@pytest.mark.parametrize("finish", ["stop", "length", "content_filter"])
def test_a_job_gives_the_same_whichever_api_and_transport(api: FakeAPI, tmp_path, finish):
    api.always = Step(finish_reason=finish)
    seen = []
    for name in ("chat", "responses"):
        for stream in (False, True):
            request = {"api": name, "stream": stream, "max_tokens": 50, "temperature": 0}
            done = ran(api, tmp_path / f"{name}{stream}", ROWS, request, prompt=PROMPT)
            assert done.exit_code == 0
            assert all((row["ttft_s"] is not None) is stream for row in done.rows)
            seen.append([{key: row[key] for key in SAME} for row in done.rows])
    assert seen[1:] == [seen[0]] * 3
    assert seen[0][0]["completion"].startswith("answer to: Is snow white?")
    asked = [entry.body for entry in api.ledger if entry.path.endswith("/responses")]
    assert all(body["instructions"] == "Be short." for body in asked if body)
    assert all(body["max_output_tokens"] == 50 for body in asked if body)


def test_a_batch_line_names_its_api(api: FakeAPI, tmp_path):
    lines = [
        {
            "custom_id": "a",
            "method": "POST",
            "url": "/v1/responses",
            "body": {"model": "fake-model", "input": "Is snow white?"},
        },
        {
            "custom_id": "b",
            "method": "POST",
            "url": "/v1/chat/completions",
            "body": {"model": "fake-model", "messages": [USER]},
        },
    ]
    done = ran(api, tmp_path, lines, {})
    assert [row["completion"].rsplit(" ", 1)[0] for row in done.rows] == [
        "answer to: Is snow white?",
        "answer to: Snow?",
    ]
    assert {entry.path for entry in api.ledger} == {"/v1/responses", "/v1/chat/completions"}


def stream_of(*events: dict[str, Any] | str) -> Step:
    return Step(events=events)


TALK: list[Any] = [
    {"type": "response.created", "response": {"id": "r", "status": "in_progress", "model": "m"}},
    {"type": "response.output_text.delta", "delta": "one", "item_id": "i"},
    {"type": "response.brand_new.delta", "delta": 3},
    {"type": "response.output_text.delta", "delta": " two", "item_id": "i"},
]
FAILED = answer(status="failed", error={"code": "server_error", "message": "late"})


@pytest.mark.parametrize(
    ("steps", "columns"),
    [
        (
            [stream_of(*TALK, {"type": "response.completed", "response": answer()}), ...],
            {"completion": "one two", "finish_reason": "stop", "output_tokens": 4},
        ),
        (
            [
                stream_of(
                    *TALK,
                    {
                        "type": "response.incomplete",
                        "response": answer(
                            status="incomplete", incomplete_details={"reason": "max_output_tokens"}
                        ),
                    },
                ),
                ...,
            ],
            {"completion": "one two", "finish_reason": "length", "flags": ["length"]},
        ),
        (
            [stream_of(*TALK, {"type": "response.failed", "response": FAILED})],
            {"status": "ok", "attempts": 2, "maybe_billed_attempts": 0},
        ),
        (
            [stream_of(*TALK, {"type": "error", "code": "server_error", "message": "late"})],
            {"status": "ok", "attempts": 2},
        ),
        (
            [stream_of(*TALK), ...],
            {"status": "failed", "error_class": "cut_off", "maybe_billed_attempts": 2},
        ),
        (
            [Step(body=answer(status="in_progress")), ...],
            {"status": "failed", "error_class": "bad_response", "maybe_billed_attempts": 2},
        ),
    ],
)
def test_a_stream_ends_with_its_last_event(api: FakeAPI, tmp_path, steps, columns):
    api.script = {"snow": steps}
    request = {"api": "responses", "stream": True, "model": "m"}
    done = ran(api, tmp_path, [{"prompt": "snow"}], request)
    assert {key: done.rows[0][key] for key in columns} == columns


def test_a_job_that_cannot_be_said_is_refused_before_anything_is_sent(tmp_path, batchmill):
    (tmp_path / "in.jsonl").write_text(json.dumps({"prompt": "hi"}))
    (tmp_path / "job.toml").write_text(
        'input = "in.jsonl"\n[request]\napi = "responses"\nmodel = "m"\nn = 2\n'
        '[endpoint]\nbase_url = "http://127.0.0.1:1"\n'
    )
    done = batchmill("run", "job.toml")
    assert done.exit_code == 2
    assert "job.toml:5: [request] n: the responses API has no such parameter" in done.stderr


def test_an_item_whose_type_is_no_text_is_passed_over():
    odd = {"type": [], "id": "x"}
    said = {"type": "message", "content": [{"type": "output_text", "text": "cold"}]}
    answer = {"status": "completed", "output": [odd, said]}
    assert responses.parse(answer).choices[0].completion == "cold"
    fold = responses.Fold()
    for event in ({"type": "response.output_item.added", "item": odd},
                  {"type": "response.completed", "response": answer}):  # fmt: skip
        fold.add(Event("message", json.dumps(event).encode()))
    assert responses.parse(fold.answer()).choices[0].completion == "cold"

"""Every API in APIS keeps the same promises; a new one runs through them by being listed there.

Its recorded answers go into RECORDED: the blocking answer, and the stream that says the same.
"""

from __future__ import annotations

import json
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from batch.apis import APIS, TRANSPORT, Parameters, build
from batch.columns import FLAGS
from batch.error_bodies import error_in
from batch.event_stream import Event, EventReader
from batch.model import Choice, Completion, ToolCall, Usage
from batch.outcome import BadAnswer
from batch.requests.prompts import BadRow, Question

MESSAGES = [{"role": "system", "content": "Short."}, {"role": "user", "content": "Snow?"}]
USAGE = {"prompt_tokens": 9, "completion_tokens": 4, "total_tokens": 13}


def chunk(delta: dict[str, Any], finish: str | None = None, index: int = 0) -> dict[str, Any]:
    return {
        "id": "c-1",
        "object": "chat.completion.chunk",
        "model": "m-1",
        "choices": [{"index": index, "delta": delta, "finish_reason": finish}],
    }


def whole(*choices: dict[str, Any]) -> dict[str, Any]:
    return {
        "id": "c-1",
        "object": "chat.completion",
        "model": "m-1",
        "choices": list(choices),
        "usage": USAGE,
    }


def choice(finish: str, index: int = 0, **message: Any) -> dict[str, Any]:
    return {
        "index": index,
        "message": {"role": "assistant", **message},
        "finish_reason": finish,
    }


LAST: list[Any] = [{"id": "c-1", "model": "m-1", "choices": [], "usage": USAGE}, "[DONE]"]


def said(**fields: Any) -> dict[str, Any]:
    """An answer of responses."""
    used = {"input_tokens": 9, "output_tokens": 4, "total_tokens": 13}
    whole = {"id": "resp_1", "object": "response", "status": "completed", "model": "m-1"}
    return {**whole, "usage": used, **fields}


def message(*parts: dict[str, Any]) -> dict[str, Any]:
    return {"type": "message", "id": "msg_1", "role": "assistant", "content": list(parts)}


def output_text(text: str) -> dict[str, Any]:
    return {"type": "output_text", "text": text, "annotations": []}


def delta(text: str, kind: str = "output_text", **more: Any) -> dict[str, Any]:
    return {"type": f"response.{kind}.delta", "item_id": "msg_1", "delta": text, **more}


def terminal(answer: dict[str, Any]) -> dict[str, Any]:
    return {"type": f"response.{answer['status']}", "response": answer}


CREATED = {"type": "response.created", "response": {"id": "resp_1", "status": "in_progress"}}
LOOK = {
    "type": "function_call",
    "id": "fc_1",
    "call_id": "call_1",
    "name": "look",
    "arguments": '{"x": 1}',
}
THOUGHT = {
    "type": "reasoning",
    "id": "rs_1",
    "summary": [],
    "content": [{"type": "reasoning_text", "text": "Hm. Cold."}],
}
SUMMARY = {"type": "reasoning", "id": "rs_1", "summary": [{"type": "summary_text", "text": "Hm."}]}
SNOW = said(output=[message(output_text("It is snow."))])


def spoken(text: str, finish: str | None, index: int = 0, **more: Any) -> dict[str, Any]:
    """A choice of completions."""
    return {"text": text, "index": index, "finish_reason": finish, "logprobs": None, **more}


def texts(*choices: dict[str, Any]) -> dict[str, Any]:
    """An answer, or a chunk, of completions."""
    return {"id": "t-1", "object": "text_completion", "model": "m-1", "choices": list(choices)}


def vector(embedding: Any, **fields: Any) -> dict[str, Any]:
    item = {"object": "embedding", "index": 0, "embedding": embedding}
    used = {"prompt_tokens": 9, "total_tokens": 9}
    return {"object": "list", "model": "m-1", "data": [item], "usage": used, **fields}


CALL = {"id": "call_1", "type": "function", "function": {"name": "look", "arguments": '{"x": 1}'}}

RECORDED: dict[str, dict[str, tuple[dict[str, Any], list[Any]]]] = {
    "chat": {
        "text": (
            whole(choice("stop", content="It is snow.")),
            [
                chunk({"role": "assistant", "content": ""}),
                chunk({"content": "It is"}),
                chunk({"content": " snow."}),
                chunk({}, "stop"),
                *LAST,
            ],
        ),
        "finish reason in the last content chunk, no [DONE]": (
            whole(choice("length", content="It is")),
            [
                chunk({"content": "It"}),
                {**chunk({"content": " is"}, "length"), "usage": USAGE},
            ],
        ),
        "several choices out of order": (
            whole(choice("stop", 1, content="b"), choice("stop", 0, content="a")),
            [
                chunk({"content": "b"}, "stop", index=1),
                chunk({"content": "a"}, "stop", index=0),
                *LAST,
            ],
        ),
        "reasoning": (
            whole(choice("stop", content="Yes.", reasoning_content="Hm. Cold.")),
            [
                chunk({"reasoning_content": "Hm."}),
                chunk({"reasoning_content": " Cold.", "content": None}),
                chunk({"content": "Yes."}, "stop"),
                *LAST,
            ],
        ),
        "tool calls": (
            whole(
                choice("tool_calls", content=None, tool_calls=[CALL, {**CALL, "id": "call_2"}]),
            ),
            [
                chunk(
                    {
                        "tool_calls": [
                            {
                                "index": 0,
                                "id": "call_1",
                                "type": "function",
                                "function": {"name": "look", "arguments": ""},
                            }
                        ]
                    }
                ),
                chunk({"tool_calls": [{"index": 0, "function": {"arguments": '{"x"'}}]}),
                chunk({"tool_calls": [{"index": 0, "function": {"arguments": ": 1}"}}]}),
                chunk({"tool_calls": [{"index": 1, **CALL, "id": "call_2"}]}),
                chunk({}, "tool_calls"),
                *LAST,
            ],
        ),
        "refusal": (
            whole(choice("stop", content=None, refusal="I will not.")),
            [
                chunk({"refusal": "I will"}),
                chunk({"refusal": " not."}),
                chunk({}, "stop"),
                *LAST,
            ],
        ),
        "content in parts": (
            whole(choice("stop", content=[{"type": "text", "text": "It is snow."}])),
            [
                chunk({"content": [{"type": "text", "text": "It is "}]}),
                chunk({"content": [{"type": "text", "text": "snow."}]}, "stop"),
                *LAST,
            ],
        ),
        "annotations": (
            whole(choice("stop", content="Snow.", annotations=[{"url": "a"}, {"url": "b"}])),
            [
                chunk({"content": "Snow.", "annotations": [{"url": "a"}]}),
                chunk({"annotations": [{"url": "b"}]}, "stop"),
                *LAST,
            ],
        ),
        "cut by a filter before the first word": (
            whole(choice("content_filter")),
            [chunk({}, "content_filter"), *LAST],
        ),
        "usage in every chunk, the last one counts": (
            whole(choice("stop", content="Snow.")),
            [
                {**chunk({"content": "Snow."}), "usage": {**USAGE, "completion_tokens": 1}},
                {**chunk({}, "stop"), "usage": USAGE},
                "[DONE]",
            ],
        ),
        "reasoning details": (
            whole(
                choice(
                    "stop",
                    content="Yes.",
                    reasoning_details=[{"type": "reasoning.text", "text": "Hm. Cold."}],
                )
            ),
            [
                chunk({"reasoning_details": [{"type": "reasoning.text", "text": "Hm."}]}),
                chunk({"reasoning_details": [{"type": "reasoning.text", "text": " Cold."}]}),
                chunk({"content": "Yes."}, "stop"),
                *LAST,
            ],
        ),
        "a function call of the older kind": (
            whole(choice("function_call", function_call={"name": "look", "arguments": "{}"})),
            [
                chunk({"function_call": {"name": "look", "arguments": ""}}),
                chunk({"function_call": {"arguments": "{"}}),
                chunk({"function_call": {"arguments": "}"}}, "function_call"),
                *LAST,
            ],
        ),
        "a call of a custom tool": (
            whole(
                choice(
                    "tool_calls",
                    tool_calls=[
                        {"id": "c", "type": "custom", "custom": {"name": "sql", "input": "SELECT"}}
                    ],
                )
            ),
            [
                chunk(
                    {
                        "tool_calls": [
                            {
                                "index": 0,
                                "id": "c",
                                "type": "custom",
                                "custom": {"name": "sql", "input": ""},
                            }
                        ]
                    }
                ),
                chunk({"tool_calls": [{"index": 0, "custom": {"input": "SELECT"}}]}),
                chunk({}, "tool_calls"),
                *LAST,
            ],
        ),
    },
    "responses": {
        "text": (
            SNOW,
            [CREATED, delta("It is"), delta(" snow."), terminal(SNOW)],
        ),
        "text, the last event without output": (
            SNOW,
            [CREATED, delta("It is"), delta(" snow."), terminal({**SNOW, "output": []})],
        ),
        "text of an item, the last event without output": (
            SNOW,
            [
                CREATED,
                delta("It is snow."),
                {"type": "response.output_item.done", "item": SNOW["output"][0]},
                terminal({**SNOW, "output": None}),
            ],
        ),
        "bare text": (
            said(output=[output_text("It is snow.")]),
            [delta("It is snow."), terminal(said(output=[output_text("It is snow.")]))],
        ),
        "cut at the limit": (
            said(
                status="incomplete",
                incomplete_details={"reason": "max_output_tokens"},
                output=[message(output_text("It"))],
            ),
            [
                CREATED,
                delta("It"),
                terminal(
                    said(status="incomplete", incomplete_details={"reason": "max_output_tokens"})
                ),
            ],
        ),
        "reasoning, then a call": (
            said(output=[THOUGHT, LOOK]),
            [
                CREATED,
                delta("Hm.", "reasoning_text"),
                delta(" Cold.", "reasoning_text"),
                {"type": "response.brand_new.event", "x": 1},
                {
                    "type": "response.output_item.added",
                    "output_index": 1,
                    "item": {**LOOK, "arguments": ""},
                },
                delta('{"x"', "function_call_arguments", output_index=1),
                delta(": 1}", "function_call_arguments", output_index=1),
                terminal(said(output=[])),
            ],
        ),
        "a summary of reasoning": (
            said(output=[SUMMARY, message(output_text("Yes."))]),
            [
                delta("Hm.", "reasoning_summary_text"),
                delta("Yes."),
                terminal(said(output=[])),
            ],
        ),
        "refusal": (
            said(output=[message({"type": "refusal", "refusal": "I will not."})]),
            [delta("I will", "refusal"), delta(" not.", "refusal"), terminal(said(output=[]))],
        ),
        "nothing but [DONE] at the end": (
            said(output=[output_text("It is")], status=None),
            [
                {**CREATED, "response": {"model": "m-1", "usage": SNOW["usage"]}},
                delta("It is"),
                "[DONE]",
            ],
        ),
    },
    "completions": {
        "text": (
            {**texts(spoken("It is snow.", "stop")), "usage": USAGE},
            [
                texts(spoken("It is", None)),
                texts(spoken(" snow.", None)),
                texts(spoken("", "stop")),
                *LAST,
            ],
        ),
        "several choices interleaved": (
            {**texts(spoken("aa", "stop"), spoken("bb", "length", 1)), "usage": USAGE},
            [
                texts(spoken("b", None, 1)),
                texts(spoken("a", None)),
                texts(spoken("b", "length", 1)),
                texts(spoken("a", "stop")),
                *LAST,
            ],
        ),
        "logprobs": (
            {**texts(spoken("ab", "stop", logprobs={"tokens": ["a", "b"]})), "usage": USAGE},
            [
                texts(spoken("a", None, logprobs={"tokens": ["a"]})),
                texts(spoken("b", "stop", logprobs={"tokens": ["b"]})),
                *LAST,
            ],
        ),
    },
    "embeddings": {
        "numbers": (vector([0.5, -1, 2.25]), []),
        "base64": (vector("AAAAPwAAgL8AABBA"), []),
    },
}
"""API -> what was recorded -> (the blocking answer, the events of the stream that says the same, none
where nothing streams).
"""

CASES = [(name, case) for name in APIS for case in RECORDED.get(name, {})]
STREAMS = [(name, case) for name, case in CASES if RECORDED[name][case][1]]
NAMES = list(APIS)


def events(stream: list[Any]) -> list[Event]:
    return [
        Event("message", (event if isinstance(event, str) else json.dumps(event)).encode())
        for event in stream
    ]


def folded(name: str, stream: list[Any]) -> Any:
    fold = APIS[name].Fold()
    for event in events(stream):
        if fold.ended:
            break
        fold.add(event)
    return fold


def asked(name: str = "chat", messages: Any = MESSAGES, **sent: Any) -> dict[str, Any]:
    request = build(Question(messages=messages), Parameters(name, "m", sent), 0)
    return dict(msgspec.json.decode(request.body))


@pytest.mark.parametrize("name", NAMES)
def test_an_api_has_recorded_answers(name):
    assert RECORDED.get(name)


@pytest.mark.parametrize("name", NAMES)
def test_no_path_ends_like_another_that_is_looked_for_first(name):
    later = NAMES[NAMES.index(name) + 1 :]
    assert APIS[name].PATH.startswith("/")
    assert not any(APIS[other].PATH.endswith(APIS[name].PATH) for other in later)


@pytest.mark.parametrize(("name", "case"), STREAMS)
def test_a_stream_says_what_the_blocking_answer_says(name, case):
    answer, stream = RECORDED[name][case]
    fold = folded(name, stream)
    assert fold.complete
    assert APIS[name].parse(fold.answer()) == APIS[name].parse(answer)


@pytest.mark.parametrize(("name", "case"), CASES)
def test_a_parsed_answer_has_known_flags_and_survives_json(name, case):
    completion = APIS[name].parse(RECORDED[name][case][0])
    assert set(completion.flags) <= set(FLAGS)
    assert completion.usage is not None and completion.served_model == "m-1"
    assert msgspec.json.decode(msgspec.json.encode(completion), type=Completion) == completion


@pytest.mark.parametrize(("name", "case"), STREAMS)
def test_a_folded_answer_survives_its_json(name, case):
    answer = folded(name, RECORDED[name][case][1]).answer()
    assert msgspec.json.decode(msgspec.json.encode(answer)) == answer


@pytest.mark.parametrize(("name", "case"), STREAMS)
def test_a_stream_is_complete_only_when_its_choices_are_whole(name, case):
    answer, stream = RECORDED[name][case]
    whole_choices = APIS[name].parse(answer).choices
    assert not folded(name, []).complete
    for at in range(len(stream)):
        fold = folded(name, stream[:at])
        if fold.complete:
            read = APIS[name].parse(fold.answer()).choices
            assert all(choice in whole_choices for choice in read)


def test_chat_is_not_complete_while_a_choice_is_under_way():
    ended, begun = chunk({"content": "b"}, "stop", index=1), chunk({"content": "a"}, index=0)
    assert folded("chat", [ended]).complete
    assert not folded("chat", [ended, begun]).complete
    assert folded("chat", [ended, begun, chunk({}, "stop", index=0)]).complete


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("answer", [None, [], "x", 3, {}, {"choices": None, "output": None}])
def test_what_is_no_answer_is_refused(name, answer):
    with pytest.raises(BadAnswer):
        APIS[name].parse(answer)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("data", [b"{", b'{"a":1}{"b":2}', b"3", b"[]", b'"\xff"', b"[" * 100_000])
def test_a_broken_event_is_refused(name, data):
    with pytest.raises(BadAnswer):
        APIS[name].Fold().add(Event("message", data))


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("data", [b"", b"  ", b": OPENROUTER PROCESSING"])
def test_a_heartbeat_says_nothing(name, data):
    fold = APIS[name].Fold()
    fold.add(Event("message", data))
    assert not (fold.complete or fold.ended or fold.started)


@pytest.mark.parametrize(("name", "case"), STREAMS)
@pytest.mark.parametrize(
    "event",
    [
        Event("message", b'{"error":{"message":"late","code":500}}'),
        Event("error", b'{"message":"late","code":500}'),
        *EventReader().feed(b'error: {"message":"late","code":500}\n\n'),
    ],
)
def test_an_error_in_mid_stream_wins(name, case, event):
    fold = folded(name, RECORDED[name][case][1][:1])
    fold.add(event)
    assert fold.complete and fold.ended
    error = error_in(fold.answer())
    assert error is not None and (error.message, error.code) == ("late", "500")


@pytest.mark.parametrize(("name", "case"), STREAMS)
def test_started_tells_that_a_token_has_come(name, case):
    answer, stream = RECORDED[name][case]
    first = APIS[name].parse(answer).choices[0]
    spoke = bool(first.completion or first.refusal or first.reasoning or first.tool_calls)
    assert folded(name, stream).started is spoke
    assert not folded(name, []).started


KEYS = ["id", "index", "choices", "delta", "message", "content", "role", "tool_calls", "function"]
KEYS += ["name", "arguments", "finish_reason", "error", "usage", "model", "refusal", "reasoning"]
KEYS += ["output", "status", "type", "data", "embedding", "text", "summary", "call_id"]
KEYS += ["output_text", "reasoning_details", "incomplete_details", "reason", "logprobs"]
KEYS += ["thinking", "function_call", "custom", "input", "item_id", "output_index", "phase", "id"]
WORDS = [
    "message",
    "thinking",
    "output_text",
    "reasoning",
    "function_call",
    "refusal",
    "incomplete",
]
JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-1, 2)
    | st.text(max_size=2)
    | st.sampled_from([*WORDS, "completed", 10**400]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(KEYS), inner),
    max_leaves=15,
)
FIELDS = ["content", "tool_calls", "role", "function", "function_call", "reasoning_details", "x"]
DELTA = st.dictionaries(st.sampled_from(FIELDS), JSON)
CHUNK = st.fixed_dictionaries(
    {
        "choices": st.lists(
            st.fixed_dictionaries(
                {"delta": DELTA | JSON},
                optional={"index": JSON, "finish_reason": JSON, "message": JSON},
            ),
            max_size=2,
        )
    }
)


EVENT = st.fixed_dictionaries(
    {
        "type": st.sampled_from(
            [
                "response.output_item.added",
                "response.output_item.done",
                "response.output_text.delta",
                "response.output_text.done",
                "response.function_call_arguments.delta",
                "response.completed",
                "response.incomplete",
                "x",
            ]
        )
    },
    optional={"item": JSON, "delta": JSON, "text": JSON, "response": JSON, "item_id": JSON},
)


@pytest.mark.parametrize("name", NAMES)
@given(stream=st.lists(CHUNK | EVENT | JSON, max_size=4))
def test_no_stream_makes_it_raise_anything_but_bad_answer(name, stream):
    try:
        answer = folded(name, stream).answer()
        completion = APIS[name].parse(answer)
    except BadAnswer:
        return
    msgspec.json.encode((answer, completion))


@pytest.mark.parametrize("name", NAMES)
@given(answer=JSON | CHUNK)
def test_no_answer_makes_it_raise_anything_but_bad_answer(name, answer):
    try:
        completion = APIS[name].parse(answer)
    except BadAnswer:
        return
    msgspec.json.encode(completion)


def test_chat_reads_every_field_it_has_a_column_for():
    answer = {
        **whole(
            choice("tool_calls", 1, content="b", reasoning="r", tool_calls=[CALL]),
            choice("stop", 0, content="a", refusal="no"),
        ),
        "service_tier": "flex",
    }
    assert APIS["chat"].parse(answer) == Completion(
        choices=[
            Choice(0, "a", "stop", "no"),
            Choice(1, "b", "tool_calls", None, "r", [ToolCall("call_1", "look", '{"x": 1}')]),
        ],
        served_model="m-1",
        service_tier="flex",
        usage=Usage(9, output_tokens=4),
        usage_json=json.dumps(USAGE, separators=(",", ":")),
        flags=["refusal"],
    )


@pytest.mark.parametrize(
    ("said", "flags"),
    [
        (choice("length", content="It"), ["length"]),
        (choice("content_filter", content="It"), ["content_filter"]),
        (choice("stop", content=""), ["empty"]),
        (choice("stop", content=None), ["empty"]),
        (choice("length", content=None, reasoning="Hm"), ["length", "empty"]),
        (choice("stop", content=None, refusal="no"), ["refusal"]),
        (choice("tool_calls", content=None, tool_calls=[CALL]), []),
        (choice("end_turn", content="It"), []),
    ],
)
def test_chat_flags_an_answer_that_is_less_than_one(said, flags):
    assert APIS["chat"].parse(whole(said)).flags == flags


@pytest.mark.parametrize(
    ("said", "completion"),
    [
        ({"content": None, "audio": {"data": "AA==", "transcript": "Snow."}}, "Snow."),
        ({"content": "", "audio": {"data": "AA==", "transcript": "Snow."}}, "Snow."),
        ({"content": "It", "audio": {"data": "AA==", "transcript": "Snow."}}, "It"),
        ({"content": None, "audio": {"data": "AA=="}}, None),
        ({"content": None, "images": [{"image_url": {"url": "data:,"}}]}, None),
        ({"content": [{"type": "image_url", "image_url": {"url": "data:,"}}]}, None),
    ],
)
def test_chat_that_answers_in_sound_or_pictures_is_not_empty(said, completion):
    read = APIS["chat"].parse(whole(choice("stop", **said)))
    assert (read.choices[0].completion, read.flags, read.unheld) == (completion, [], True)


def test_chat_has_started_with_the_first_sound():
    fold = APIS["chat"].Fold()
    for delta, started in (({"role": "assistant"}, False), ({"audio": {"data": "AA"}}, True)):
        chunk = {"choices": [{"index": 0, "delta": delta}]}
        fold.add(Event("", json.dumps(chunk).encode()))
        assert fold.started is started


@pytest.mark.parametrize("usage", [None, {}, {"prompt_tokens": 3}, {"prompt_tokens": -1}])
def test_chat_flags_usage_that_is_not_known(usage):
    answer = {**whole(choice("stop", content="a")), "usage": usage}
    assert APIS["chat"].parse(answer).flags == ["usage_unknown"]


@pytest.mark.parametrize("finish", [None, "", "unknown", "tool_calls", "network_error"])
def test_chat_refuses_an_empty_answer_that_does_not_say_why(finish):
    with pytest.raises(BadAnswer, match="empty"):
        APIS["chat"].parse(whole({**choice("", content=""), "finish_reason": finish}))


@pytest.mark.parametrize("broken", [choice("error", content="It"), {**choice("stop"), "error": {}}])
def test_chat_refuses_a_choice_that_ended_in_an_error(broken):
    if "error" in broken:
        broken["error"] = {"message": "upstream"}
    with pytest.raises(BadAnswer, match="error"):
        APIS["chat"].parse(whole(broken))


@pytest.mark.parametrize(
    ("answer", "unheld"),
    [
        (whole(choice("stop", content="a")), False),
        ({**whole(choice("stop", content="a")), "system_fingerprint": "fp"}, False),
        ({**whole(choice("stop", content="a")), "citations": ["x"]}, True),
        ({**whole(choice("stop", content="a")), "citations": None}, False),
        (whole({**choice("stop", content="a"), "logprobs": {"content": []}}), True),
        (whole({**choice("stop", content="a"), "logprobs": None}), False),
        (whole(choice("stop", content="a", audio={"id": "x"})), True),
        (whole(choice("stop", content="a", annotations=[])), False),
    ],
)
def test_chat_tells_what_no_column_holds(answer, unheld):
    assert APIS["chat"].parse(answer).unheld is unheld


def test_a_request_is_the_messages_and_what_the_job_says():
    assert asked(temperature=0, metadata={}) == {
        "messages": MESSAGES,
        "metadata": {},
        "model": "m",
        "temperature": 0,
    }


def test_a_stream_asks_for_its_usage():
    assert asked(stream=True)["stream_options"] == {"include_usage": True}
    assert asked(stream=True, stream_options={"include_usage": False, "x": 1})[
        "stream_options"
    ] == {
        "include_usage": False,
        "x": 1,
    }
    assert "stream_options" not in asked(stream=False)


def test_what_the_row_says_wins_over_the_job():
    question = Question(
        body={"model": "row", "messages": MESSAGES, "top_p": 1}, api="chat", custom_id="a"
    )
    request = build(question, Parameters("chat", "job", {"temperature": 0, "top_p": 0}), 7)
    assert msgspec.json.decode(request.body) == {
        "messages": MESSAGES,
        "model": "row",
        "temperature": 0,
        "top_p": 1,
    }
    assert (request.row, request.custom_id, request.model) == (7, "a", "row")


@pytest.mark.parametrize("name", NAMES)
def test_a_hash_names_the_question_and_not_how_its_answer_travels(name):
    ways: list[dict[str, Any]] = [
        {"temperature": 0, "seed": 1},
        {"seed": 1, "temperature": 0},
        {"seed": 1, "temperature": 0, "stream": True},
        {"seed": 1, "temperature": 0, "stream": False, "stream_options": {}},
    ]
    one, *others = (
        build(Question(messages=MESSAGES[1:]), Parameters(name, "m", sent), row)
        for row, sent in enumerate(ways)
    )
    assert {other.hash for other in others} == {one.hash}
    assert [other.stream for other in others] == [False, name != "embeddings", False]
    different = build(Question(messages=MESSAGES[1:]), Parameters(name, "m", {"seed": 2}), 0)
    assert different.hash != one.hash


def test_a_body_that_does_not_stream_has_no_transport_fields():
    assert not asked(stream=False).keys() & set(TRANSPORT)


def test_a_row_without_a_model_is_refused():
    with pytest.raises(BadRow, match="no model"):
        build(Question(messages=MESSAGES), Parameters(), 0)


def test_a_row_of_an_api_that_is_not_spoken_is_refused():
    with pytest.raises(BadRow, match=r"'telnet' is not supported \(known: chat"):
        build(Question(body={"model": "m"}, api="telnet"), Parameters(), 0)

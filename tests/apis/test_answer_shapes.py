"""Answers that are whole are taken in whatever shape servers send them, blocking and streamed alike;
halves are not.  What has no column makes the raw answer be kept.
"""

from __future__ import annotations

import json
from typing import Any

import pytest

from batch import outcome
from batch.apis import APIS
from batch.event_stream import Event
from batch.model import Attempt, Choice, Completion, ToolCall
from batch.outcome import Accept, BadAnswer, TryAgain

USED = {"prompt_tokens": 9, "completion_tokens": 4}
chat, responses, completions = APIS["chat"], APIS["responses"], APIS["completions"]


def whole(message: Any, finish: Any = "stop", **more: Any) -> dict[str, Any]:
    """A blocking answer of chat."""
    choice = {"index": 0, "message": message, "finish_reason": finish}
    return {"object": "chat.completion", "model": "m", "choices": [choice], "usage": USED, **more}


def chunk(delta: Any, finish: Any = None, **more: Any) -> dict[str, Any]:
    choice = {"index": 0, "delta": delta, "finish_reason": finish}
    return {"object": "chat.completion.chunk", "model": "m", "choices": [choice], **more}


def ended(*events: Any, finish: Any = "stop") -> list[Any]:
    """A stream of chat, with its end."""
    return [*events, chunk({}, finish), {"model": "m", "choices": [], "usage": USED}, "[DONE]"]


def folded(api: Any, events: list[Any]) -> Any:
    fold = api.Fold()
    for event in events:
        data = json.dumps(event) if isinstance(event, dict) else event
        if not fold.ended:
            fold.add(Event("message", data if isinstance(data, bytes) else data.encode()))
    return fold


def told(api: Any, events: list[Any]) -> Completion:
    fold = folded(api, events)
    assert fold.complete
    return api.parse(json.loads(json.dumps(fold.answer())))


def only(completion: Completion) -> Choice:
    assert len(completion.choices) == 1
    return completion.choices[0]


def judged(answer: Any, api: Any = chat) -> outcome.Outcome:
    return outcome.judge(Attempt("h", 0.0, 0.1, status=200, answer=answer), api.parse, 0.0)


# Why an answer ended

LENGTH = ["length", "MAX_TOKENS", "max_tokens", "FinishReason.MAX_TOKENS", "max_output_tokens"]
LENGTH += ["model_length", "model_context_window_exceeded", "token_limit", "LENGTH", "max-tokens"]
FILTERED = ["content_filter", "SAFETY", "content-filter", "guardrail_intervened", "RECITATION"]
FILTERED += ["content_filtered", "PROHIBITED_CONTENT", "refusal", "ERROR_TOXIC", "SPII"]
STOPPED: list[Any] = ["stop", "STOP", "COMPLETE", "FINISH", {"type": "stop", "matched": 2}]
CALLED = ["tool_calls", "tool_use", "TOOL_CALL", "tool-calls"]
AS_SENT = ["end_turn", "eos", "stop_sequence"]
HALVES: list[Any] = ["error", "abort", "ABORT", "aborted", "cancelled", "USER_CANCEL", "time_limit"]
HALVES += ["insufficient_system_resource", "MALFORMED_FUNCTION_CALL", {"type": "abort"}]
UNSAID: list[Any] = [None, "", "null", "not_finished", "FINISH_REASON_UNSPECIFIED", 2, []]
WORDS = [
    *((sent, "length", ["length"]) for sent in LENGTH),
    *((sent, "content_filter", ["content_filter"]) for sent in FILTERED),
    *((sent, "stop", []) for sent in STOPPED),
    *((sent, "tool_calls", []) for sent in CALLED),
    *((sent, sent, []) for sent in AS_SENT),
    *((sent, None, ["finish_unknown"]) for sent in UNSAID),
    ("PAUSED", "PAUSED", ["finish_unknown"]),
]


@pytest.mark.parametrize(("sent", "finish", "flags"), WORDS)
def test_a_finish_reason_is_told_in_the_words_of_a_chat(sent, finish, flags):
    text = {"index": 0, "text": "It", "finish_reason": sent}
    for read in (
        chat.parse(whole({"content": "It"}, sent)),
        told(chat, ended(chunk({"content": "It"}), finish=sent)),
        completions.parse({"choices": [text], "usage": USED}),
        told(completions, [{"choices": [text]}, {"choices": [], "usage": USED}, "[DONE]"]),
    ):
        assert (only(read).finish_reason, only(read).completion) == (finish, "It")
        assert read.flags == flags


@pytest.mark.parametrize("sent", HALVES)
def test_half_an_answer_is_none_and_may_have_cost(sent):
    text = {"index": 0, "text": "It", "finish_reason": sent}
    for api, answer in (
        (chat, whole({"content": "It"}, sent)),
        (chat, folded(chat, ended(chunk({"content": "It"}), finish=sent)).answer()),
        (completions, {"choices": [text], "usage": USED}),
        (responses, {"status": "incomplete", "incomplete_details": {"reason": sent}, "output": []}),
    ):
        said = judged(answer, api)
        assert isinstance(said, TryAgain), answer
        assert (said.error_class, said.maybe_billed) == ("bad_response", True)


@pytest.mark.parametrize("sent", [*LENGTH, *FILTERED])
def test_an_answer_that_was_cut_before_the_first_word_is_paid_and_taken(sent):
    for answer in (whole({"role": "assistant"}, sent), folded(chat, ended(finish=sent)).answer()):
        said = judged(answer)
        assert isinstance(said, Accept)
        assert said.completion.flags[1:] == ["empty"]


@pytest.mark.parametrize("sent", [*LENGTH, *FILTERED])
def test_responses_say_in_the_same_words_why_they_are_incomplete(sent):
    details = {"status": "incomplete", "incomplete_details": {"reason": sent}}
    read = responses.parse({**details, "output": [], "usage": {"input_tokens": 1}})
    assert only(read).finish_reason in ("length", "content_filter")


@pytest.mark.parametrize("unsaid", ["", "null", None])
def test_a_stream_goes_on_until_a_reason_is_said(unsaid):
    events = [chunk({"content": "a"}, unsaid), chunk({"content": "b"}, unsaid)]
    assert not folded(chat, events).complete
    assert folded(chat, [*events, chunk({}, "stop"), chunk({}, unsaid)]).complete
    assert only(told(chat, [*ended(*events), chunk({}, unsaid)])).finish_reason == "stop"


# Errors that say nothing

NOTHING: list[Any] = [
    {"message": "", "type": "", "param": "", "code": None},
    {"message": "", "code": 0},
    {"message": None, "code": ""},
    {"code": "0", "message": " ", "details": []},
    {},
    [],
    "",
    False,
]


@pytest.mark.parametrize("error", NOTHING)
def test_an_error_of_empty_fields_beside_an_answer_is_none(error):
    blocking = judged(whole({"content": "It"}, error=error))
    choice = whole({"content": "It"})
    choice["choices"][0]["error"] = error
    stream = ended(chunk({"content": "It"}, error=error), chunk({"content": "."}, error=error))
    for said in (blocking, judged(choice), judged(folded(chat, stream).answer())):
        assert isinstance(said, Accept)
        assert (said.completion.flags, said.completion.unheld) == ([], False)
    assert only(told(chat, stream)).completion == "It."


@pytest.mark.parametrize("error", NOTHING)
def test_an_error_of_empty_fields_without_an_answer_is_no_answer(error):
    for answer in ({"error": error}, {"error": error, "choices": []}):
        said = judged(answer)
        assert isinstance(said, TryAgain) and said.error_class == "bad_response"


@pytest.mark.parametrize("error", [{"code": 500, "message": ""}, {"message": "no"}, {"type": "x"}])
def test_an_error_that_says_anything_wins(error):
    said = judged(whole({"content": "It"}, error=error))
    assert isinstance(said, TryAgain)
    fold = folded(chat, [chunk({"content": "It"}, error=error)])
    assert fold.ended and fold.answer() == {"error": error}


# Where a choice says it

CHOICES: list[tuple[dict[str, Any], str | None]] = [
    ({"message": {"content": "It"}}, "It"),
    ({"message": "It"}, "It"),
    ({"message": None, "delta": {"content": "It"}}, "It"),
    ({"message": {}, "text": "It"}, "It"),
    ({"delta": {"content": "It"}}, "It"),
    ({"text": "It"}, "It"),
    ({"message": {"content": None}}, None),
    ({"message": None}, None),
    ({}, None),
]


@pytest.mark.parametrize(("said", "completion"), CHOICES)
def test_a_choice_is_read_wherever_it_stands(said, completion):
    read = chat.parse({"choices": [{**said, "finish_reason": "length"}], "usage": USED})
    assert (only(read).completion, read.unheld) == (completion, False)
    assert read.flags == ["length", *([] if completion else ["empty"])]
    streams = {"choices": [{**said, "finish_reason": "length"}], "usage": USED}
    if not isinstance(said.get("message"), str):
        assert only(told(chat, [streams, "[DONE]"])).completion == completion


def test_a_text_that_is_missing_is_empty():
    read = completions.parse({"choices": [{"finish_reason": "length"}], "usage": USED})
    assert (only(read).completion, read.flags) == (None, ["length", "empty"])


def test_a_text_may_stand_in_a_message():
    said = {
        "choices": [{"message": {"role": "assistant", "content": "It"}, "finish_reason": "stop"}]
    }
    assert only(completions.parse(said)).completion == "It"
    assert only(told(completions, [said, "[DONE]"])).completion == "It"


@pytest.mark.parametrize("api", [chat, completions])
@pytest.mark.parametrize("broken", [None, "It", 3, [], {}, {"finish_reason": None}])
def test_a_choice_that_says_nothing_at_all_is_refused(api, broken):
    with pytest.raises(BadAnswer):
        api.parse({"choices": [broken]})


# Contents in parts


def thinking(*said: str, **more: Any) -> dict[str, Any]:
    return {"type": "thinking", "thinking": [{"type": "text", "text": it} for it in said], **more}


IMAGE = {"type": "image_url", "image_url": {"url": "data:,"}}
CONTENTS: list[tuple[Any, tuple[str | None, str | None, str | None], bool]] = [
    ([{"type": "text", "text": "It"}, {"type": "text", "text": "."}], ("It.", None, None), False),
    ([{"type": "output_text", "text": "It", "annotations": []}], ("It", None, None), False),
    ([{"type": "output_text", "text": "It", "annotations": [1]}], ("It", None, None), True),
    ([{"type": "text", "text": {"value": "It", "annotations": []}}], ("It", None, None), False),
    (["It", "."], ("It.", None, None), False),
    ({"type": "text", "text": "It"}, ("It", None, None), False),
    ([{"text": "It"}], ("It", None, None), False),
    ([{"text": "Hm.", "thought": True}, {"text": "It"}], ("It", "Hm.", None), False),
    ([thinking("Let me", " think."), {"type": "text", "text": "42"}],
     ("42", "Let me think.", None), False),
    ([thinking("Hm.", closed=True)], (None, "Hm.", None), False),
    ([{"type": "thinking", "thinking": "Hm.", "signature": "x"}], (None, "Hm.", None), True),
    ([{"type": "redacted_thinking", "data": "x"}, "It"], ("It", None, None), True),
    ([{"type": "reasoning", "reasoning": "Hm."}, "It"], ("It", "Hm.", None), False),
    ([{"type": "reasoning", "summary": [{"type": "summary_text", "text": "Hm."}]}, "It"],
     ("It", "Hm.", None), False),
    ([{"type": "reasoning_text", "text": "Hm."}, "It"], ("It", "Hm.", None), False),
    ([{"type": "refusal", "refusal": "No."}], (None, None, "No."), False),
    ([{"type": "text", "text": "It"}, IMAGE], ("It", None, None), True),
    ([{"type": "brand_new", "text": "It"}], ("It", None, None), False),
    ([{"type": "brand_new", "x": 1}, "It"], ("It", None, None), True),
    ([{"type": "output_audio", "data": "AA", "transcript": "It"}], ("It", None, None), True),
    ({"label": "snow", "n": 2**70}, ('{"label":"snow","n":1180591620717411303424}', None, None),
     False),
    ({"text": "It", "score": 1}, ('{"text":"It","score":1}', None, None), False),
    ([{"label": "snow"}, {"label": "ice"}],
     ('[{"label":"snow"},{"label":"ice"}]', None, None), False),
    ([1, 2], ("[1,2]", None, None), False),
    (42, ("42", None, None), False),
    ([], (None, None, None), False),
    ("It", ("It", None, None), False),
]  # fmt: skip


def parted(content: Any) -> list[Any]:
    """The parts that may come one by one."""
    parts = content if isinstance(content, list) else []
    known = [
        isinstance(part, str) or (isinstance(part, dict) and "label" not in part) for part in parts
    ]
    return parts if all(known) else []


@pytest.mark.parametrize(("content", "said", "unheld"), CONTENTS)
def test_a_content_is_read_in_any_shape(content, said, unheld):
    pieces = [chunk({"content": [part]}) for part in parted(content)]
    message = [chunk({"role": "assistant", "content": ""}), chunk({"content": content})]
    for read in (
        chat.parse(whole({"role": "assistant", "content": content})),
        told(chat, ended(*message)),
        *([told(chat, ended(chunk({"role": "assistant"}), *pieces))] if pieces else []),
    ):
        choice = only(read)
        assert (choice.completion or None, choice.reasoning, choice.refusal) == said
        assert read.unheld is unheld
        assert ("empty" in read.flags) is not any((said[0], said[2]))


@pytest.mark.parametrize(("content", "said", "unheld"), CONTENTS)
def test_a_message_of_responses_is_read_in_the_same_shapes(content, said, unheld):
    item = {"type": "message", "role": "assistant", "content": content}
    read = responses.parse({"status": "completed", "output": [item]})
    choice = only(read)
    assert (choice.completion or None, choice.reasoning, choice.refusal) == said
    assert read.unheld is unheld


def test_a_picture_in_a_stream_is_kept():
    fold = folded(chat, ended(chunk({"content": "See:"}), chunk({"content": [IMAGE]})))
    answer = fold.answer()
    assert IMAGE in answer["choices"][0]["message"]["content"]
    read = chat.parse(answer)
    assert (only(read).completion, read.unheld) == ("See:", True)


def test_text_goes_on_after_thinking_in_parts():
    parts = [chunk({"content": [thinking(said)]}) for said in ("Let me", " think.")]
    texts = [chunk({"content": said}) for said in "42"]
    read = told(chat, ended(chunk({"role": "assistant", "content": ""}), *parts, *texts))
    assert (only(read).completion, only(read).reasoning) == ("42", "Let me think.")
    assert (read.flags, read.unheld) == ([], False)


REASONING: list[tuple[dict[str, Any], str, bool]] = [
    ({"reasoning_content": "Hm."}, "Hm.", False),
    ({"reasoning": "Hm."}, "Hm.", False),
    ({"thinking": "Hm."}, "Hm.", False),
    ({"reasoning_content": [{"type": "text", "text": "Hm."}]}, "Hm.", False),
    ({"reasoning_details": [{"type": "reasoning.text", "text": "Hm.", "index": 0}]}, "Hm.", False),
    ({"reasoning_details": [{"type": "reasoning.summary", "summary": "Hm."}]}, "Hm.", False),
    ({"reasoning": "Hm.", "reasoning_content": "Hm."}, "Hm.", False),
    ({"reasoning": "Hm.", "reasoning_details": [{"text": "Hm."}]}, "Hm.", False),
    ({"reasoning": "Hm.", "reasoning_content": "Cold."}, "Cold.", True),
    ({"reasoning_details": [{"text": "Hm.", "signature": "x"}]}, "Hm.", True),
    ({"reasoning": "Hm.", "reasoning_details": [{"data": "x"}]}, "Hm.", True),
]


@pytest.mark.parametrize(("fields", "reasoning", "unheld"), REASONING)
def test_reasoning_is_told_once_whichever_channel_has_it(fields, reasoning, unheld):
    for read in (
        chat.parse(whole({"content": "It", **fields})),
        told(chat, ended(chunk(fields), chunk({"content": "It"}))),
    ):
        assert (only(read).reasoning, only(read).completion) == (reasoning, "It")
        assert read.unheld is unheld


# Calls of tools


def f(arguments: Any, id_: str | None = "a", name: str | None = "look") -> dict[str, Any]:
    """A call, or a piece of one."""
    function = {key: it for key, it in (("name", name), ("arguments", arguments)) if it is not None}
    named = {} if id_ is None else {"id": id_}
    return {**named, "type": "function", "function": function}


def look(arguments: str | None, id_: str | None = "a") -> ToolCall:
    return ToolCall(id_, "look", arguments)


CALLS: list[tuple[Any, list[ToolCall], bool]] = [
    ([f('{"x": 1}')], [look('{"x": 1}')], False),
    ([f({"x": 1, "y": "é"})], [look('{"x":1,"y":"é"}')], False),
    ([f([1, 2])], [look("[1,2]")], False),
    ([f(7)], [look("7")], False),
    ([f({})], [look("{}")], False),
    ([f(None)], [look(None)], False),
    ([f("")], [look("")], False),
    ([f("{}"), f("{}", "b")], [look("{}"), look("{}", "b")], False),
    (f("{}"), [look("{}")], False),
    ([{"id": "a", "name": "look", "arguments": {"x": 1}}], [look('{"x":1}')], False),
    ([{**f("{}"), "id": 7}], [look("{}", "7")], False),
    ([{**f("{}"), "extra_content": {"google": "x"}}], [look("{}")], True),
    ([{"id": "a", "function": {"name": "look", "arguments": "{}", "x": 1}}], [look("{}")], True),
    ([{"id": "a", "type": "custom", "custom": {"name": "sql", "input": "SELECT"}}],
     [ToolCall("a", "sql", "SELECT")], False),
]  # fmt: skip


@pytest.mark.parametrize(("calls", "expected", "unheld"), CALLS)
def test_a_call_is_read_in_any_shape(calls, expected, unheld):
    message = {"content": None, "tool_calls": calls}
    for read in (
        chat.parse(whole(message, "tool_calls")),
        told(chat, ended(chunk(message), finish="tool_calls")),
    ):
        assert (only(read).tool_calls, read.unheld, read.flags) == (expected, unheld, [])


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [('{"x": 1}', '{"x": 1}'), ({"x": 1}, '{"x":1}'), ([1], "[1]"), (7, "7"), (None, None)],
)
def test_a_call_of_responses_and_of_the_older_kind_is_read_alike(arguments, expected):
    item = {"type": "function_call", "call_id": "a", "name": "look", "arguments": arguments}
    read = responses.parse({"status": "completed", "output": [item]})
    assert only(read).tool_calls == [look(expected)]
    older = {"function_call": {"name": "look", "arguments": arguments}}
    for read in (
        chat.parse(whole(older, "function_call")),
        told(chat, ended(chunk(older), finish="function_call")),
    ):
        assert (only(read).tool_calls, read.unheld) == ([look(expected, None)], False)


def test_a_call_told_in_both_kinds_is_one():
    function = f("{}")["function"]
    both = {"tool_calls": [f("{}")], "function_call": function}
    other = {**both, "function_call": {"name": "other", "arguments": "{}"}}
    pieces = [{"tool_calls": [{"index": 0, **f("{}")}]}, {"function_call": function}]
    assert only(chat.parse(whole(both))).tool_calls == [look("{}")]
    assert only(told(chat, ended(*map(chunk, pieces)))).tool_calls == [look("{}")]
    assert len(only(chat.parse(whole(other))).tool_calls or ()) == 2


X, Y = '{"x":1}', '{"y":2}'
TWO = [look(X), look(Y, "b")]
at: Any = lambda index, piece: {**piece, "index": index}  # noqa: E731
more: Any = lambda arguments, **said: {"function": {"arguments": arguments}, **said}  # noqa: E731
PIECES: dict[str, tuple[list[list[Any]], list[ToolCall]]] = {
    "an index each": ([[at(0, f(X))], [at(1, f(Y, "b"))]], TWO),
    "all index 0": ([[at(0, f(X))], [at(0, f(Y, "b"))]], TWO),
    "all index 0, in pieces": (
        [[at(0, f(""))], [at(0, more('{"x"'))], [at(0, more(":1}"))],
         [at(0, f("", "b"))], [at(0, more('{"y"'))], [at(0, more(":2}"))]], TWO),
    "all index 0, woven": (
        [[at(0, f('{"x"'))], [at(0, f('{"y"', "b"))], [at(0, more(":1}", id="a"))],
         [at(0, more(":2}", id="b"))]], TWO),
    "all index 0, without ids": ([[at(0, f(X, None))], [at(0, f(Y, None))]],
                                 [look(X, None), look(Y, None)]),
    "no index": ([[f(X)], [f(Y, "b")]], TWO),
    "no index, in one chunk": ([[f(X), f(Y, "b")]], TWO),
    "no index, in one chunk, in pieces": (
        [[f('{"x"'), f('{"y"', "b")], [more(":1}", id="a"), more(":2}", id="b")]], TWO),
    "no index, in pieces": (
        [[f('{"x"')], [more(":1}")], [f('{"y"', "b")], [more(":2}")]], TWO),
    "neither index nor id": ([[f(X, None)], [f(Y, None)]], [look(X, None), look(Y, None)]),
    "neither index nor id, the same twice": ([[f("{}", None)], [f("{}", None)]],
                                             [look("{}", None), look("{}", None)]),
    "index null": ([[at(None, f(X))], [at(None, f(Y, "b"))]], TWO),
    "index as text": ([[at("0", f('{"x"'))], [at("1", f(Y, "b"))], [at("0", more(":1}"))]], TWO),
    "indexes from 1": ([[at(1, f(X))], [at(2, f(Y, "b"))]], TWO),
    "indexes out of order": ([[at(1, f(Y, "b"))], [at(0, f(X))]], TWO),
    "the id in each piece": ([[at(0, f('{"x"'))], [at(0, more(":1}", id="a"))]], [look(X)]),
    "an empty id in later pieces": ([[at(0, f('{"x"'))], [at(0, more(":1}", id=""))]], [look(X)]),
    "id null in later pieces": ([[at(0, f('{"x"'))], [at(0, more(":1}", id=None))]], [look(X)]),
    "another id in each piece": ([[at(0, f('{"x"'))], [at(0, more(":1}", id="z"))]], [look(X)]),
    "the id comes later": ([[at(0, f("", None))], [at(0, more(X, id="a"))]], [look(X)]),
    "the same id for all": ([[at(0, f(X))], [at(1, f(Y))]], [look(X), look(Y)]),
    "the same id and index for all": ([[at(0, f(X))], [at(0, f(Y))]], [look(X), look(Y)]),
    "the name repeated": ([[at(0, f(""))], [at(0, f('{"x"'))], [at(0, f(":1}"))]], [look(X)]),
    "the name repeated without an id": (
        [[at(0, f('{"x"'))], [at(0, f(":1", None))], [at(0, f("}", None))]], [look(X)]),
    "the name repeated at the end": ([[at(0, f(X))], [at(0, f("", None))]], [look(X)]),
    "the name in pieces": (
        [[at(0, f("", name="lo"))], [at(0, f(None, None, "ok"))], [at(0, more(X))]], [look(X)]),
    "a growing name": ([[at(0, f("", name="lo"))], [at(0, f("", name="look"))], [at(0, more(X))]],
                       [look(X)]),
    "an empty name in later pieces": (
        [[at(0, f('{"x"'))], [at(0, f(":1}", name=""))]], [look(X)]),
    "name null in later pieces": (
        [[at(0, f('{"x"'))], [at(0, {"function": {"name": None, "arguments": ":1}"}})]], [look(X)]),
    "arguments as an object": ([[at(0, f({"x": 1}))]], [look(X)]),
    "arguments null, then pieces": (
        [[at(0, {**f(None), "function": {"name": "look", "arguments": None}})], [at(0, more(X))]],
        [look(X)]),
    "an empty object before the pieces": ([[at(0, f("{}"))], [at(0, more('{"x"'))],
                                           [at(0, more(":1}"))]], [look(X)]),
    "the whole call once more": ([[at(0, f('{"x"'))], [at(0, more(":1}"))], [at(0, f(X))]],
                                 [look(X)]),
    "a single call, not in a list": ([at(0, f('{"x"')), at(0, more(":1}"))], [look(X)]),
    "said in the call itself": (
        [[{"index": 0, "id": "a", "name": "look", "arguments": '{"x"'}],
         [{"index": 0, "arguments": ":1}"}]], [look(X)]),
    "empty pieces": ([[at(0, f(X))], [], [at(0, {})], [at(0, more(""))]], [look(X)]),
}  # fmt: skip


@pytest.mark.parametrize("case", PIECES)
def test_pieces_of_calls_are_put_together(case):
    pieces, expected = PIECES[case]
    events = [chunk({"tool_calls": calls}) for calls in pieces]
    read = told(chat, ended(chunk({"role": "assistant"}), *events, finish="tool_calls"))
    assert (only(read).tool_calls, read.unheld, read.flags) == (expected, False, [])


def test_what_a_piece_of_a_call_says_besides_is_kept():
    piece = at(0, {**f(X), "extra_content": {"google": {"thought_signature": "s"}}})
    fold = folded(chat, ended(chunk({"tool_calls": [piece]}), finish="tool_calls"))
    assert fold.answer()["choices"][0]["message"]["tool_calls"][0]["extra_content"]
    assert chat.parse(fold.answer()).unheld


# Streams that tell the whole answer once more

TALK = [chunk({"role": "assistant", "content": ""}), chunk({"content": "Hello"})]
TALK += [chunk({"content": " world"})]
SAID = {"role": "assistant", "content": "Hello world"}
LAST: dict[str, list[Any]] = {
    "a message": [whole(SAID)],
    "a message, then the end": [whole(SAID, None), *ended()],
    "a message after the end": [*ended()[:1], whole(SAID)],
    "a message beside an empty delta": [
        {"choices": [{"delta": {}, "message": SAID, "finish_reason": "stop"}]}],
    "a delta": [chunk(SAID, "stop")],
    "a delta after the end": [*ended()[:1], chunk(SAID)],
    "a delta without a role": [chunk({"content": "Hello world"}, "stop")],
    "a delta in an answer": [{**chunk(SAID, "stop"), "object": "chat.completion"}],
    "a message of more": [whole({**SAID, "content": "Hello world!"})],
    "a message in parts": [whole({"content": [{"type": "text", "text": "Hello world"}]})],
    "a message without content": [whole({"role": "assistant", "content": ""})],
}  # fmt: skip


@pytest.mark.parametrize("case", LAST)
def test_the_whole_message_at_the_end_is_not_told_twice(case):
    expected = "Hello world!" if case == "a message of more" else "Hello world"
    read = told(chat, [*TALK, *LAST[case], "[DONE]"])
    assert (only(read).completion, only(read).finish_reason) == (expected, "stop")
    assert read.unheld is False


@pytest.mark.parametrize("last", [whole(SAID), chunk(SAID, "stop")])
def test_one_delta_may_be_the_whole_message_too(last):
    said = last["choices"][0].get("message") or last["choices"][0]["delta"]
    once = [chunk({"role": "assistant", "content": ""}), chunk({"content": said["content"]})]
    assert only(told(chat, [*once, last, "[DONE]"])).completion == "Hello world"


def test_reasoning_and_calls_are_not_told_twice_either():
    first = [chunk({"reasoning_content": "H"}), chunk({"reasoning_content": "m."})]
    calls = [chunk({"tool_calls": [at(0, f('{"x"'))]}), chunk({"tool_calls": [at(0, more(":1}"))]})]
    last = whole({**SAID, "reasoning_content": "Hm.", "tool_calls": [f(X)]}, "tool_calls")
    read = told(chat, [*first, *TALK, *calls, last, "[DONE]"])
    assert only(read) == Choice(0, "Hello world", "tool_calls", None, "Hm.", [look(X)])


def test_thinking_in_parts_is_kept_beside_the_whole_text():
    last = whole({"role": "assistant", "content": "42"})
    read = told(chat, [chunk({"content": [thinking("Hm.")]}), chunk({"content": "42"}), last])
    assert (only(read).completion, only(read).reasoning) == ("42", "Hm.")


@pytest.mark.parametrize("role", [{}, {"role": "assistant"}])
def test_a_token_that_comes_twice_is_said_twice(role):
    """Also where the last one comes with the end."""
    events = [chunk({**role, "content": "1"}), chunk({**role, "content": "1"}, "stop")]
    assert only(told(chat, [*events, "[DONE]"])).completion == "11"


def test_a_stream_of_messages_goes_on():
    events = [whole({"content": said}, None) for said in ("a", "ab")]
    assert only(told(chat, ended(*events))).completion == "aab"


# Characters that come in halves

EMOJI = "\U0001f600"
HIGH, LOW = r"\ud83d", r"\ude00"


def halved(event: Any) -> list[bytes]:
    """Two events instead of one: where it says `?`, each has half a character."""
    data = json.dumps(event)
    return [data.replace("?", half).encode() for half in (HIGH, LOW)]


def delta(kind: str, **said: Any) -> dict[str, Any]:
    return {"type": f"response.{kind}.delta", "output_index": 0, "delta": "?", **said}


IN_CHAT: dict[str, Any] = {
    "completion": {"content": "?"},
    "completion, in parts": {"content": [{"type": "text", "text": "?"}]},
    "reasoning": {"reasoning": "?"},
    "reasoning, in content": {"reasoning_content": "?"},
    "reasoning, in parts": {"content": [thinking("?")]},
    "reasoning, in details": {"reasoning_details": [{"type": "reasoning.text", "text": "?"}]},
    "refusal": {"refusal": "?"},
    "tool_calls": {"tool_calls": [at(0, {"id": "a", "function": {"name": "f", "arguments": "?"}})]},
    "tool_calls, older": {"function_call": {"arguments": "?"}},
}
IN_RESPONSES = {
    "completion": "output_text",
    "reasoning": "reasoning_text",
    "reasoning, as a summary": "reasoning_summary_text",
    "refusal": "refusal",
    "tool_calls": "function_call_arguments",
    "tool_calls, custom": "custom_tool_call_input",
}
DONE = {"type": "response.completed", "response": {"status": "completed", "output": []}}


def said_in(read: Completion, case: str) -> str | None:
    found = getattr(only(read), case.partition(",")[0])
    return found[0].arguments if isinstance(found, list) else found


@pytest.mark.parametrize("case", IN_CHAT)
def test_two_halves_of_a_character_are_one(case):
    fold = folded(chat, ended(*halved(chunk(IN_CHAT[case]))))
    assert said_in(chat.parse(fold.answer()), case) == EMOJI
    assert fold.repaired is False


@pytest.mark.parametrize("case", IN_RESPONSES)
def test_two_halves_of_a_character_are_one_in_responses(case):
    fold = folded(responses, [*halved(delta(IN_RESPONSES[case])), DONE])
    assert said_in(responses.parse(fold.answer()), case) == EMOJI
    assert fold.repaired is False


def test_two_halves_of_a_character_are_one_in_texts():
    text = {"choices": [{"index": 0, "text": "?", "finish_reason": "stop"}]}
    fold = folded(completions, [*halved(text), "[DONE]"])
    assert only(completions.parse(fold.answer())).completion == EMOJI


@pytest.mark.parametrize("cut", [1, 2, 3])
def test_bytes_of_a_character_may_come_in_two_chunks(cut):
    raw = json.dumps(chunk({"content": "?"})).encode()
    pieces = EMOJI.encode()[:cut], EMOJI.encode()[cut:]
    fold = folded(chat, ended(*(raw.replace(b"?", piece) for piece in pieces)))
    assert only(chat.parse(fold.answer())).completion == EMOJI
    assert fold.repaired is False


@pytest.mark.parametrize("lost", [HIGH, LOW, LOW + HIGH, "\udc80"])
def test_half_a_character_alone_is_replaced_and_said_so(lost):
    raw = json.dumps(chunk({"content": "a?b"})).replace("?", lost)
    fold = folded(chat, ended(raw.encode("utf-8", "surrogateescape")))
    said = only(chat.parse(fold.answer())).completion or ""
    assert said.strip("ab") == "\ufffd" * len(said.strip("ab")) != ""
    assert fold.repaired is True


# Items of responses


def item(text: str, phase: str | None = None, **more: Any) -> dict[str, Any]:
    part = {"type": "output_text", "text": text, "annotations": []}
    said = {"type": "message", "role": "assistant", "content": [part], **more}
    return said if phase is None else {**said, "phase": phase}


LOOKS = {"type": "function_call", "id": "fc", "call_id": "a", "name": "look", "arguments": X}
OUTPUTS: list[tuple[list[Any], str | None, bool]] = [
    ([item("I will look.", "commentary"), item("42", "final_answer")], "42", True),
    ([item("42", "final_answer")], "42", False),
    ([item("I will look.", "commentary"), LOOKS], None, True),
    ([item("42"), item("!", None)], "42!", False),
    ([item("42", id="m"), item("42", id="m")], "42", False),
    ([item("4"), item("4")], "44", False),
    ([{"role": "assistant", "content": "42"}], "42", False),
    ([{"type": "message", "content": [{"type": "text", "text": "42"}]}], "42", False),
]


@pytest.mark.parametrize(("output", "completion", "unheld"), OUTPUTS)
def test_commentary_is_not_the_answer_and_nothing_is_said_twice(output, completion, unheld):
    read = responses.parse({"status": "completed", "output": output})
    assert (only(read).completion, read.unheld) == (completion, unheld)


def test_nothing_but_commentary_is_an_empty_answer_that_is_kept():
    read = responses.parse({"status": "completed", "output": [item("Hm.", "commentary")]})
    assert (only(read).completion, read.flags[:1], read.unheld) == (None, ["empty"], True)


def event(kind: str, number: int | None = 0, id_: str | None = "m", **said: Any) -> dict[str, Any]:
    named = {"output_index": number, "item_id": id_}
    return {"type": f"response.{kind}", **{k: v for k, v in named.items() if v is not None}, **said}


def added(told: dict[str, Any], number: int = 0) -> dict[str, Any]:
    return {"type": "response.output_item.added", "output_index": number, "item": told}


def done(told: dict[str, Any], number: int | None = 0) -> dict[str, Any]:
    named = {} if number is None else {"output_index": number}
    return {"type": "response.output_item.done", "item": told, **named}


def spoken(*pieces: str, number: int | None = 0, id_: str | None = "m") -> list[Any]:
    return [event("output_text.delta", number, id_, delta=piece) for piece in pieces]


COMMENT = [added(item("", "commentary", id="c"), 0), *spoken("I will", " look.", id_="c")]
ANSWER = [added(item("", "final_answer", id="m"), 1), *spoken("4", "2", number=1)]
STREAMS: dict[str, tuple[list[Any], str | None, bool]] = {
    "deltas": (spoken("4", "2"), "42", False),
    "deltas without names": (spoken("4", "2", number=None, id_=None), "42", False),
    "deltas and their text": ([*spoken("4", "2"), event("output_text.done", text="42")],
                              "42", False),
    "their text alone": ([event("output_text.done", text="42")], "42", False),
    "deltas and their item": ([*spoken("4", "2"), done(item("42", id="m"))], "42", False),
    "an item of another name": (
        [*spoken("4", "2", number=None), done(item("42", id="z"), None)], "42", False),
    "an item twice": ([done(item("42", id="m")), done(item("42", id="m"))], "42", False),
    "an item without words": ([*spoken("4", "2"), done({**item("", id="m"), "content": []})],
                              "42", False),
    "two items, one told": ([done(item("4", id="m")), *spoken("2", number=1, id_="n")],
                            "42", False),
    "two parts of an item": (
        [event("output_text.delta", content_index=at, delta=said) for at, said in enumerate("42")],
        "42", False),
    "commentary": ([*COMMENT, *ANSWER], "42", True),
    "commentary and its item": (
        [*COMMENT, done(item("I will look.", "commentary", id="c")), *ANSWER], "42", True),
}  # fmt: skip


@pytest.mark.parametrize("output", [[], None, [item("", id="m")]])
@pytest.mark.parametrize("case", STREAMS)
def test_a_stream_of_items_is_told_once_where_the_last_event_says_nothing(case, output):
    events, completion, unheld = STREAMS[case]
    last = {"type": "response.completed", "response": {"status": "completed", "output": output}}
    read = told(responses, [*events, last])
    assert (only(read).completion, read.unheld) == (completion, unheld)


@pytest.mark.parametrize("case", STREAMS)
def test_the_last_event_counts_where_it_is_whole(case):
    last = {"status": "completed", "output": [item("whole", id="m")]}
    events = [*STREAMS[case][0], {"type": "response.completed", "response": last}]
    assert only(told(responses, events)).completion == "whole"


CALLED_IN_PIECES = [
    [added({**LOOKS, "arguments": ""}),
     *[event("function_call_arguments.delta", id_="fc", delta=piece) for piece in X]],
    [added(LOOKS), *[event("function_call_arguments.delta", id_="fc", delta=p) for p in X]],
    [added({**LOOKS, "arguments": ""}),
     event("function_call_arguments.done", id_="fc", arguments=X)],
    [added({**LOOKS, "arguments": ""}),
     *[event("function_call_arguments.delta", id_="fc", delta=piece) for piece in X],
     event("function_call_arguments.done", id_="fc", arguments=X), done(LOOKS)],
    [done(LOOKS), done(LOOKS)],
]  # fmt: skip


@pytest.mark.parametrize("events", CALLED_IN_PIECES)
def test_a_call_of_responses_is_told_once(events):
    assert only(told(responses, [*events, DONE])).tool_calls == [look(X)]


def test_two_calls_of_responses_are_two_though_one_has_no_arguments():
    calls = [{**LOOKS, "id": id_, "call_id": id_, "arguments": ""} for id_ in "ab"]
    events = [added(calls[0], 0), added(calls[1], 1), done(calls[0], 0), DONE]
    assert len(only(told(responses, events)).tool_calls or ()) == 1

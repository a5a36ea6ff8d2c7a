"""`POST /chat/completions`: messages in, choices out.

Field meanings: https://platform.openai.com/docs/api-reference/chat
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec

from batch import usage
from batch.bodies import decode
from batch.model import Choice, Completion, ToolCall
from batch.outcome import BadAnswer
from batch.sse import Event

PATH = "/chat/completions"

ENDS = frozenset(
    {
        "stop",
        "length",
        "tool_calls",
        "function_call",
        "content_filter",
        "eos",
        "eos_token",
        "end_turn",
        "stop_sequence",
    }
)
"""Finish reasons of an answer that is whole, or as whole as it will be."""
CALLS = frozenset({"tool_calls", "function_call"})
HELD = frozenset({"id", "object", "created", "model", "choices", "usage", "service_tier"})
HELD_NOWHERE = frozenset({"system_fingerprint", "timings", "prompt_filter_results"})
"""Top-level fields of an answer that our columns hold, and those nobody misses."""
HELD_IN_CHOICE = frozenset(
    {"index", "message", "finish_reason", "content_filter_results", "stop_reason"}
)
HELD_IN_MESSAGE = frozenset(
    {"role", "content", "refusal", "tool_calls", "reasoning_content", "reasoning", "function_call"}
)


def body(messages: Sequence[dict[str, Any]], parameters: dict[str, Any]) -> dict[str, Any]:
    """The request body; of a stream its usage is asked for too."""
    built = {**parameters, "messages": messages}
    if built.get("stream") is True:
        built["stream_options"] = {
            "include_usage": True,
            **(parameters.get("stream_options") or {}),
        }
    return built


def parse(answer: Any) -> Completion:
    """An answer in the blocking shape -> Completion.  Raises BadAnswer when it is none."""
    if not isinstance(answer, dict):
        raise BadAnswer(f"the answer is a JSON {type(answer).__name__}, not an object")
    choices = answer.get("choices")
    if not isinstance(choices, list) or not choices:
        raise BadAnswer("the answer has no choices")
    read = sorted(
        (_choice(position, raw) for position, raw in enumerate(choices)), key=lambda c: c.index
    )
    tokens = answer.get("usage")
    counted = usage.read(tokens)
    return Completion(
        choices=read,
        served_model=_text(answer.get("model")),
        service_tier=_text(answer.get("service_tier")),
        usage=counted,
        usage_json=msgspec.json.encode(tokens).decode() if tokens is not None else None,
        flags=_flags(read, counted),
        unheld=_holds_more(answer, choices),
    )


def _choice(position: int, raw: Any) -> Choice:
    message = raw.get("message") if isinstance(raw, dict) else None
    if not isinstance(message, dict):
        raise BadAnswer("a choice of the answer has no message")
    reason = raw.get("finish_reason")
    if reason == "error" or raw.get("error"):
        raise BadAnswer("a choice of the answer ended in an error")
    choice = Choice(
        index=_index(raw, position),
        completion=_content(message.get("content")),
        finish_reason=reason if isinstance(reason, str) and reason else None,
        refusal=_text(message.get("refusal")),
        reasoning=_text(message.get("reasoning_content")) or _text(message.get("reasoning")),
        tool_calls=_tool_calls(message.get("tool_calls")),
    )
    if not _says_something(choice) and choice.finish_reason not in ENDS - CALLS:
        raise BadAnswer(f"the answer is empty and does not say why (finish_reason {reason!r})")
    return choice


def _content(content: Any) -> str | None:
    """Text of a message; some servers send it in parts."""
    if not isinstance(content, list):
        return _text(content)
    parts = (part.get("text") for part in content if isinstance(part, dict))
    return "".join(part for part in parts if isinstance(part, str)) or None


def _tool_calls(calls: Any) -> list[ToolCall] | None:
    if not isinstance(calls, list) or not calls:
        return None
    return [
        ToolCall(
            _text(call.get("id")), _text(function.get("name")), _text(function.get("arguments"))
        )
        for call in calls
        if isinstance(call, dict) and isinstance(function := call.get("function") or {}, dict)
    ]


def _text(value: Any) -> str | None:
    return value if isinstance(value, str) else None


def _says_something(choice: Choice) -> bool:
    return bool(choice.completion or choice.refusal or choice.tool_calls or choice.reasoning)


def _flags(choices: list[Choice], counted: Any) -> list[str]:
    first = choices[0]
    flags = []
    if first.finish_reason in ("length", "content_filter"):
        flags.append(first.finish_reason)
    if first.refusal:
        flags.append("refusal")
    if not (first.completion or first.refusal or first.tool_calls):
        flags.append("empty")
    if first.finish_reason not in ENDS:
        flags.append("finish_unknown")
    if counted is None or counted.input_tokens is None or counted.output_tokens is None:
        flags.append("usage_unknown")
    return flags


def _holds_more(answer: dict[str, Any], choices: list[Any]) -> bool:
    """Whether something in the answer has no column: logprobs, audio, annotations, what is new
    tomorrow.
    """
    return (
        _beyond(answer, HELD | HELD_NOWHERE)
        or any(_beyond(choice, HELD_IN_CHOICE) for choice in choices)
        or any(_beyond(choice["message"], HELD_IN_MESSAGE) for choice in choices)
    )


def _beyond(table: dict[str, Any], held: frozenset[str]) -> bool:
    return not table.keys() <= held and any(
        value for key, value in table.items() if key not in held
    )


class Fold:
    """The chunks of a stream -> one answer in the blocking shape.

    `complete` turns true only at a terminal signal (a finish reason of every choice of those asked
    for, or `[DONE]`): a stream that just ends is cut off.  `ended` tells that nothing more is to be
    read.  An error in mid-stream wins over what came before.
    """

    def __init__(self, choices: int = 1) -> None:
        self.complete = False
        self.ended = False
        self.repaired = False  # broken text in a chunk was mended
        self.started = False  # a token of content, reasoning or a tool call has come
        self._answer: dict[str, Any] = {}
        self._asked = choices
        self._choices: dict[int, _Choice] = {}

    def add(self, event: Event) -> None:
        """Take one event in.  Raises BadAnswer for a chunk that is broken."""
        data = event.data.strip()
        if data == b"[DONE]":
            self.complete = self.ended = True
            return
        if data.startswith(b":") or not data:  # a comment some gateway wrapped into a data line
            return
        chunk, repaired = decode(data)
        if not isinstance(chunk, dict):
            raise BadAnswer("a chunk of the stream is broken: no JSON object")
        self.repaired = self.repaired or repaired
        if event.name == "error" or chunk.get("error"):
            self._answer = {"error": chunk.get("error") or chunk}
            self.complete = self.ended = True
            return
        self._add_chunk(chunk)

    def answer(self) -> dict[str, Any]:
        """What has come so far, in the blocking shape."""
        if "error" in self._answer:
            return self._answer
        choices = [self._choices[index].folded() for index in sorted(self._choices)]
        return {**self._answer, "object": "chat.completion", "choices": choices}

    def _add_chunk(self, chunk: dict[str, Any]) -> None:
        self._answer.update(
            (key, value) for key, value in chunk.items() if key != "choices" and value is not None
        )
        choices = chunk.get("choices")
        for position, raw in enumerate(choices if isinstance(choices, list) else ()):
            if isinstance(raw, dict):
                index = _index(raw, position)
                choice = self._choices.setdefault(index, _Choice(index))
                self.started = choice.add(raw) or self.started
        ended = sum(choice.finished for choice in self._choices.values())
        self.complete = ended >= max(self._asked, len(self._choices))


class _Choice:
    """One choice of a stream, as far as it has come."""

    def __init__(self, index: int) -> None:
        self._fields: dict[str, Any] = {"index": index, "finish_reason": None}
        self._message: dict[str, Any] = {}
        self._texts: dict[str, list[str]] = {}
        self._calls: dict[int, dict[str, Any]] = {}

    @property
    def finished(self) -> bool:
        return bool(self._fields["finish_reason"])

    def add(self, raw: dict[str, Any]) -> bool:
        """Take in what one chunk says; whether a token came with it."""
        self._fields.update(
            (key, value)
            for key, value in raw.items()
            if key not in ("delta", "index", "message") and value is not None
        )
        delta = raw.get("delta") or raw.get("message")
        if not isinstance(delta, dict):
            return False
        tokens = [self._add_field(key, value) for key, value in delta.items()]
        return any(tokens)

    def folded(self) -> dict[str, Any]:
        """The choice in the blocking shape."""
        texts = {key: "".join(pieces) for key, pieces in self._texts.items()}
        message = {"role": "assistant", "content": None, **self._message, **texts}
        if self._calls:
            message["tool_calls"] = [self._calls[index] for index in sorted(self._calls)]
        return {**self._fields, "message": message}

    def _add_field(self, key: str, value: Any) -> bool:
        if key == "tool_calls":
            return self._add_tool_calls(value)
        if key == "content":
            value = _content(value)
        if isinstance(value, str) and key != "role":
            self._texts.setdefault(key, []).append(value)
            return bool(value)
        if isinstance(value, list) and isinstance(before := self._message.get(key), list):
            before.extend(value)
        elif value is not None:
            self._message[key] = value
        return False

    def _add_tool_calls(self, deltas: Any) -> bool:
        calls = [
            call for call in (deltas if isinstance(deltas, list) else ()) if isinstance(call, dict)
        ]
        for position, delta in enumerate(calls):
            call = self._calls.setdefault(
                _index(delta, position), {"function": {"name": "", "arguments": ""}}
            )
            call.update((key, delta[key]) for key in ("id", "type") if delta.get(key))
            function = delta.get("function")
            for key, piece in function.items() if isinstance(function, dict) else ():
                before = call["function"].get(key, "")
                texts = isinstance(before, str) and isinstance(piece, str)
                call["function"][key] = before + piece if texts else before or piece
        return bool(calls)


def _index(raw: dict[str, Any], position: int) -> int:
    index = raw.get("index")
    return index if isinstance(index, int) else position

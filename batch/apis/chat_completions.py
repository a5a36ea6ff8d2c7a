"""`POST /chat/completions`: messages in, choices out.

Field meanings: https://platform.openai.com/docs/api-reference/chat
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import msgspec

from batch.apis import answers
from batch.apis.answers import beyond, dicts, index, text
from batch.apis.chunks import Chunks, merged
from batch.event_stream import Event
from batch.model import Choice, Completion, ToolCall
from batch.outcome import BadAnswer

PATH = "/chat/completions"
ASKED_IN = ("messages",)
SYSTEM_IN = "messages"
OUTPUT_CAPS = ("max_tokens", "max_completion_tokens")
HAS_SCHEMA = True
IF_UNHEEDED = ""
IS_LOCAL = True
COLUMNS = ()

HELD = frozenset(
    {
        *("id", "object", "created", "model", "choices", "usage", "service_tier"),
        *("system_fingerprint", "timings", "prompt_filter_results"),
    }
)
"""Top-level fields of an answer that our columns hold, and those nobody misses."""
HELD_IN_CHOICE = frozenset(
    {"index", "message", "finish_reason", "content_filter_results", "stop_reason"}
)
WORDS = frozenset({"role", "content"})
HELD_IN_MESSAGE = frozenset(
    {"role", "content", "refusal", "tool_calls", "function_call"}
    | {"reasoning_content", "reasoning", "reasoning_details"}
)
HELD_IN_DETAIL = frozenset({"type", "text", "summary", "format", "index", "id"})
HELD_IN_PART = frozenset({"type", "text"})
WORDLESS = ("audio", "images")
PIECES = frozenset({"delta", "index", "message"})
AUDIO = frozenset({"data", "transcript"})
"""Texts of a streamed `audio` that come in pieces."""


def body(messages: Sequence[dict[str, Any]] | None, parameters: dict[str, Any]) -> dict[str, Any]:
    """The request body; of a stream its usage is asked for too."""
    built = {**parameters, "messages": messages or ()}
    if built.get("stream") is True:
        built["stream_options"] = with_usage(parameters.get("stream_options"))
    return built


def with_usage(options: Any) -> dict[str, Any]:
    """Stream options that ask for usage, unless they say otherwise."""
    return {"include_usage": True, **(options if isinstance(options, dict) else {})}


def parse(answer: Any) -> Completion:
    """An answer in the blocking shape -> Completion.  Raises BadAnswer when it is none."""
    choices = answers.table(answer).get("choices")
    if not isinstance(choices, list) or not choices:
        raise BadAnswer("the answer has no choices")
    read = [_choice(position, raw) for position, raw in enumerate(choices)]
    wordless = frozenset([each.choice.index for each in read if each.wordless])
    unheld = any(each.holds_more for each in read) or beyond(answer, HELD)
    return answers.completion(answer, [each.choice for each in read], unheld, wordless)


class _Read(NamedTuple):
    """A choice; whether it gave something that is no text, and something that has no column."""

    choice: Choice
    wordless: bool
    holds_more: bool


def _choice(position: int, raw: Any) -> _Read:
    message = raw.get("message") if isinstance(raw, dict) else None
    if not isinstance(message, dict):
        raise BadAnswer("a choice of the answer has no message")
    at, reason, content = index(raw, position), finish_reason(raw), message.get("content")
    more = beyond(raw, HELD_IN_CHOICE)
    if content and isinstance(content, str) and not beyond(message, WORDS):  # as most are
        return _Read(Choice(at, content, reason), wordless=False, holds_more=more)
    choice = Choice(
        index=at,
        completion=_said(message),
        finish_reason=reason,
        refusal=text(message.get("refusal")),
        reasoning=_reasoning(message),
        tool_calls=_tool_calls(message),
    )
    return _Read(choice, _is_wordless(message), more or _message_holds_more(message))


def finish_reason(choice: dict[str, Any]) -> str | None:
    """Why a choice ended, None where it does not say.  Raises BadAnswer when it was an error."""
    reason = choice.get("finish_reason")
    if reason == "error" or choice.get("error"):
        raise BadAnswer("a choice of the answer ended in an error")
    return text(reason) or None


def _content(content: Any) -> str | None:
    """Text of a message; some servers send it in parts."""
    if not isinstance(content, list):
        return text(content)
    parts = (part.get("text") for part in dicts(content))
    return "".join(part for part in parts if isinstance(part, str)) or None


def _said(message: dict[str, Any]) -> str | None:
    """The text, or what is said in sound where there is none."""
    written, audio = _content(message.get("content")), message.get("audio")
    spoken = text(audio.get("transcript")) if isinstance(audio, dict) else None
    return written or spoken or written


def _is_wordless(message: dict[str, Any]) -> bool:
    """Whether a message holds sound or pictures."""
    return any(map(message.get, WORDLESS)) or _parts_hold_more(message)


def _parts_hold_more(message: dict[str, Any]) -> bool:
    content = message.get("content")
    return isinstance(content, list) and any(beyond(part, HELD_IN_PART) for part in dicts(content))


def _reasoning(message: dict[str, Any]) -> str | None:
    """One channel of reasoning; some servers send the same in two."""
    told = text(message.get("reasoning_content")) or text(message.get("reasoning"))
    return told or _details(message) or None


def _details(message: dict[str, Any]) -> str:
    """The texts of OpenRouter's `reasoning_details`."""
    if not (details := dicts(message.get("reasoning_details"))):
        return ""
    texts = (text(detail.get("text")) or text(detail.get("summary")) for detail in details)
    return "".join(said for said in texts if said)


def _tool_calls(message: dict[str, Any]) -> list[ToolCall] | None:
    calls = dicts(message.get("tool_calls"))
    if isinstance(older := message.get("function_call"), dict):
        calls = [*calls, {"function": older}]
    if not calls:
        return None
    read = [
        answers.tool_call(call.get("id"), function)
        for call in calls
        if isinstance(function := call.get("function") or call.get("custom") or {}, dict)
    ]
    return read or None


def _message_holds_more(message: dict[str, Any]) -> bool:
    """Whether something has no column: audio, annotations, what is new tomorrow.

    `reasoning_details` are held as far as they are text, and say what the column says."""
    details = dicts(message.get("reasoning_details"))
    return (
        beyond(message, HELD_IN_MESSAGE)
        or (bool(details) and any(beyond(detail, HELD_IN_DETAIL) for detail in details))
        or _parts_hold_more(message)
    )


class _Delta(msgspec.Struct, forbid_unknown_fields=True, gc=False):
    content: str


class _Words(msgspec.Struct, forbid_unknown_fields=True, gc=False):
    delta: _Delta
    index: int = 0
    finish_reason: None = None
    logprobs: None = None


class _ChunkOfWords(msgspec.Struct, forbid_unknown_fields=True, gc=False):
    """A chunk in mid-stream: the words of one choice, and what all chunks of an answer repeat."""

    choices: list[_Words]
    id: Any = None
    object: Any = None
    created: Any = None
    model: Any = None
    service_tier: Any = None
    system_fingerprint: Any = None
    obfuscation: Any = None
    usage: None = None


_words = msgspec.json.Decoder(_ChunkOfWords)
MOST_OTHERS = 3
"""Chunks in a row that are no _ChunkOfWords, after which none is expected."""


class Fold(Chunks):
    """The chunks of a stream -> one answer in the blocking shape.

    `complete` turns true at a finish reason of every choice of those asked for, or at `[DONE]`.
    """

    def __init__(self, choices: int = 1) -> None:
        super().__init__()
        self._answer: dict[str, Any] = {}
        self._asked = choices
        self._choices: dict[int, _Choice] = {}
        self._others = 0  # chunks in a row that hold more than words

    def add(self, event: Event) -> None:
        """Take one event in.  Most hold a few words and nothing new beside them: 1 us, not 4."""
        if self.started and self._others < MOST_OTHERS and event.name != "error":
            try:
                (choice,) = _words.decode(event.data).choices
                self._choices[choice.index].say(choice.delta.content)
                self._others = 0
                return
            except (ValueError, KeyError):
                self._others += 1
        super().add(event)

    def _folded(self) -> dict[str, Any]:
        choices = [self._choices[at].folded() for at in sorted(self._choices)]
        return {**self._answer, "object": "chat.completion", "choices": choices}

    def _take(self, chunk: dict[str, Any]) -> None:
        for key, value in chunk.items():
            if value is not None and key != "choices":
                self._answer[key] = value
        choices = chunk.get("choices")
        for position, raw in enumerate(choices if isinstance(choices, list) else ()):
            if isinstance(raw, dict):
                self._take_choice(index(raw, position), raw)

    def _take_choice(self, at: int, raw: dict[str, Any]) -> None:
        choice = self._choices.get(at)
        if choice is None:
            choice = self._choices[at] = _Choice(at)
        self.started = choice.add(raw) or self.started
        ended = [choice.finished for choice in self._choices.values()].count(True)
        self.complete = ended >= max(self._asked, len(self._choices))


class _Choice:
    """One choice of a stream, as far as it has come."""

    def __init__(self, index: int) -> None:
        self._fields: dict[str, Any] = {"index": index, "finish_reason": None}
        self._message: dict[str, Any] = {}
        self._texts: dict[str, list[str]] = {}
        self._calls: dict[int, dict[str, Any]] = {}
        self.finished = False

    def add(self, raw: dict[str, Any]) -> bool:
        """Take in what one chunk says; whether a token came with it."""
        for key, value in raw.items():
            if value is not None and key not in PIECES:
                self._fields[key] = merged(self._fields.get(key), value)
                self.finished = bool(self._fields["finish_reason"])
        delta = raw.get("delta") or raw.get("message")
        if not isinstance(delta, dict):
            return False
        tokens = [self._add_field(key, value) for key, value in delta.items()]
        return any(tokens)

    def say(self, words: str) -> None:
        """Take in a piece of its content."""
        self._texts.setdefault("content", []).append(words)

    def folded(self) -> dict[str, Any]:
        """The choice in the blocking shape."""
        texts = {key: "".join(pieces) for key, pieces in self._texts.items()}
        message = {"role": "assistant", "content": None, **self._message, **texts}
        if self._calls:
            message["tool_calls"] = [self._calls[index] for index in sorted(self._calls)]
        return {**self._fields, "message": message}

    def _add_field(self, key: str, value: Any) -> bool:
        if key == "content" and isinstance(value, str):  # as most are
            self._texts.setdefault(key, []).append(value)
            return bool(value)
        if key == "tool_calls":
            return self._add_tool_calls(value)
        if key == "function_call" and isinstance(value, dict):
            return self._add_tool_calls([{"index": 0, "type": "function", "function": value}])
        if key == "content":
            value = _content(value)
        if isinstance(value, str) and key != "role":
            self._texts.setdefault(key, []).append(value)
            return bool(value)
        self._message[key] = merged(self._message.get(key), value, AUDIO)
        return key in WORDLESS and bool(value)

    def _add_tool_calls(self, deltas: Any) -> bool:
        calls = dicts(deltas)
        for position, delta in enumerate(calls):
            call = self._calls.setdefault(index(delta, position), {})
            call.update((key, delta[key]) for key in ("id", "type") if delta.get(key))
            for kind in ("function", "custom"):
                if isinstance(piece := delta.get(kind), dict):
                    call[kind] = _spoken(call.get(kind, {}), piece)
        return bool(calls)


def _spoken(before: dict[str, Any], piece: dict[str, Any]) -> dict[str, Any]:
    """What of a call has come: its texts go on, whatever they are called."""
    made = dict(before)
    for key, value in piece.items():
        known = made.get(key, "")
        made[key] = (
            known + value if isinstance(known, str) and isinstance(value, str) else known or value
        )
    return made

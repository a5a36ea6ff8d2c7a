"""`POST /chat/completions`: messages in, choices out.

Field meanings: https://platform.openai.com/docs/api-reference/chat
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import msgspec

from batch.apis import answers, contents, tool_calls
from batch.apis.answers import beyond, index, text
from batch.apis.chunks import Chunks
from batch.apis.finish_reasons import of_choice
from batch.apis.streamed_choice import StreamedChoice
from batch.event_stream import Event
from batch.model import Choice, Completion
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
        *("system_fingerprint", "timings", "prompt_filter_results", "error"),
    }
)
"""Top-level fields of an answer that our columns hold, and those nobody misses."""
HELD_IN_CHOICE = frozenset(
    {"index", "message", "finish_reason", "content_filter_results", "stop_reason", "error"}
)
WORDS = frozenset({"role", "content"})
REASONING = ("reasoning_content", "reasoning", "thinking", "reasoning_details")
"""Channels of reasoning; some servers send the same in two."""
HELD_IN_MESSAGE = frozenset({*WORDS, *REASONING, "refusal", "tool_calls", "function_call"})
WHOLE, CHUNK = "chat.completion", "chat.completion.chunk"
"""What an answer and a piece of it call themselves."""
WORDLESS = ("audio", "images")


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
    read: list[Choice] = []
    wordless: set[int] = set()
    unheld = beyond(answer, HELD)
    for position, raw in enumerate(choices):
        choice, is_wordless, holds_more = _choice(position, raw)
        read.append(choice)
        unheld = unheld or holds_more
        if is_wordless:
            wordless.add(choice.index)
    return answers.completion(answer, read, unheld, wordless)


class _Read(NamedTuple):
    """A choice; whether it gave something that is no text, and something that has no column."""

    choice: Choice
    wordless: bool
    holds_more: bool


def _choice(position: int, raw: Any) -> _Read:
    if not isinstance(raw, dict):
        raise BadAnswer("a choice of the answer is no object")
    message, where = _message(raw)
    at, reason, content = index(raw, position), of_choice(raw), message.get("content")
    more = beyond(raw, HELD_IN_CHOICE if where == "message" else HELD_IN_CHOICE | {where})
    if content and isinstance(content, str) and not beyond(message, WORDS):  # as most are
        return _Read(Choice(at, content, reason), wordless=False, holds_more=more)
    said, (calls, all_calls) = contents.read(content), tool_calls.read(message)
    reasoning, all_reasoning = _reasoning(message, said.reasoning)
    refusal, all_refusal = contents.words(message.get("refusal"))
    choice = Choice(
        index=at,
        completion=said.text or _heard(message) or said.text,
        finish_reason=reason,
        refusal=refusal or said.refusal,
        reasoning=reasoning,
        tool_calls=calls,
    )
    more = more or said.more or beyond(message, HELD_IN_MESSAGE)
    held = all_calls and all_reasoning and all_refusal and not more
    return _Read(choice, said.wordless or any(map(message.get, WORDLESS)), not held)


def _message(raw: dict[str, Any]) -> tuple[dict[str, Any], str]:
    """What a choice says, and the field it stands in; nothing where a server leaves it out."""
    message = raw.get("message")
    if message and isinstance(message, dict):
        return message, "message"
    if isinstance(delta := raw.get("delta"), dict):
        return delta, "delta"
    if message:
        return {"content": message}, "message"
    return {"content": raw.get("text")}, "text"


def _heard(message: dict[str, Any]) -> str | None:
    """What is said in sound."""
    audio = message.get("audio")
    return text(audio.get("transcript")) if isinstance(audio, dict) else None


def _reasoning(message: dict[str, Any], thought: str | None) -> tuple[str | None, bool]:
    """The reasoning on one channel, and whether the others say nothing else; `thought` is what
    parts of the content say.
    """
    told = [contents.words(message[channel]) for channel in REASONING if message.get(channel)]
    texts = [each for each in (*(said for said, _ in told), thought) if each]
    whole = all(is_all for _, is_all in told) and len({"".join(it.split()) for it in texts}) < 2
    return (texts[0] if texts else None), whole


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
        self._choices: dict[int, StreamedChoice] = {}
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
        return {**self._answer, "object": WHOLE, "choices": choices}

    def _take(self, chunk: dict[str, Any]) -> None:
        is_whole = self._answer.get("object") == CHUNK and chunk.get("object") == WHOLE
        for key, value in chunk.items():
            if value is not None and key != "choices":
                self._answer[key] = value
        choices = chunk.get("choices")
        for position, raw in enumerate(choices if isinstance(choices, list) else ()):
            if isinstance(raw, dict):
                self._take_choice(index(raw, position), raw, is_whole)

    def _take_choice(self, at: int, raw: dict[str, Any], is_whole: bool) -> None:
        choice = self._choices.get(at)
        if choice is None:
            choice = self._choices[at] = StreamedChoice(at)
        self.started = choice.add(raw, is_whole) or self.started
        ended = [choice.finished for choice in self._choices.values()].count(True)
        self.complete = ended >= max(self._asked, len(self._choices))

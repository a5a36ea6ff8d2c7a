"""`POST /responses`: input and instructions in, output items out.

What goes in is put into its words by responses_input.  Items are read wherever they stand in
`output`: some servers send `message` items, some bare `output_text`.  Field meanings:
https://platform.openai.com/docs/api-reference/responses
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from batch.apis import answers, responses_input
from batch.apis.answers import beyond, dicts, text
from batch.apis.chunks import Chunks
from batch.model import Choice, Completion
from batch.outcome import BadAnswer

PATH = "/responses"
ASKED_IN = ("input", "prompt", "previous_response_id", "conversation")
"""It goes on with what the server keeps:
https://platform.openai.com/docs/api-reference/responses/create
"""
SYSTEM_IN = "instructions"
OUTPUT_CAPS = ("max_output_tokens",)
HAS_SCHEMA = True
IF_UNHEEDED = '; this server may not heed `text.format`: try api = "chat"'
IS_LOCAL = True
COLUMNS = ()

Item = dict[str, Any]

REASONS = {"max_output_tokens": "length", "content_filter": "content_filter"}
"""Why an answer is incomplete -> the finish reason of a chat."""

CALLS = {"function_call": "arguments", "custom_tool_call": "input"}
"""Kind of an item that calls a tool -> its field with what the tool is given."""
CALL_DELTAS = {
    "response.function_call_arguments.delta": "function_call",
    "response.custom_tool_call_input.delta": "custom_tool_call",
}
"""Kind of an event that brings a piece of that field -> kind of the item."""

HELD = frozenset(
    {"id", "object", "created_at", "completed_at", "status", "error", "incomplete_details",
     "model", "output", "output_text", "service_tier", "usage"}
)  # fmt: skip
"""Fields of an answer that our columns hold."""
ECHO = frozenset(
    {"background", "billing", "conversation", "frequency_penalty", "include", "input",
     "instructions", "max_output_tokens", "max_tool_calls", "metadata", "parallel_tool_calls",
     "presence_penalty", "previous_response_id", "prompt", "prompt_cache_key",
     "prompt_cache_options", "prompt_cache_retention", "reasoning", "safety_identifier", "store",
     "temperature", "text", "timings", "tool_choice", "tools", "top_logprobs", "top_p",
     "truncation", "user"}
)  # fmt: skip
"""Fields that say again what was asked, or that nobody misses."""
HELD_IN_ITEM = {
    "message": frozenset({"type", "id", "role", "status", "content", "phase"}),
    "reasoning": frozenset({"type", "id", "status", "content", "summary"}),
    "function_call": frozenset({"type", "id", "status", "call_id", "name", "arguments"}),
    "custom_tool_call": frozenset({"type", "id", "status", "call_id", "name", "input"}),
    "output_text": frozenset({"type", "id", "status", "text"}),
    "refusal": frozenset({"type", "id", "status", "refusal"}),
}
"""Kind of an item, or of a part of a message -> its fields that our columns hold."""
IDENTITY = frozenset({"type", "id", "status"})
"""What every item says of itself."""


def body(messages: Sequence[Item] | None, parameters: Item) -> Item:
    """The request body; one that has `input` already keeps it.  Raises BadRow for what the API
    cannot be asked.
    """
    built = responses_input.parameters(parameters)
    built.pop("messages", None)
    if isinstance(options := built.get("stream_options"), dict):  # usage comes in any case
        built["stream_options"] = {
            key: value for key, value in options.items() if key != "include_usage"
        }
    if built.get("stream") is not True or not built.get("stream_options"):
        built.pop("stream_options", None)
    return built if messages is None else {**built, **responses_input.question(messages)}


def parse(answer: Any) -> Completion:
    """An answer in the blocking shape -> Completion.  Raises BadAnswer when it is none."""
    output = _output(answers.table(answer))
    status = text(answer.get("status"))
    if status in ("in_progress", "queued", "cancelled", "failed"):
        raise BadAnswer(f"the answer is not there (status {status})")
    parts = list(_parts(output))
    choice = Choice(
        index=0,
        completion=_said(parts),
        finish_reason=_finish_reason(answer, output),
        refusal=_joined(parts, "refusal", "refusal"),
        reasoning=_reasoning(output),
        tool_calls=[
            answers.tool_call(item.get("call_id") or item.get("id"), item)
            for item in output
            if text(item.get("type")) in CALLS
        ]
        or None,
    )
    wordless = frozenset({0}) if any(map(_is_wordless, parts)) else frozenset[int]()
    return answers.completion(answer, [choice], _holds_more(answer, [*output, *parts]), wordless)


def _output(answer: Item) -> list[Item]:
    """The items of an answer; some gateways give the text beside them, or alone."""
    output, alone = answer.get("output"), answer.get("output_text")
    if not isinstance(output, list) and not isinstance(alone, str):
        raise BadAnswer("the answer has no output")
    items = dicts(output)
    if isinstance(alone, str) and _joined(list(_parts(items)), "output_text", "text") is None:
        items.append({"type": "output_text", "text": alone})
    return items


def _parts(output: Sequence[Item]) -> Iterator[Item]:
    """The parts of all messages, and those that stand bare among the items."""
    for item in output:
        content = item.get("content")
        if item.get("type") != "message":
            yield item
        elif isinstance(content, str):
            yield {"type": "output_text", "text": content}
        else:
            yield from dicts(content)


def _said(parts: Sequence[Item]) -> str | None:
    """The text, or what is said in sound where there is none."""
    written = _joined(parts, "output_text", "text")
    return written or _joined(parts, "output_audio", "transcript") or written


def _joined(parts: Sequence[Item], kind: str, field: str) -> str | None:
    texts = [text(part.get(field)) for part in parts if part.get("type") == kind]
    said = [each for each in texts if each is not None]
    return "".join(said) if said else None


def _reasoning(output: Sequence[Item]) -> str | None:
    """The reasoning itself where it is shown, else its summary."""
    told = [item for item in output if item.get("type") == "reasoning"]
    for channel in ("content", "summary"):
        texts = [text(part.get("text")) for item in told for part in dicts(item.get(channel))]
        if said := "".join(each for each in texts if each):
            return said
    return None


def _finish_reason(answer: Item, output: Sequence[Item]) -> str | None:
    """In the words of a chat."""
    status, details = text(answer.get("status")), answer.get("incomplete_details")
    reason = text(details.get("reason")) if isinstance(details, dict) else None
    if status == "incomplete":
        return REASONS.get(reason or "", reason or status)
    if status != "completed":
        return status
    if _at_its_limit(answer):
        return "length"
    called = any(text(item.get("type")) in CALLS for item in output)
    return "tool_calls" if called else "stop"


def _at_its_limit(answer: Item) -> bool:
    """Some servers call an answer complete that their token limit has cut."""
    used, limit = answer.get("usage"), answer.get("max_output_tokens")
    written = used.get("output_tokens") if isinstance(used, dict) else None
    return isinstance(limit, int) and isinstance(written, int) and 0 < limit <= written


def _holds_more(answer: Item, items: Sequence[Item]) -> bool:
    """Whether something in the answer has no column: annotations, logprobs, encrypted reasoning,
    items of other kinds.
    """
    return beyond(answer, HELD | ECHO) or any(_item_holds_more(item) for item in items)


def _item_holds_more(item: Item) -> bool:
    held = HELD_IN_ITEM.get(text(item.get("type")) or "")
    both = bool(item.get("content")) and bool(item.get("summary"))
    return held is None or both or beyond(item, held)


def _is_wordless(item: Item) -> bool:
    """Whether an item or part of another kind (a picture, sound, a search) tells something."""
    return text(item.get("type")) not in HELD_IN_ITEM and beyond(item, IDENTITY)


class Fold(Chunks):
    """The events of a stream -> one answer in the blocking shape.

    The terminal event (`response.completed`, `.incomplete`, `.failed`) carries the whole answer;
    where a server leaves its output out, items and deltas that came before stand in.  Events of
    other kinds are passed over.
    """

    TERMINAL = frozenset({"response.completed", "response.incomplete", "response.failed"})

    def __init__(self, choices: int = 1) -> None:
        super().__init__()
        self._answer: Item = {}
        self._items: list[Item] = []
        self._texts: dict[str, list[str]] = {}
        self._calls: dict[str, Item] = {}

    def _take(self, chunk: Item) -> None:
        kind, item, delta = text(chunk.get("type")) or "", chunk.get("item"), chunk.get("delta")
        if isinstance(response := chunk.get("response"), dict):
            said = {key: value for key, value in response.items() if value is not None}
            used = {"usage": chunk["usage"]} if chunk.get("usage") else {}
            self._answer = {**self._answer, **used, **said}
        if kind in self.TERMINAL:
            self._answer = {**self._answer, "status": kind.removeprefix("response.")}
            self.complete = self.ended = True
        elif kind == "response.output_item.done" and isinstance(item, dict):
            self._items.append(item)
        elif kind == "response.output_item.added" and isinstance(item, dict):
            if text(item.get("type")) in CALLS:
                self._calls[_key(chunk, item)] = item
        elif kind.endswith(".delta") and isinstance(delta, str):
            self._add_delta(kind, chunk, delta)

    def _add_delta(self, kind: str, chunk: Item, delta: str) -> None:
        self.started = self.started or bool(delta)
        if kind not in CALL_DELTAS:
            self._texts.setdefault(kind, []).append(delta)
            return
        called = CALL_DELTAS[kind]
        call = self._calls.setdefault(_key(chunk, {}), {"type": called})
        call[CALLS[called]] = (text(call.get(CALLS[called])) or "") + delta

    def _folded(self) -> Item:
        answer = dict(self._answer)
        if answer.get("status") in ("in_progress", "queued"):  # ended by `[DONE]` alone
            del answer["status"]
        if not answer.get("output") and not answer.get("output_text"):
            answer["output"] = self._output()
        return answer

    def _output(self) -> list[Item]:
        """Items that were sent whole, and what deltas told of other kinds."""
        whole = {text(item.get("type")) for item in self._items}
        told = [*self._told(), *self._calls.values()]
        return [*self._items, *(item for item in told if item["type"] not in whole)]

    def _told(self) -> Iterator[Item]:
        said = {kind: "".join(pieces) for kind, pieces in self._texts.items()}
        if reasoning := said.get("response.reasoning_text.delta"):
            yield {"type": "reasoning", "content": [{"type": "reasoning_text", "text": reasoning}]}
        elif summary := said.get("response.reasoning_summary_text.delta"):
            yield {"type": "reasoning", "summary": [{"type": "summary_text", "text": summary}]}
        content = []
        if words := said.get("response.output_text.delta"):
            content.append({"type": "output_text", "text": words})
        if refusal := said.get("response.refusal.delta"):
            content.append({"type": "refusal", "refusal": refusal})
        if content:
            yield {"type": "message", "role": "assistant", "content": content}


def _key(chunk: Item, item: Item) -> str:
    """What events of one item have in common; not every server numbers its items."""
    named = chunk.get("output_index", chunk.get("item_id", item.get("id")))
    return str(named)

"""`POST /responses`: input and instructions in, output items out.

What goes in is put into its words by responses_input.  Items are read wherever they stand in
`output`: some servers send `message` items, some bare `output_text`.  Field meanings:
https://platform.openai.com/docs/api-reference/responses
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from batch.apis import answers, contents, finish_reasons, responses_input, tool_calls
from batch.apis.answers import beyond, dicts, text
from batch.apis.chunks import Chunks
from batch.apis.streamed_items import CALLS, Items, words
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
}
"""Kind of an item -> its fields that our columns hold."""
BARE = frozenset({*contents.KINDS, "output_audio"}) - HELD_IN_ITEM.keys()
"""Parts of a message that some servers send as items."""
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
    said = contents.read([*_parts(output)])
    reasoning = _reasoning(output) or said.reasoning
    calls = [item for item in output if _kind(item) in CALLS]
    called = [tool_calls.made(each.get("call_id") or each.get("id"), each) for each in calls]
    reason = _finish_reason(answer, bool(calls))
    choice = Choice(0, said.text, reason, said.refusal, reasoning, called or None)
    more = said.more or beyond(answer, HELD | ECHO) or any(map(_holds_more, output))
    is_wordless = said.wordless or any(map(_is_wordless, output))
    wordless = frozenset({0}) if is_wordless else frozenset[int]()
    return answers.completion(answer, [choice], more, wordless)


def _output(answer: Item) -> list[Item]:
    """The items of an answer; some gateways give the text beside them, or alone."""
    output, alone = answer.get("output"), answer.get("output_text")
    if not isinstance(output, list) and not isinstance(alone, str):
        raise BadAnswer("the answer has no output")
    items: list[Item] = []
    for item in dicts(output):
        if not item.get("id") or item not in items:  # some servers send an item twice
            items.append(item)
    if isinstance(alone, str) and contents.read([*_parts(items)]).text is None:
        items.append({"type": "output_text", "text": alone})
    return items


def _parts(output: Sequence[Item]) -> Iterator[Any]:
    """The parts of all messages, and those that stand bare among the items.  What a model says on
    its way to the answer is none.
    """
    for item in output:
        if _kind(item) in BARE:
            yield item
        elif _kind(item) == "message" and not _is_commentary(item):
            yield from contents.parts(item.get("content"))


def _kind(item: Item) -> str | None:
    """Its type; a message needs none."""
    return text(item.get("type")) or ("message" if {"role", "content"} <= item.keys() else None)


def _is_commentary(item: Item) -> bool:
    return item.get("phase") == "commentary"


def _reasoning(output: Sequence[Item]) -> str | None:
    """The reasoning itself where it is shown, else its summary."""
    told = [item for item in output if _kind(item) == "reasoning"]
    for channel in ("content", "summary"):
        if said := "".join(contents.words(item.get(channel))[0] for item in told):
            return said
    return None


def _finish_reason(answer: Item, called: bool) -> str | None:
    """In the words of a chat."""
    status, details = text(answer.get("status")), answer.get("incomplete_details")
    if status == "incomplete":
        reason = details.get("reason") if isinstance(details, dict) else None
        return finish_reasons.in_words(reason) or status
    if status != "completed":
        return status
    if _at_its_limit(answer):
        return "length"
    return "tool_calls" if called else "stop"


def _at_its_limit(answer: Item) -> bool:
    """Some servers call an answer complete that their token limit has cut."""
    used, limit = answer.get("usage"), answer.get("max_output_tokens")
    written = used.get("output_tokens") if isinstance(used, dict) else None
    return isinstance(limit, int) and isinstance(written, int) and 0 < limit <= written


def _holds_more(item: Item) -> bool:
    """Whether an item tells something that has no column: encrypted reasoning, commentary, a search.
    Parts are looked at where they are read.
    """
    kind = _kind(item)
    if kind in BARE:
        return False
    held = HELD_IN_ITEM.get(kind or "")
    if held is None or _is_commentary(item) or beyond(item, held):
        return True
    if kind != "reasoning":
        return False
    channels = [contents.words(item.get(name)) for name in ("content", "summary")]
    return all(said for said, _ in channels) or not all(is_all for _, is_all in channels)


def _is_wordless(item: Item) -> bool:
    """Whether an item of another kind (a picture, a search) tells something."""
    kind = _kind(item)
    return kind not in HELD_IN_ITEM and kind not in BARE and beyond(item, IDENTITY)


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
        self._items = Items()

    def _take(self, chunk: Item) -> None:
        kind, delta = text(chunk.get("type")) or "", chunk.get("delta")
        if delta and isinstance(delta, str) and kind.endswith(".delta"):  # as most do
            self.started = True
            self._items.take(chunk)
            return
        if isinstance(response := chunk.get("response"), dict):
            said = {key: value for key, value in response.items() if value is not None}
            used = {"usage": chunk["usage"]} if chunk.get("usage") else {}
            self._answer = {**self._answer, **used, **said}
        if kind in self.TERMINAL:
            self._answer = {**self._answer, "status": kind.removeprefix("response.")}
            self.complete = self.ended = True
        else:
            self._items.take(chunk)

    def _folded(self) -> Item:
        answer = dict(self._answer)
        if answer.get("status") in ("in_progress", "queued"):  # ended by `[DONE]` alone
            del answer["status"]
        told = dicts(answer.get("output"))
        if answer.get("output_text") or any(map(words, told)):
            return answer
        items = self._items.folded()
        if not told or any(map(words, items)):
            answer["output"] = items
        return answer

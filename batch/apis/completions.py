"""`POST /completions`: one prompt in, texts out.  The API of base models and of older servers.

Field meanings: https://platform.openai.com/docs/api-reference/completions
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from batch.apis import answers, chat_completions, contents
from batch.apis.answers import beyond, index
from batch.apis.chat_completions import HELD, with_usage
from batch.apis.finish_reasons import of_choice
from batch.model import Choice, Completion
from batch.outcome import BadAnswer
from batch.requests.prompts import BadRow

PATH = "/completions"
ASKED_IN = ("prompt",)
SYSTEM_IN = None
OUTPUT_CAPS = ("max_tokens",)
HAS_SCHEMA = False
IF_UNHEEDED = ""
IS_LOCAL = True
COLUMNS = ()

HELD_IN_CHOICE = frozenset({"index", "text", "finish_reason", "stop_reason", "error"})


def body(messages: Sequence[dict[str, Any]] | None, parameters: dict[str, Any]) -> dict[str, Any]:
    """The request body; `max_completion_tokens` is `max_tokens` here.  Raises BadRow for messages
    that are more than one prompt.
    """
    built = {key: value for key, value in parameters.items() if key != "messages"}
    if "max_completion_tokens" in built:
        built["max_tokens"] = built.pop("max_completion_tokens")
    if built.get("stream") is True:
        built["stream_options"] = with_usage(parameters.get("stream_options"))
    return built if messages is None else {**built, "prompt": only_text(messages, "completions")}


def only_text(messages: Sequence[dict[str, Any]], api: str) -> str:
    """What the only message says, as the prompt of an API that knows no roles.  Raises BadRow."""
    first = messages[0] if len(messages) == 1 and isinstance(messages[0], dict) else {}
    prompt = first.get("content")
    if first.get("role") != "user" or not isinstance(prompt, str):
        raise BadRow(f"the API {api} takes one text: no system prompt, no list of messages")
    return prompt


def parse(answer: Any) -> Completion:
    """An answer in the blocking shape -> Completion.  Raises BadAnswer when it is none."""
    choices = answers.table(answer).get("choices")
    if not isinstance(choices, list) or not choices:
        raise BadAnswer("the answer has no choices")
    read = [_choice(position, raw) for position, raw in enumerate(choices)]
    unheld = beyond(answer, HELD) or any(more for _, more in read)
    return answers.completion(answer, [choice for choice, _ in read], unheld)


def _choice(position: int, raw: Any) -> tuple[Choice, bool]:
    """A choice, and whether something in it has no column.  Some servers say it as in a chat."""
    if not isinstance(raw, dict):
        raise BadAnswer("a choice of the answer is no object")
    at, reason, message = index(raw, position), of_choice(raw), raw.get("message")
    if raw.get("text") is None and isinstance(message, dict):
        said, more = contents.read(message.get("content")), beyond(message, chat_completions.WORDS)
        more = more or beyond(raw, HELD_IN_CHOICE | {"message"})
    else:
        said, more = contents.read(raw.get("text")), beyond(raw, HELD_IN_CHOICE)
    choice = Choice(at, said.text, reason, said.refusal, said.reasoning)
    return choice, more or said.more


class Fold(chat_completions.Fold):
    """The chunks of a stream -> one answer in the blocking shape.  They are those of a chat, whose
    delta is a `text`.
    """

    def _take(self, chunk: dict[str, Any]) -> None:
        choices = chunk.get("choices")
        spoken = [_delta(raw) for raw in choices] if isinstance(choices, list) else []
        super()._take({**chunk, "choices": spoken})

    def _folded(self) -> dict[str, Any]:
        folded = super()._folded()
        choices = [_with_text(choice) for choice in folded["choices"]]
        return {**folded, "object": "text_completion", "choices": choices}


def _delta(raw: Any) -> Any:
    if not isinstance(raw, dict) or "text" not in raw:
        return raw
    rest = {key: value for key, value in raw.items() if key != "text"}
    return {**rest, "delta": {"content": raw.get("text")}}


def _with_text(choice: dict[str, Any]) -> dict[str, Any]:
    rest = {key: value for key, value in choice.items() if key != "message"}
    message = choice["message"]
    more = {key: value for key, value in message.items() if key not in chat_completions.WORDS}
    return {**more, **rest, "text": message["content"] or ""}

"""Messages and parameters of a chat, in the words of the responses API, so that a job changes
nothing but `api`.

What has another name there is renamed, what has none is sent under its own: OpenAI refuses it by
name, which stops the run, while llama.cpp and vLLM take `stop`, `seed` and the penalties there too.
What would change the answer without a word is an error (CANNOT_SAY).  Facts:
https://platform.openai.com/docs/guides/migrate-to-responses
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from batch.requests.prompts import BadRow

Table = dict[str, Any]

LIMITS = ("max_output_tokens", "max_completion_tokens", "max_tokens")
"""Names of one parameter, the one that counts first."""

CANNOT_SAY = {
    "n": "it gives one answer a request",
    "audio": "it gives no audio",
    "modalities": "it gives text only",
    "prediction": "it takes no prediction",
    "functions": "say it with `tools`",
    "function_call": "say it with `tool_choice`",
    "web_search_options": 'say it with tools = [{ type = "web_search" }]',
}
"""Parameter of a chat that the responses API cannot say -> why, or what says it."""

SAYS_NOTHING: Table = {"n": 1, "modalities": ["text"], "logprobs": False}
"""Values that ask for what comes anyway."""

CHAT_ONLY = frozenset(
    {"max_completion_tokens", "max_tokens", "response_format", "reasoning_effort", "verbosity"}
    | {"logprobs", *CANNOT_SAY}
)

LOGPROBS = "message.output_text.logprobs"

PARTS = {"text": "input_text", "image_url": "input_image", "file": "input_file"}
"""Kind of a part of a chat message -> what it is called here; another keeps its name."""


def parameters(chat: Table) -> Table:
    """Parameters of a chat, and those that are in these words already, in these words.  Raises
    BadRow for what cannot be said.
    """
    said = {key: value for key, value in chat.items() if not _says_nothing(key, value)}
    for name, why in CANNOT_SAY.items():
        if name in said:
            raise BadRow(f"{name}: the responses API has no such parameter: {why}")
    limits = [said.pop(name) for name in LIMITS if name in said]
    text = {**_format(said.pop("response_format", None)), **_taken(said, "verbosity", "verbosity")}
    made = {
        **({"max_output_tokens": limits[0]} if limits else {}),
        **({"text": text} if text else {}),
        **_taken(said, "reasoning_effort", "reasoning", "effort"),
    }
    if said.pop("logprobs", None):
        said["include"] = [*(said.get("include") or ()), LOGPROBS]
    if isinstance(tools := said.get("tools"), list):
        said["tools"] = [_tool(tool) for tool in tools]
    if isinstance(choice := said.get("tool_choice"), dict):
        said["tool_choice"] = _tool_choice(choice)
    return _over(made, said)


def _says_nothing(key: str, value: Any) -> bool:
    return key in CHAT_ONLY and (value is None or SAYS_NOTHING.get(key) == value)


def _taken(said: Table, name: str, *path: str) -> Table:
    """`said[name]`, taken out of it and put where `path` leads; nothing if it is not there."""
    if name not in said:
        return {}
    value = said.pop(name)
    for key in reversed(path):
        value = {key: value}
    return dict(value)


def _over(made: Table, said: Table) -> Table:
    """`said` over `made`, whose tables (`text`, `reasoning`) keep what is not said anew."""
    joined = {
        key: {**made[key], **said[key]}
        for key in made.keys() & said.keys()
        if isinstance(made[key], dict) and isinstance(said[key], dict)
    }
    return {**made, **said, **joined}


def _format(response_format: Any) -> Table:
    """`response_format` as a format of `text`: what a JSON schema nests lies flat here."""
    if not isinstance(response_format, dict):
        return {}
    return {"format": _flat(response_format, "json_schema")}


def response_format(body: Table) -> Table | None:
    """The format in `text` as a chat says it; None where there is none."""
    text = body.get("text")
    format_ = text.get("format") if isinstance(text, dict) else None
    if not isinstance(format_, dict):
        return None
    if format_.get("type") != "json_schema":
        return format_
    inner = {key: value for key, value in format_.items() if key != "type"}
    return {"type": "json_schema", "json_schema": inner}


def _flat(table: Table, name: str) -> Table:
    """`{type, name: {…}}` -> `{type, …}`."""
    inner = table.get(name)
    if not isinstance(inner, dict):
        return table
    return {**{key: value for key, value in table.items() if key != name}, **inner}


def _tool(tool: Any) -> Any:
    """A tool; a function that does not say otherwise is not strict in a chat, but is here."""
    if not isinstance(tool, dict):
        return tool
    if isinstance(tool.get("function"), dict):
        nothing = {"type": "object", "properties": {}}
        return {"parameters": nothing, "strict": False, **_flat(tool, "function")}
    custom = _flat(tool, "custom")
    if isinstance(form := custom.get("format"), dict):
        custom = {**custom, "format": _flat(form, "grammar")}
    return custom


def _tool_choice(choice: Table) -> Table:
    flat = _flat(_flat(_flat(choice, "function"), "custom"), "allowed_tools")
    if isinstance(tools := flat.get("tools"), list):
        flat = {**flat, "tools": [_named(tool) for tool in tools]}
    return flat


def _named(tool: Any) -> Any:
    return _flat(_flat(tool, "function"), "custom") if isinstance(tool, dict) else tool


def question(messages: Sequence[Any]) -> Table:
    """Messages as `instructions` (the system's text, where it comes first) and `input`.  Raises
    BadRow for a message that is none.
    """
    first = messages[0] if messages and isinstance(messages[0], dict) else {}
    instructed = (
        len(messages) > 1
        and first.keys() == {"role", "content"}
        and first["role"] in ("system", "developer")
        and isinstance(first["content"], str)
    )
    if not instructed:
        return {"input": _input(messages)}
    return {"instructions": first["content"], "input": _input(messages[1:])}


def _input(messages: Sequence[Any]) -> str | list[Any]:
    """A lone text of the user as it is, which is what the simplest servers take."""
    custom = _custom_calls(messages)
    items = [item for message in messages for item in _items(message, custom)]
    lone = items[0] if len(items) == 1 else {}
    plain = lone.keys() == {"role", "content"} and lone["role"] == "user"
    return lone["content"] if plain and isinstance(lone["content"], str) else items


def _custom_calls(messages: Sequence[Any]) -> frozenset[str]:
    """The ids of all calls of custom tools, whose outputs are items of another kind."""
    calls = (
        call
        for message in messages
        if isinstance(message, dict) and isinstance(message.get("tool_calls"), list)
        for call in message["tool_calls"]
    )
    ids = (call.get("id") for call in calls if isinstance(call, dict) and "custom" in call)
    return frozenset(id_ for id_ in ids if isinstance(id_, str))


def _items(message: Any, custom: frozenset[str]) -> Iterator[Table]:
    """The items of one message: tool calls and their outputs are items of their own."""
    if not isinstance(message, dict):
        raise BadRow("a message is no JSON object")
    said = {key: value for key, value in message.items() if value is not None}
    if said.get("role") == "tool":
        yield _output(said, custom)
        return
    calls = said.pop("tool_calls", None) or ()
    if said.get("role") == "assistant":
        yield from _spoken(said)
    else:
        yield {**said, "content": _parts(said.get("content"))}
    for call in calls:
        yield _call(call)


def _output(said: Table, custom: frozenset[str]) -> Table:
    id_ = said.get("tool_call_id")
    kind = "custom_tool_call_output" if id_ in custom else "function_call_output"
    made = {"type": kind, "call_id": id_}
    return {**made, "output": _parts(said.get("content", ""))}


def _spoken(said: Table) -> Iterator[Table]:
    """What the model has said, in the one form that OpenAI and llama.cpp both take."""
    content, refusal = said.pop("content", None), said.pop("refusal", None)
    if isinstance(content, str) and content:
        content = [{"type": "text", "text": content}]
    parts = [_part(part, "output_text") for part in content or ()]
    if refusal:
        parts.append({"type": "refusal", "refusal": refusal})
    if parts or said.keys() != {"role"}:
        yield {"type": "message", **said, "content": parts}


def _call(call: Any) -> Table:
    called = call if isinstance(call, dict) else {}
    for kind, item in (("function", "function_call"), ("custom", "custom_tool_call")):
        if isinstance(inner := called.get(kind), dict):
            return {"type": item, "call_id": called.get("id"), **inner}
    raise BadRow("a tool call of this kind has no form in the responses API")


def _parts(content: Any) -> Any:
    return [_part(part, "input_text") for part in content] if isinstance(content, list) else content


def _part(part: Any, text: str) -> Any:
    """One part of a content; what a picture or file nests lies flat here."""
    if not isinstance(part, dict):
        return part
    match part.get("type"):
        case "text" if text == "output_text":
            return {"annotations": [], **part, "type": text}
        case "image_url":
            image = part.get("image_url")
            inner = image if isinstance(image, dict) else {"url": image}
            renamed = {"image_url" if key == "url" else key: inner[key] for key in inner}
            return {"detail": "auto", **part, **renamed, "type": "input_image"}
        case "file":
            return {**_flat(part, "file"), "type": "input_file"}
    return {**part, "type": PARTS.get(str(part.get("type") or ""), part.get("type"))}

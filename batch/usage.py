"""What servers say they used, as one kind of count.

Servers spell usage in many ways; here it is Usage (model.py): input with cached and cache-write
tokens inside, output with reasoning inside.  A count that cannot be (negative, fractional, a text,
a part larger than its whole) is unknown, never 0, and makes its reading doubtful.

Who counts how: https://platform.openai.com/docs/api-reference/chat/object (all inside),
https://docs.anthropic.com/en/api/messages (`input_tokens` without what was cached),
https://docs.x.ai/docs/api-reference (chat: `completion_tokens` without reasoning),
https://ai.google.dev/gemini-api/docs/openai (thoughts only in `total_tokens`).
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from typing import Annotated, Any, Literal

import msgspec

from batch import headers
from batch.model import Parts, Usage

MOST_TOKENS = 2**53
"""No answer has more; a larger count is a mistake of the server."""
Tokens = Annotated[int, msgspec.Meta(ge=0, le=MOST_TOKENS)]

INPUT = ("prompt_tokens", "input_tokens")
INSIDE_INPUT = ("prompt_tokens_details", "input_tokens_details")
CACHED = ("cached_tokens", "prompt_cache_hit_tokens", "cache_read_input_tokens")
WRITTEN = ("cache_write_tokens", "cache_creation_tokens", "cache_creation_input_tokens")
OUTPUT = ("completion_tokens", "output_tokens")
INSIDE_OUTPUT = ("completion_tokens_details", "output_tokens_details")
REASONING = ("reasoning_tokens", "thinking_tokens")
UNPACKED = frozenset({*CACHED, *WRITTEN, *REASONING})
"""Parts that some servers tell beside their whole and not inside it."""
EXCLUSIVE = ("cache_read_input_tokens", "cache_creation_input_tokens")
"""Beside `input_tokens` these are not in it; beside `prompt_tokens` they are."""

COSTS = frozenset({"cost", "estimated_cost", "cost_in_usd_ticks"})
TICKS = 1e10
"""Of xAI's `cost_in_usd_ticks`, to the dollar."""

NO_PARTS = Parts()


class Reading(msgspec.Struct, frozen=True, gc=False):
    """What a usage object says.  `doubtful` tells that some of it cannot be."""

    usage: Usage | None = None
    parts: Parts = NO_PARTS
    doubtful: bool = False

    @property
    def known(self) -> bool:
        """Whether input and output are known and nothing in it is doubtful."""
        used = self.usage
        told = used is not None and used.input_tokens is not None and used.output_tokens is not None
        return told and not self.doubtful


NOTHING = Reading()
NO_USAGE = Usage()


def of(answer: Any) -> Reading:
    """The usage in an answer of any of our APIs."""
    if not isinstance(answer, dict) or (used := answer.get("usage")) is None:
        return NOTHING
    if isinstance(used, dict) and (told := plain(used)) is not None:  # as most are
        return told
    model = answer.get("model")
    return reading(used, "gemini" in model if isinstance(model, str) else False)


def read(usage: Any) -> Usage | None:
    """The counts of a usage object; None when it holds none."""
    return reading(usage).usage


def reading(usage: Any, thoughts_in_total: bool = False) -> Reading:
    """A usage object in the spelling of chat completions, of responses or of Anthropic.

    `thoughts_in_total`: what `total_tokens` holds beyond input and output are thoughts (Gemini).
    """
    if not isinstance(usage, dict):
        return Reading(doubtful=usage is not None)
    return plain(usage) or in_full(usage, thoughts_in_total)


class _InInput(msgspec.Struct, forbid_unknown_fields=True, gc=False):
    cached_tokens: Tokens | None = None
    audio_tokens: Literal[0] | None = None


class _InOutput(msgspec.Struct, forbid_unknown_fields=True, gc=False):
    reasoning_tokens: Tokens | None = None
    audio_tokens: Literal[0] | None = None
    accepted_prediction_tokens: Any = None
    rejected_prediction_tokens: Any = None


class _Plain(msgspec.Struct, forbid_unknown_fields=True, gc=False):
    """A usage object as OpenAI sends it of text, with details or without them."""

    prompt_tokens: Tokens
    completion_tokens: Tokens
    total_tokens: Tokens | None = None
    prompt_tokens_details: _InInput | None = None
    completion_tokens_details: _InOutput | None = None


PLAIN = frozenset(_Plain.__struct_fields__)


def plain(usage: dict[str, Any]) -> Reading | None:
    """What `in_full` says, in a fifth of its time, of a usage object in which everything is as it should
    be; None of another.
    """
    if not PLAIN.issuperset(usage):
        return None
    try:
        told = msgspec.convert(usage, _Plain)
    except msgspec.ValidationError:
        return None
    whole, output = told.prompt_tokens, told.completion_tokens
    of_input, of_output = told.prompt_tokens_details, told.completion_tokens_details
    cached = None if of_input is None else of_input.cached_tokens
    reasoning = None if of_output is None else of_output.reasoning_tokens
    if (cached or 0) > whole or (reasoning or 0) > output:
        return None
    if (told.total_tokens or 0) > whole + output:  # some of it was left out
        return None
    return Reading(Usage(whole, cached, None, output, reasoning))


def in_full(usage: dict[str, Any], thoughts_in_total: bool = False) -> Reading:
    """See `reading`: whatever the usage object holds."""
    sheet = _Sheet(usage)
    whole, cached, written = _input(sheet)
    output, reasoning = _output(sheet, whole, thoughts_in_total)
    cached, written = sheet.inside(whole, cached, written)
    (reasoning,) = sheet.inside(output, reasoning)
    known = Usage(whole, cached, written, output, reasoning)
    parts = _parts(sheet, known) if sheet.inside_input or sheet.inside_output else NO_PARTS
    if written and isinstance(kept := usage.get("cache_creation"), dict):
        (hour,) = sheet.inside(written, sheet.first(kept, "ephemeral_1h_input_tokens"))
        parts = msgspec.structs.replace(parts, cache_write_1h=hour or None)
    if isinstance(tools := usage.get("server_tool_use"), dict):
        searches = sheet.first(tools, "web_search_requests") or None
        parts = msgspec.structs.replace(parts, web_searches=searches)
    return Reading(None if known == NO_USAGE else known, parts, sheet.doubtful)


class _Sheet:
    """A usage object that is being read; `doubtful` once something in it cannot be."""

    def __init__(self, usage: dict[str, Any]) -> None:
        self.usage = usage
        self.inside_input = _table(usage, INSIDE_INPUT)
        self.inside_output = _table(usage, INSIDE_OUTPUT)
        self.beside = {} if usage.keys().isdisjoint(UNPACKED) else usage
        self.doubtful = False

    def first(self, table: dict[str, Any], *names: str) -> int | None:
        """The first of the counts that is there."""
        for name in names:
            value = table.get(name)
            if value is None:
                continue
            if (count := _count(value)) is not None:
                return count
            self.doubtful = True
        return None

    def inside(self, whole: int | None, *parts: int | None) -> tuple[int | None, ...]:
        """`parts`, unknown where together they are more than the whole."""
        if whole is None or not any(parts) or sum(part or 0 for part in parts) <= whole:
            return parts
        self.doubtful = True
        return (None,) * len(parts)

    def kinds(self, whole: int | None, table: dict[str, Any]) -> tuple[int | None, ...]:
        """Tokens of sound and of pictures inside `whole`; None where there are none."""
        if not (table.get("audio_tokens") or table.get("image_tokens")):
            return None, None
        told = self.first(table, "audio_tokens"), self.first(table, "image_tokens")
        return tuple(count or None for count in self.inside(whole, *told))


def _input(sheet: _Sheet) -> tuple[int | None, int | None, int | None]:
    """Input, and what of it was read from and written to a cache."""
    usage, inside, beside = sheet.usage, sheet.inside_input, sheet.beside
    whole = sheet.first(usage, *INPUT)
    cached = sheet.first(inside, *CACHED) if inside else None
    written = sheet.first(inside, *WRITTEN) if inside else None
    cached = sheet.first(beside, *CACHED) if beside and cached is None else cached
    written = sheet.first(beside, *WRITTEN) if beside and written is None else written
    apart = not inside and "prompt_tokens" not in usage and any(name in usage for name in EXCLUSIVE)
    if apart and whole is not None:
        whole += (cached or 0) + (written or 0)
    return whole, cached, written


def _output(
    sheet: _Sheet, whole: int | None, thoughts_in_total: bool
) -> tuple[int | None, int | None]:
    """Output, and the reasoning in it: added where the total tells that it was left out."""
    output = sheet.first(sheet.usage, *OUTPUT)
    inside, beside = sheet.inside_output, sheet.beside
    reasoning = sheet.first(inside, *REASONING) if inside else None
    if beside and reasoning is None:
        reasoning = sheet.first(beside, *REASONING)
    total = _count(sheet.usage.get("total_tokens"))
    if total is None or whole is None or output is None:
        return output, reasoning
    apart = total - whole - output
    if apart > 0 and (apart == reasoning or (thoughts_in_total and reasoning is None)):
        return output + apart, apart
    return output, reasoning


def _parts(sheet: _Sheet, known: Usage) -> Parts:
    """Sound and pictures; what is 0 or impossible is not told."""
    of_input, of_output = sheet.inside_input, sheet.inside_output
    of_cached = of_input.get("cached_tokens_details")
    heard, seen = sheet.kinds(known.input_tokens, of_input)
    said, drawn = sheet.kinds(known.output_tokens, of_output)
    again = sheet.kinds(known.cached_tokens, of_cached if isinstance(of_cached, dict) else {})
    told = (heard, seen, *again, None, said, drawn)
    return Parts(*told) if any(told) else NO_PARTS


def tier(answer: Any) -> str | None:
    """The service tier that an answer says it had: beside the usage or (Anthropic) in it."""
    if not isinstance(answer, dict):
        return None
    used = answer.get("usage")
    within = used.get("service_tier") if isinstance(used, dict) else None
    told = answer.get("service_tier") or within
    return told if isinstance(told, str) else None


def reported_cost(answer: Any, answered: Mapping[str, str]) -> float | None:
    """USD that the server itself says an answer cost: OpenRouter's `usage.cost`, Perplexity's
    `usage.cost.total_cost`, DeepInfra's `usage.estimated_cost`, xAI's ticks, or a header of those
    that were `answered`.
    """
    used = answer.get("usage") if isinstance(answer, dict) else None
    if isinstance(used, dict) and not COSTS.isdisjoint(used):
        cost, ticks = used.get("cost", used.get("estimated_cost")), used.get("cost_in_usd_ticks")
        if isinstance(cost, dict):
            cost = cost.get("total_cost")
        if (said := _usd(cost)) is not None:
            return said
        if (count := _usd(ticks)) is not None:
            return count / TICKS
    said = headers.reported_cost(answered) if answered else None
    return None if said is None else _usd(said)


def _usd(value: Any) -> float | None:
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    return float(value) if 0 <= value <= MOST_TOKENS and math.isfinite(value) else None


def _table(usage: dict[str, Any], names: Iterable[str]) -> dict[str, Any]:
    for name in names:
        if isinstance(value := usage.get(name), dict):
            return value
    return {}


def _count(value: Any) -> int | None:
    if type(value) is float and value.is_integer():
        value = int(value)
    return value if type(value) is int and 0 <= value <= MOST_TOKENS else None

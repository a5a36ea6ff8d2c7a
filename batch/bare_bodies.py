"""Rows that are request bodies as they stand: `{"model": …, "messages": […], "temperature": 0}`, a line
each, as scripts around OpenAI's and vLLM's clients write them.

A row is one when all its keys are parameters that servers know, and one of them says how it is to be
answered.  A row of data that has `messages` is not: what else stands there is the user's own.  Pure.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from batch.known_keys import KNOWN

ASKING = ("messages", "input", "prompt")
"""The keys one of which says what is asked."""

_TELLING = """
model temperature top_p top_k min_p max_tokens max_completion_tokens max_output_tokens min_tokens
stop seed n best_of stream stream_options response_format tool_choice parallel_tool_calls
frequency_penalty presence_penalty repetition_penalty logit_bias logprobs top_logprobs
reasoning_effort service_tier dimensions encoding_format
"""
TELLING = frozenset(_TELLING.split())
"""Keys that no data has, beside a conversation, but to say how it is to be answered."""

LABELS = frozenset({"custom_id", "id"})


def bare_body(values: Mapping[str, Any], id_column: str | None = None) -> dict[str, Any] | None:
    """The body that a row is, without its label; None for a row of data."""
    body = {key: value for key, value in values.items() if key not in {*LABELS, id_column}}
    if not KNOWN.issuperset(body) or next(_telling(body), None) is None:
        return None
    return body if any(body.get(name) for name in ASKING) else None


def passed_over(values: Mapping[str, Any]) -> list[str]:
    """The keys of a row of data that look like parameters and are not sent."""
    if not any(values.get(name) for name in ASKING):
        return []
    return list(_telling(values))


def _telling(values: Mapping[str, Any]) -> Iterator[str]:
    return (key for key in values if key in TELLING and values[key] is not None)

"""Why an answer ended, in the words of a chat.  Known in one place, whichever API is asked.

Servers speak of it in words of their own, also behind the API of OpenAI: those of Gemini,
Anthropic, Bedrock, Cohere, Mistral, DeepSeek, vLLM, SGLang, TGI and watsonx are here.
"""

from __future__ import annotations

from typing import Any

from batch.error_bodies import says_nothing
from batch.outcome import BadAnswer

CALLS = frozenset({"tool_calls", "function_call"})
ENDS = CALLS | {
    *("stop", "length", "content_filter"),
    *("eos", "eos_token", "end_turn", "stop_sequence"),
}
"""Finish reasons of an answer that is whole, or as whole as it will be."""

WORDS = {
    **dict.fromkeys(("complete", "finish", "finished", "endoftext", "normal"), "stop"),
    **dict.fromkeys(
        (
            *("max_tokens", "max_token", "max_output_tokens", "max_completion_tokens"),
            *("max_new_tokens", "max_length", "max_len", "reason_max_len", "token_limit"),
            *("length_limit", "limit", "model_length", "model_context_window_exceeded"),
            *("context_length_exceeded", "reason_max_context", "error_limit"),
        ),
        "length",
    ),
    **dict.fromkeys(
        (
            *("content_filtered", "guardrail_intervened", "refusal", "error_toxic"),
            *("safety", "recitation", "blocklist", "prohibited_content", "spii"),
            *("image_safety", "image_prohibited_content", "image_recitation"),
        ),
        "content_filter",
    ),
    **dict.fromkeys(("tool_call", "tool_use", "function_calls"), "tool_calls"),
}
"""Other words for the same, in lower case."""

HALVES = frozenset(
    {
        *("error", "abort", "aborted", "cancel", "cancelled", "canceled", "user_cancel"),
        *("interrupted", "preempted", "insufficient_system_resource", "timeout", "time_limit"),
        *("malformed_function_call", "malformed_response", "malformed_model_output"),
        *("malformed_tool_use", "failed", "server_error", "internal_error"),
    }
)
"""What is said of an answer that was given up in the middle."""

UNSAID = frozenset({"", "null", "none", "not_finished", "unspecified", "finish_reason_unspecified"})
"""What some servers send in every chunk while an answer is on its way."""


def of_choice(choice: dict[str, Any]) -> str | None:
    """Why a choice ended, None where it does not say.  Raises BadAnswer when it is half of one."""
    error = choice.get("error")
    if error and not says_nothing(error):
        raise BadAnswer("a choice of the answer ended in an error")
    reason = choice.get("finish_reason")
    return reason if isinstance(reason, str) and reason in ENDS else in_words(reason)


def in_words(reason: Any) -> str | None:
    """`reason` in the words of a chat, where they have one.  Raises BadAnswer for half an answer."""
    sent = _sent(reason)
    word = _plain(sent)
    if word in HALVES:
        raise BadAnswer(f"a choice of the answer ended in an error (finish_reason {sent!r})")
    if word in UNSAID:
        return None
    return word if word in ENDS else WORDS.get(word, sent)


def is_said(reason: Any) -> bool:
    """Whether it tells that an answer has ended, well or not."""
    return _plain(_sent(reason)) not in UNSAID


def _sent(reason: Any) -> str:
    """The word itself; SGLang has an object around it."""
    told = reason.get("type") if isinstance(reason, dict) else reason
    return told if isinstance(told, str) else ""


def _plain(sent: str) -> str:
    """`FinishReason.MAX_TOKENS` and `content-filter` as others write them."""
    return sent.rpartition(".")[2].strip().lower().replace("-", "_")

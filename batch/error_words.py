"""What the words of an error mean, where a provider gives no code.  Each line names whose they are.

Words that the request itself said mean nothing: servers quote what they refuse.
"""

from __future__ import annotations

import re
from functools import cache

import msgspec

REFUSALS = frozenset({400, 401, 402, 403, 412, 413, 422, 429})
"""Statuses of a server that has read the request and does not take it."""
LENGTHS = frozenset({400, 413, 422, 429})
FILTERS = frozenset({400, 403, 422, 451})
KEYS = frozenset({400, 401, 403, 422})


class Phrase(msgspec.Struct, frozen=True):
    """Words that name an error class.  They are read where a code says nothing or just "too many
    requests", or always if `over_codes`; with `statuses` only, or with any where that is None.
    """

    provider: str
    words: str
    error_class: str
    statuses: frozenset[int] | None
    over_codes: bool = False


def _said_of(error_class: str, statuses: frozenset[int], words: dict[str, str]) -> list[Phrase]:
    return [Phrase(provider, said, error_class, statuses) for provider, said in words.items()]


CREDIT = {
    "Anthropic": r"credit balance is too low|reached your specified (?:api )?usage limit",
    "xAI": r"used all available credits|reached its monthly spending limit"
    r"|do(?:es)?n['’]t have any credits",
    "DeepSeek, Zhipu, Moonshot, MiniMax, SiliconFlow": r"\binsufficient (?:account )?balance\b"
    r"|\bbalance is (?:insufficient|not enough)|\bnot enough (?:balance|credits?)\b",
    "Zhipu, SiliconFlow, in Chinese": "余额不足|已欠费|余额已用完",
    "one-api, new-api": "额度不足|额度已用尽",
    "Moonshot": r"account .{1,80}is suspended.{0,60}(?:recharge|billing)",
    "DashScope": r"your account is in good standing|free tier of the model has been exhausted",
    "Fireworks": r"possibly due to reaching the monthly spending limit",
    "OpenAI": r"billing hard limit has been reached|account is not active, please check your billing",
    "Google": r"prepayment credits are depleted|requires billing to be enabled",
    "Groq": r"(?:reached|exceeded) (?:its|your|the) (?:organization['’]s )?(?:monthly )?"
    r"(?:spend|spending|billing|budget) (?:limit|threshold)",
    "OpenRouter": r"\binsufficient credits\b|requires more credits|\bkey limit exceeded",
    "Hugging Face": r"exceeded your monthly included credits",
    "Together": r"(?:credit limit|credits?) (?:has been |have been |is |are )?"
    r"(?:exceeded|exhausted|depleted|used up)|out of credits\b",
    "NVIDIA": r"cloud credits expired",
    "Cohere": r"trial key.{0,80}limited to [\d,]+ api calls ?/ ?month",
    "LiteLLM": r"budget has been exceeded",
    "DeepInfra, Replicate": r"enter a (?:valid )?payment method|please (?:recharge|top up) your",
}

BAD_KEY = {
    "Google": r"api key (?:not valid|expired|not found)|api_key_invalid"
    r"|multiple authentication credentials",
    "xAI, OpenAI": r"incorrect api key provided",
    "many": r"\b(?:invalid|unknown|expired|revoked|missing) api[ _-]?key\b"
    r"|\bapi[ _-]?key (?:is |was |has )?(?:been )?"
    r"(?:invalid|incorrect|missing|expired|revoked|disabled|required)",
    "DeepSeek": r"\bauthentication fails",
    "MiniMax": r"please carry the api secret key",
    "Anthropic": r"\bthis organization has been disabled",
    "Groq": r"\borganization has been restricted",
    "Zhipu": "令牌已过期|身份验证失败|无效的令牌|无效的api",
}

TOO_LONG = {
    "vLLM, SGLang, Ollama, Mistral, OpenRouter, DeepSeek and many": r"context (?:length|window|size)"
    r"|maximum model length",
    "Anthropic, Fireworks": r"prompt is too long",
    "Cohere": r"too many tokens",
    "Google": r"input token count",
    "TGI, Together": r"tokens`? \+ `?max_new_tokens|`?inputs`? must have less than [\d,]+ tokens",
    "xAI": r"maximum prompt length",
    "Bedrock": r"input is too long for|too many input tokens"
    r"|input length and `?max_tokens`? exceed",
    "Kimi": r"exceeded model token limit",
    "DashScope": r"range of input length should be|input length should be (?:in|between) ",
    "Z.ai, Zhipu": r"prompt exceeds max(?:imum)? length|超出.{0,10}(?:最大)?长度|超长",
    "TensorRT-LLM": r"exceeds? (?:the )?max(?:imum)?[_ ](?:input|seq|sequence|num)[_ ](?:len|tokens)"
    r"|should not exceed max_(?:seq_len|num_tokens|input_len)",
    "LM Studio": r"context the overflows|context overflow",
    "Groq, Cerebras, OpenAI": r"reduce the length of the (?:messages|prompt|input)"
    r"|reduce your prompt;",
    "Volcengine": r"exceeds? max message tokens|input length exceeds",
    "Ernie": r"prompt tokens too long|max input characters",
}

FILTERED = {
    "xAI": r"content violates usage guidelines",
    "OpenRouter": r"requires moderation and your input was flagged|input was flagged",
    "DeepSeek": r"content exists risk",
    "DashScope": r"may contain inappropriate content",
    "Zhipu": r"(?:unsafe or )?sensitive content|敏感内容|不安全或敏感",
    "Kimi": r"request was rejected because it was considered high risk",
    "OpenAI": r"flagged as potentially violating|result of our safety system"
    r"|violat\w+ (?:of )?(?:our|the|openai's|its) (?:usage|content|safety) (?:polic|guideline)"
    r"|limited access to this content for safety reasons",
    "Azure": r"content management policy",
    "Anthropic": r"blocked by (?:our )?content filtering policy",
    "Google": r"prohibited_content|blocked (?:due to|by|for) safety",
    "Bedrock": r"blocked by (?:the |a |your )?(?:guardrail|content filter)",
    "MiniMax": r"(?:input|output) new_sensitive",
    "many": r"content (?:policy|moderation) violation|flagged by (?:our |the )?(?:content )?moderation",
}

PHRASES = (
    # llama.cpp says this, with a 500, to every picture its model cannot see
    Phrase(
        "llama.cpp",
        r"\b(?:image|audio) input is not supported",
        "invalid_request",
        statuses=None,
        over_codes=True,
    ),
    # llama.cpp says this, with a 500, to a text that is longer than its physical batch
    Phrase(
        "llama.cpp",
        r"\binput (?:\(\d+ tokens\) )?is too large to process",
        "context_length",
        statuses=None,
        over_codes=True,
    ),
    # OpenAI and Groq say this to one request above the whole token limit; waiting does not help
    Phrase("OpenAI, Groq", r"request too large.*limit \d+, requested \d+", "too_large", LENGTHS),
    *_said_of("quota", REFUSALS, CREDIT),
    *_said_of("auth", KEYS, BAD_KEY),
    *_said_of("content_filter", FILTERS, FILTERED),
    *_said_of("context_length", LENGTHS, TOO_LONG),
)

TRUNCATED = (
    r"(?i)(?:invalid|malformed|parse|decode)\b.{0,30}\bjson\b(?! schema)|\bjson (?:parse|decode)"
)
"""What servers say to a body that is no JSON.  Ours is, so a proxy has cut it."""


def phrase_of(message: str, status: int, asked: bytes = b"") -> Phrase | None:
    """The first of the phrases that the message says by itself, and does not quote from the request
    `asked`.
    """
    for phrase, pattern in _compiled():
        applies = phrase.statuses is None or status in phrase.statuses
        if applies and _says(message, pattern, asked):
            return phrase
    return None


@cache
def _compiled() -> list[tuple[Phrase, re.Pattern[str]]]:
    """The phrases as patterns: 15 ms, once something was refused."""
    return [(phrase, re.compile(phrase.words, re.I | re.S)) for phrase in PHRASES]


def _says(message: str, pattern: str | re.Pattern[str], asked: bytes) -> bool:
    return any(not _is_quoted(found[0], asked) for found in re.finditer(pattern, message))


def _is_quoted(words: str, asked: bytes) -> bool:
    return bool(asked) and _plain(words) in _plain(asked.decode("utf-8", "replace"))


def _plain(text: str) -> str:
    return " ".join(text.replace("\\n", " ").replace('\\"', '"').casefold().split())


_LASTING = (
    r"(?is)\bper[- ](?:day|week|month)\b|\b(?:daily|weekly|monthly)\b.{0,40}\b(?:limit|quota|cap)"
    r"|\b(?:limit|quota)\b.{0,40}\b(?:daily|for today|weekly|monthly)|\b(?:RPD|TPD)\b|每[日天]"
)
_WAIT = (
    r"(?i)\b(?:try again|retry|retrying|wait|wait for|resets?|available again)(?: in| after| for)?"
    r"(?: about)? (?=\d)"
)


def is_lasting(message: str, asked: bytes = b"") -> bool:
    """Whether the message says that a limit is one of days."""
    return _says(message, _LASTING, asked)


def wait_in(message: str) -> str:
    """The text that begins where the message says how long to wait; empty where it does not."""
    said = re.search(_WAIT, message)
    return message[said.end() :] if said else ""

"""How the prompt caches of those who sell models work: from how many tokens on, when what is written
can be read, and how long it is kept.

Who is not here has no cache that waiting would help: vLLM's holds a prefix as soon as the request is
scheduled (vllm-project/vllm, docs/design/prefix_caching.md), Anthropic's OpenAI-compatible endpoint has
none (platform.claude.com, OpenAI SDK compatibility, read 2026-10-07), Together's is not reported.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from functools import partial
from typing import Literal
from urllib.parse import urlsplit

import msgspec

from batch import headers

BYTES_PER_TOKEN = 3
"""Fewer than most texts have: a prefix that may just be long enough is taken for one."""

LEAST = 256
"""Tokens; reading fewer from a cache saves less than a wait is worth."""

MINUTE, HOUR = 60.0, 3_600.0
UNKNOWN_LIFETIME = 5 * MINUTE
"""Where nobody says: the shortest that anybody says."""

Mark = Literal["breakpoint", "cache_control"]
"""How a request says where its shared prefix ends: as OpenAI does, or as Anthropic."""


class Cache(msgspec.Struct, frozen=True):
    """The prompt cache of a model somewhere.

    A prefix of `least` tokens or more can be read once `leaders` requests with it have been answered,
    for `lifetime` seconds after it was used last.  `begins` tells that it can be read as soon as their
    answers begin.  `mark` is what has to say where it ends.
    """

    least: int
    lifetime: float = UNKNOWN_LIFETIME
    leaders: int = 1
    begins: bool = False
    mark: Mark | None = None

    @property
    def least_bytes(self) -> int:
        """How many bytes of text a prefix has at least."""
        return max(self.least, LEAST) * BYTES_PER_TOKEN


GPT = re.compile(r"gpt-(\d+)(?:\.(\d+))?")
CLAUDE = "claude"
"""In the names of Anthropic's models."""
NO_CACHE = re.compile(r"gpt-3\.5|gpt-4(?![.o\d])|gpt-oss|davinci|babbage")


def _openai(model: str) -> Cache | None:
    """developers.openai.com/api/docs/guides/prompt-caching, modified 2026-09-23.

    From GPT-5.6 on: 1,024 tokens, 30 minutes after the last use; a write costs 1.25 times the input, a
    read 0.1 times.  Without a breakpoint all of the request is written, up to its last message, so that
    requests with one beginning and different ends read nothing.  Before: 1,024 to 2,048 tokens by model,
    kept for 5 to 10 minutes without use; a write costs nothing more.  When a prefix can be read while
    requests with it are under way is not said: the end of the first is taken.
    """
    if NO_CACHE.match(model) or CLAUDE in model:  # behind a proxy at its prices
        return None
    if (named := GPT.match(model)) and (int(named[1]), int(named[2] or 0)) >= (5, 6):
        return Cache(1_024, 30 * MINUTE, mark="breakpoint")
    return Cache(1_024, 5 * MINUTE)


def _claude(model: str) -> Cache:
    """platform.claude.com, prompt caching, read 2026-10: 512 to 4,096 tokens by model, what is shorter is
    not cached and nothing says so; 5 minutes after the last use; a write costs 1.25 times, a read 0.1
    times.  It can be read when the first answer begins.
    """
    if re.search(r"opus-4[.-][56]|haiku-4[.-]5", model):
        return Cache(4_096, 5 * MINUTE, begins=True, mark="cache_control")
    if re.search(r"sonnet-4[.-]6|opus-4[.-]7", model):
        return Cache(2_048, 5 * MINUTE, begins=True, mark="cache_control")
    if re.search(r"(opus|fable|mythos)-5", model):
        return Cache(512, 5 * MINUTE, begins=True, mark="cache_control")
    return Cache(1_024, 5 * MINUTE, begins=True, mark="cache_control")


def _gemini(model: str) -> Cache:
    """ai.google.dev, context caching, page of 2026-10-13: 2,048 tokens for 2.5, 4,096 for 3; a read costs
    0.1 times.  How long is not published; openrouter.ai (2026-10) says 3 to 5 minutes.
    """
    if "gemini-3-flash-preview" in model:
        return Cache(1_024, 3 * MINUTE)
    return Cache(2_048 if "2.5" in model else 4_096, 3 * MINUTE)


def _deepseek(_: str) -> Cache:
    """api-docs.deepseek.com/guides/kv_cache: units of 64 tokens, kept for hours.  What two requests have
    in common is found out by the second of them, so that the third is the first to read it.
    """
    return Cache(64, HOUR, leaders=2)


def _groq(model: str) -> Cache | None:
    """console.groq.com, prompt caching (a copy, 2026): gpt-oss and Kimi K2, 128 to 1,024 tokens by model,
    2 hours without use; a read costs half.
    """
    return Cache(1_024, 2 * HOUR) if re.search("gpt-oss|kimi-k2", model) else None


def _grok(_: str) -> Cache:
    """docs.x.ai: automatic, a read costs a quarter; blocks of 128 tokens (said by others, 2026-08-19)."""
    return Cache(128)


def _mistral(_: str) -> Cache:
    """mistralai/platform-docs-public, 2026-08-21: from 64 tokens on, a read costs 0.1 times."""
    return Cache(64)


def _fireworks(_: str) -> Cache:
    """docs.fireworks.ai (2026): automatic, for each replica, kept for minutes to hours; a read costs half.
    No minimum is said.
    """
    return Cache(LEAST)


def _alibaba(_: str) -> Cache:
    """alibabacloud.com, context cache (2026): from 1,024 tokens on, can be read when the answer ends;
    5 minutes; a read costs 0.2 times.
    """
    return Cache(1_024, 5 * MINUTE)


SELLERS = {
    "openai": _openai,
    "azure": _openai,
    "google": _gemini,
    "deepseek": _deepseek,
    "groq": _groq,
    "x-ai": _grok,
    "mistral": _mistral,
    "fireworks": _fireworks,
}
"""By who sells, as the price lists call them."""

VENDORS = {
    "openai": _openai,
    "anthropic": _claude,
    "google": _gemini,
    "deepseek": _deepseek,
    "x-ai": _grok,
    "mistralai": _mistral,
}
"""By whose model it is: OpenRouter stays with the provider that has cached a prompt, and passes marks on
to it (openrouter.ai, prompt caching, 2026-10).
"""

OPENROUTER = "openrouter"
ALIBABA = re.compile(r"(^|\.)dashscope[\w-]*\.aliyuncs\.com$")


def of(url: str, provider: str | None, model: str | None, *, litellm: bool = False) -> Cache | None:
    """The cache that a model has at the base URL `url`, sold by `provider`; None where waiting for one
    request would not help the next.

    LiteLLM's proxy passes marks on to Anthropic, Bedrock and Vertex, and takes them away where others are
    asked (docs.litellm.ai, prompt caching, 2026-10-07); of whom its operator asks there is nothing but the
    model's name.
    """
    name = (model or "").lower()
    if litellm and CLAUDE in name:
        return _claude(name)
    if provider == OPENROUTER:
        vendor, _, name = name.partition("/")
        known = VENDORS.get(vendor)
    else:
        known = _sold(url, provider)
    found = None if known is None else known(name)
    if found is not None and found.mark is not None and provider == OPENROUTER:
        return msgspec.structs.replace(found, mark="cache_control")
    return found


def are_at(url: str, provider: str | None, model: str | None) -> bool:
    """Whether any model may have a cache at the base URL `url`, sold by `provider`, where the job asks
    for `model`: a server that nobody knows may be a proxy.
    """
    known = provider == OPENROUTER or _sold(url, provider) is not None
    return known or CLAUDE in (model or "").lower()


def _sold(url: str, provider: str | None) -> Callable[[str], Cache | None] | None:
    """What tells of a seller's models."""
    known = SELLERS.get(provider or "")
    return _alibaba if known is None and ALIBABA.search(urlsplit(url).hostname or "") else known


class Caches:
    """Those of the models at an endpoint."""

    def __init__(self, url: str, provider: str | None, called: str | None = None) -> None:
        """`called` is what the endpoint calls the model, whatever rows say."""
        self._of = partial(of, url, provider)
        self._called = called
        self._litellm = False
        self._known: dict[str | None, Cache | None] = {}

    def __call__(self, model: str | None) -> Cache | None:
        """See `of`."""
        model = self._called or model
        if model not in self._known:
            self._known[model] = self._of(model, litellm=self._litellm)
        return self._known[model]

    def heard(self, answered: Mapping[str, str]) -> None:
        """The headers of an answer: they may tell of a proxy."""
        if not self._litellm and headers.LITELLM in answered:
            self._litellm = True
            self._known.clear()

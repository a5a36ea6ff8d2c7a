"""What the caches of sellers are like, by who sells and which model."""

from __future__ import annotations

import pytest

from batch.costs import prompt_caches
from batch.costs.prompt_caches import Caches


@pytest.mark.parametrize(
    ("provider", "model", "least", "leaders", "mark"),
    [
        ("openai", "gpt-5.4-mini", 1_024, 1, None),
        ("openai", "gpt-4o", 1_024, 1, None),
        ("openai", "gpt-5", 1_024, 1, None),
        ("openai", "o4-mini", 1_024, 1, None),
        ("openai", "gpt-5.6", 1_024, 1, "breakpoint"),
        ("openai", "gpt-6-mini", 1_024, 1, "breakpoint"),
        ("azure", "gpt-5.10", 1_024, 1, "breakpoint"),
        ("openrouter", "openai/gpt-5.6", 1_024, 1, "cache_control"),
        ("openrouter", "anthropic/claude-sonnet-5", 1_024, 1, "cache_control"),
        ("openrouter", "anthropic/claude-haiku-4.5", 4_096, 1, "cache_control"),
        ("openrouter", "anthropic/claude-opus-5", 512, 1, "cache_control"),
        ("google", "gemini-2.5-pro", 2_048, 1, None),
        ("deepseek", "deepseek-chat", 64, 2, None),
        ("groq", "openai/gpt-oss-120b", 1_024, 1, None),
    ],
)
def test_a_cache_is_that_of_the_seller_and_the_model(provider, model, least, leaders, mark):
    found = prompt_caches.of("https://example.com/v1", provider, model)
    assert found is not None
    assert (found.least, found.leaders, found.mark) == (least, leaders, mark)


@pytest.mark.parametrize(
    ("url", "provider", "model"),
    [
        ("https://api.anthropic.com/v1", "anthropic", "claude-sonnet-5"),
        ("http://localhost:8000/v1", None, "qwen"),
        ("https://api.openai.com/v1", "openai", "gpt-4"),
        ("https://api.openai.com/v1", "openai", "gpt-3.5-turbo"),
        ("https://api.groq.com/openai/v1", "groq", "llama-3.3-70b"),
        ("https://openrouter.ai/api/v1", "openrouter", "meta-llama/llama-4"),
        ("https://aliyuncs.com.example.org/v1", None, "qwen-max"),
    ],
)
def test_where_waiting_does_not_help_there_is_none(url, provider, model):
    assert prompt_caches.of(url, provider, model) is None


def test_a_seller_without_a_price_list_is_known_by_its_host():
    url = "https://dashscope-intl.aliyuncs.com/compatible-mode/v1"
    assert prompt_caches.of(url, None, "qwen-max") is not None


def test_a_proxy_that_tells_its_name_passes_marks_on_to_claude_alone():
    for provider in (None, "openai", "anthropic"):
        caches = Caches("http://10.0.0.1:4000", provider)
        assert caches("bedrock-claude-sonnet-5") is None
        caches.heard({"x-request-id": "1"})
        assert caches("bedrock-claude-sonnet-5") is None
        caches.heard({"x-litellm-version": "1.102.1"})
        cache = caches("bedrock-claude-sonnet-5")
        assert cache is not None
        assert (cache.mark, cache.begins) == ("cache_control", True)
        assert caches("smart") == prompt_caches.of("http://10.0.0.1:4000", provider, "smart")


def test_the_model_that_an_endpoint_asks_for_counts():
    caches = Caches("https://openrouter.ai/api/v1", "openrouter", "anthropic/claude-sonnet-5")
    cache = caches("mine")
    assert cache is not None and cache.mark == "cache_control"

"""A base URL is read as its author meant it, and where it cannot be, one line says so."""

from __future__ import annotations

import pytest

from batch.errors import JobError
from batch.transport.endpoint import Endpoint, address, target
from batch.transport.paths import lists_of, url_of

KEY = {"OPENAI_API_KEY": "sk-1"}
CHAT = "/chat/completions"


@pytest.mark.parametrize(
    ("written", "asked"),
    [
        # nothing but a host: the version is /v1
        ("https://h.example", "https://h.example/v1/chat/completions"),
        ("https://h.example/", "https://h.example/v1/chat/completions"),
        ("https://h.example//", "https://h.example/v1/chat/completions"),
        (" https://h.example/v1\n", "https://h.example/v1/chat/completions"),
        ("HTTPS://h.example", "https://h.example/v1/chat/completions"),
        ("https://h.example:8443", "https://h.example:8443/v1/chat/completions"),
        # with a version, wherever it stands
        ("https://h.example/v1/", "https://h.example/v1/chat/completions"),
        ("https://h.example/v2", "https://h.example/v2/chat/completions"),
        ("https://h.example//v1", "https://h.example/v1/chat/completions"),
        ("https://h.example/v1beta/openai/", "https://h.example/v1beta/openai/chat/completions"),
        ("https://h.example/v1/acct/gw/openai", "https://h.example/v1/acct/gw/openai/chat/completions"),
        ("https://h.example/a%2Fb/v1", "https://h.example/a%2Fb/v1/chat/completions"),
        # prefixes under which no server answers without a version
        ("https://openrouter.ai/api", "https://openrouter.ai/api/v1/chat/completions"),
        ("https://openrouter.ai/api/", "https://openrouter.ai/api/v1/chat/completions"),
        ("https://h.example/api/v1", "https://h.example/api/v1/chat/completions"),
        ("https://api.groq.com/openai", "https://api.groq.com/openai/v1/chat/completions"),
        # a prefix of the author's own
        ("https://h.example/llm", "https://h.example/llm/chat/completions"),
        # the whole path of an API, this one or another: nothing is added to what stands before
        ("https://h.example/v1/chat/completions", "https://h.example/v1/chat/completions"),
        ("https://h.example/v1/chat/completions/", "https://h.example/v1/chat/completions"),
        ("https://h.example/chat/completions", "https://h.example/chat/completions"),
        ("https://h.example/api/v1/chat/completions", "https://h.example/api/v1/chat/completions"),
        ("https://h.example/v1/responses", "https://h.example/v1/chat/completions"),
        ("https://h.example/v1/completions", "https://h.example/v1/chat/completions"),
        ("https://h.example/v1/embeddings", "https://h.example/v1/chat/completions"),
        ("https://h.example/v1/models", "https://h.example/v1/chat/completions"),
        ("https://h.example/api/v1/chat/models", "https://h.example/api/v1/chat/completions"),
        # a query stays
        ("https://h.example?x=1", "https://h.example/v1/chat/completions?x=1"),
        ("https://h.example/x?api-version=1", "https://h.example/x/chat/completions?api-version=1"),
        ("https://h.example/v1/responses?a=1#top", "https://h.example/v1/chat/completions?a=1"),
        (
            "https://r.openai.azure.com/openai/deployments/mini?api-version=2024-10-21",
            "https://r.openai.azure.com/openai/deployments/mini/chat/completions?api-version=2024-10-21",
        ),
        (
            "https://r.openai.azure.com/openai/deployments/mini/chat/completions?api-version=2024-10-21",
            "https://r.openai.azure.com/openai/deployments/mini/chat/completions?api-version=2024-10-21",
        ),
        # no scheme: http for servers of one's own
        ("localhost:8080", "http://localhost:8080/v1/chat/completions"),
        ("localhost", "http://localhost/v1/chat/completions"),
        ("localhost:8080/v1", "http://localhost:8080/v1/chat/completions"),
        ("127.0.0.1:8000/v1/chat/completions", "http://127.0.0.1:8000/v1/chat/completions"),
        ("10.0.0.7", "http://10.0.0.7/v1/chat/completions"),
        ("gpu-box:8000", "http://gpu-box:8000/v1/chat/completions"),
        ("[::1]:80/v1", "http://[::1]:80/v1/chat/completions"),
        ("api.example.com", "https://api.example.com/v1/chat/completions"),
        ("api.example.com:8443/api?x=1", "https://api.example.com:8443/api/v1/chat/completions?x=1"),
        ("8.8.8.8/v1", "https://8.8.8.8/v1/chat/completions"),
    ],
)  # fmt: skip
def test_a_base_url_may_be_spelled_in_many_ways(written, asked):
    made = target(Endpoint(base_url=written), KEY)
    assert url_of(made.base_url, CHAT) == asked
    assert url_of(url_of(made.base_url, CHAT), CHAT) == asked


def test_without_a_base_url_it_is_that_of_the_environment_or_openai():
    assert address(Endpoint(), {}) == "https://api.openai.com/v1"
    assert address(Endpoint(), {"OPENAI_BASE_URL": "localhost:1"}) == "http://localhost:1"
    assert address(Endpoint(base_url="h.example"), {"OPENAI_BASE_URL": "x"}) == "https://h.example"


@pytest.mark.parametrize(
    ("written", "said"),
    [
        ("ftp://h.example/v1", "expected http"),
        ("openai", "expected http"),
        ("Local", 'or "local"'),
        ("/v1", "expected http"),
        ("", "expected http"),
        (" ", "expected http"),
        ("http:/h.example", "expected http"),
        ("https://", "expected http"),
        ("https://h.example:port/v1", "expected http"),
        ("http://[::1/v1", "expected http"),
        ("http://[::1]x/v1", "expected http"),
        ("https://xn--a", "expected http"),
        ("https://h.example/v1 /x", "expected http"),
        ("https://h.example/v1\r\nX: y", "expected http"),
        ("https://user:pass@h.example/v1", "keep secrets out"),
        ("user:pass@h.example", "keep secrets out"),
        ("https://h.example/v1?key=abc", "keep secrets out"),
        ("https://h.example/v1?API-KEY=abc", "keep secrets out"),
        ("https://h.example/v1?access_token=abc", "keep secrets out"),
        ("http://api.example.com", "allow_http"),
    ],
)
def test_what_cannot_be_meant_or_would_give_a_secret_away_is_refused(written, said):
    with pytest.raises(JobError, match=said):
        target(Endpoint(base_url=written), KEY)


def test_an_azure_deployment_reads_its_key_in_its_own_header():
    written = "https://r.openai.azure.com/openai/deployments/mini?api-version=2024-10-21"
    made = target(Endpoint(base_url=written), KEY)
    assert (made.headers, made.secrets) == ({"api-key": "sk-1"}, ("sk-1",))


@pytest.mark.parametrize(
    ("base_url", "lists"),
    [
        ("https://h/v1", ["https://h/v1/models", "https://h/v1/chat/models"]),
        (
            "https://h/api/v1/chat/completions",
            ["https://h/api/v1/models", "https://h/v1/models", "https://h/api/v1/chat/models"],
        ),
        ("https://h/x?a=1", ["https://h/x/models?a=1", "https://h/x/chat/models?a=1"]),
        ("https://h/openai/deployments/mini?api-version=1", []),
    ],
)
def test_models_are_looked_for_where_gateways_list_them(base_url, lists):
    assert lists_of(base_url) == lists

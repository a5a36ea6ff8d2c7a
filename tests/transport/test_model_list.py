"""What an endpoint offers is found where gateways list it, and a misspelt name is told from another."""

from __future__ import annotations

import time
from typing import Any

import pytest

from batch.errors import JobError
from batch.transport import model_list
from batch.transport.endpoint import Endpoint, target
from batch.transport.model_list import (
    Listing,
    Meanwhile,
    is_misspelling,
    is_slip,
    names_in,
    unlisted,
)
from tests.fake_api import FakeAPI, Step


@pytest.mark.parametrize(
    ("answer", "names"),
    [
        ({"object": "list", "data": [{"id": "a"}, {"id": "b", "object": "model"}]}, ["a", "b"]),
        ({"models": [{"name": "a", "model": "x"}, {"id": "b"}]}, ["a", "b"]),
        ({"models": ["a", "b", "a"]}, ["a", "b"]),
        ([{"id": "a"}, "b", {"model": "c"}], ["a", "b", "c"]),
        ({"data": [{"id": "a" * 300}, {"id": 3}, {}, None]}, ["a" * 200]),
        ({"data": [{"id": "a\x1b[2J\x9b"}]}, ["a[2J"]),
        ({"data": []}, []),
        ({"data": None}, None),
        ({"error": {"message": "no"}}, None),
        ("models", None),
        (None, None),
    ],
)
def test_a_list_of_models_may_have_many_shapes(answer, names):
    assert names_in(answer) == names


@pytest.mark.parametrize(
    ("written", "name"),
    [
        ("gpt-5.4-mnii", "gpt-5.4-mini"),
        ("gpt-5.4-min", "gpt-5.4-mini"),
        ("gpt-5.4-minis", "gpt-5.4-mini"),
        ("gpt54-mini", "gpt-5.4-mini"),
        ("GPT-5.4", "gpt-5.4"),
        ("fake_model", "fake-model"),
        ("smollm2-135m-instuct", "smollm2-135m-instruct"),
        ("gemini-3.1-pro-previw", "gemini-3.1-pro-preview"),
        ("openai/gtp-5.4", "openai/gpt-5.4"),
    ],
)
def test_some_letters_make_a_misspelling(written, name):
    assert is_misspelling(written, name)


@pytest.mark.parametrize(
    ("written", "name"),
    [
        ("gpt-5.4", "gpt-5.1"),
        ("gpt-5.4-mini", "gpt-5.4"),
        ("gpt-5.4-mini", "gpt-5.4-nano"),
        ("gpt-4o-2024-08-06", "gpt-4o-2024-05-13"),
        ("gpt-5.4-mini-2026-01-01", "gpt-5.4-mini"),
        ("openai/gpt-5.4-mini-high", "gpt-5.4-mini-high"),
        ("text-embedding-3-small", "text-embedding-3-large"),
        ("llama-3.1-8b-instruct", "llama-3.1-70b-instruct"),
        ("qwen2.5:latest", "qwen2.5"),
        ("openrouter/auto", "openai/gpt-5.4"),
        ("ft:gpt-4o:acme::7p", "gpt-4o"),
        ("m", "fake-model"),
    ],
)
def test_another_version_size_word_or_part_is_another_name(written, name):
    assert not is_misspelling(written, name)
    assert not is_misspelling(name, written)


@pytest.mark.parametrize(
    ("written", "name", "is_one"),
    [
        ("gpt_4.1-Mini", "gpt-4.1-mini", True),
        ("gtp-4.1-mini", "gpt-4.1-mini", True),
        ("gpt41mini", "gpt-4.1-mini", True),
        ("gpt-4.1-mimi", "gpt-4.1-mini", False),
        ("gpt-4.1-min", "gpt-4.1-mini", False),
        ("gpt-4.1-nimi", "gpt-4.1-mini", False),
    ],
)
def test_a_slip_is_case_separators_or_two_letters(written, name, is_one):
    assert is_slip(written, name) is is_one


@pytest.mark.parametrize(
    ("wanted", "listed"),
    [
        ("mistral-small-latest", "ministral-small-latest"),
        ("gemini-2.5-flash-lite", "gemini-2.5-flash-light"),
        ("grok-4-fast-reasoning", "grok-4-fast-reasonings"),
    ],
)
def test_a_name_that_is_known_elsewhere_is_not_misspelt(wanted, listed):
    assert is_misspelling(wanted, listed)
    assert "does not list a model" in (unlisted({wanted}, [listed]) or "")


def test_a_misspelt_model_is_named_with_what_is_meant():
    with pytest.raises(JobError, match=r"no model 'gpt-5\.4-mimi'; did you mean 'gpt-5\.4-mini'"):
        unlisted({"gpt-5.4-mimi"}, ["gpt-5.4", "gpt-5.4-mini", "gpt-5.4-nano"])


def test_models_that_are_merely_not_listed_are_one_notice():
    assert unlisted({"gpt-5.5", "x", "gpt-5.4"}, ["gpt-5.4", "o3"]) == (
        "the endpoint does not list a model 'gpt-5.5' (nearest: gpt-5.4), 'x';"
        " it may know it all the same"
    )
    many = unlisted(map(str, range(100)), ["gpt-5.4"])
    assert many is not None
    assert "and 96 more" in many


@pytest.mark.parametrize("names", [None, [], ["m", "other"]])
def test_without_a_list_or_with_the_model_on_it_nothing_is_said(names):
    assert unlisted({"m"}, names) is None


async def listed(base_url: str, patience: float = 5.0, **more: Any) -> Listing:
    table = Endpoint(base_url=base_url, api_key_env="", **more)
    return await model_list.listed(table, target(table, {}), patience)


@pytest.mark.parametrize("path", ["/v1", "", "/v1/chat/completions", "/api/v1"])
async def test_the_list_is_found_below_any_base_url(api: FakeAPI, path):
    api.models = ["a", "b"]
    assert await listed(api.url.removesuffix("/v1") + path) == Listing(["a", "b"])


@pytest.mark.parametrize("place", ["/v1/models", "/api/v1/models", "/api/v1/chat/models"])
async def test_a_gateway_may_keep_its_list_elsewhere(api: FakeAPI, place):
    """Chat at /api/v1/chat/completions; the list with or without that prefix, or below chat."""
    api.models, api.models_at = ["gpt-4o"], place
    base_url = api.url.removesuffix("/v1") + "/api/v1/chat/completions"
    assert await listed(base_url) == Listing(["gpt-4o"])


@pytest.mark.parametrize(
    ("step", "why"),
    [
        (Step(404), "HTTP 404"),
        (Step(405), "HTTP 405"),
        (Step(401), "HTTP 401"),
        (Step(503), "HTTP 503"),
        (Step(302, headers={"location": "https://elsewhere.example/"}), "HTTP 302"),
        (Step(body="<html>Welcome</html>", content_type="text/html"), "no list of models"),
        (Step(body={"data": []}), "no list of models"),
        (Step(body="[" * 100_000), "no list of models"),
        (Step(reset=True), "the connection broke"),
        (Step(raw=b"who goes there?\r\n\r\n"), "does not speak HTTP"),
    ],
)
async def test_a_gateway_without_a_list_is_no_fault_and_says_why(api: FakeAPI, step, why):
    api.listing = step
    found = await listed(api.url)
    assert found.names is None
    assert why in (found.why or "")


async def test_a_server_that_does_not_answer_is_not_waited_for(api: FakeAPI):
    api.listing = Step(hang=True)
    assert await listed(api.url, 0.05) == Listing(None, "no answer within 0.05 s")


def test_a_run_has_the_list_by_the_time_its_rows_are_read(api: FakeAPI):
    api.models = ["a"]
    table = Endpoint(base_url=api.url)
    assert Meanwhile(table, target(table, {})).names() == ["a"]


def test_a_run_does_without_a_list_that_is_late(api: FakeAPI):
    api.listing = Step(hang=True)
    table, began = Endpoint(base_url=api.url), time.monotonic()
    assert Meanwhile(table, target(table, {}), 0.1).names() is None
    assert time.monotonic() - began < table.connect_timeout


async def test_a_key_that_a_server_echoes_in_a_name_is_masked(api: FakeAPI):
    api.models = ["model-of-sk-0123456789abcdef"]
    table = Endpoint(base_url=api.url)
    found = await model_list.listed(
        table, target(table, {"OPENAI_API_KEY": "sk-0123456789abcdef"}), 5
    )
    assert found.names == ["model-of-•••"]

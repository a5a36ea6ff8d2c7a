"""What an estimate says of ways to pay less: as much as a run then saves."""

from __future__ import annotations

import json

import pytest

from tests.reading import asking, texts, write

DEAR = ("--set", "prices.m.input=1000", "--set", "prices.m.output=1000")


def estimate(batchmill, *flags):
    found = json.loads(batchmill("estimate", "in.jsonl", *flags, "--json").stdout)
    return found, {(each["kind"], each["is_on"]): each for each in found["savings"]}


@pytest.fixture
def repeated(tmp_path):
    prompts = texts(10) * 4
    write(tmp_path / "in.jsonl", prompts)
    return prompts


@pytest.mark.parametrize(
    ("flags", "asked"),
    [
        (("--temperature", "0"), 10),
        (("--set", "dedupe=true"), 10),
        ((), 40),
        (("--set", "dedupe=false"), 40),
    ],
)
def test_rows_that_ask_the_same_are_counted_as_a_run_asks_them(
    api, batchmill, repeated, flags, asked
):
    found, savings = estimate(batchmill, *asking(api), *DEAR, *flags)
    assert found["total"]["rows"] == asked
    (saving,) = savings.values()
    assert (saving["kind"], saving["is_on"]) == ("dedupe", asked == 10)
    assert saving["requests"] == 30
    both = found["total"]["cost_input_usd"] + (saving["usd"] if saving["is_on"] else 0)
    assert both == pytest.approx(saving["usd"] / 30 * 40, rel=0.01)  # tokens are whole
    assert batchmill("run", "in.jsonl", *asking(api), *flags).exit_code == 0
    assert len(api.ledger) == asked


def test_where_nothing_repeats_nothing_is_said(api, batchmill, tmp_path):
    write(tmp_path / "in.jsonl", texts(10))
    assert estimate(batchmill, *asking(api), "--temperature", "0")[1] == {}


def test_the_flex_tier_is_told_where_its_price_is_lower(batchmill, repeated):
    flags = ("-m", "gpt-5.4-mini", "-p", "{{ text }}", "--max-completion-tokens", "20")
    env = {"OPENAI_API_KEY": "sk-1"}
    shown = batchmill("estimate", "in.jsonl", *flags, "--json", env=env)
    found = json.loads(shown.stdout)
    (flex,) = [each for each in found["savings"] if each["kind"] == "flex"]
    assert 0 < flex["usd"] < found["total"]["cost_input_usd"] and flex["input_only"]
    words = batchmill("estimate", "in.jsonl", *flags, env=env).stdout
    assert 'service_tier = "flex"' in words and "dedupe = true" in words
    flex_already = (*flags, "--set", "request.service_tier=flex", "--json")
    shown = batchmill("estimate", "in.jsonl", *flex_already, env=env)
    assert [each["kind"] for each in json.loads(shown.stdout)["savings"]] == ["dedupe"]


@pytest.mark.parametrize(
    ("inputs", "is_on"), [("auto", True), (1, False), (50, True)], ids=["auto", "alone", "fifty"]
)
def test_texts_that_share_requests_are_told(api, batchmill, tmp_path, inputs, is_on):
    write(tmp_path / "in.jsonl", texts(100))
    flags = ("--api", "embeddings", "--set", f"limits.inputs_per_request={inputs}")
    _, savings = estimate(batchmill, *asking(api), *flags)
    ((kind, told), saving) = savings.popitem()
    assert (kind, told) == ("packing", is_on)
    assert saving["requests"] == 100 - (2 if inputs == 50 else 1)


@pytest.mark.parametrize("cache", ["auto", "off"])
def test_a_long_beginning_is_told_for_all_rows_but_the_first(batchmill, tmp_path, cache):
    write(tmp_path / "in.jsonl", texts(21))
    env = {"OPENAI_API_KEY": "sk-1"}
    flags = ("-m", "gpt-5.4-mini", "-p", "{{ text }}", "-s", "Read this. " * 800)
    more = ("--max-completion-tokens", "20", "--set", f"prompt.cache={cache}", "--json")
    found = json.loads(batchmill("estimate", "in.jsonl", *flags, *more, env=env).stdout)
    (saving,) = [each for each in found["savings"] if each["kind"] == "cache"]
    assert saving["is_on"] == (cache == "auto")
    one_row = found["total"]["cost_input_usd"] / 21
    assert 10 * one_row < saving["usd"] < 20 * one_row


def test_a_short_beginning_saves_nothing(batchmill, tmp_path):
    write(tmp_path / "in.jsonl", texts(21))
    flags = ("-m", "gpt-5.4-mini", "-p", "{{ text }}", "-s", "Read this.", "--json")
    found = json.loads(
        batchmill("estimate", "in.jsonl", *flags, env={"OPENAI_API_KEY": "sk-1"}).stdout
    )
    assert "cache" not in [each["kind"] for each in found["savings"]]

"""Parameters of requests, typed as flags."""

from __future__ import annotations

import json
import re

import pytest

from batch.cli.request_flags import OTHERWISE
from batch.requests.known_keys import KNOWN
from tests.reading import asking, texts, write

AS_TYPED = {
    "temperature": ("0", 0),
    "top_p": ("0.5", 0.5),
    "max_tokens": ("50", 50),
    "max_completion_tokens": ("50", 50),
    "max_output_tokens": ("50", 50),
    "stop": ("END", "END"),
    "n": ("2", 2),
    "presence_penalty": ("-1", -1),
    "frequency_penalty": ("0.1", 0.1),
    "logprobs": ("true", True),
    "top_logprobs": ("3", 3),
    "reasoning_effort": ("low", "low"),
    "verbosity": ("low", "low"),
    "service_tier": ("flex", "flex"),
    "response_format": ('{"type": "json_object"}', {"type": "json_object"}),
    "logit_bias": ('{"50256": -100}', {"50256": -100}),
    "tool_choice": ("none", "none"),
    "parallel_tool_calls": ("false", False),
    "user": ("42", "42"),
    "top_k": ("40", 40),
    "min_p": ("0.05", 0.05),
    "repetition_penalty": ("1.1", 1.1),
    "stop_token_ids": ("[1, 2]", [1, 2]),
    "dimensions": ("256", 256),
    "encoding_format": ("float", "float"),
}


def bodies(shown) -> list[dict]:
    """The requests that --dry-run shows."""
    assert shown.exit_code == 0, shown.stderr
    return [json.loads(body) for body in re.split(r"^# .*$", shown.stdout, flags=re.M)[1:]]


@pytest.fixture
def asked(api, batchmill, tmp_path):
    """The first request that a run with these flags would send."""
    write(tmp_path / "in.jsonl", texts(1))
    return lambda *flags: bodies(batchmill("run", "in.jsonl", *asking(api), "--dry-run", *flags))[0]


def test_every_parameter_is_sent_as_it_was_typed(asked):
    dashed = [word for key, (typed, _) in AS_TYPED.items() for word in (f"--{key}", typed)]
    body = asked(*(word.replace("_", "-") if word.startswith("--") else word for word in dashed))
    assert {key: body[key] for key in AS_TYPED} == {
        key: value for key, (_, value) in AS_TYPED.items()
    }


@pytest.mark.parametrize(
    ("typed", "sent"),
    [
        (["--max_tokens", "5"], {"max_tokens": 5}),
        (["--max-tokens=5"], {"max_tokens": 5}),
        (["--max-tokens", "5", "--max-tokens", "6"], {"max_tokens": 6}),
        (["--stop", "1"], {"stop": "1"}),
        (["--stop", '["a", "b"]'], {"stop": ["a", "b"]}),
        (["--stop", "###"], {"stop": "###"}),
        (["--logprobs"], {"logprobs": True}),
        (["--stream"], {"stream": True}),
        (["--stream", "--max-tokens", "5"], {"stream": True, "max_tokens": 5}),
    ],
)
def test_a_parameter_may_be_spelt_as_people_do(asked, typed, sent):
    body = asked(*typed)
    assert {key: body[key] for key in sent} == sent


def test_a_flag_that_needs_no_value_may_have_one(asked):
    assert "stream" not in asked("--stream", "false")


def test_a_flag_without_a_value_takes_no_input_for_it(batchmill, api, tmp_path):
    write(tmp_path / "in.jsonl", texts(1))
    shown = batchmill("run", "--stream", "in.jsonl", *asking(api), "--dry-run")
    assert bodies(shown)[0]["stream"] is True


def test_what_stands_behind_two_dashes_is_an_input(batchmill, api, tmp_path):
    write(tmp_path / "--stream", texts(1))
    shown = batchmill("run", *asking(api), "--input-format", "jsonl", "--dry-run", "--", "--stream")
    assert bodies(shown)[0]["messages"][0]["content"] == texts(1)[0]


@pytest.mark.parametrize("command", ["run", "estimate", "validate"])
def test_commands_that_judge_what_is_asked_take_them(batchmill, api, tmp_path, command):
    write(tmp_path / "in.jsonl", texts(1))
    more = ["--dry-run"] if command == "run" else []
    given = ["in.jsonl", *asking(api), *more]
    assert batchmill(command, *given, "--temperature", 1).exit_code == 0
    refused = batchmill(command, *given, "--temperature", 3)
    assert (refused.exit_code, "temperature: expected a number" in refused.stderr) == (2, True)


def test_a_retry_takes_them(batchmill, api, tmp_path):
    write(tmp_path / "in.jsonl", texts(2))
    api.script = {texts(2)[1]: [400]}
    assert batchmill("run", "in.jsonl", *asking(api)).exit_code == 1
    assert batchmill("retry", "runs/in", "--max-tokens", 7).exit_code == 0
    assert api.ledger[-1].body["max_tokens"] == 7


def test_a_run_that_goes_on_is_asked_the_same(batchmill, api, tmp_path):
    write(tmp_path / "in.jsonl", texts(2))
    assert batchmill("run", "in.jsonl", *asking(api, "--temperature", 0)).exit_code == 0
    other = batchmill("run", "in.jsonl", *asking(api, "--temperature", 1))
    assert (other.exit_code, "request.temperature" in other.stderr) == (4, True)


@pytest.mark.parametrize("key", sorted(OTHERWISE & KNOWN - {"model", "prompt", "schema"}))
def test_a_parameter_that_may_mean_something_else_is_named_in_full(batchmill, key):
    refused = batchmill("run", "in.jsonl", f"--{key.replace('_', '-')}", "x")
    assert refused.exit_code == 2
    assert re.search(r"(--set \w*\.?\w+=VALUE|its name alone)", refused.stderr)

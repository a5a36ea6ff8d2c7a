"""A misspelt key of a request is found with the one that is meant; what servers know passes."""

from __future__ import annotations

import json
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from batch.requests.known_keys import KNOWN, OTHERS, nearest
from batch.requests.preflight import BOUNDS, CLIENT_SIDE, of_body
from tests.fake_api import FakeAPI
from tests.reading import asking, rows, texts, write

LETTERS = "abcdefghijklmnopqrstuvwxyz_0123456789"
LONG_ENOUGH = sorted(name for name in KNOWN if len(name) >= 5)


@pytest.mark.parametrize("name", sorted(KNOWN | OTHERS | BOUNDS.keys() | CLIENT_SIDE.keys()))
def test_what_is_known_is_not_accused(name):
    assert nearest(name) == ()


@pytest.mark.parametrize(
    "name",
    ["min_completion_tokens", "max_input_tokens", "min_output_tokens", "my_key", "x", "top", "step",
     "need", "uses", "tier", "custom_thing", "vendor_option", "foo", "reasoning_style", "lang"],
)  # fmt: skip
def test_what_looks_like_nothing_known_passes(name):
    assert nearest(name) == ()


@pytest.mark.parametrize(
    ("name", "meant"),
    [
        ("temprature", "temperature"),
        ("tempature", "temperature"),
        ("Temperature", "temperature"),
        ("max_completion_token", "max_completion_tokens"),
        ("max_completions_token", "max_completion_tokens"),
        ("maxTokens", "max_tokens"),
        ("max-tokens", "max_tokens"),
        ("topP", "top_p"),
        ("reasoning_efort", "reasoning_effort"),
        ("streams", "stream"),
        ("stops", "stop"),
        ("sotp", "stop"),
        ("frequency_penality", "frequency_penalty"),
        ("presense_penalty", "presence_penalty"),
        ("repitition_penalty", "repetition_penalty"),
        ("respone_format", "response_format"),
        ("chat_template_kwarg", "chat_template_kwargs"),
        ("guided_jsn", "guided_json"),
        ("tool_choise", "tool_choice"),
        ("modle", "model"),
        ("shema", "schema"),
    ],
)
def test_what_is_meant_is_told(name, meant):
    assert nearest(name) == (meant,)


@pytest.mark.parametrize("name", LONG_ENOUGH)
def test_a_letter_left_out_or_swapped_is_found(name):
    for at in range(len(name)):
        assert found(name[:at] + name[at + 1 :], name)
    for at, (one, next_) in enumerate(pairwise(name)):
        assert found(name[:at] + next_ + one + name[at + 2 :], name)


@given(st.sampled_from(LONG_ENOUGH), st.data())
def test_a_letter_too_many_or_wrong_is_found(name, data):
    at, letter = data.draw(st.integers(0, len(name))), data.draw(st.sampled_from(LETTERS))
    assert found(name[:at] + letter + name[at:], name)
    assert found(name[:at] + letter + name[at + 1 :], name)


def found(slip: str, name: str) -> bool:
    return slip in KNOWN | OTHERS or name in nearest(slip)


def test_a_misspelt_key_of_the_job_is_told_with_its_line(api: FakeAPI, batchmill, tmp_path):
    write(tmp_path / "in.jsonl", texts(1))
    (tmp_path / "job.toml").write_text(
        'input = "in.jsonl"\n[request]\nmodel = "m"\ntemprature = 0\ntop_a = 0.1\nmy_key = 1\n'
    )
    for command in ("run", "validate", "estimate"):
        told = batchmill(command, "job.toml", *asking(api))
        assert told.exit_code == 2
        assert told.stderr == (
            "error: job.toml:4: [request] temprature: no server knows this; did you mean temperature?\n"
            "       --no-preflight leaves that to the server\n"
        )
    assert api.ledger == []
    assert batchmill("run", "job.toml", *asking(api, "--no-preflight")).exit_code == 0


def test_a_misspelt_key_of_a_flag_is_told(batchmill, tmp_path):
    write(tmp_path / "in.jsonl", texts(1))
    flags = ("-m", "m", "-p", "{{ text }}", "--set", "request.max_completion_token=5")
    told = batchmill("validate", "in.jsonl", *flags)
    assert told.exit_code == 2
    assert (
        "max_completion_token: no server knows this; did you mean max_completion_tokens?"
        in told.stderr
    )


def test_a_misspelt_key_of_a_rows_own_body_is_that_rows_fault(api: FakeAPI, batchmill, tmp_path):
    messages = [{"role": "user", "content": "Hi"}]
    bodies = [{"messages": messages, "min_tokens": 1}, {"messages": messages, "strean": True}]
    lines = [json.dumps({"body": {"model": "m", **body}}) + "\n" for body in bodies]
    (tmp_path / "in.jsonl").write_text("".join(lines))
    flags = ("in.jsonl", "--base-url", api.url)
    told = batchmill("run", *flags)
    assert told.exit_code == 2
    assert told.stderr.startswith(
        "error: in.jsonl:2: strean: no server knows this; did you mean stream?"
    )
    assert batchmill("run", *flags, "--on-bad-row", "record").exit_code == 1
    assert [row["error_class"] for row in rows(tmp_path / "runs/in")] == [None, "invalid_row"]


@pytest.mark.parametrize("api", ["chat", "responses", "completions", "embeddings"])
def test_what_our_own_bodies_hold_is_known(api):
    asked = {"messages": [{"role": "user", "content": "Hi"}], "input": "Hi", "prompt": "Hi"}
    more = {"instructions": "Be brief.", "text": {}, "reasoning": {}, "encoding_format": "float"}
    body = {"model": "m", "stream": True, "stream_options": {}, **asked, **more}
    assert list(of_body(api, body)) == []

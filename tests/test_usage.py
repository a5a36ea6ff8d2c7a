"""Token counts in every spelling."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from batch import headers, usage
from batch.model import Parts, Usage

CHAT = {
    "prompt_tokens": 10,
    "completion_tokens": 5,
    "total_tokens": 15,
    "prompt_tokens_details": {"cached_tokens": 4, "cache_write_tokens": 2},
    "completion_tokens_details": {"reasoning_tokens": 3},
}
RESPONSES = {
    "input_tokens": 10,
    "output_tokens": 5,
    "input_tokens_details": {"cached_tokens": 4, "cache_write_tokens": 2},
    "output_tokens_details": {"reasoning_tokens": 3},
}


@pytest.mark.parametrize("spelled", [CHAT, RESPONSES])
def test_reads_both_spellings(spelled):
    assert usage.read(spelled) == Usage(10, 4, 2, 5, 3)


@pytest.mark.parametrize("spelled", ["cached_tokens", "prompt_cache_hit_tokens"])
def test_reads_cached_tokens_outside_of_the_details(spelled):
    assert usage.read({"prompt_tokens": 10, spelled: 4}) == Usage(10, 4)


@pytest.mark.parametrize(
    "impossible",
    [-1, 1.5, "many", "12", "-3", True, None, [], {}, 2**60, float("inf"), float("nan"), ""],
)
def test_a_count_that_cannot_be_is_unknown(impossible):
    assert usage.read({"prompt_tokens": impossible, "completion_tokens": 5}) == Usage(
        output_tokens=5
    )
    assert usage.read({"prompt_tokens": impossible}) is None


@pytest.mark.parametrize("same", [7.0, 7])
def test_a_count_may_be_written_as_float(same):
    assert usage.read({"prompt_tokens": same}) == Usage(7)


ANTHROPIC = {"input_tokens": 10, "output_tokens": 5}
READ, WRITTEN = "cache_read_input_tokens", "cache_creation_input_tokens"
XAI = {"completion_tokens_details": {"reasoning_tokens": 7}}
IN_TEN = {"prompt_tokens": 10, "completion_tokens": 5}


@pytest.mark.parametrize(
    ("spelled", "counts"),
    [
        ({**ANTHROPIC, READ: 4, WRITTEN: 2}, Usage(16, 4, 2, 5)),
        ({**ANTHROPIC, READ: 400}, Usage(410, 400, None, 5)),
        ({**ANTHROPIC, READ: 0, WRITTEN: 0}, Usage(10, 0, 0, 5)),
        ({**IN_TEN, READ: 4, WRITTEN: 2}, Usage(10, 4, 2, 5)),
        ({**RESPONSES, READ: 4}, Usage(10, 4, 2, 5, 3)),
        ({**IN_TEN, **XAI, "total_tokens": 22}, Usage(10, output_tokens=12, reasoning_tokens=7)),
        ({**CHAT, "total_tokens": 15}, Usage(10, 4, 2, 5, 3)),
        ({**IN_TEN, "total_tokens": 99}, Usage(10, output_tokens=5)),
    ],
)
def test_what_is_counted_apart_is_put_inside(spelled, counts):
    read = usage.reading(spelled)
    assert (read.usage, read.doubtful) == (counts, False)


@pytest.mark.parametrize(("model", "output"), [("gemini-3.1-pro", 65), ("gpt-5.4", 5)])
def test_thoughts_that_only_a_total_tells_are_output_of_gemini(model, output):
    answer = {"model": model, "usage": {**IN_TEN, "total_tokens": 75}}
    assert usage.of(answer).usage.output_tokens == output


@pytest.mark.parametrize(
    ("spelled", "counts"),
    [
        ({**IN_TEN, "cached_tokens": 11}, Usage(10, output_tokens=5)),
        ({**IN_TEN, "cached_tokens": -1}, Usage(10, output_tokens=5)),
        ({**CHAT, "prompt_tokens": 5}, Usage(5, None, None, 5, 3)),
        ({**IN_TEN, **XAI}, Usage(10, output_tokens=5)),
        ({**IN_TEN, "prompt_tokens": "10"}, Usage(output_tokens=5)),
        ({**IN_TEN, "completion_tokens": float("nan")}, Usage(10)),
        ({**IN_TEN, "prompt_tokens_details": {"audio_tokens": 11}}, Usage(10, output_tokens=5)),
        ({**ANTHROPIC, READ: "4"}, Usage(10, output_tokens=5)),
    ],
)
def test_what_cannot_be_is_unknown_and_makes_the_rest_doubtful(spelled, counts):
    read = usage.reading(spelled)
    assert (read.usage, read.doubtful, read.known) == (counts, True, False)


def test_reads_what_is_priced_apart():
    spelled = {
        **CHAT,
        "prompt_tokens_details": {"cached_tokens": 4, "audio_tokens": 3, "image_tokens": 2},
        "completion_tokens_details": {"audio_tokens": 1},
    }
    assert usage.reading(spelled).parts == Parts(input_audio=3, input_image=2, output_audio=1)
    kept = {**ANTHROPIC, WRITTEN: 6, "cache_creation": {"ephemeral_1h_input_tokens": 5}}
    assert usage.reading(kept).parts == Parts(cache_write_1h=5)


@pytest.mark.parametrize(
    ("used", "answered", "usd"),
    [
        ({"cost": 0.0042}, {}, 0.0042),
        ({"cost": {"total_cost": 0.006}}, {}, 0.006),
        ({"estimated_cost": 1e-5}, {}, 1e-5),
        ({"cost_in_usd_ticks": 49_100_000}, {}, 0.00491),
        ({}, {headers.COST: "0.000612"}, 0.000612),
        ({}, {headers.COST: "free"}, None),
        ({"cost": 0}, {}, 0.0),
        ({"cost": -1}, {}, None),
        ({"cost": "1"}, {}, None),
        ({"cost": float("nan")}, {}, None),
        ({"cost": True}, {}, None),
        (None, {}, None),
    ],
)
def test_reads_what_the_server_says_it_cost(used, answered, usd):
    assert usage.reported_cost({"usage": used}, answered) == usd


def test_nothing_used_is_not_unknown():
    assert usage.read({"prompt_tokens": 0, "completion_tokens": 0}) == Usage(0, output_tokens=0)


@pytest.mark.parametrize("nothing", [None, {}, [], "12", 12, {"total_tokens": 3}])
def test_no_usage_is_none(nothing):
    assert usage.read(nothing) is None


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.sampled_from([*CHAT, *RESPONSES]), inner),
    max_leaves=10,
)


@given(st.dictionaries(st.sampled_from([*CHAT, *RESPONSES, "cached_tokens"]), JSON) | JSON)
def test_no_json_makes_it_raise_or_count_nonsense(spelled):
    read = usage.read(spelled)
    for name in Usage.__struct_fields__:
        count = getattr(read, name, None)
        assert count is None or (type(count) is int and 0 <= count <= usage.MOST_TOKENS)


OPENAI: dict[str, Any] = {
    "prompt_tokens": 10,
    "completion_tokens": 5,
    "total_tokens": 15,
    "prompt_tokens_details": {"cached_tokens": 4, "audio_tokens": 0},
    "completion_tokens_details": {
        "reasoning_tokens": 3,
        "audio_tokens": 0,
        "accepted_prediction_tokens": 0,
        "rejected_prediction_tokens": 0,
    },
}
VLLM = {**IN_TEN, "total_tokens": 15, "prompt_tokens_details": None}


@pytest.mark.parametrize("sent", [OPENAI, VLLM, IN_TEN])
def test_what_most_servers_send_is_read_at_a_glance(sent):
    assert usage.plain(sent) == usage.in_full(sent)


def _some_of(names, values):
    return st.dictionaries(st.sampled_from(names), values, max_size=2)


ODD = st.sampled_from(
    [None, True, -1, 0.0, 7.0, 7.5, 2**53, 2**53 + 1, 2**70, "7", "", [], [1], {}, {"a": 1}]
)
COUNTS = st.integers(0, 4) | st.integers(0, 12) | ODD
INSIDE = (
    *("cached_tokens", "audio_tokens", "reasoning_tokens", "accepted_prediction_tokens"),
    *("rejected_prediction_tokens", "text_tokens", "image_tokens", "cache_write_tokens"),
)
WHOLES = ("prompt_tokens", "completion_tokens", "total_tokens", "input_tokens", "cached_tokens")
DETAILS = ("prompt_tokens_details", "completion_tokens_details")


@st.composite
def usage_objects(draw):
    """OpenAI's, in which some counts are others, missing or odd, and some are there besides."""
    changed = {**OPENAI, **draw(_some_of(WHOLES, COUNTS))}
    for name in DETAILS:
        inside = {**OPENAI[name], **draw(_some_of(INSIDE, COUNTS))}
        changed[name] = draw(st.just(inside) | COUNTS)
    missing = draw(st.sets(st.sampled_from([*changed]), max_size=2))
    return {key: value for key, value in changed.items() if key not in missing}


def _told(**counts):
    return st.none() | st.fixed_dictionaries({}, optional=counts)


FEW = st.integers(0, 12)
ALL_WELL = st.fixed_dictionaries(
    {"prompt_tokens": FEW, "completion_tokens": FEW},
    optional={
        "total_tokens": st.integers(0, 30),
        "prompt_tokens_details": _told(cached_tokens=FEW, audio_tokens=st.integers(0, 1)),
        "completion_tokens_details": _told(reasoning_tokens=FEW, audio_tokens=st.none()),
    },
)


@settings(max_examples=300)
@given(st.one_of(ALL_WELL, usage_objects(), _some_of((*WHOLES, *DETAILS), COUNTS)), st.booleans())
def test_a_glance_sees_what_is_read_in_full(sent, thoughts_in_total):
    said = usage.in_full(sent, thoughts_in_total)
    assert repr(usage.reading(sent, thoughts_in_total)) == repr(said)

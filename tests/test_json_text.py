"""JSON with the numbers that JSON has not: what Python's json module writes is read, and the other way."""

from __future__ import annotations

import json
import math
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from batch import json_text

LEAVES = st.none() | st.booleans() | st.integers() | st.floats() | st.text()
VALUES = st.recursive(
    LEAVES,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=12,
)


@given(VALUES)
def test_reads_what_json_dumps_writes_and_writes_what_json_loads_reads(value: Any) -> None:
    assert repr(json_text.decode(json.dumps(value))) == repr(value)
    assert repr(json.loads(json_text.encode(value))) == repr(value)
    assert repr(json_text.decode(json_text.encode(value))) == repr(value)


@given(VALUES)
def test_finite_is_what_strict_json_gives_back(value: Any) -> None:
    back = msgspec.json.decode(msgspec.json.encode(value))
    assert json_text.is_finite(value) == (repr(back) == repr(value))


@pytest.mark.parametrize(
    "text", ["", "{", "nan", "[NaN", '"NaN', "NaN NaN", r'["\ud800", NaN]', "infinity", "[1,]"]
)
def test_what_is_no_json_stays_none(text: str) -> None:
    for form in (text, text.encode()):
        with pytest.raises(msgspec.DecodeError):
            json_text.decode(form)


def test_large_numbers_are_infinite_and_pairs_of_surrogates_characters() -> None:
    assert json_text.decode(b'[1e400, -1e400, "\\ud83d\\ude00"]') == [math.inf, -math.inf, "😀"]

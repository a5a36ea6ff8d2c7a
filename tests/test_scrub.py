"""No slice of a secret that means anything gets through."""

from __future__ import annotations

from base64 import b64encode
from urllib.parse import quote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from batch.scrub import MASK, SLICE, Scrubber

KEY = "sk-canary_0123456789+ABCDEFGHIJ/klmnopqrstuvwxyz="
KEYS = st.text(
    "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_+/=", min_size=16, max_size=80
)


@pytest.mark.parametrize(
    "form",
    [
        KEY,
        quote(KEY, safe=""),
        b64encode(KEY.encode()).decode(),
        b64encode(f"Bearer {KEY}".encode()).decode(),
        b64encode(f"user:{KEY}".encode()).decode(),
        KEY[5 : 5 + SLICE],
        KEY[:-3],
    ],
)
def test_masks_every_form_in_the_midst_of_text(form: str) -> None:
    scrubber = Scrubber([KEY])
    text = f"Incorrect API key provided: {form}. Look it up."

    clean = scrubber.clean(text)

    assert scrubber.suspects(text.encode())
    assert MASK in clean
    assert clean.startswith("Incorrect API key provided: ")
    assert clean.endswith(". Look it up.")
    assert not any(KEY[at : at + SLICE] in clean for at in range(len(KEY) - SLICE + 1))


@given(KEYS, st.text(max_size=50), st.text(max_size=50), st.data())
def test_no_slice_survives(key: str, before: str, after: str, data: st.DataObject) -> None:
    start = data.draw(st.integers(0, len(key) - SLICE))
    end = data.draw(st.integers(start + SLICE, len(key)))
    scrubber = Scrubber([key])

    clean = scrubber.clean(before + key[start:end] + after)

    assert not any(key[at : at + SLICE] in clean for at in range(len(key) - SLICE + 1))


@given(KEYS, st.binary(max_size=50), st.binary(max_size=50), st.data())
def test_suspects_whatever_holds_a_slice(
    key: str, before: bytes, after: bytes, data: st.DataObject
) -> None:
    start = data.draw(st.integers(0, len(key) - SLICE))

    assert Scrubber([key]).suspects(before + key[start : start + SLICE].encode() + after)


def test_leaves_other_text_alone() -> None:
    scrubber = Scrubber([KEY])
    text = "The quick brown fox; sk-other_key_9876543210."

    assert scrubber.clean(text) == text
    assert scrubber.clean_bytes(b"\xff\xfe plain") == b"\xff\xfe plain"


def test_without_a_secret_nothing_is_touched() -> None:
    assert Scrubber([]).clean(KEY) == KEY
    assert not Scrubber([]).suspects(KEY.encode())


def test_cleans_bytes_that_are_no_text() -> None:
    clean = Scrubber([KEY]).clean_bytes(b"\xff" + KEY.encode() + b"\x80")

    assert clean == b"\xff" + MASK.encode() + b"\x80"

"""No slice of a secret that means anything gets through."""

from __future__ import annotations

import json
from base64 import b64encode, urlsafe_b64encode
from urllib.parse import quote

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from batch.transport.redaction import MASK, SLICE, Scrubber

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


@settings(deadline=None)
@given(KEYS, st.binary(max_size=9), st.binary(max_size=9))
def test_no_key_can_be_read_out_of_base64(key: str, before: bytes, after: bytes) -> None:
    first, last = (len(before) + 2) // 3 * 4, (len(before) + len(key)) // 3 * 4
    for encode in (b64encode, urlsafe_b64encode):
        encoded = encode(before + key.encode() + after).decode()
        inner = encoded[first:last]
        clean = Scrubber([key]).clean(f"x {encoded} y")
        assert not any(inner[at : at + SLICE] in clean for at in range(len(inner) - SLICE + 1))


@settings(deadline=None)
@given(KEYS)
def test_finds_a_key_in_urls_and_json(key: str) -> None:
    scrubber = Scrubber([key])
    for written in (quote(key, safe=""), quote(key), json.dumps(key)[1:-1]):
        assert written not in scrubber.clean(f"x={written}&y")


def test_masks_every_one_of_several_secrets_and_short_ones_whole() -> None:
    keys = ["hunter2", *(f"key-number-{number}-{'abc' * number}" for number in range(1, 4))]

    assert Scrubber(keys).clean(" ".join(keys)) == " ".join([MASK] * 4)
    assert Scrubber(["abc"]).clean("abc is a word") == "abc is a word"


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

"""Vectors are the same as bytes, in a journal and in Arrow, to the bit."""

from __future__ import annotations

import random
import struct

import msgspec
import pyarrow as pa
import pytest

from batch import vectors
from batch.model import Result
from batch.store import journal

CHANCE = random.Random(0)
LARGEST = struct.unpack("<f", b"\xff\xff\x7f\x7f")[0]
HELD = [
    [0.1, -0.1, 1 / 3, 1e-46, -5e-324, 1e-40, -0.0],
    None,
    [LARGEST, -LARGEST, LARGEST * (1 + 1e-8), 2.0**128 * (1 - 2**-53), 16_777_217.0],
    [],
    [CHANCE.uniform(-1, 1) for _ in range(500)],
]


def bits(array: pa.Array) -> list[bytes | None]:
    return [
        each if each is None else struct.pack(f"<{len(each)}f", *each) for each in array.to_pylist()
    ]


def test_numbers_are_rounded_as_arrow_rounds_them():
    packed = [None if each is None else vectors.packed(each) for each in HELD]
    asked = pa.array(HELD, vectors.IN_ARROW)
    assert vectors.column(packed).equals(asked)
    assert bits(vectors.column(packed)) == bits(asked) == packed


def test_lists_of_older_journals_become_the_same_column():
    made = vectors.column(HELD)
    made.validate(full=True)
    assert made.equals(pa.array(HELD, vectors.IN_ARROW))


@pytest.mark.parametrize("name", ["item", "element"])
def test_vectors_are_found_in_any_piece_of_a_column(name):
    held = pa.array(HELD, pa.list_(pa.field(name, pa.float32())))
    packed = [None if each is None else vectors.packed(each) for each in HELD]
    for first in range(len(HELD)):
        for end in range(first, len(HELD) + 1):
            assert vectors.of_column(held[first:end]) == packed[first:end]


def test_what_lies_under_a_null_is_no_vector():
    values, offsets = pa.array([1.0, 2, 3], pa.float32()), pa.array([0, 1, 3], pa.int32())
    held = pa.ListArray.from_arrays(offsets, values, mask=pa.array([True, False]))
    assert vectors.of_column(held) == [None, vectors.packed([2, 3])]


def test_bytes_that_are_no_whole_numbers_are_no_vector():
    with pytest.raises(ValueError, match="bytes"):
        vectors.numbers(b"abcde")


def test_a_line_of_the_journal_is_hardly_longer_than_its_vector():
    vector = vectors.packed([CHANCE.uniform(-1, 1) for _ in range(1_536)])
    line = journal.line(Result(row=1, status="ok", embedding=vector))
    assert len(line) < 1_536 * 4 * 4 / 3 + 200
    payload = journal.payload(line)
    assert payload is not None
    assert msgspec.json.decode(payload, type=Result).embedding == vector

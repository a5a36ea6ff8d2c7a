"""A sample is the same rows for ever."""

from __future__ import annotations

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from batch import sampling
from batch.sampling import MOST_SEED, Chosen

GAMMA = 0x9E3779B97F4A7C15
WHOLE = 2**64


def output(state):
    """That of SplitMix64, as its authors write it."""
    state = (state ^ (state >> 30)) * 0xBF58476D1CE4E5B9 % WHOLE
    state = (state ^ (state >> 27)) * 0x94D049BB133111EB % WHOLE
    return state ^ (state >> 31)


def hashed(seed, row):
    return output((output((seed + GAMMA) % WHOLE) + (row + 1) * GAMMA) % WHOLE)


def test_the_first_outputs_of_splitmix64_are_those_that_others_publish():
    found = [output((1234567 + step * GAMMA) % WHOLE) for step in (1, 2, 3)]
    assert found == [6457827717110365317, 3203168211198807973, 9817491932198370423]


@pytest.mark.parametrize(
    ("rows", "size", "seed", "numbers"),
    [
        (20, 5, 0, [5, 7, 11, 12, 19]),
        (20, 5, 1, [2, 4, 8, 12, 19]),
        (1_000_000, 4, 0, [137641, 362432, 366487, 865447]),
        (3_000_000, 4, MOST_SEED, [536218, 2185461, 2697180, 2813661]),
    ],
)
def test_these_rows_are_chosen_by_every_version(rows, size, seed, numbers):
    assert list(Chosen(rows, size, seed).numbers) == numbers


@given(st.integers(0, 3_000), st.integers(1, 300), st.integers(0, MOST_SEED))
def test_the_rows_with_the_smallest_hashes_are_chosen(rows, size, seed):
    expected = sorted(sorted(range(rows), key=lambda row: hashed(seed, row))[:size])
    found = Chosen(rows, size, seed)
    assert list(found.numbers) == expected
    assert len(found) == len(expected)


def test_a_small_sample_lies_in_a_larger_one_and_another_seed_is_another_sample():
    small, large = set(Chosen(5_000, 100, 7).numbers), set(Chosen(5_000, 1_000, 7).numbers)
    assert small < large
    assert len(small & set(Chosen(5_000, 100, 8).numbers)) < 20


def test_rows_are_chosen_evenly():
    numbers = Chosen(100_000, 10_000).numbers
    tenths = [sum(1 for row in numbers if row // 10_000 == tenth) for tenth in range(10)]
    assert all(900 < count < 1_100 for count in tenths), tenths


def test_a_place_is_that_of_a_row_and_between_gives_rows():
    found = Chosen(500, 40, 3)
    rows = list(found.numbers)
    assert [found.place(row) for row in rows] == list(range(40))
    assert list(found.between(0, 500)) == rows
    assert list(found.between(rows[3], rows[9])) == rows[3:9]
    assert list(found.between(rows[3] + 1, rows[9] + 1)) == rows[4:10]


def test_of_any_rows_the_same_are_chosen_as_of_all_that_are_there():
    chunks = [pa.array(range(first, first + 50)) for first in range(0, 500, 50)]
    assert sampling.smallest(chunks, 40, 3).to_pylist() == list(Chosen(500, 40, 3).numbers)
    assert sampling.smallest(chunks, 900, 3).to_pylist() == list(range(500))

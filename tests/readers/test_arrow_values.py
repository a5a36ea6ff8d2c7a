"""Arrays of every layout as arrays of one plain type, and as bytes that tell their values."""

from __future__ import annotations

import pyarrow as pa
import pytest

from batch.errors import InputError
from batch.readers import arrow_values

TEXTS = ["a", None, "", "ccc", "Zürich", "a", None, "dd"]
LAYOUTS = {
    "string": pa.array(TEXTS, pa.string()),
    "large": pa.array(TEXTS, pa.large_string()),
    "view": pa.array(TEXTS, pa.string_view()),
    "words": pa.array(TEXTS).dictionary_encode(),
    "words of views": pa.DictionaryArray.from_arrays(
        pa.array([0, None, 1, 2, 3, 0, None, 4], pa.uint32()),
        pa.array(["a", "", "ccc", "Zürich", "dd"], pa.string_view()),
    ),
}
"""The same texts, in all ways that libraries lay them out."""

ENDS = [0, 2, 2, 5, 8]
GAPS = pa.array([False, True, False, False])


def as_list(texts: pa.Array) -> pa.Array:
    return pa.ListArray.from_arrays(pa.array(ENDS, pa.int32()), texts, mask=GAPS)


def as_large_list(texts: pa.Array) -> pa.Array:
    return pa.LargeListArray.from_arrays(pa.array(ENDS, pa.int64()), texts, mask=GAPS)


def as_views(texts: pa.Array) -> pa.Array:
    begins, sizes = pa.array(ENDS[:-1], pa.int32()), pa.array([2, 0, 3, 3], pa.int32())
    return pa.ListViewArray.from_arrays(begins, sizes, texts, mask=GAPS)


def as_pairs(texts: pa.Array) -> pa.Array:
    return pa.FixedSizeListArray.from_arrays(texts, 2, mask=GAPS)


def as_struct(texts: pa.Array) -> pa.Array:
    return pa.StructArray.from_arrays([texts, pa.array(range(8))], names=["text", "n"])


def as_map(texts: pa.Array) -> pa.Array:
    return pa.MapArray.from_arrays(ENDS, pa.array(list("abcdefgh")), texts)


def as_is(texts: pa.Array) -> pa.Array:
    return texts


NESTINGS = [as_is, as_list, as_large_list, as_views, as_pairs, as_struct, as_map]


def known_by(*arrays: pa.Array) -> bytes:
    pieces = [piece for array in arrays for piece in arrow_values.pieces(array)]
    return b"".join(arrow_values.canonical(pieces))


@pytest.mark.parametrize("nest", NESTINGS)
@pytest.mark.parametrize("layout", LAYOUTS)
def test_every_layout_has_the_same_plain_values_and_bytes(layout, nest):
    made, plain = nest(LAYOUTS[layout]), nest(LAYOUTS["string"])
    for begin, length in ((0, len(made)), (1, 2), (2, len(made)), (3, 0)):
        (piece,) = arrow_values.pieces(made.slice(begin, length))
        piece.validate(full=True)
        assert piece.type == arrow_values.plain(made.type) == arrow_values.plain(plain.type)
        assert piece.to_pylist() == plain.slice(begin, length).to_pylist()
        assert known_by(piece) == known_by(plain.slice(begin, length))


@pytest.mark.parametrize("nest", NESTINGS)
@pytest.mark.parametrize("layout", [name for name in LAYOUTS if name != "string"])
def test_what_is_too_large_for_one_array_comes_in_pieces(layout, nest):
    made = nest(LAYOUTS[layout])
    found = list(arrow_values.pieces(made, most=10))
    assert [value for piece in found for value in piece.to_pylist()] == made.to_pylist()
    assert known_by(*found) == known_by(nest(LAYOUTS["string"]))
    sizes = [len(b"".join(arrow_values.canonical([piece]))) for piece in found]
    assert len(found) > 1 and max(sizes) < len(known_by(made))


def test_runs_of_one_value_and_numbers_in_a_dictionary_are_plain_values():
    ends = pa.array([2, 3], pa.int32())
    runs = pa.RunEndEncodedArray.from_arrays(ends, pa.array(["a", None]))
    assert known_by(runs) == known_by(pa.array(["a", "a", None]))
    numbers = pa.array([3, None, 3])
    assert known_by(numbers.dictionary_encode()) == known_by(numbers)
    lists = pa.DictionaryArray.from_arrays(pa.array([0, None, 0]), pa.array([["a"]]))
    assert known_by(lists) == known_by(pa.array([["a"], None, ["a"]]))


def test_one_value_that_no_array_holds_is_an_error():
    with pytest.raises(InputError, match="larger than 2 bytes"):
        list(arrow_values.pieces(LAYOUTS["large"], most=2))


def test_where_one_value_ends_makes_a_difference():
    assert known_by(pa.array(["ab", "c"])) != known_by(pa.array(["a", "bc"]))
    assert known_by(pa.array([["a"], []])) != known_by(pa.array([[], ["a"]]))
    assert known_by(pa.array(["", None])) != known_by(pa.array([None, ""]))

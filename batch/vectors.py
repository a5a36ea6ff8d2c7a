"""Vectors of floats of 32 bits, as their bytes, little-endian: 4 bytes a number, where a list takes 32."""

from __future__ import annotations

import sys
from array import array
from collections.abc import Sequence
from itertools import accumulate, pairwise

import pyarrow as pa

IN_ARROW = pa.list_(pa.float32())

Vector = bytes | list[float]
"""A list in journals of older versions."""


def packed(numbers: Sequence[float]) -> bytes:
    """The nearest that 32 bits hold of each number; what is beyond them is infinite, as in Arrow."""
    return _turned(numbers if isinstance(numbers, array) else array("f", numbers)).tobytes()


def numbers(vector: bytes) -> array[float]:
    """The numbers of a vector.  Raises ValueError where its bytes are no whole ones."""
    found = array("f")
    found.frombytes(vector)
    return _turned(found)


def column(held: Sequence[Vector | None]) -> pa.Array:
    """An array of vectors, of the type IN_ARROW, without a Python object for each number."""
    known = [each if isinstance(each, bytes | None) else packed(each) for each in held]
    raw = b"".join([each for each in known if each is not None])
    flat = pa.py_buffer(raw if sys.byteorder == "little" else numbers(raw).tobytes())
    values = pa.Array.from_buffers(pa.float32(), len(raw) // 4, [None, flat])
    ends = accumulate((len(each or b"") // 4 for each in known), initial=0)
    nulls = pa.array([each is None for each in known], pa.bool_())
    return pa.ListArray.from_arrays(pa.array(ends, pa.int32()), values, mask=nulls)


def of_column(held: pa.ListArray) -> list[bytes | None]:
    """The vectors of an array of the type IN_ARROW, whatever its field is called."""
    values = held.values
    if values.null_count:  # as no run of ours has them
        return [None if each is None else packed(each) for each in held.to_pylist()]
    flat = memoryview(values.buffers()[1] or b"").cast("B")
    at = [4 * (values.offset + offset) for offset in held.offsets.to_pylist()]
    slices = (bytes(flat[begin:end]) for begin, end in pairwise(at))
    made = slices if sys.byteorder == "little" else (packed(numbers(each)) for each in slices)
    return [
        vector if there else None
        for vector, there in zip(made, held.is_valid().to_pylist(), strict=True)
    ]


def _turned(values: array[float]) -> array[float]:
    """From the order of this machine to little-endian, or back."""
    if sys.byteorder == "big":
        values = values[:]
        values.byteswap()
    return values

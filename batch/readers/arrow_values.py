"""The values of an Arrow array as bytes, and its type, whatever library laid them out.

Two arrays of one plain type give the same bytes exactly where they hold the same values.
"""

from __future__ import annotations

from collections.abc import Iterator

import pyarrow as pa
import pyarrow.compute as pc


def plain(kind: pa.DataType) -> pa.DataType:
    """The type as which values of this one are kept: one for all kinds of text, of bytes and of
    lists, and no dictionaries.
    """
    types = pa.types
    if isinstance(kind, pa.BaseExtensionType):
        return plain(kind.storage_type)
    if types.is_dictionary(kind):
        return plain(kind.value_type)
    if types.is_large_string(kind) or types.is_string_view(kind):
        return pa.string()
    if types.is_large_binary(kind) or types.is_binary_view(kind):
        return pa.binary()
    if types.is_map(kind):
        return pa.map_(plain(kind.key_type), plain(kind.item_type))
    if types.is_fixed_size_list(kind):
        return pa.list_(plain(kind.value_type), kind.list_size)
    if types.is_list(kind) or types.is_large_list(kind):
        return pa.list_(plain(kind.value_type))
    if types.is_struct(kind):
        return pa.struct([pa.field(field.name, plain(field.type)) for field in kind])
    return kind


def canonical(array: pa.Array) -> Iterator[bytes]:
    """The values of an array of a plain type: which there are, how long each is, and what is in it."""
    types, kind = pa.types, array.type
    yield _bytes(pc.is_valid(array).cast(pa.uint8()))
    held = array.drop_null()
    if types.is_null(kind):
        return
    if types.is_struct(kind):
        for number in range(kind.num_fields):
            yield from canonical(pc.struct_field(held, [number]))
    elif types.is_map(kind):
        yield _bytes(pc.list_value_length(_as_lists(held)))
        yield from canonical(_as_lists(held).flatten())
    elif types.is_list(kind) or types.is_fixed_size_list(kind):
        yield _bytes(pc.list_value_length(held))
        yield from canonical(held.flatten())
    elif types.is_string(kind) or types.is_binary(kind):
        yield _bytes(pc.binary_length(held))
        yield _characters(held)
    elif types.is_boolean(kind):
        yield _bytes(held.cast(pa.uint8()))
    else:
        yield _bytes(held)


def _as_lists(maps: pa.Array) -> pa.Array:
    kind = maps.type
    entry = pa.struct([pa.field("key", kind.key_type), pa.field("value", kind.item_type)])
    return maps.cast(pa.list_(entry))


def _bytes(array: pa.Array) -> bytes:
    """The values of an array without nulls whose values have one width."""
    width = array.type.bit_width // 8
    values = array.buffers()[1]
    if values is None or not len(array):
        return b""
    return values.slice(array.offset * width, len(array) * width).to_pybytes()  # type: ignore[no-any-return]


def _characters(array: pa.Array) -> bytes:
    """All texts of an array without nulls, one behind the other."""
    offsets, characters = array.buffers()[1:]
    if characters is None or not len(array):
        return b""
    ends = memoryview(offsets).cast("i")
    begin, end = ends[array.offset], ends[array.offset + len(array)]
    return characters.slice(begin, end - begin).to_pybytes()  # type: ignore[no-any-return]

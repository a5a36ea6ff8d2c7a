"""The values of Arrow arrays as bytes, and their plain type, whatever library laid them out.

Arrays of one plain type give the same bytes exactly where they hold the same values, however they are
cut.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import pyarrow as pa
import pyarrow.compute as pc

from batch.errors import InputError

MOST = 2**31 - 1
"""The bytes of text, and the values of lists, that one array of a plain type holds."""

TEXTS = (pa.string(), pa.binary())
"""The plain types of text and of bytes."""


class TooMany(Exception):
    """More is in an array than a plain one holds."""


def plain(kind: pa.DataType) -> pa.DataType:
    """The type as which values of this one are kept: one for all kinds of text, of bytes and of
    lists, and no dictionaries.
    """
    types = pa.types
    if isinstance(kind, pa.BaseExtensionType):
        return plain(kind.storage_type)
    if types.is_dictionary(kind) or types.is_run_end_encoded(kind):
        return plain(kind.value_type)
    if types.is_large_string(kind) or types.is_string_view(kind):
        return pa.string()
    if types.is_large_binary(kind) or types.is_binary_view(kind):
        return pa.binary()
    if types.is_map(kind):
        return pa.map_(plain(kind.key_type), plain(kind.item_type))
    if types.is_fixed_size_list(kind):
        return pa.list_(plain(kind.value_type), kind.list_size)
    if _is_list(kind):
        return pa.list_(plain(kind.value_type))
    if types.is_struct(kind):
        return pa.struct([pa.field(field.name, plain(field.type)) for field in kind])
    return kind


def pieces(array: pa.Array, most: int = MOST) -> Iterator[pa.Array]:
    """The values as arrays of the plain type, in as many pieces as their size wants.  Raises InputError
    for one value that is too large, and ArrowException.
    """
    try:
        yield _plainly(array, most)
        return
    except TooMany:
        half = len(array) // 2
    if not half:
        raise InputError(f"one value is larger than {most:,} bytes")
    yield from pieces(array.slice(0, half), most)
    yield from pieces(array.slice(half), most)


def _plainly(array: pa.Array, most: int) -> pa.Array:
    """The same values as an array of the plain type.  Raises TooMany."""
    types, kind = pa.types, plain(array.type)
    if isinstance(array.type, pa.BaseExtensionType):
        return _plainly(array.storage, most)
    if types.is_dictionary(array.type):
        return _plainly(_of_words(array, most), most)
    if types.is_run_end_encoded(array.type):
        return _plainly(pc.run_end_decode(array), most)
    if array.type == kind:
        return array
    nulls = array.is_null()
    if types.is_struct(kind):
        fields = [_plainly(array.field(at), most) for at in range(kind.num_fields)]
        return pa.StructArray.from_arrays(fields, fields=list(kind), mask=nulls)
    if types.is_map(kind):
        lists = _as_lists(array)
        entries, ends = _plainly(lists.flatten(), most), _ends(lists, most)
        return pa.MapArray.from_arrays(ends, entries.field(0), entries.field(1), kind, mask=nulls)
    if types.is_fixed_size_list(kind):
        size = kind.list_size
        values = _plainly(array.values.slice(array.offset * size, len(array) * size), most)
        return pa.FixedSizeListArray.from_arrays(values, type=kind, mask=nulls)
    if types.is_list(kind):
        values, ends = _plainly(array.flatten(), most), _ends(array, most)
        return pa.ListArray.from_arrays(ends, values, kind, mask=nulls)
    wide = _wide(array)
    _check(pc.binary_length(wide), most)
    try:
        return wide.cast(kind)
    except pa.ArrowInvalid:  # a slice behind the first 2 GB
        return wide.take(pa.array(range(len(wide)), pa.int64())).cast(kind)


def _of_words(array: pa.Array, most: int) -> pa.Array:
    """The values of a dictionary array without the dictionary."""
    words, kind = array.dictionary, array.type.value_type
    if plain(kind) in TEXTS:
        words = _wide(words)  # all of them may be more than one array holds
    elif kind != plain(kind):
        words = _plainly(words, most)
    return words.take(array.indices)


def _wide(texts: pa.Array) -> pa.Array:
    """Texts, or bytes, with lengths that are not bounded and can be asked for."""
    wide = pa.large_string() if plain(texts.type) == pa.string() else pa.large_binary()
    return texts if texts.type == wide else texts.cast(wide)


def _check(lengths: pa.Array, most: int) -> None:
    if (pc.sum(lengths.cast(pa.int64())).as_py() or 0) > most:
        raise TooMany


def _ends(lists: pa.Array, most: int) -> pa.Array:
    """Where each list ends among all their values, behind where the first begins."""
    lengths = pc.fill_null(pc.list_value_length(lists).cast(pa.int64()), 0)
    _check(lengths, most)
    ends = pa.concat_arrays([pa.array([0], pa.int64()), pc.cumulative_sum(lengths)])
    return ends.cast(pa.int32())


def _is_list(kind: pa.DataType) -> bool:
    types = pa.types
    views = types.is_list_view(kind) or types.is_large_list_view(kind)
    return bool(types.is_list(kind) or types.is_large_list(kind) or views)


def canonical(pieces: Sequence[pa.Array]) -> Iterator[bytes]:
    """The values of a column of a plain type: which there are, how long each is, and what is in it.
    Raises InputError for values of no known form.
    """
    if not pieces:
        return
    types, kind = pa.types, pieces[0].type
    for piece in pieces:
        yield _bytes(pc.is_valid(piece).cast(pa.uint8()))
    held = [piece.drop_null() for piece in pieces]
    if types.is_null(kind):
        return
    if types.is_struct(kind):
        for number in range(kind.num_fields):
            yield from canonical([pc.struct_field(each, [number]) for each in held])
    elif types.is_map(kind) or types.is_list(kind) or types.is_fixed_size_list(kind):
        lists = [_as_lists(each) if types.is_map(kind) else each for each in held]
        yield from (_bytes(pc.list_value_length(each)) for each in lists)
        yield from canonical([each.flatten() for each in lists])
    elif types.is_string(kind) or types.is_binary(kind):
        yield from (_bytes(pc.binary_length(each)) for each in held)
        yield from map(_characters, held)
    elif types.is_boolean(kind):
        yield from (_bytes(each.cast(pa.uint8())) for each in held)
    else:
        yield from map(_bytes, held)


def _as_lists(maps: pa.Array) -> pa.Array:
    kind = maps.type
    entry = pa.struct([pa.field("key", kind.key_type), pa.field("value", kind.item_type)])
    return maps.cast(pa.list_(entry))


def _bytes(array: pa.Array) -> bytes:
    """The values of an array without nulls whose values have one width."""
    try:
        width = array.type.bit_width // 8
    except ValueError:
        raise InputError(f"values of the type {array.type} are not taken") from None
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

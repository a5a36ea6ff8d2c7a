"""Two sides of a comparison joined row by row, and how far they agree in each field."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import reduce
from typing import NamedTuple

import msgspec
import pyarrow as pa
import pyarrow.compute as pc

from batch.errors import UsageError
from batch.reports import agreement
from batch.reports.agreement import Agreement
from batch.reports.sides import CUSTOM_ID, ROW, TEXT, Side

MOST_DIFFERENCES = 200
"""Rows that differ of which the values are kept: the first ones."""


EXACT = 2**53
"""Whole numbers below are told apart by a float."""


class Difference(msgspec.Struct, frozen=True):
    """A row in which the sides differ: its key, and by field what one has and the other."""

    key: str
    values: dict[str, tuple[str, str]]


class Match(msgspec.Struct, frozen=True, kw_only=True):
    """Rows of two sides, of which `joined` have the same value of `on`.  `rows` are those that any
    side has; `failed` are joined, and failed on either side.  They, and rows in which a field is null,
    enter no agreement.  `differing` rows differ in any field; `differences` are the first of them.
    """

    on: str
    rows: int
    joined: int
    only_a: int
    only_b: int
    failed: int
    fields: dict[str, Agreement]
    differing: int
    differences: list[Difference]


class _Pair(NamedTuple):
    """A field of joined rows as text, and in which of them it is told on both sides and none failed."""

    a: pa.ChunkedArray
    b: pa.ChunkedArray
    told: pa.ChunkedArray

    def agreement(self, answered: int) -> Agreement:
        a, b = self.a.filter(self.told), self.b.filter(self.told)
        return agreement.of(a, b, answered - len(a))

    def differs(self) -> pa.ChunkedArray:
        return pc.and_(self.told, pc.fill_null(pc.not_equal(self.a, self.b), False))


def key(a: Side, b: Side) -> tuple[str, str | None]:
    """What the rows of two runs are joined by where nobody says it: custom_id if both have one that
    is there in every answered row and only once, else row; and why not by custom_id, where any has it.
    """
    if not a.has(CUSTOM_ID) and not b.has(CUSTOM_ID):
        return ROW, None
    whys = [f"{side.name} {why}" for side in (a, b) if (why := _lacks(side))]
    return (ROW, f"joined by row and not by custom_id: {whys[0]}") if whys else (CUSTOM_ID, None)


def _lacks(side: Side) -> str | None:
    """What keeps the custom_id of a side from telling its rows apart."""
    if not side.has(CUSTOM_ID):
        return "has none"
    ids = side.key(CUSTOM_ID)
    if missing := ids.filter(pc.invert(side.rows["failed"])).null_count:
        return f"has none in {missing:,} answered rows"
    twice = _twice(ids)
    return None if twice is None else f"has {twice!r} more than once"


def _twice(keys: pa.ChunkedArray) -> str | None:
    """The first key that more than one row bears."""
    if pc.count_distinct(keys, mode="only_valid").as_py() == len(keys) - keys.null_count:
        return None
    counts = pc.value_counts(keys.drop_null())
    found: str = counts.field("values").filter(pc.greater(counts.field("counts"), 1))[0].as_py()
    return found


def match(a: Side, b: Side, on: str, names: Sequence[str]) -> Match:
    """The rows of both, joined.  Raises UsageError for a key that two rows of one side bear."""
    here, there = _joined(a, b, on)
    failed = pc.or_(here.rows["failed"], there.rows["failed"])
    joined, fails = len(failed), pc.sum(failed).as_py() or 0
    pairs = {name: _pair(here, there, name, failed) for name in names}
    differing, differences = _differences(here.key(on), pairs)
    return Match(
        on=on,
        rows=len(a.rows) + len(b.rows) - joined,
        joined=joined,
        only_a=len(a.rows) - joined,
        only_b=len(b.rows) - joined,
        failed=fails,
        fields={name: pair.agreement(joined - fails) for name, pair in pairs.items()},
        differing=differing,
        differences=differences,
    )


def _joined(a: Side, b: Side, on: str) -> tuple[Side, Side]:
    """The rows that both sides have, in the order of the first."""
    for side in (a, b):
        twice = _twice(side.key(on))
        if twice is not None:
            way = None if on == ROW else "--on names another column; --on row joins by place"
            raise UsageError(f"{side.name}: more than one row has the {on} {twice!r}", hint=way)
    places = pc.index_in(a.key(on), value_set=b.key(on), skip_nulls=True)
    here, there = a.rows.filter(pc.is_valid(places)), b.rows.take(places.drop_null())
    return a._replace(rows=here), b._replace(rows=there)


def _pair(a: Side, b: Side, name: str, failed: pa.ChunkedArray) -> _Pair:
    one, other = a.of(name), b.of(name)
    meant = _meant(a.types[name], b.types[name])
    if meant is not None:
        one, other = _mapped(one, meant), _mapped(other, meant)
    told = pc.and_(pc.is_valid(one), pc.is_valid(other))
    return _Pair(one, other, pc.and_(told, pc.invert(failed)))


def _meant(a: pa.DataType, b: pa.DataType) -> Callable[[str], str] | None:
    """How values of two types are written alike; None where they are."""
    if a == b:
        return None
    if pa.types.is_boolean(a) or pa.types.is_boolean(b):
        return _claim
    return _number if _is_number(a) or _is_number(b) else None


def _is_number(kind: pa.DataType) -> bool:
    return bool(
        pa.types.is_integer(kind) or pa.types.is_floating(kind) or pa.types.is_decimal(kind)
    )


def _claim(text: str) -> str:
    """true or false, however that is written."""
    word = text.lower()
    return {"1": "true", "0": "false"}.get(word, word)


def _number(text: str) -> str:
    """2.0 and 2e0 as 2; what is no number stays."""
    try:
        number = float(text)
    except ValueError:
        return text
    if abs(number) >= EXACT:
        return text
    return str(int(number)) if number.is_integer() else repr(number)


def _mapped(column: pa.ChunkedArray, meant: Callable[[str], str]) -> pa.ChunkedArray:
    """Each value as it is meant, worked out once."""
    known = column.unique()
    made = [None if text is None else meant(text) for text in known.to_pylist()]
    return pa.chunked_array([pa.array(made, TEXT)]).take(pc.index_in(column, value_set=known))


def _differences(keys: pa.ChunkedArray, pairs: Mapping[str, _Pair]) -> tuple[int, list[Difference]]:
    """How many rows differ in any field, and the first of them."""
    masks = {name: pair.differs() for name, pair in pairs.items()}
    differs = reduce(pc.or_, masks.values())
    first = pc.indices_nonzero(differs)[:MOST_DIFFERENCES]
    found = [Difference(key, {}) for key in keys.take(first).to_pylist()]
    for name, pair in pairs.items():
        columns = (column.take(first).to_pylist() for column in (masks[name], pair.a, pair.b))
        for difference, (differ, a, b) in zip(found, zip(*columns, strict=True), strict=True):
            if differ:
                difference.values[name] = (a, b)
    return pc.sum(differs).as_py() or 0, found

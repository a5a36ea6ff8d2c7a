"""Values of files that Python has no word for: as text where they are written down, to a prompt as
text or as what cannot be read.
"""

from __future__ import annotations

import datetime
from typing import Any

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from batch import values
from batch.model import Unreadable

LATE = 253_402_300_799_000_000  # 9999-12-31T23:59:59Z, in microseconds
EARLY = -62_135_596_800_000_000  # 0001-01-01T00:00:00Z
LARGEST = 2**63 - 1
MOMENT = "is no moment of the years 1 to 9999"
DAY = "is no day of the years 1 to 9999"


def text(value: bytes, kind: pa.DataType) -> pa.Array:
    return pa.array([value], pa.large_binary() if "large" in str(kind) else pa.binary()).view(kind)


@pytest.mark.parametrize(
    ("held", "written", "asked"),
    [
        (pa.array([LATE], pa.timestamp("us", "Europe/Berlin")), "9999-12-31T23:59:59Z", None),
        (pa.array([LATE + 1], pa.timestamp("us", "+01:00")), "9999-12-31T23:59:59.000001Z", None),
        (pa.array([EARLY], pa.timestamp("us", "America/New_York")), "0001-01-01T00:00:00Z", None),
        (pa.array([0], pa.timestamp("s", "No/Where")), "1970-01-01T00:00:00Z", None),
        (pa.array([LARGEST], pa.timestamp("us")), "infinity", MOMENT),
        (pa.array([-LARGEST], pa.timestamp("us", "UTC")), "-infinity", MOMENT),
        (pa.array([LATE + 10**6], pa.timestamp("us")), "10000-01-01T00:00:00", MOMENT),
        (pa.array([EARLY - 1], pa.timestamp("us")), "0000-12-31T23:59:59.999999", MOMENT),
        (pa.array([2**60], pa.timestamp("ms", "UTC")), "36536598-01-28T21:54:06.976Z", MOMENT),
        (pa.array([2**31 - 1], pa.date32()), "infinity", DAY),
        (pa.array([1 - 2**31], pa.date32()), "-infinity", DAY),
        (pa.array([-719_163], pa.date32()), "0000-12-31", DAY),
        (pa.array([-800_000], pa.date32()), "-0221-09-04", DAY),
        (pa.array([2_932_897], pa.date32()), "10000-01-01", DAY),
        (pa.array([86_400_000 * 2_932_897], pa.date64()), "10000-01-01", DAY),
        (pa.array([2**62], pa.duration("s")), f"PT{2**62}S", "is more than can be shown"),
        (pa.array([-(2**62)], pa.duration("ms")), f"-PT{2**62 // 1000}.{2**62 % 1000}S", "is more"),
        (text(b"caf\xe9!", pa.string()), "caf\\xe9!", "invalid UTF-8"),
        (text(b"caf\xe9!", pa.large_string()), "caf\\xe9!", "invalid UTF-8"),
    ],
    ids=str,
)
def test_what_python_cannot_hold_is_text_and_a_prompt_is_told_why(
    held: pa.Array, written: str, asked: str | None
) -> None:
    for inside, wrapped in nested(held).items():
        table = pa.table({"id": [1], "when": wrapped})
        found, seen = values.rows(table)[0], values.seen(table)[0]
        assert found == {"id": 1, "when": WRAPS[inside](written)}, inside
        if asked is None:
            assert seen == found, inside
        else:
            (leaf,) = leaves(seen["when"])
            assert isinstance(leaf, Unreadable), inside
            assert leaf.why.startswith("column when: ")
            assert asked in leaf.why


WRAPS: dict[str, Any] = {
    "plain": lambda value: value,
    "list": lambda value: [value],
    "large_list": lambda value: [value],
    "fixed_size_list": lambda value: [value],
    "list_view": lambda value: [value],
    "large_list_view": lambda value: [value],
    "struct": lambda value: {"t": value, "n": 1},
    "map": lambda value: [("k", value)],
    "dictionary": lambda value: value,
    "list of struct of list": lambda value: [{"t": [value]}],
}


def nested(held: pa.Array) -> dict[str, pa.Array]:
    ends = pa.array([0, 1], pa.int32())
    zero, one = pa.array([0], pa.int32()), pa.array([1], pa.int32())
    large = pa.array([0, 1], pa.int64())
    listed = pa.ListArray.from_arrays(ends, held)
    structs = pa.StructArray.from_arrays([listed], ["t"])
    made = {
        "plain": held,
        "list": listed,
        "large_list": pa.LargeListArray.from_arrays(large, held),
        "fixed_size_list": pa.FixedSizeListArray.from_arrays(held, 1),
        "list_view": pa.ListViewArray.from_arrays(zero, one, held),
        "large_list_view": pa.LargeListViewArray.from_arrays(large[:1], one.cast("int64"), held),
        "struct": pa.StructArray.from_arrays([held, pa.array([1])], ["t", "n"]),
        "map": pa.MapArray.from_arrays(ends, pa.array(["k"]), held),
        "dictionary": pa.DictionaryArray.from_arrays(pa.array([0], pa.int8()), held),
        "list of struct of list": pa.ListArray.from_arrays(ends, structs),
    }
    assert made.keys() == WRAPS.keys()
    return made


def leaves(value: Any) -> list[Any]:
    if isinstance(value, dict):
        return [leaf for inner in value.values() for leaf in leaves(inner) if leaf != 1]
    if isinstance(value, list | tuple):
        return [leaf for inner in value for leaf in leaves(inner) if leaf != "k"]
    return [value]


@pytest.mark.parametrize(
    ("held", "written", "seen"),
    [
        (
            pa.array([1_234_567_891], pa.timestamp("ns")),
            "1970-01-01T00:00:01.234567891",
            datetime.datetime(1970, 1, 1, 0, 0, 1, 234567),
        ),
        (
            pa.array([1_000], pa.timestamp("ns", "UTC")),
            datetime.datetime(1970, 1, 1, 0, 0, 0, 1, tzinfo=datetime.UTC),
            datetime.datetime(1970, 1, 1, 0, 0, 0, 1, tzinfo=datetime.UTC),
        ),
        (
            pa.array([-1], pa.timestamp("ns", "UTC")),
            "1969-12-31T23:59:59.999999999Z",
            datetime.datetime(1970, 1, 1, tzinfo=datetime.UTC),
        ),
        (pa.array([1_001], pa.time64("ns")), "00:00:00.000001001", datetime.time(0, 0, 0, 1)),
        (
            pa.array([1_234_567_891], pa.duration("ns")),
            "PT1.234567891S",
            datetime.timedelta(0, 1, 234567),
        ),
    ],
    ids=str,
)
def test_nanoseconds_are_written_down_and_a_prompt_sees_microseconds(
    held: pa.Array, written: Any, seen: Any
) -> None:
    for inside, wrapped in nested(held).items():
        table = pa.table({"when": wrapped})
        assert values.rows(table) == [{"when": WRAPS[inside](written)}], inside
        assert values.seen(table) == [{"when": WRAPS[inside](seen)}], inside


def test_nulls_and_good_values_beside_what_cannot_be_held_stay() -> None:
    kind = pa.struct([("t", pa.timestamp("us", "Europe/Berlin"))])
    held = pa.array([None, {"t": None}, {"t": 0}], kind)
    bad = pa.StructArray.from_arrays([pa.array([LATE], kind[0].type)], fields=list(kind))
    table = pa.table({"a": pa.chunked_array([held, bad])})

    *good, last = [row["a"] for row in values.rows(table)]

    assert good == held.to_pylist()
    assert last == {"t": "9999-12-31T23:59:59Z"}


def test_a_table_without_columns_has_its_rows() -> None:
    batch = pa.record_batch([pa.array([1, 2])], ["a"]).select([])
    assert values.rows(batch) == batch.to_pylist()


@given(st.integers(-(2**63), 2**63 - 1), st.sampled_from(["s", "ms", "us"]))
def test_moments_are_written_as_python_does_where_it_can(value: int, unit: str) -> None:
    (row,) = values.rows(pa.table({"t": pa.array([value], pa.timestamp(unit))}))
    if isinstance(row["t"], datetime.datetime):
        text = values._text(pa.scalar(value, pa.timestamp(unit)))
        assert datetime.datetime.fromisoformat(text) == row["t"]
    else:
        year = int(row["t"].rsplit("-", 2)[0]) if "inf" not in row["t"] else 0
        assert not 1 <= year <= 9999


def test_infinity_is_what_duckdb_calls_so(tmp_path: Any) -> None:
    path = tmp_path / "t.parquet"
    select = "'-infinity'::DATE AS d, 'infinity'::TIMESTAMP AS t, 'infinity'::TIMESTAMPTZ AS z"
    duckdb.sql(f"COPY (SELECT {select}) TO '{path}'")

    (row,) = values.rows(pq.read_table(path))

    assert list(row.values()) == ["-infinity", "infinity", "infinity"]


def test_texts_of_any_column_can_be_grouped() -> None:
    bad = text(b"caf\xe9!", pa.string())
    assert values.texts(pa.chunked_array([bad])).to_pylist() == ["caf\\xe9!"]
    zone = pa.chunked_array([pa.array([0, None], pa.timestamp("s", "No/Where"))])
    assert values.texts(zone).to_pylist() == ["1970-01-01T00:00:00Z", None]
    assert values.texts(pa.chunked_array([[1, None]])).to_pylist() == ["1", None]

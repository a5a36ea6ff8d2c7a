"""An input is cut into parts before anything is asked, by whatever way is quickest for its files, and
all ways give the same.
"""

from __future__ import annotations

import gzip
import json
import random
from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from batch.errors import InputError
from batch.model import Cut, Position, Row
from batch.readers import READERS, Batch, Input, lines, resolve
from batch.readers.cuts import cuts
from batch.sampling import Chosen
from tests.readers.test_readers import NAMES, RECORDS, save
from tests.reading import ran

ANY_SIZE = 1 << 40
LARGE = b'{"a": "' + b"x" * 300_000 + b'"}'
"""A few of these are more than what is looked at in one go."""

quickly = settings(
    max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)


def plan(source: Input, rows: int, size: int = ANY_SIZE, ahead: Cut | None = None) -> list[Cut]:
    return list(cuts(source, rows, size, ahead))


def rows_of(source: Input, batches: Iterator[Batch], first: int = 0) -> list[Row]:
    found: list[Row] = []
    for batch in batches:
        found += source.rows(batch, first + len(found))
    return found


def read(source: Input, start: Position, first: int, count: int) -> list[Row]:
    """The first `count` rows from `start` on."""
    found: list[Row] = []
    for batch in source.batches(start):
        found += source.rows(batch, first + len(found))
        if len(found) >= count:
            break
    return found[:count]


def assert_tiled(source: Input, parts: list[Cut], most: int) -> None:
    """That the parts are the input, each from where the one before ends."""
    whole = rows_of(source, source.batches())
    place, end = 0, Position()
    for number, part in enumerate(parts):
        assert (part.part, part.start_row, part.start) == (number, place, end)
        assert 1 <= part.rows <= most
        expected = whole[place : place + part.rows]
        assert read(source, part.start, part.start_row, part.rows) == expected
        place, end = place + part.rows, part.end
    assert place == len(whole)
    assert read(source, end, place, 1) == []


def assert_full(parts: list[Cut], most: int) -> None:
    """That all parts but the last have as many rows as they may."""
    assert all(part.rows == most for part in parts[:-1])


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("most", [3, 256, 299, 700, 1000])
def test_parts_are_the_input_in_every_format(tmp_path: Path, name: str, most: int) -> None:
    source = resolve(str(save(tmp_path / name, RECORDS)), tmp_path)
    few = source.sample(Chosen(len(RECORDS), 150, 7)) if most == 3 else source
    parts = plan(few, most)
    assert_tiled(few, parts, most)
    if few is not source or source.format not in ("parquet", "arrow"):
        assert_full(parts, most)


@pytest.mark.parametrize("name", NAMES)
def test_parts_of_a_sample_count_its_rows(tmp_path: Path, name: str) -> None:
    whole = resolve(str(save(tmp_path / name, RECORDS)), tmp_path)
    for size, most in ((0, 5), (1, 5), (90, 17), (700, 300), (900, 300)):
        source = whole.sample(Chosen(len(RECORDS), size, 3))
        parts = plan(source, most)
        assert_tiled(source, parts, most)
        assert sum(part.rows for part in parts) == min(size, len(RECORDS))


@pytest.mark.parametrize("name", NAMES)
def test_parts_end_where_they_have_enough_bytes(tmp_path: Path, name: str) -> None:
    source = resolve(str(save(tmp_path / name, RECORDS)), tmp_path)
    parts = plan(source, 10_000, 10_000)
    assert_tiled(source, parts, 10_000)
    assert 3 <= len(parts) <= 30
    assert [part.rows for part in plan(source, 10_000, 1)] == [1] * len(RECORDS)


TEXTS = [
    b'{"a": 1}',
    b' {"a": 2}\t',
    '{"a": "\u00e4\u2028"}'.encode(),
    b"no JSON",
    b"[]",
    b"\xff",
    b"",
    b" ",
    b"\t\x0b\x0c ",
    b"\r",
    b"\xef\xbb\xbf",
    b"\x1c",
    LARGE,
    b" " * 300_000,
]


@st.composite
def json_lines(draw: st.DrawFn) -> bytes:
    ends = draw(st.sampled_from([[b"\n"], [b"\r\n"], [b"\n", b"\r\n"]]))
    texts = draw(st.lists(st.sampled_from(TEXTS), max_size=30))
    text = b"".join(line + draw(st.sampled_from(ends)) for line in texts)
    last = draw(st.sampled_from(TEXTS))
    return draw(st.sampled_from([b"", b"\xef\xbb\xbf"])) + text + last


def places(path: Path) -> list[Position]:
    """Where each row of a file of JSON Lines ends, by its lines one by one."""
    return [
        Position(0, line.offset, line.number)
        for line in lines.read(str(path), Position())
        if line.text is None or line.text.strip()
    ]


@quickly
@given(json_lines(), st.integers(1, 12))
def test_lines_are_counted_as_they_are_read(tmp_path: Path, text: bytes, most: int) -> None:
    path = tmp_path / "in.jsonl"
    path.write_bytes(text)
    source, ends = Input((str(path),), "jsonl"), places(path)
    parts = plan(source, most)
    assert_tiled(source, parts, most)
    assert_full(parts, most)
    assert [part.end for part in parts] == [ends[part.start_row + part.rows - 1] for part in parts]


@quickly
@given(json_lines(), st.integers(1, 12), st.integers(1, 900_000))
def test_lines_are_cut_by_their_bytes_too(
    tmp_path: Path, text: bytes, most: int, size: int
) -> None:
    path = tmp_path / "in.jsonl"
    path.write_bytes(text)
    source = Input((str(path),), "jsonl")
    assert_tiled(source, plan(source, most, size), most)


@quickly
@given(json_lines(), json_lines(), st.integers(1, 12))
def test_parts_of_an_input_that_grew_follow_those_it_had(
    tmp_path: Path, text: bytes, more: bytes, most: int
) -> None:
    path = tmp_path / "in.jsonl"
    path.write_bytes(text + b"\n")
    source = Input((str(path),), "jsonl")
    before = plan(source, most)
    path.write_bytes(text + b"\n" + more)
    grown = Input((str(path),), "jsonl")
    parts = before + plan(grown, most, ahead=before[-1] if before else None)
    assert_tiled(grown, parts, most)


@quickly
@given(st.data())
def test_every_random_line_is_counted(tmp_path: Path, data: st.DataObject) -> None:
    chance = random.Random(data.draw(st.integers()))
    text = b"".join(chance.choices([b"{", b"\n", b"\r", b" ", b"{}\n", b"\n\n"], k=3000))
    path = tmp_path / "in.jsonl"
    path.write_bytes(text)
    most = data.draw(st.sampled_from([1, 7, 100]))
    ends = places(path)
    for part in plan(Input((str(path),), "jsonl"), most):
        assert part.end == ends[part.start_row + part.rows - 1]


@pytest.mark.parametrize(
    ("at", "over"), [("first", 1), ("last", 5), ("between", 0), ("between", 1), ("alone", 1)]
)
def test_a_line_that_is_too_long_is_a_row(tmp_path: Path, at: str, over: int) -> None:
    path = tmp_path / "in.jsonl"
    space = b" " * (lines.MAX_LINE + over - 1) + b"\n"
    before = b"" if at in ("first", "alone") else b'{"a": 1}\n\n{"a": 2}\n'
    after = b"" if at in ("last", "alone") else b'{"a": 3}\n{"a": 4}\n'
    path.write_bytes(before + space + after)
    ends = places(path)
    parts = plan(Input((str(path),), "jsonl"), 1)
    assert [part.end for part in parts] == ends
    whole = (2 if before else 0) + (1 if over > 0 else 0) + (2 if after else 0)
    assert len(parts) == whole


def groups_of(path: Path, counts: list[int]) -> Path:
    """A Parquet file with row groups of so many rows."""
    schema, first = pa.schema([("id", pa.int64()), ("text", pa.string())]), 0
    with pq.ParquetWriter(path, schema) as writer:
        for count in counts:
            ids = list(range(first, first + count))
            texts = [f"text {number}" for number in ids]
            writer.write_table(pa.table({"id": ids, "text": texts}, schema))
            first += count
    return path


@quickly
@given(st.lists(st.lists(st.integers(0, 40), max_size=6), max_size=4), st.integers(1, 50))
def test_parquet_is_cut_anywhere(tmp_path: Path, files: list[list[int]], most: int) -> None:
    paths = [str(groups_of(tmp_path / f"{n}.parquet", each)) for n, each in enumerate(files)]
    if not paths:
        return
    source = Input(tuple(paths), "parquet")
    parts = plan(source, most)
    assert_tiled(source, parts, most)
    assert all(part.rows >= most * 0.9 for part in parts[:-1])


@pytest.mark.parametrize(
    ("groups", "most", "expected"),
    [
        ([95, 95, 95], 100, [95, 95, 95]),
        ([89, 89], 100, [100, 78]),
        ([50, 45, 50], 100, [95, 50]),
        ([50, 50, 50], 100, [100, 50]),
        ([250], 100, [100, 100, 50]),
        ([250, 45, 30], 100, [100, 100, 95, 30]),
        ([0, 10, 0, 10], 100, [20]),
        ([0, 0], 100, []),
    ],
)
def test_a_part_ends_with_a_row_group_where_it_is_nearly_full(
    tmp_path: Path, groups: list[int], most: int, expected: list[int]
) -> None:
    source = Input((str(groups_of(tmp_path / "in.parquet", groups)),), "parquet")
    assert [part.rows for part in plan(source, most)] == expected


def test_row_groups_are_cut_by_their_bytes(tmp_path: Path) -> None:
    path = tmp_path / "in.parquet"
    texts = ["x"] * 1000 + [random.Random(n).randbytes(5000).hex() for n in range(1000)]
    pq.write_table(pa.table({"text": texts}), path, row_group_size=1000, use_dictionary=False)
    source = resolve(str(path), tmp_path)
    parts = plan(source, 1000, 1_000_000)
    assert_tiled(source, parts, 1000)
    assert parts[0].rows == 1000
    assert {part.rows for part in parts[1:-1]} <= {99, 100, 101}


def test_no_page_of_parquet_is_read(tmp_path: Path) -> None:
    path = groups_of(tmp_path / "in.parquet", [1000] * 20)
    source = Input((str(path),), "parquet")
    parts = plan(source, 300)
    whole = path.read_bytes()
    footer = int.from_bytes(whole[-8:-4], "little") + 8
    path.write_bytes(b"PAR1" + b"\xff" * (len(whole) - footer - 4) + whole[-footer:])
    assert plan(source, 300) == parts
    with pytest.raises(InputError):
        next(source.batches())


def test_values_of_json_lines_are_not_looked_at(tmp_path: Path) -> None:
    path = tmp_path / "in.jsonl"
    path.write_bytes(b"\x00\xff{\n" * 1000)
    assert [part.rows for part in plan(Input((str(path),), "jsonl"), 400)] == [400, 400, 200]


@quickly
@given(
    st.lists(st.text("ab\",\n\r ;'é", max_size=6), max_size=60),
    st.integers(1, 20),
    st.sampled_from(["in.csv", "in.csv.gz"]),
)
def test_records_over_several_lines_are_one_row(
    tmp_path: Path, cells: list[str], most: int, name: str
) -> None:
    path = tmp_path / name
    quoted = ['"' + cell.replace('"', '""') + '"' for cell in cells]
    text = "".join(f"{row},{cell}\n" for row, cell in enumerate(["text", *quoted])).encode()
    path.write_bytes(gzip.compress(text) if name.endswith(".gz") else text)
    source = resolve(str(path), tmp_path)
    parts = plan(source, most)
    assert_tiled(source, parts, most)
    assert_full(parts, most)
    assert sum(part.rows for part in parts) == len(cells)


def several(folder: Path) -> Input:
    """Files of JSON Lines in folders that name a column: plain, compressed, empty, without a last
    newline.
    """
    (folder / "dt=1").mkdir()
    (folder / "dt=2").mkdir()
    text = "".join(f"{json.dumps(record)}\n" for record in RECORDS[:300]).encode()
    (folder / "dt=1" / "a.jsonl").write_bytes(text.rstrip())
    (folder / "dt=1" / "b.jsonl.gz").write_bytes(gzip.compress(text))
    (folder / "dt=2" / "c.jsonl").write_bytes(b"\n\n")
    (folder / "dt=2" / "d.jsonl").write_bytes(text)
    (folder / "dt=2" / "e.jsonl").write_bytes(b"\xef\xbb\xbf" + text + b"\n \n")
    return resolve(".", folder)


@pytest.mark.parametrize("most", [7, 256, 300, 450, 5000])
def test_parts_go_on_from_file_to_file(tmp_path: Path, most: int) -> None:
    source = several(tmp_path)
    for each in (source, source.sample(Chosen(1200, 500, 1))):
        parts = plan(each, most)
        assert_tiled(each, parts, most)
        assert_full(parts, most)


def test_a_part_begins_in_the_file_in_which_its_rows_are(tmp_path: Path) -> None:
    assert [part.start.file for part in plan(several(tmp_path), 300)] == [0, 1, 3, 4]


def test_files_that_came_later_are_parts_of_their_own(tmp_path: Path) -> None:
    before = plan(several(tmp_path), 500)
    (tmp_path / "dt=2" / "f.jsonl").write_text('{"id": "0"}\n' * 900)
    grown = resolve(".", tmp_path)
    parts = before + plan(grown, 500, ahead=before[-1])
    assert_tiled(grown, parts, 500)
    assert [part.rows for part in parts] == [500, 500, 200, 500, 400]


@pytest.mark.parametrize("name", ["in.csv", "in.jsonl.gz"])
def test_other_text_grows_too(tmp_path: Path, name: str) -> None:
    path = save(tmp_path / name, RECORDS)
    before = plan(resolve(str(path), tmp_path), 300)
    more = save(tmp_path / f"more.{name.removeprefix('in.')}", RECORDS).read_bytes()
    with path.open("ab") as file:
        file.write(more)
    grown = resolve(str(path), tmp_path)
    parts = before + plan(grown, 300, ahead=before[-1])
    assert_tiled(grown, parts, 300)
    assert [part.rows for part in parts[:3]] == [300, 300, 100]


def test_a_run_is_cut_by_the_rows_that_were_answered(api, tmp_path: Path) -> None:
    api.script = {"text 00003": [400], "text 00011": [400]}
    asked = [{"text": f"text {row:05d}"} for row in range(20)]
    ran(api, tmp_path, asked, {}, prompt={"user": "{{ text }}"}, output={"part_rows": 6})
    source = resolve("run", tmp_path)
    parts = plan(source, 4)
    assert_tiled(source, parts, 4)
    assert [part.rows for part in parts] == [4, 4, 4, 4, 2]


def test_parts_come_one_by_one_and_tell_how_far_they_are(tmp_path: Path) -> None:
    source = several(tmp_path)
    shares = [source.share_before(part.end) or 0 for part in cuts(source, 100, ANY_SIZE)]
    assert shares == sorted(shares)
    assert shares[-1] > 0.99


def test_places_in_lines_are_found_in_any_order(tmp_path: Path) -> None:
    path = save(tmp_path / "in.jsonl", RECORDS)
    [stretch] = resolve(str(path), tmp_path).stretches(Position())
    rising = [stretch.behind(rows) for rows in range(1, len(RECORDS))]
    assert rising == places(path)[:-1]
    assert [stretch.behind(rows) for rows in range(699, 0, -1)] == rising[::-1]


def test_a_reader_with_a_way_of_its_own_may_be_one_without() -> None:
    own = {name for name, reader in READERS.items() if hasattr(reader, "stretches")}
    assert own == {"jsonl", "json", "parquet", "arrow"}

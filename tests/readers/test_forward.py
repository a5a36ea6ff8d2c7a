"""Slices of an input are read in rising order, and none of it twice that has to be read from its start."""

from __future__ import annotations

import random
from collections.abc import Iterator
from pathlib import Path

import pytest

from batch.model import Cut, Position, Row
from batch.readers import Batch, Changed, Input, Watched, resolve
from batch.readers.forward import Forward
from batch.sampling import Chosen
from tests.readers.test_cuts import plan, rows_of, several
from tests.readers.test_readers import NAMES, RECORDS, save


class Recorded(Input):
    """An input that remembers where it was opened."""

    @property
    def opened(self) -> list[Position]:
        found: list[Position] = self.__dict__.setdefault("_opened", [])
        return found

    def batches(self, start: Position = Position()) -> Iterator[Batch]:  # noqa: B008
        self.opened.append(start)
        return super().batches(start)


def recorded(source: Input) -> Recorded:
    return Recorded(
        source.files,
        source.format,
        source.reading,
        partitions=source.partitions,
        chosen=source.chosen,
    )


def taken(forward: Forward, source: Input, part: Cut) -> list[Row]:
    return rows_of(source, forward.batches(part.start, part.start_row, part.rows), part.start_row)


@pytest.mark.parametrize("size", [None, 400])
@pytest.mark.parametrize("name", NAMES)
def test_any_parts_are_read_in_any_order(tmp_path: Path, name: str, size: int | None) -> None:
    source = resolve(str(save(tmp_path / name, RECORDS)), tmp_path)
    source = source if size is None else source.sample(Chosen(len(RECORDS), size, 5))
    whole = rows_of(source, source.batches())
    parts, forward = plan(source, 30), Forward(Watched(source))
    chance = random.Random(name)
    for part in [*parts[::3], *chance.choices(parts, k=10), *parts]:
        expected = whole[part.start_row : part.start_row + part.rows]
        assert taken(forward, source, part) == expected


@pytest.mark.parametrize("name", NAMES)
def test_what_cannot_be_begun_anywhere_is_opened_once_for_rising_parts(
    tmp_path: Path, name: str
) -> None:
    source = recorded(resolve(str(save(tmp_path / name, RECORDS)), tmp_path))
    parts, forward = plan(source, 30), Forward(Watched(source))
    for part in parts[::3]:
        assert len(taken(forward, source, part)) == part.rows
    sought = name.endswith((".jsonl", ".json", ".csv", ".tsv")) and "utf16" not in name
    if sought:
        assert source.opened == [part.start for part in parts[::3]]
    elif name.endswith(("parquet", "arrow", "arrows")):
        assert source.opened == [Position(), Position(0, 630)]  # there are 300 in a group
    else:
        assert source.opened == [Position()]


def test_parts_that_follow_one_another_are_read_on(tmp_path: Path) -> None:
    source = recorded(several(tmp_path))
    parts, forward = plan(source, 100), Forward(Watched(source))
    for part in parts:
        assert len(taken(forward, source, part)) == part.rows
    assert source.opened == [Position()]


def test_a_part_that_is_left_in_its_middle_keeps_no_other_from_being_read(tmp_path: Path) -> None:
    source = recorded(resolve(str(save(tmp_path / "in.jsonl.gz", RECORDS)), tmp_path))
    whole = rows_of(source, source.batches())
    parts, forward = plan(source, 300), Forward(Watched(source))
    next(forward.batches(parts[0].start, 0, 300))
    assert taken(forward, source, parts[2]) == whole[600:]
    assert taken(forward, source, parts[1]) == whole[300:600]


def test_a_file_that_changes_between_two_parts_is_refused(tmp_path: Path) -> None:
    path = save(tmp_path / "in.jsonl", RECORDS)
    source = resolve(str(path), tmp_path)
    parts, forward = plan(source, 300), Forward(Watched(source))
    taken(forward, source, parts[0])
    path.write_bytes(path.read_bytes().replace(b"line", b"LINE"))
    for _ in range(2):
        with pytest.raises(Changed):
            taken(forward, source, parts[1])

"""What is written in small pieces reaches the disk in large ones, and in their order."""

from __future__ import annotations

import os
from itertools import count

import pytest

from batch.store.checked_file import AT_ONCE
from batch.store.files import Disk


class Counting(Disk):
    """One that counts what it writes."""

    def __init__(self) -> None:
        super().__init__()
        self.writes = 0

    def write(self, file, data):
        self.writes += 1
        return super().write(file, data)


@pytest.mark.parametrize(
    ("sizes", "writes"),
    [
        ([10] * 1_000, 1),
        ([1, AT_ONCE, 1, AT_ONCE + 1, 0, 7], 5),
        ([AT_ONCE // 2 + 1] * 3, 3),
        ([0, 0], 0),
    ],
)
def test_pieces_are_written_together_and_none_is_lost(tmp_path, sizes, writes):
    disk, whole = Counting(), b""
    file = disk.create(tmp_path / "part")
    for number, size in zip(count(1), sizes, strict=False):
        piece = bytes([number % 256]) * size
        assert file.write(piece) == size
        whole += piece
        assert file.tell() == len(whole)
    disk.finish(file, tmp_path / "part")
    assert (tmp_path / "part").read_bytes() == whole
    assert disk.writes == writes


def test_what_was_written_last_can_be_read_and_written_over(tmp_path):
    disk = Disk()
    file = disk.create(tmp_path / "part")
    file.write(b"one two three")
    file.seek(4)
    file.write(b"TWO")
    assert file.read() == b" three"
    file.seek(0)
    assert file.read(7) == b"one TWO"
    file.seek(0, os.SEEK_END)
    file.write(b" four")
    disk.finish(file, tmp_path / "part")
    assert (tmp_path / "part").read_bytes() == b"one TWO three four"


def test_what_was_not_finished_is_dropped_and_nothing_is_taken_after_the_end(tmp_path):
    file = Disk().create(tmp_path / "part")
    file.write(b"half of a")
    file.close()
    assert (tmp_path / "part").read_bytes() == b""
    with pytest.raises(ValueError):
        file.write(b" part")

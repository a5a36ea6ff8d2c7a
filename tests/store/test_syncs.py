"""A sync takes milliseconds: what names several folders is synced once for all of them."""

from __future__ import annotations

from pathlib import Path
from typing import Any, BinaryIO

import pyarrow as pa
import pytest

from batch.run_folder import RunFolder
from batch.store import folder, plan
from batch.store.files import Disk


class Watching(Disk):
    """Knows the names of what it has synced, and of what it has not yet."""

    def __init__(self) -> None:
        super().__init__()
        self.synced: list[str] = []
        self.named: set[Path] = set()

    def fsync(self, file: BinaryIO) -> None:
        super().fsync(file)
        self.synced.append(Path(file.name).name)

    def _fsync_folder(self, folder: Path) -> None:
        super()._fsync_folder(folder)
        self.synced.append(folder.name)
        self.named = {path for path in self.named if path.parent != folder}

    def _rename(self, old: Path, new: Path) -> None:
        super()._rename(old, new)
        self.named.add(new)

    def _mkdir(self, folder: Path) -> None:
        super()._mkdir(folder)
        self.named.add(folder)


@pytest.fixture
def disk() -> Watching:
    return Watching()


def test_folders_are_named_together_and_durable(disk: Watching, tmp_path: Path) -> None:
    (tmp_path / "there").mkdir()
    disk.make_folders([tmp_path / name for name in ("a/b/c", "a/b/d", "e", "there")])
    assert all((tmp_path / name).is_dir() for name in ("a/b/c", "a/b/d", "e"))
    assert disk.synced == [tmp_path.name, "a", "b", tmp_path.name]
    assert not disk.named


def test_folders_that_are_there_cost_nothing(disk: Watching, tmp_path: Path) -> None:
    disk.make_folders([tmp_path])
    assert disk.synced == []


def test_a_run_begins_with_eleven_syncs_and_all_of_it_is_durable(
    disk: Watching, tmp_path: Path
) -> None:
    run, schema = RunFolder(tmp_path / "run"), pa.schema([("row", pa.int64())])
    folder.make(disk, run)
    folder.begin(disk, run, schema)
    job: dict[str, Any] = {"request": {"model": "m"}}
    plan.write(disk, run, plan.new(job, [], "jsonl"))
    assert len(disk.synced) == 11
    assert not disk.named
    assert plan.read(run.path) == plan.kept_twice(run)
    assert folder.schema(run) == schema

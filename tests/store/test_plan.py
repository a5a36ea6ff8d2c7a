"""A run is there or not, also to who looks while it is made."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from batch.errors import Damaged
from batch.run_folder import RunFolder
from batch.store import folder, plan
from batch.store.files import Disk
from batch.store.plan import Plan


def begun(path: Path) -> RunFolder:
    run = RunFolder(path)
    folder.make(Disk(), run)
    return run


def awaited(run: RunFolder) -> Plan:
    while (found := plan.read(run.path)) is None:
        pass
    return found


def test_who_looks_while_a_run_begins_sees_a_run_or_none(tmp_path: Path) -> None:
    for number in range(50):
        run, made = begun(tmp_path / f"run {number}"), plan.new({}, [], "jsonl")
        with ThreadPoolExecutor(2) as looking:
            looks = [looking.submit(awaited, run) for _ in range(2)]
            plan.write(Disk(), run, made)
        assert [look.result() for look in looks] == [made, made]


def test_who_looks_while_the_folder_of_a_run_is_made_finds_nothing_else(tmp_path: Path) -> None:
    def looked(path: Path) -> None:
        while not path.is_dir():
            folder.check_ours(path)

    for number in range(300):
        path = tmp_path / f"run {number}"
        with ThreadPoolExecutor(2) as looking:
            looks = [looking.submit(looked, path) for _ in range(2)]
            begun(path)
        for look in looks:
            look.result()


def test_a_run_whose_copy_alone_is_there_is_damaged(tmp_path: Path) -> None:
    run = begun(tmp_path / "run")
    plan.write(Disk(), run, plan.new({}, [], "jsonl"))
    run.plan.unlink()
    with pytest.raises(Damaged):
        plan.read(run.path)
    run.plan_copy.unlink()
    assert plan.read(run.path) is None

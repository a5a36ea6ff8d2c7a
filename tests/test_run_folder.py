"""What lies where in the folder of a run."""

from __future__ import annotations

from pathlib import Path

import pytest

from batch.run_folder import RunFolder, is_ours, run_of

RUN = RunFolder(Path("runs/in"))


def test_a_run_lies_where_it_always_lay():
    lies = {
        RUN.plan: "run.json",
        RUN.usage: "usage.parquet",
        RUN.budget: "budget.json",
        RUN.log: "run.log",
        RUN.lock: "lock",
        RUN.soft_lock: "lock.soft",
        RUN.schema: "completions/_schema.parquet",
        RUN.sealed(7): "completions/part-00000007.parquet",
        RUN.opened(7).journal: "open/part-00000007/journal.jsonl",
        RUN.opened(7).spool: "open/part-00000007/input.arrow",
        RUN.sent(7): "open/sent-00000007",
        RUN.gathered: "open/sent",
        RUN.drafts: "tmp",
        RUN.kept_input(".jsonl"): "input.jsonl",
    }
    assert {path: RUN.path / name for path, name in lies.items()} == {path: path for path in lies}
    assert all(is_ours(Path(name).parts[0]) for name in lies.values())
    assert not is_ours("notes.txt")


@pytest.mark.parametrize("name", ["in", "tmp/in", "open/deep/in", "completions", "tmp"])
@pytest.mark.parametrize("begun", [True, False])
def test_the_run_of_a_file_is_known_whatever_the_folders_above_are_called(tmp_path, name, begun):
    run = RunFolder(tmp_path / "tmp" / name)
    for path in (run.completions, run.drafts, run.opened(7).path):
        path.mkdir(parents=True)
    lies = [run.sealed(7), run.schema, run.opened(7).journal, run.sent(7), run.drafts / "run.json"]
    if begun:
        run.plan.touch()
        lies += [run.plan, run.lock, run.completions, run.opened(7).path]
    assert {run_of(path) for path in lies} == {run.path}


def test_parts_are_found_by_number_and_nothing_else_is_a_part(tmp_path):
    run = RunFolder(tmp_path)
    for path in (run.opened(2).path, run.opened(10).path, run.open / "part-x", run.completions):
        path.mkdir(parents=True)
    for path in (run.sealed(10), run.sealed(1), run.schema, run.completions / "part-1.parquet"):
        path.touch()
    assert list(run.open_parts()) == [2, 10]
    assert list(run.sealed_parts()) == [1, 10]
    assert run.numbers() == [1, 2, 10]


def test_a_folder_that_is_none_holds_nothing(tmp_path):
    run = RunFolder(tmp_path / "none")
    assert (run.numbers(), run.all_sent()) == ([], [])

"""Runs that earlier versions made are looked at as if they were made today."""

from __future__ import annotations

import json
import sys

import pyarrow.parquet as pq
import pytest
from click.testing import CliRunner

from batch.cli import batchmill as program
from batch.store import plan
from tests import old_runs
from tests.reading import tree


def said(*args):
    """Exit code and output of a command."""
    ended = CliRunner().invoke(program, list(map(str, args)), standalone_mode=False)
    assert ended.exception is None, ended.exception
    return ended.return_value or 0, ended.stdout


def shown(run):
    code, output = said("show", run, "--json", "-n", 100)
    assert code == 0
    return [json.loads(line) for line in output.split("\n")[:-1]]


def state(run):
    known = plan.read(run)
    return "limited" if known.job.get("limit") else known.state


@pytest.fixture(scope="module", params=old_runs.NAMES)
def run(request, tmp_path_factory):
    """A copy of a run, which is only read."""
    return old_runs.copied(request.param, tmp_path_factory.mktemp("old"))[0]


@pytest.fixture(scope="module")
def known(run):
    """Its rows."""
    return shown(run)


def test_every_folder_is_explained():
    table = (old_runs.FOLDER / "README.md").read_text(encoding="utf-8").split("|---|")[-1]
    cells = [line.split(" | ") for line in table.splitlines() if line.startswith("| `")]
    assert sorted(first.strip("|` ") for first, *_ in cells) == old_runs.NAMES
    refused = [first.strip("|` ") for first, *_, last in cells if last == "refused |"]
    assert sorted(refused) == sorted(old_runs.REFUSED)


def test_shows(run, known):
    code, output = said("show", run, "-n", 100)
    assert code == 0
    assert known
    for row in known:
        assert f"── row {row['row']}" in output
        answered = any(row.get(name) for name in ("completion", "embedding"))
        assert answered == (row["status"] == "ok")


def test_reports(run, known):
    code, output = said("report", run, "--format", "json")
    assert code == 0
    totals = json.loads(output)["totals"]
    assert totals["rows_ok"] == sum(row["status"] == "ok" for row in known)
    assert totals["rows_failed"] == sum(row["status"] == "failed" for row in known)
    assert totals["input_tokens"] == sum(row["input_tokens"] or 0 for row in known)


def test_verifies(run):
    code, output = said("verify", run)
    assert code == (0 if state(run) == "finished" else 1), output


@pytest.mark.parametrize("name", old_runs.RESUMED)
def test_its_questions_are_those_of_the_input(name, tmp_path):
    run, _ = old_runs.copied(name, tmp_path)
    _, output = said("verify", run, "--input")
    assert "what was asked" not in output
    assert "changed" not in output


def test_exports(run, known, tmp_path):
    for suffix in ("parquet", "jsonl", "csv"):
        assert said("export", run, "-o", tmp_path / f"out.{suffix}")[0] == 0
    assert pq.read_table(tmp_path / "out.parquet")["row"].to_pylist() == [r["row"] for r in known]
    written = [json.loads(line) for line in (tmp_path / "out.jsonl").read_text().split("\n")[:-1]]
    assert [row["completion"] for row in written] == [row["completion"] for row in known]
    assert said("export", run, "-o", tmp_path / "batch.jsonl", "--format", "openai-batch")[0] == 0


def started(run, *flags):
    """Exit code and what is said by the next start of a run, by its folder."""
    words = ["run", str(run), *flags]
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(sys, "argv", ["batchmill", *words])
        ended = CliRunner().invoke(program, words, standalone_mode=False)
    code = getattr(ended.exception, "exit_code", ended.return_value or ended.exit_code)
    return code, ended.stderr


@pytest.mark.parametrize("name", old_runs.RESUMED)
def test_goes_on_and_asks_the_rest(name, api, tmp_path):
    run, _ = old_runs.copied(name, tmp_path, api.url)
    before = {row["row"]: row for row in shown(run)}
    code, output = started(run, "--set", "limit=100")
    assert code in (0, 1), output
    rows = shown(run)
    assert [row["row"] for row in rows] == list(range(len(rows)))
    assert said("verify", run)[0] == 0
    asked = {
        row["row"] for row in rows if row["attempts"] != before.get(row["row"], row)["attempts"]
    }
    for row in rows:
        if row["row"] in before and row["row"] not in asked:
            assert row == before[row["row"]]


def test_a_cell_that_was_an_empty_text_stays_one(api, tmp_path):
    run, _ = old_runs.copied("csv-constant", tmp_path, api.url)
    before = [row["row"] for row in shown(run)]
    assert started(run)[0] in (0, 1)
    added = [row for row in shown(run) if row["row"] not in before]
    assert added
    cells = [value for row in shown(run) for name, value in row.items() if name == "note"]
    assert None not in cells and "" in cells


@pytest.mark.parametrize("name", old_runs.REFUSED)
def test_is_refused_untouched_where_its_questions_could_be_others(name, api, tmp_path):
    run, _ = old_runs.copied(name, tmp_path, api.url)
    before = tree(run)
    code, output = started(run)
    assert code == 4, output
    assert "rules of an older version" in output
    assert "--reuse" in output and "--new" in output
    assert tree(run).items() >= before.items()
    assert not api.ledger

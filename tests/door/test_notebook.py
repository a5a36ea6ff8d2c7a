"""The notebook that comes with the jobs, and what a notebook shows of a run."""

from __future__ import annotations

import shutil

import pytest

from tests.reading import ROOT

NOTEBOOK = ROOT / "jobs" / "first_steps.ipynb"


@pytest.mark.second_lane
def test_the_first_steps_are_executed_and_hold_what_they_print(tmp_path, cache, monkeypatch):
    import nbformat
    from nbclient import NotebookClient

    for name, value in cache.items():
        monkeypatch.setenv(name, value)
    (tmp_path / "jobs").mkdir()
    shutil.copytree(ROOT / "sample_data", tmp_path / "sample_data")
    kept, made = nbformat.read(NOTEBOOK, 4), nbformat.read(NOTEBOOK, 4)
    where = {"metadata": {"path": str(tmp_path / "jobs")}}
    NotebookClient(made, timeout=100, resources=where).execute()
    assert results(made)[-1] == results(kept)[-1] == "(23, 1)"
    assert len(results(made)) == len(results(kept)) > 3
    shown = [out for cell in made.cells for out in cell.get("outputs", [])]
    assert any("application/vnd.jupyter.widget-view+json" in out.get("data", {}) for out in shown)
    assert not any(out.get("name") == "stderr" and "batchmill" in out.text for out in shown)


def results(notebook):
    outputs = (out for cell in notebook.cells for out in cell.get("outputs", []))
    return [out.data["text/plain"] for out in outputs if out.output_type == "execute_result"]

"""What CI runs, and on which systems."""

from __future__ import annotations

import yaml

from tests import docs
from tests.program import ROOT


def test_ci_runs_the_gate_on_linux_and_the_tests_elsewhere():
    text = (ROOT / ".github" / "workflows" / "ci.yml").read_text(encoding="utf-8")
    jobs = yaml.safe_load(text)["jobs"]
    versions = ["3.11", "3.12", "3.13", "3.14"]
    gate, suite = jobs["gate"], jobs["suite"]
    assert gate["runs-on"] == "ubuntu-latest"
    assert ".ci/run" in runs(gate)
    assert suite["strategy"]["matrix"]["system"] == ["macos-latest", "windows-latest"]
    assert [job["strategy"]["matrix"]["python"] for job in (gate, suite)] == [versions, versions]
    _, *told = docs.blocks("sh")[1].splitlines()  # there Python makes no environment of its own
    assert runs(suite) == [
        line.replace(".venv/bin/pip", ".venv/bin/python -m pip").removeprefix(".venv/bin/")
        for line in told
    ]


def runs(job):
    return [step["run"] for step in job["steps"] if "run" in step]

"""`batchmill --help` is quick because it imports little."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import pytest

from batch.cli import COMMANDS
from tests.conftest import ROOT
from tests.reading import asking, texts, write

HEAVY = {
    "aiohttp",
    "aiolimiter",
    "asyncio",
    "filelock",
    "genai_prices",
    "jinja2",
    "jsonschema_rs",
    "msgspec",
    "numpy",
    "pandas",
    "platformdirs",
    "pyarrow",
    "pydantic",
    "ray",
    "ssl",
    "tqdm",
    "uvloop",
    "xllamacpp",
    "yarl",
}


def loaded(code: str) -> set[str]:
    """The modules that `code` leaves in sys.modules."""
    shown = f"{code}\nimport json, sys\nprint(json.dumps(sorted(sys.modules)), file=sys.stderr)"
    ran = subprocess.run([sys.executable, "-c", shown], capture_output=True, check=True)
    return set(json.loads(ran.stderr))


@pytest.mark.parametrize(
    "code",
    [
        "import batch.cli",
        "from batch.cli import batchmill\nbatchmill.main(['--help'], standalone_mode=False)",
        "from batch.cli import batchmill\nbatchmill.main(['--version'], standalone_mode=False)",
    ],
)
def test_help_loads_nothing_heavy(code):
    assert not loaded(code) & HEAVY


def test_a_run_does_without_what_pyarrow_would_import_besides(api, batchmill, tmp_path):
    for name in ("numpy", "pandas"):
        (tmp_path / f"{name}.py").write_text("raise SystemExit(f'{__name__} was imported')")
    write(tmp_path / "in.jsonl", texts(3))
    path = {"PYTHONPATH": f"{tmp_path}{os.pathsep}{ROOT}"}
    ran = batchmill("run", "in.jsonl", *asking(api), "-o", "out.parquet", env=path)
    assert ran.exit_code == 0, ran.stderr
    assert batchmill("report", "out.parquet", env=path).exit_code == 0


def test_a_run_starts_without_the_functions_of_pyarrow():
    assert "pyarrow.compute" not in loaded("import batch.runner")


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_may_be_the_first_that_is_imported(batchmill, command):
    shown = batchmill(command, "--help", fresh=True)
    assert (shown.exit_code, shown.stderr) == (0, "")


def test_help_lists_every_command(batchmill):
    shown = batchmill("--help", fresh=True)
    assert (shown.exit_code, shown.stderr) == (0, "")
    commands = shown.stdout.partition("Commands:")[2].splitlines()
    assert {line.split()[0] for line in commands if line.strip()} >= set(COMMANDS)

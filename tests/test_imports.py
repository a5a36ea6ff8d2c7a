"""`batchmill --help` is quick because it imports little."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from functools import cache

import pytest

from batch.cli import COMMANDS
from tests.conftest import ROOT
from tests.fake_api import FakeAPI
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


@cache
def loaded(code: str) -> frozenset[str]:
    """The modules that `code` leaves in sys.modules."""
    shown = f"{code}\nimport json, sys\nprint(json.dumps(sorted(sys.modules)), file=sys.stderr)"
    ran = subprocess.run([sys.executable, "-c", shown], capture_output=True, check=True)
    return frozenset(json.loads(ran.stderr))


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


ROOMS = {
    "results as a file": r"outputs\.(?!form$).*|cli\.export",
    "a line for programs, metrics": r"cli\.(json_lines|metrics)",
    "several endpoints": r"pooling|engine\.(lanes|lane_file|pooled_sender)",
    "several workers": r"sharing|cli\.shards|engine\.beats|limits\.(lent|shares|shared_concurrency)"
    r"|planning\.(joining|leased|leases|parts)|store\.(cards|planned)|readers\.(cuts|forward)",
    "caches of prompts": r"engine\.(prompt_cache|cache_leaders|prefixes)|apis\.cache_marks",
    "earlier runs": r"store\.reuse|planning\.(old_rules|requests_again)",
    "other formats": r"readers\.(csv|json|parquet|arrow|plain|run|memory)",
    "what is told of runs": r"reports\.(?!summary$).*|renderers|cli\.report|job_files",
    "the embedded model": r"local",
    "what a job is tried with": r"planning\.(preview|estimate)|costs\.tokenizer",
    "templates of more than columns": r"requests\.templates\.(compiled|trees|sandbox|filters)",
}
"""What not every run needs, and the modules that are imported for it alone."""
MOST_MODULES = 230
"""Of our own: each takes a quarter of a millisecond before the first request."""

RUN = """
import sys
from functools import cache
from batch.cli import main

def ended(words):
    sys.argv = ["batchmill", *words]
    try:
        main()
    except SystemExit as end:
        assert end.code == 0
"""


@pytest.fixture(scope="module")
def of_a_plain_run(tmp_path_factory) -> set[str]:
    """The modules of ours that a run of JSON Lines at one endpoint has imported."""
    folder, api = tmp_path_factory.mktemp("plain"), FakeAPI()
    write(folder / "in.jsonl", texts(3))
    flags = map(str, (*asking(api, "--api-key-env", ""), "-o", folder / "run", "--quiet"))
    words = ["run", str(folder / "in.jsonl"), *flags]
    found = loaded(f"{RUN}\nended({words})")
    api.close()
    return {name for name in found if name.startswith("batch.")}


@pytest.mark.parametrize("room", ROOMS)
def test_a_plain_run_imports_nothing_of(room, of_a_plain_run):
    there = rf"batch\.({ROOMS[room]})"
    assert not {name for name in of_a_plain_run if re.fullmatch(rf"{there}(\..*)?", name)}


def test_a_plain_run_imports_few_modules(of_a_plain_run):
    assert len(of_a_plain_run) <= MOST_MODULES


@pytest.mark.parametrize("heavy", ["jinja2", "pyarrow.compute"])
def test_a_run_starts_without(heavy):
    prompt = (
        "from batch.requests.prompts import Prompt, Prompter; Prompter(Prompt(user='{{ text }}'))"
    )
    assert heavy not in loaded(f"import batch.runner, batch.planning.open_run; {prompt}")


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_may_be_the_first_that_is_imported(batchmill, command):
    shown = batchmill(command, "--help", fresh=True)
    assert (shown.exit_code, shown.stderr) == (0, "")


def test_help_lists_every_command(batchmill):
    shown = batchmill("--help", fresh=True)
    assert (shown.exit_code, shown.stderr) == (0, "")
    commands = shown.stdout.partition("Commands:")[2].splitlines()
    assert {line.split()[0] for line in commands if line.strip()} >= set(COMMANDS)

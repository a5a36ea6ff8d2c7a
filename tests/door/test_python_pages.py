"""Every block of Python in the pages does what the page says, against the scripted API."""

from __future__ import annotations

import ast
import asyncio
import inspect
import os
import re
import subprocess
import sys
import types

import pytest

from tests import docs
from tests.fake_api import FakeAPI, Step

ANSWER = Step(content='{"sentiment": "positive"}')
PAGES = [page for page in docs.PAGES if "```python\n" in page.read_text(encoding="utf-8")]
SHORTEST = 8
"""Lines from nothing to a labelled data frame."""


def blocks(page):
    return re.findall(r"^```python\n(.*?)^```$", page.read_text("utf-8"), re.MULTILINE | re.DOTALL)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_block_of_a_page_runs_one_after_the_other(page, tmp_path, monkeypatch, capsys):
    api = FakeAPI()
    api.always = ANSWER
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("OPENAI_BASE_URL", api.url)
    monkeypatch.setenv("OPENAI_API_KEY", "sk-no-key")
    module = types.ModuleType(f"page_{page.stem}")  # pydantic looks for names there
    monkeypatch.setitem(sys.modules, module.__name__, module)
    names = vars(module)
    for block in blocks(page):
        code = compile(block, page.name, "exec", ast.PyCF_ALLOW_TOP_LEVEL_AWAIT)
        made = eval(code, names)
        if inspect.iscoroutine(made):
            asyncio.run(made)
    api.close()
    assert names["labelled"]["sentiment"].to_list() == ["positive", "positive"]
    assert len(api.ledger) == 2 + ("again" in names)  # however often a page runs it


def test_a_labelled_frame_takes_few_lines():
    first = blocks(docs.ROOT / "README.md")[0]
    assert len([line for line in first.splitlines() if line.strip()]) <= SHORTEST


def test_the_page_names_all_that_the_door_offers():
    import batch
    from batch import door

    page = (docs.ROOT / "batch" / "docs" / "python.md").read_text("utf-8")
    offered = {*batch.__all__, *inspect.signature(door.run).parameters} - {"Job"}
    assert not [name for name in offered if not re.search(rf"\b{name}\b", page)]


ALONE = "[mypy]\nfollow_imports = skip\n[mypy-batch.*]\nfollow_imports = normal\n"
"""What the program imports is not looked at: that takes four times as long."""


def test_types_of_the_door_reach_a_type_checker(tmp_path):
    (tmp_path / "mypy.ini").write_text(ALONE)
    (tmp_path / "script.py").write_text(
        "import batch\nrun = batch.run(batch.job(), [{}], to='x')\nreveal_type(run)\nbatch.run(3)\n"
    )
    ended = subprocess.run(
        [sys.executable, "-m", "mypy", "--cache-dir", os.devnull, "script.py"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
    )
    assert '"batch.runs.Run"' in ended.stdout
    assert "script.py:4: error" in ended.stdout

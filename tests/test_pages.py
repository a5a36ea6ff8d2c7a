"""Every command that stands in a block of a page does what the page says."""

from __future__ import annotations

import os
import re
import shlex
import subprocess

import pytest

from tests import docs, shell_blocks
from tests.conftest import ROOT

PAGES = [page for page in docs.PAGES if shell_blocks.commands(page)]
OF_A_SHELL = re.compile(r"[|&<>$]|^(?!batchmill )")


@pytest.fixture
def world(tmp_path, request):
    made = shell_blocks.World(tmp_path, request.param)
    yield made
    made.close()


@pytest.mark.skipif(not hasattr(os, "fork"), reason="a shell of Unix carries them out")
@pytest.mark.parametrize(
    ("page", "world"),
    [(page, page) for page in PAGES],
    ids=map(shell_blocks.name, PAGES),
    indirect=["world"],
)
def test_every_command_of_a_page_can_be_typed(page, world, batchmill):
    name = shell_blocks.name(page)
    before = [f"batchmill {line}" for line in shell_blocks.RUNS.get(name, ())]
    for line in [*before, *shell_blocks.commands(page)]:
        typed = line.partition(" #")[0].rstrip()
        code, said = ended(typed, world, batchmill)
        assert code == shell_blocks.CODES.get((name, typed), 0), f"{typed}\n{said}"


def ended(line, world, batchmill):
    """The exit code of a command, and what it said."""
    if not OF_A_SHELL.search(line):
        done = batchmill(*shlex.split(world.here(line))[1:], env=world.env)
        return done.exit_code, done.stderr
    env = {
        "PATH": os.environ["PATH"],
        "PYTHONPATH": str(ROOT),
        "HOME": str(world.folder),
        **world.env,
    }
    done = subprocess.run(
        world.script(line), cwd=world.folder, env=env, capture_output=True, text=True, timeout=60
    )
    return done.returncode, done.stderr


def test_every_block_is_of_a_kind_that_is_tested():
    elsewhere = {"toml", "python"}  # tests/test_docs.py, tests/door/test_python_pages.py
    kinds = {
        kind
        for page in docs.PAGES
        for kind in re.findall(r"^```(\w*)\n.*?^```$", page.read_text("utf-8"), re.M | re.S)
    }
    assert kinds <= shell_blocks.KINDS | elsewhere


def test_an_exception_is_a_command_of_its_page():
    named = {shell_blocks.name(page): shell_blocks.commands(page) for page in docs.PAGES}
    for page, line in shell_blocks.CODES:
        assert any(shown.startswith(line) for shown in named[page])
    assert set(shell_blocks.RUNS) <= set(named)

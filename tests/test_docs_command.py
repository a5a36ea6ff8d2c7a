"""`batchmill docs`: the pages, from wherever the program was installed."""

from __future__ import annotations

import os

import pytest

from tests import docs

PAGES = [page for page in docs.PAGES if page.parent.name == "docs"]


def test_without_a_topic_it_lists_them_with_their_headings(batchmill):
    done = batchmill("docs")

    assert done.exit_code == 0
    told = dict(line.split("  ", 1) for line in done.stdout.splitlines())
    headings = {page.stem: page.read_text("utf-8").splitlines()[0] for page in PAGES}
    assert {name: f"# {said.strip()}" for name, said in told.items()} == headings


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_a_topic_is_its_page_as_it_is(page, batchmill):
    done = batchmill("docs", page.stem)

    assert (done.exit_code, done.stdout) == (0, page.read_text(encoding="utf-8"))


@pytest.mark.parametrize("name", ["Cost", "cost.md"])
def test_a_topic_is_found_however_it_is_written(name, batchmill):
    assert batchmill("docs", name).stdout.startswith("# Cost")


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("costs", "did you mean cost?"),
        ("struct", "did you mean structured?"),
        ("zzz", "the topics are apis, "),
    ],
)
def test_an_unknown_topic_names_the_nearest_or_all(name, said, batchmill):
    done = batchmill("docs", name)

    assert done.exit_code == 2
    assert f"there is no topic '{name}'; {said}" in done.stderr


def test_a_terminal_gets_a_pager(start, tmp_path):
    import pty

    pager = tmp_path / "pager"
    pager.write_text("#!/bin/sh\necho paged\ncat\n")
    pager.chmod(0o700)
    ours, theirs = pty.openpty()

    process = start(
        "docs", "cost", env={"PAGER": str(pager), "TERM": "xterm"}, stdin=theirs, stdout=theirs
    )
    os.close(theirs)
    shown = b""
    while b"genai-prices" not in shown:
        shown += os.read(ours, 4096)
    os.close(ours)
    process.wait(30)

    assert shown.startswith(b"paged\r\n# Cost")

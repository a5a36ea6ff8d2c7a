"""Every fault of the corpus, through the whole pipeline, by either transport."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests import faults
from tests.fake_api import FakeAPI
from tests.faults import CORPUS, ELSEWHERE, NOT_PLAYED, Fault

CASES = [(fault, transport) for fault in CORPUS for transport in fault.transports]
LAST = {"A": 9, "H": 26, "B": 27, "S": 20, "T": 15, "X": 15, "I": 8, "O": 9, "P": 5}
"""Kind of fault -> the highest number of its ids."""


@pytest.fixture(scope="module")
def server() -> Iterator[FakeAPI]:
    """One server for all: most of these runs take less time than starting one."""
    api = FakeAPI()
    yield api
    api.close()


@pytest.mark.timeout(30)
@pytest.mark.parametrize(
    ("fault", "transport"),
    CASES,
    ids=[re.sub(r"[^\w.,:-]+", "_", f"{fault.id}-{fault.title}-{by}")[:70] for fault, by in CASES],
)
def test_a_fault_costs_no_more_than_the_corpus_says(
    server: FakeAPI, tmp_path: Path, fault: Fault, transport: str
):
    assert faults.wrong(fault, faults.play(server, fault, transport, tmp_path)) == ""


def test_every_fault_is_played_or_says_where_else_it_is_or_why_not():
    known = {f"{kind}{number}" for kind, last in LAST.items() for number in range(1, last + 1)}
    played = {fault.id for fault in CORPUS}
    elsewhere = {name for names in ELSEWHERE.values() for name in names.split()}
    assert played | elsewhere | NOT_PLAYED.keys() == known
    assert not NOT_PLAYED.keys() & (played | elsewhere)


@pytest.mark.parametrize("name", ELSEWHERE)
def test_the_files_that_are_named_exist(name):
    assert (Path(__file__).parent.parent / name).exists()

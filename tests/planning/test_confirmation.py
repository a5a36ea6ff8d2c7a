"""A dear run asks the person at the terminal first, and nobody else."""

from __future__ import annotations

import contextlib
import os
import pty
import select
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from batch import readers, spec
from batch.costs.forecast import Forecaster
from batch.costs.prices import Price, Pricer, Seller
from batch.errors import Stopped
from batch.model import Request, Result
from batch.planning import confirmation, sources
from batch.planning.prepare import prepare
from batch.planning.terms import Terms
from batch.totals import Summary
from tests import program
from tests.fake_api import FakeAPI, Step
from tests.reading import asking, texts, write

DEAR = ("--set", "prices.m={input=2.0, output=100_000.0}", "--set", "request.max_tokens=40")
CHEAP = ("--set", "prices.m={input=2.0, output=1.0}", "--set", "request.max_tokens=40")
QUESTION = "go on?"

Terminal = Callable[..., "Seated"]


class Seated:
    """The program with a person at its terminal, who sees what it says."""

    def __init__(self, folder: Path, args: tuple[object, ...]) -> None:
        self._ours, theirs = pty.openpty()
        self.seen = self._typed = ""
        streams: dict[str, Any] = {"stdin": theirs, "stdout": subprocess.DEVNULL, "stderr": theirs}
        self._process = program.start(args, folder, seated=True, **streams)
        self._theirs = theirs

    def read(self, until: str) -> None:
        while until not in self.seen:
            assert select.select([self._ours], [], [], 30)[0], f"it only said: {self.seen}"
            self.seen += os.read(self._ours, 4096).decode()

    def type(self, keys: str) -> None:
        self._typed = keys
        os.write(self._ours, keys.encode())

    def end(self) -> int:
        """Wait until it ends, reading what it says.  ^C is pressed again where nothing happens: one
        that comes just before Python begins to read waits for the next key.
        """
        os.close(self._theirs)
        self._theirs = -1
        with contextlib.suppress(OSError):  # as Linux ends a terminal whose last user has gone
            while True:
                if self._typed == "\x03" and not select.select([self._ours], [], [], 5)[0]:
                    self.type("\x03")
                if not (said := os.read(self._ours, 4096)):
                    break
                self.seen += said.decode(errors="replace")
        return self._process.wait(30)

    def close(self) -> None:
        self._process.kill()
        self._process.wait()
        for end in (self._ours, self._theirs):
            if end >= 0:
                os.close(end)


@pytest.fixture
def terminal(tmp_path: Path) -> Iterator[Terminal]:
    seated: list[Seated] = []

    def terminal(*args: object) -> Seated:
        seated.append(Seated(tmp_path, args))
        return seated[-1]

    yield terminal
    for each in seated:
        each.close()


@pytest.mark.parametrize(
    ("keys", "exit_code", "asked"),
    [("y\n", 0, 5), ("n\n", 3, 0), ("\n", 3, 0), ("\x03", 130, 0), ("\x04", 130, 0)],
)
def test_a_dear_run_asks_first(api: FakeAPI, tmp_path, terminal, keys, exit_code, asked):
    write(tmp_path / "in.jsonl", texts(5))
    person = terminal("run", "in.jsonl", *asking(api, *DEAR))
    person.read(until=QUESTION)
    assert "$20.00" in person.seen, "5 answers of 40 tokens at $0.1"
    assert api.ledger == []
    person.type(keys)
    assert person.end() == exit_code, person.seen
    assert len(api.ledger) == asked
    assert (tmp_path / "runs").exists() == bool(asked)
    assert ("nothing was sent" in person.seen) == (not asked)


@pytest.mark.parametrize("more", [CHEAP, (), (*DEAR, "--yes"), (*DEAR, "--limit", 2)])
def test_a_cheap_run_and_one_of_unknown_price_and_yes_ask_nothing(api, tmp_path, terminal, more):
    write(tmp_path / "in.jsonl", texts(5))
    person = terminal("run", "in.jsonl", *asking(api, *more))
    assert person.end() == 0, person.seen
    assert QUESTION not in person.seen
    assert len(api.ledger) == (2 if "--limit" in more else 5)


def test_nobody_is_asked_where_nobody_is(api, batchmill, tmp_path):
    write(tmp_path / "in.jsonl", texts(5))
    ended = batchmill("run", "in.jsonl", *asking(api, *DEAR))
    assert ended.exit_code == 0
    assert QUESTION not in ended.stderr
    assert len(api.ledger) == 5


def test_the_rest_of_a_run_is_asked_for_by_what_its_rows_have_cost(api, tmp_path, terminal):
    write(tmp_path / "in.jsonl", texts(12))
    api.always = Step(usage={"prompt_tokens": 5, "completion_tokens": 20, "total_tokens": 25})
    flags = asking(api, *DEAR)
    first = terminal("run", "in.jsonl", *flags, "--limit", 2)
    assert first.end() == 0, first.seen
    person = terminal("run", "in.jsonl", *flags)
    person.read(until=QUESTION)
    assert "10 rows, going by those that are done" in person.seen
    person.type("n\n")
    assert person.end() == 3
    assert len(api.ledger) == 2


PRICER = Pricer({"m": Price(input=1.0, output=10.0)}, Seller())


def rows_of(tmp_path: Path, count: int) -> tuple[spec.Job, readers.Input]:
    path = write(tmp_path / "in.jsonl", texts(count))
    return spec.check({"input": str(path)}), readers.resolve(str(path), tmp_path)


def forecaster(count: int, cap: int | None) -> Forecaster:
    made = Forecaster()
    for row in range(count):
        made.add(Request(row, None, "chat", "m", b"x" * 400, "", output_cap=cap))
    return made


@pytest.mark.parametrize(("cap", "each"), [(100, 100 * 1e-6 + 1e-3), (None, 100 * 1e-6 + 5e-3)])
def test_a_new_run_is_reckoned_from_its_first_rows(tmp_path, cap, each):
    job_, source = rows_of(tmp_path, 300)
    bill = confirmation.of_new(job_, source, forecaster(100, cap), PRICER)
    assert bill is not None
    assert bill.usd == pytest.approx(300 * each)
    assert bill.why.startswith("300 rows")


def test_the_rows_beyond_the_check_are_reckoned_by_their_bytes(tmp_path):
    _, source = rows_of(tmp_path, 30_000)
    assert sources.rows_in(source, None) == pytest.approx(30_000, rel=0.05)
    assert sources.rows_in(source, 20_000) == 20_000
    assert sources.rows_in(source, 7) == 7


def test_without_a_price_there_is_no_bill(tmp_path):
    job_, source = rows_of(tmp_path, 3)
    assert confirmation.of_new(job_, source, forecaster(3, 10), Pricer({}, Seller())) is None


@pytest.mark.parametrize(
    ("rows", "limit", "done", "usd"),
    [
        (300, None, [0.5, 1.5], 298.0),
        (None, None, [0.5, 1.5], 298.0),
        (300, 12, [0.5, 1.5], 10.0),
        (2, None, [0.5, 1.5], None),
        (300, None, [None, None], None),
        (300, None, [], None),
    ],
)
def test_the_rest_of_a_run_is_reckoned_from_what_is_done(tmp_path, rows, limit, done, usd):
    path = write(tmp_path / "in.jsonl", texts(300))
    job_ = spec.check({"input": str(path), **({"limit": limit} if limit else {})})
    held = Summary()
    for row, cost in enumerate(done):
        known: dict[str, Any] = {"input_tokens": 5, "output_tokens": 5, "started_at": 1.0}
        held.add(Result(row=row, status="ok", attempts=1, model="m", cost_usd=cost, **known))
    bill = confirmation.of_rest(job_, readers.resolve(str(path), tmp_path), rows, held)
    assert (None if bill is None else bill.usd) == usd


@pytest.mark.parametrize(("cap", "questions"), [(9, 0), (100_000, 1)])
def test_only_what_is_above_the_threshold_is_asked(tmp_path, cap, questions):
    path = write(tmp_path / "in.jsonl", texts(100))
    tables = {
        "input": str(path),
        "prompt": {"user": "{{ text }}"},
        "request": {"model": "m", "max_tokens": cap},
        "endpoint": {"base_url": "http://127.0.0.1:9/v1"},
        "prices": {"m": {"input": 1.0, "output": 10.0}},
    }
    asked: list[str] = []

    def declines(question: str) -> bool:
        asked.append(question)
        return False

    terms = Terms(environment={}, folder=tmp_path / "run", bounds=False)
    with contextlib.ExitStack() as stack:
        prepared = prepare(spec.check(tables), terms, stack)
        with pytest.raises(Stopped) if questions else contextlib.nullcontext():
            confirmation.seek(declines, prepared)
    assert len(asked) == questions

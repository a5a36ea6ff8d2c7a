"""The end of a run: nobody sits before a bar that stands still without a word."""

from __future__ import annotations

import io
from collections.abc import Iterator

import msgspec
import pytest

from batch import runner, spec
from batch.progress import Progress
from tests import virtual
from tests.fake_api import FakeAPI, Step
from tests.reading import write


@pytest.fixture
def api() -> Iterator[FakeAPI]:
    api = FakeAPI(in_a_thread=False)
    yield api
    api.close()


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_the_bar_tells_of_the_last_answers_that_are_waited_for(api, tmp_path, monkeypatch):
    monkeypatch.setenv("COLUMNS", "200")
    api.script = {"slower": [Step(delay=8)], "slow": [Step(delay=7)]}
    job = spec.check(
        {
            "input": str(write(tmp_path / "in.jsonl", ["slow", "slower", "quick"])),
            "prompt": {"user": "{{ text }}"},
            "request": {"model": "m"},
            "endpoint": {"base_url": api.url, "api_key_env": ""},
            "limits": {"concurrency": 4},
        }
    )
    terminal = Terminal()
    terms, around = virtual.how(api)
    around = msgspec.structs.replace(around, consumers=(Progress(terminal),))
    assert runner.run(job, tmp_path / "run", terms, around).exit_code == 0
    shown = terminal.getvalue()
    assert "waiting for the last 2 answers, the oldest asked " in shown
    assert "waiting for the last answer, asked " in shown

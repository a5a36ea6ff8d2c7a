"""Rows with one beginning: the first writes it to the server's cache, the others read it there."""

from __future__ import annotations

import json
import random
from itertools import pairwise

import pytest

from batch import runner, spec
from tests import virtual
from tests.fake_api import FakeAPI, Step
from tests.fake_cache import FakeCache
from tests.reading import completions, rows

DOCUMENTS, QUESTIONS = 120, 5
LATENCY = 2.0


def document(number: int, size: int = 6_000) -> str:
    return (f"Document {number:05d} says this and that. " * (size // 35 + 1))[:size]


def written(path, documents=DOCUMENTS, *, questions=QUESTIONS, shuffled=False, size=6_000):
    lines = [
        {"doc": document(number, size), "question": f"number {number} question {asked}"}
        for number in range(documents)
        for asked in range(questions)
    ]
    if shuffled:
        random.Random(5).shuffle(lines)
    path.write_text("".join(f"{json.dumps(line)}\n" for line in lines))
    return str(path)


SHARED = {"shared": "{{ doc }}", "user": "{{ question }}"}
SYSTEM = {"system": "{{ doc }}", "user": "{{ question }}"}


class Server(FakeAPI):
    """One that holds what it has read."""

    def __init__(self, cache: FakeCache | None = None) -> None:
        super().__init__(in_a_thread=False)
        self.cache = cache or FakeCache()
        self.latency = LATENCY


def job(api, source, prompt, **tables):
    return spec.check(
        {
            "input": source,
            "prompt": prompt,
            "request": {"model": "gpt-5.4", **tables.pop("request", {})},
            "endpoint": {"base_url": api.url, "api_key_env": "", "provider": "openai"},
            "limits": {"concurrency": 64},
            **tables,
        }
    )


def ask(folder, source, prompt, api, *meanwhile, **tables):
    """Ask all, and return for how long."""
    terms, around = virtual.how(api, *meanwhile)
    ended = runner.run(job(api, source, prompt, **tables), folder / "run", terms, around)
    api.close()
    assert ended.exit_code == 0
    return ended.seconds


@pytest.mark.parametrize("shuffled", [False, True])
@pytest.mark.parametrize("prompt", [SHARED, SYSTEM])
def test_each_document_is_written_once_and_read_by_the_others(tmp_path, prompt, shuffled):
    source = written(tmp_path / "in.jsonl", shuffled=shuffled)
    without = Server()
    before = ask(tmp_path / "off", source, {**prompt, "cache": "off"}, without)
    api = Server()
    took = ask(tmp_path / "auto", source, prompt, api)
    assert (api.cache.writes, api.cache.reads) == (120, 480)
    assert without.cache.writes > 120
    assert took <= before * 1.05
    found = rows(tmp_path / "auto/run")
    assert sum(row["cached_tokens"] > 0 for row in found) == 480
    assert completions(tmp_path / "auto/run") == completions(tmp_path / "off/run")


def test_of_many_rows_with_one_beginning_one_writes(tmp_path):
    api = Server()
    source = written(tmp_path / "in.jsonl", 1, questions=64)
    assert ask(tmp_path, source, SHARED, api) < 2.5 * LATENCY
    assert (api.cache.writes, api.cache.reads) == (1, 63)

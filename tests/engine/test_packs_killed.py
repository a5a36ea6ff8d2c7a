"""Kills of a run whose rows share requests, asked of a server that does all that servers do."""

from __future__ import annotations

import random
from collections import Counter
from functools import partial

import pytest

from tests.fake_api import embedding_of
from tests.reading import asking, rows, texts, until, write


def has_sent_or_ended(api, count, process):
    return len(api.ledger) >= count or process.poll() is not None


@pytest.mark.second_lane
def test_ten_kills_lose_no_row_and_count_every_text_that_was_sent(api, start, batchmill, tmp_path):
    prompts, chance = texts(4000), random.Random()
    bad = frozenset(range(300, 4000, 530))
    for number in bad:
        prompts[number] += " poison"
    write(tmp_path / "in.jsonl", prompts)
    api.latency = 0.02
    embedder = api.embedder
    embedder.most, embedder.poison, embedder.base64 = 32, "poison", "refused"
    embedder.index, embedder.loses = "reversed", ("7", 1)
    command = ("run", "in.jsonl", *asking(api, "-c", 8, "--api", "embeddings"))
    for _ in range(10):
        more = len(api.ledger) + chance.randint(4, 20)
        process = start(*command)
        until(partial(has_sent_or_ended, api, more, process))
        process.kill()
        process.wait()
    ended = batchmill(*command)
    assert ended.exit_code == 1, ended.stderr
    found = rows(tmp_path / "runs/in")
    assert [row["row"] for row in found] == list(range(len(prompts)))
    assert {row["row"] for row in found if row["status"] != "ok"} == bad
    answered: Counter[str] = Counter()
    for asked in api.ledger:
        answered.update(asked.texts if asked.status == 200 else ())
    for row, prompt in zip(found, prompts, strict=True):
        if row["row"] not in bad:
            assert row["embedding"] == embedding_of(prompt)
            assert row["attempts"] >= answered[prompt] >= 1
    assert batchmill("verify", "runs/in").exit_code == 0

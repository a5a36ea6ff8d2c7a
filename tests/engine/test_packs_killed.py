"""Kills of a run whose rows share requests, asked of a server that does all that servers do."""

from __future__ import annotations

import random
import time
from collections import Counter
from functools import partial

import pytest

from batch.reports import report
from batch.store import plan
from tests.fake_api import embedding_of
from tests.reading import asking, rows, texts, until, write

IN_FLIGHT, KILLS, LATENCY = 8, 10, 0.01


def told(run):
    """The requests that a run's report counts, those of which no answer was kept among them."""
    known = plan.read(run)
    assert known is not None
    made = report.of([(run, known)], ())
    return made.totals.requests + made.runs[0].unanswered.requests


def has_sent_or_ended(api, count, process):
    return len(api.ledger) >= count or process.poll() is not None


@pytest.mark.second_lane
def test_ten_kills_lose_no_row_and_count_every_text_that_was_sent(api, start, batchmill, tmp_path):
    prompts, chance, run = texts(4000), random.Random(), tmp_path / "runs/in"
    bad = frozenset(range(300, 4000, 530))
    assert len(bad) == 7
    for number in bad:
        prompts[number] += " poison"
    write(tmp_path / "in.jsonl", prompts)
    api.latency = 0.02
    embedder = api.embedder
    embedder.most, embedder.poison, embedder.base64 = 32, "poison", "refused"
    embedder.index, embedder.loses = "by turns", ("7", 1)
    command = ("run", "in.jsonl", *asking(api, "-c", IN_FLIGHT, "--api", "embeddings"))
    for killed in range(1, KILLS + 1):
        more = len(api.ledger) + chance.randint(4, 20)
        process = start(*command)
        until(partial(has_sent_or_ended, api, more, process))
        process.kill()
        process.wait()
        charged = sum(asked.status in (200, None) for asked in api.ledger)
        assert charged <= told(run) <= len(api.ledger) + killed * IN_FLIGHT
    ended = batchmill(*command)
    assert ended.exit_code == 1, ended.stderr
    found = rows(run)
    assert [row["row"] for row in found] == list(range(len(prompts)))
    assert {row["row"] for row in found if row["status"] != "ok"} == bad
    answered: Counter[str] = Counter()
    first_of: Counter[str] = Counter()
    charged_of: Counter[str] = Counter()
    for asked in api.ledger:
        answered.update(asked.texts if asked.status == 200 else ())
        first_of[asked.texts[0]] += 1
        charged_of[asked.texts[0]] += asked.status in (200, None)
    for row, prompt in zip(found, prompts, strict=True):
        lost = sum(each["error_class"] == "cut_off" for each in row["attempt_log"] or ())
        assert charged_of[prompt] <= row["requests"] <= first_of[prompt] + lost
        if row["row"] not in bad:
            assert row["embedding"] == embedding_of(prompt)
            assert row["attempts"] >= answered[prompt] >= 1
    tokens = sum(asked.input_tokens for asked in api.ledger)
    confirmed = sum(row["input_tokens"] or 0 for row in found)
    assert confirmed <= tokens <= confirmed + sum(row["unconfirmed_tokens"] or 0 for row in found)
    assert batchmill("verify", "runs/in").exit_code == 0


@pytest.mark.second_lane
def test_the_requests_of_a_run_are_the_servers_whatever_was_killed(api, start, batchmill, tmp_path):
    """All that is under way has arrived when a kill comes, and nothing is refused: then both are equal.
    A request that was written down and did not leave any more is counted as one that may be billed; one
    that was refused for certain before a kill, and whose rows had no result yet, is forgotten.
    """
    prompts, run = texts(3000), tmp_path / "runs/ask"
    write(tmp_path / "in.jsonl", prompts)
    api.embedder.index = "reversed"
    (tmp_path / "ask.toml").write_text(
        f"""
        input = "in.jsonl"
        prompt.user = "{{{{ text }}}}"
        request = {{ model = "m", api = "embeddings" }}
        endpoint = {{ base_url = "{api.url}", api_key_env = "" }}
        limits = {{ concurrency = {IN_FLIGHT}, inputs_per_request = 16 }}
        """
    )

    def held():
        since = time.monotonic() - 20 * LATENCY
        return sum(asked.status is None and asked.at < since for asked in api.ledger)

    for killed in range(1, KILLS + 1):
        api.latency = LATENCY
        answered = len(api.ledger) + 6
        process = start("run", "ask.toml")
        until(lambda answered=answered: len(api.ledger) >= answered, process)
        api.latency = 600.0
        until(lambda killed=killed: held() == killed * IN_FLIGHT, process)
        process.kill()
        process.wait()
        assert told(run) == len(api.ledger)
        if killed == 1:
            words = " ".join(batchmill("report", "runs/ask").stdout.split())
            assert f": {IN_FLIGHT} requests for {16 * IN_FLIGHT} rows in flight, or lost" in words
    api.latency = LATENCY
    assert batchmill("run", "ask.toml").exit_code == 0
    assert told(run) == sum(row["requests"] for row in rows(run)) == len(api.ledger)
    assert [row["embedding"] for row in rows(run)] == [embedding_of(each) for each in prompts]

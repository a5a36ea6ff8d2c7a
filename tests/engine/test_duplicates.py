"""Rows that ask the same are asked once where that is meant, and every one of them has the answer."""

from __future__ import annotations

import random
from collections import Counter

import pytest

from batch import apis
from batch.apis import Parameters, build
from batch.requests.prompts import Question
from tests.fake_api import Step, answer_to
from tests.reading import asking, completions, rows, table, texts, until, write

COLD = ("--temperature", "0")


def repeated(count, distinct):
    """So many prompts, of which so many are different, in no order."""
    prompts = texts(distinct)
    return [prompts[number % distinct] for number in random.Random(7).sample(range(count), count)]


def answers(prompts):
    return [(row, answer_to(prompt)) for row, prompt in enumerate(prompts)]


def bill(api):
    return sum(asked.input_tokens for asked in api.ledger), len(api.ledger)


def told(run):
    found = table(run)
    return sum(n or 0 for n in found["input_tokens"].to_pylist()), sum(
        found["attempts"].to_pylist()
    )


@pytest.mark.parametrize("latency", [0.0, 0.02])
def test_equal_questions_are_asked_once(api, batchmill, tmp_path, latency):
    prompts = repeated(300, 70)
    write(tmp_path / "in.jsonl", prompts)
    api.latency = latency
    ended = batchmill("run", "in.jsonl", *asking(api, *COLD, "--set", "output.part_rows=40"))
    assert ended.exit_code == 0, ended.stderr
    run = tmp_path / "runs/in"
    assert api.prompts() == dict.fromkeys(set(prompts), 1)
    assert completions(run) == answers(prompts)
    assert told(run) == bill(api)
    found = rows(run)
    assert Counter(row["reused"] for row in found) == {True: 230, False: 70}
    for row in found:
        assert row["reused"] == ("duplicate" in row["flags"]) == (row["attempts"] == 0)
        assert row["cost_usd"] == 0 if row["reused"] else row["input_tokens"] is not None
    assert batchmill("verify", "runs/in").exit_code == 0


@pytest.mark.parametrize(
    ("flags", "asked"),
    [
        ((), 40),
        (("--temperature", "0.5"), 40),
        (("--set", "dedupe=true"), 8),
        ((*COLD, "--set", "dedupe=false"), 40),
        (COLD, 8),
        (("--temperature", "0.0"), 8),
        (("--api", "responses", *COLD), 8),
        (("--api", "embeddings"), 8),
        (("--api", "embeddings", "--set", "dedupe=false"), 40),
    ],
)
def test_what_is_asked_once_is_what_has_one_answer(api, batchmill, tmp_path, flags, asked):
    write(tmp_path / "in.jsonl", repeated(40, 8))
    assert batchmill("run", "in.jsonl", *asking(api), *flags).exit_code == 0
    assert sum(len(each.texts) or 1 for each in api.ledger) == asked
    assert len(rows(tmp_path / "runs/in")) == 40


def test_a_failure_is_nobody_elses(api, batchmill, tmp_path):
    write(tmp_path / "in.jsonl", ["text 1"] * 5 + ["other"])
    api.latency = 0.05
    api.script = {"text 1": [Step(status=400, delay=0.05), Step(status=400, delay=0.05)]}
    assert batchmill("run", "in.jsonl", *asking(api, *COLD)).exit_code == 1
    found = rows(tmp_path / "runs/in")
    assert Counter(row["status"] for row in found) == {"ok": 4, "failed": 2}
    assert api.prompts()["text 1"] == 3
    assert Counter(row["reused"] for row in found if row["completion"] == answer_to("text 1")) == {
        True: 2,
        False: 1,
    }


def test_a_row_that_waits_for_another_try_still_leads(api, batchmill, tmp_path):
    write(tmp_path / "in.jsonl", ["text 1"] * 30)
    api.script = {"text 1": [Step(status=503), Step(status=500)]}
    command = ("run", "in.jsonl", *asking(api, *COLD, "--set", "retry.first_delay=0.01"))
    ended = batchmill(*command)
    assert ended.exit_code == 0, ended.stderr
    assert len(api.ledger) == 3
    assert completions(tmp_path / "runs/in") == answers(["text 1"] * 30)


def test_more_rows_than_are_held_wait_for_one(api, batchmill, tmp_path):
    write(tmp_path / "in.jsonl", ["text 1"] * 12_000 + ["text 2"])
    api.latency = 0.8
    assert batchmill("run", "in.jsonl", *asking(api, *COLD)).exit_code == 0
    assert api.prompts() == {"text 1": 1, "text 2": 1}


def test_a_later_start_knows_what_was_answered(api, batchmill, tmp_path):
    prompts = repeated(300, 50)
    write(tmp_path / "in.jsonl", prompts)
    command = ("run", "in.jsonl", *asking(api, *COLD, "--set", "output.part_rows=40"))
    for limit in (60, 170, 300):
        assert batchmill(*command, "--limit", limit).exit_code == 0
    assert api.prompts() == dict.fromkeys(set(prompts), 1)
    assert completions(tmp_path / "runs/in") == answers(prompts)


def test_a_retry_asks_again(api, batchmill, tmp_path):
    write(tmp_path / "in.jsonl", ["text 1"] * 3)
    assert batchmill("run", "in.jsonl", *asking(api, *COLD)).exit_code == 0
    assert batchmill("retry", "runs/in", "--flag", "duplicate").exit_code == 0
    assert api.prompts() == {"text 1": 3}


def test_answers_that_are_reused_are_shared_too(api, batchmill, tmp_path):
    write(tmp_path / "in.jsonl", ["text 1", "text 2"])
    assert batchmill("run", "in.jsonl", *asking(api, *COLD), "-o", "old").exit_code == 0
    write(tmp_path / "in.jsonl", ["text 1", "text 2"] * 20)
    command = ("run", "in.jsonl", *asking(api, *COLD), "-o", "new", "--reuse", "old")
    assert batchmill(*command).exit_code == 0
    assert api.prompts() == {"text 1": 1, "text 2": 1}
    assert completions(tmp_path / "new") == answers(["text 1", "text 2"] * 20)


def test_what_another_row_answered_was_not_taken_from_another_run(api, batchmill, tmp_path):
    command = ("run", "in.jsonl", *asking(api, *COLD))
    write(tmp_path / "in.jsonl", ["text 1", "text 1", "text 1"])
    assert batchmill(*command, "-o", "old").exit_code == 0
    write(tmp_path / "in.jsonl", ["text 2"] * 10 + ["text 1"] * 7)
    ended = batchmill(*command, "-o", "new", "--reuse", "old")
    assert "reused    3 rows, taken from old" in ended.stderr
    assert Counter((row["reused"], *row["flags"]) for row in rows(tmp_path / "new")) == {
        (False,): 1,
        (True,): 3,
        (True, "duplicate"): 9 + 4,
    }


def test_of_several_runs_the_newest_answer_counts(api, batchmill, tmp_path):
    write(tmp_path / "in.jsonl", ["text 1", "text 2"])
    command = ("run", "in.jsonl", *asking(api, *COLD))
    assert batchmill(*command, "-o", "all/older").exit_code == 0
    write(tmp_path / "in.jsonl", ["text 2", "text 3"])
    api.always = Step(content="newer")
    assert batchmill(*command, "-o", "all/newer").exit_code == 0
    api.reset_ledger()
    write(tmp_path / "in.jsonl", ["text 1", "text 2", "text 3", "text 2"])
    for name, words in {
        "folder": ("--reuse", "all"),
        "several": ("--reuse", "all/older", "--reuse", "all/newer"),
    }.items():
        ended = batchmill(*command, "-o", name, *words)
        assert ended.exit_code == 0, ended.stderr
        found = completions(tmp_path / name)
        assert found[:3] == [(0, answer_to("text 1")), (1, "newer"), (2, "newer")]
        assert batchmill("run", name).exit_code == 0
    assert not api.ledger


def test_rows_that_say_their_temperature_are_taken_at_their_word(api, batchmill, tmp_path):
    lines = []
    for temperature in (0, 0, 0, 1, 1):
        body = f'"messages": [{{"role": "user", "content": "a"}}], "temperature": {temperature}'
        lines.append(f"{{{body}}}\n")
    (tmp_path / "in.jsonl").write_text("".join(lines))
    ended = batchmill("run", "in.jsonl", "-m", "m", "--base-url", api.url)
    assert ended.exit_code == 0, ended.stderr
    assert len(api.ledger) == 3


@pytest.mark.second_lane
def test_kills_ask_nothing_twice_but_what_was_in_flight(api, start, batchmill, tmp_path):
    prompts, in_flight = repeated(2_000, 300), 8
    write(tmp_path / "in.jsonl", prompts)
    api.latency = 0.03
    flags = (*COLD, "-c", in_flight, "--set", "output.part_rows=150")
    command = ("run", "in.jsonl", *asking(api, *flags))
    for _ in range(6):
        before = len(api.ledger)
        process = start(*command)
        until(lambda before=before: len(api.ledger) >= before + 30, process)
        process.kill()
        process.wait()
    assert batchmill(*command).exit_code == 0
    assert completions(tmp_path / "runs/in") == answers(prompts)
    asked = api.prompts()
    assert set(asked) == set(prompts)
    assert sum(asked.values()) <= 300 + 6 * in_flight
    assert batchmill("verify", "runs/in").exit_code == 0


@pytest.mark.parametrize(
    ("api", "sent", "one"),
    [
        ("chat", {}, False),
        ("chat", {"temperature": 0}, True),
        ("chat", {"temperature": 0.0}, True),
        ("chat", {"temperature": -0.0}, True),
        ("chat", {"temperature": 0.01}, False),
        ("chat", {"metadata": {"temperature": 0}}, False),
        ("responses", {"temperature": 0}, True),
        ("completions", {"temperature": 0}, True),
        ("embeddings", {}, True),
    ],
)
def test_one_answer_have_requests_that_draw_nothing(api, sent, one):
    question = Question(messages=[{"role": "user", "content": '"temperature":0,'}])
    if api == "completions":
        question = Question(body={"prompt": '"temperature":0,'})
    request = build(question, Parameters(api, "m", sent), 0)
    assert apis.gives_one_answer(request) is one

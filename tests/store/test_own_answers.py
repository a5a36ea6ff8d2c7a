"""What a run has answered lately is at hand, within a bound of memory."""

from __future__ import annotations

import pyarrow as pa
import pytest

from batch.model import Choice, Result, ToolCall
from batch.run_folder import RunFolder
from batch.store.own_answers import RECENT_BYTES, OwnAnswers, Place
from batch.store.seal import Layout

LARGE = "a" * (RECENT_BYTES // 10)


@pytest.fixture
def answers(tmp_path):
    run = RunFolder(tmp_path)
    run.drafts.mkdir()
    found = OwnAnswers(run, Layout(pa.schema([]), (), lambda batch: []), [])
    found.open()
    yield found
    found.close()


def digest(number):
    return f"{number:032x}"


def test_an_answer_that_is_given_many_times_stays_at_hand(answers):
    for row in range(25):
        result = Result(row=row, status="ok", request_hash=digest(1), completion=LARGE)
        answers.add(result, 0)
        assert answers.find(digest(1)) is result


@pytest.mark.parametrize(
    "more",
    [
        {"completion": LARGE},
        {"choices": [Choice(0, LARGE)]},
        {"tool_calls": [ToolCall("1", "f", LARGE)]},
        {"refusal": LARGE},
        {"request_json": LARGE},
        {"embedding": b"a" * len(LARGE)},
    ],
    ids=lambda more: next(iter(more)),
)
def test_what_is_at_hand_is_bounded_whatever_an_answer_holds(answers, more):
    for row in range(25):
        answers.add(Result(row=row, status="ok", request_hash=digest(row), **more), 0)
    at_hand = [answers.find(digest(row)) for row in range(25)]
    assert [isinstance(each, Place) for each in at_hand] == [True] * 16 + [False] * 9

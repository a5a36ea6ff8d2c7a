"""The idempotency key of a request stays where its answer may have got lost, and changes where another
answer is wanted.
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise
from pathlib import Path

import pytest

from tests.conftest import Finished
from tests.fake_api import FakeAPI, Step
from tests.reading import asking, texts, write

FITS, MISFIT = Step(content='{"a": "x"}'), Step(content='{"a": 1}')


def keys(api: FakeAPI) -> list[str]:
    return [asked.headers["idempotency-key"] for asked in api.ledger]


@pytest.mark.parametrize(
    ("steps", "new"),
    [
        ([MISFIT, MISFIT, FITS], [True, True]),
        ([Step(body="{}"), FITS], [True]),
        ([429, FITS], [False]),
        ([500, FITS], [False]),
        ([504, FITS], [False]),
        ([Step(reset=True), FITS], [False]),
        ([Step(cut=30, close=True), FITS], [False]),
        ([MISFIT, Step(reset=True), FITS], [True, False]),
    ],
    ids=["misfits", "no answer", "429", "500", "504", "reset", "cut off", "misfit, then reset"],
)
def test_another_answer_is_asked_for_with_another_key(
    api: FakeAPI,
    batchmill: Callable[..., Finished],
    tmp_path: Path,
    steps: list[Step | int],
    new: list[bool],
) -> None:
    api.script = {"text": steps}
    write(tmp_path / "in.jsonl", ["text"])
    schema = ("--set", 'request.schema={"a": "string"}', "--set", "retry.first_delay=0.01")
    done = batchmill("run", "in.jsonl", *asking(api), *schema)
    assert done.exit_code == 0, done.stderr
    sent = keys(api)
    assert [one != other for one, other in pairwise(sent)] == new


def test_a_retry_asks_with_other_keys_each_time(
    api: FakeAPI, batchmill: Callable[..., Finished], tmp_path: Path
) -> None:
    write(tmp_path / "in.jsonl", texts(1))
    api.always = Step(finish_reason="length")
    assert batchmill("run", "in.jsonl", *asking(api)).exit_code == 0
    for _ in range(2):
        done = batchmill("retry", "runs/in", "--flag", "length")
        assert done.exit_code == 0, done.stderr
    assert len(set(keys(api))) == 3

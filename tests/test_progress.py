"""What the bar and the plain lines say of money and time."""

from __future__ import annotations

import io
import time
from pathlib import Path
from typing import Any

import pytest

from batch.engine.counts import Counts
from batch.engine.events import Notice, Opened, Progressed, Waiting, WentOn
from batch.model import Result
from batch.progress import Progress
from batch.totals import Summary

ANSWERED: dict[str, Any] = {"status": "ok", "input_tokens": 10, "output_tokens": 5, "attempts": 1}
SILENT: dict[str, Any] = {"status": "ok", "attempts": 1}


class Terminal(io.StringIO):
    def isatty(self):
        return True


def priced(row, usd):
    return Result(row=row, **ANSWERED, cost_usd=usd, cost_source="job")


def last_words(held, results, total):
    """What the bar of a run of `total` rows shows, `held` of which it held before."""
    before = Summary()
    for result in held:
        before.add(result)
    counts, stream = Counts(before), Terminal()
    counts.add(results)
    progress = Progress(stream)
    progress(Opened(Path("run"), "run_1", 0, before.totals()))
    progress(Progressed(1.0, total, *counts.now(), 0))
    progress.close()
    return stream.getvalue().rpartition("\r")[2]


@pytest.mark.parametrize(
    ("held", "results", "total", "said"),
    [
        ([], [priced(0, 0.5), priced(1, 1.5)], 10, "$2.00 of about $10.00"),
        ([priced(0, 3.0)], [priced(1, 1.0)], 4, "$4.00 of about $8.00"),
        ([], [priced(0, 0.5), Result(row=1, **ANSWERED)], 4, "≥ $0.50 of about $1.50"),
        ([], [priced(0, 0.5)], None, "$0.50"),
        ([], [priced(0, 0.5)], 1, "$0.50"),
        ([], [Result(row=0, **ANSWERED)], 4, "cost unknown"),
        ([Result(row=0, **SILENT)], [], 4, "cost unknown"),
    ],
)
def test_the_bar_shows_what_is_spent_and_what_it_will_come_to(held, results, total, said):
    words = last_words(held, results, total)
    assert f"tok, {said}" in words
    assert ("of about" in words) == ("of about" in said)


def test_what_costs_nothing_is_not_mentioned():
    assert "$" not in last_words([], [priced(0, 0.0)], 4)


def test_plain_lines_tell_the_time():
    stream, counts = io.StringIO(), Counts(Summary())
    counts.add([priced(0, 0.5), priced(1, 0.5)])
    at = time.mktime((2026, 3, 1, 14, 3, 20, 0, 0, -1))
    progress = Progress(stream, moment=lambda: at)
    progress(Notice("/runs/in (new)"))
    progress(Progressed(29.0, 10, *counts.now(), 0))
    progress(Progressed(40.0, 10, *counts.now(), 0))
    progress(Waiting("down", "endpoint down"))
    progress(WentOn("down", 20.0))
    folder, *lines = stream.getvalue().splitlines()
    assert folder == "/runs/in (new)"
    assert lines == [
        "14:03:20  2/10 rows, 3.0/min, 3 min left, 20→10 tok, $1.00 of about $5.00",
        "14:03:20  endpoint down",
        "14:03:20  the endpoint is back after 20 s",
    ]

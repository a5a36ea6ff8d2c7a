"""A time as people write it is the moment they mean."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone

import pytest

from batch.reports.moments import moment

NOW = datetime(2026, 3, 1, 12, 30, tzinfo=UTC)


def at(*when):
    return datetime(*when, tzinfo=UTC)


@pytest.mark.parametrize(
    ("text", "begins", "ends"),
    [
        ("2026-11", at(2026, 11, 1), at(2026, 12, 1)),
        ("2026-12", at(2026, 12, 1), at(2027, 1, 1)),
        ("2026", at(2026, 1, 1), at(2027, 1, 1)),
        ("2026-01-31", at(2026, 1, 31), at(2026, 2, 1)),
        ("20260131", at(2026, 1, 31), at(2026, 2, 1)),
        ("2026-W05", at(2026, 1, 26), at(2026, 2, 2)),
        ("2026-W05-2", at(2026, 1, 27), at(2026, 1, 28)),
        ("today", at(2026, 3, 1), at(2026, 3, 2)),
        ("yesterday", at(2026, 2, 28), at(2026, 3, 1)),
        ("7d", at(2026, 2, 22, 12, 30), at(2026, 2, 22, 12, 30)),
        ("36h", at(2026, 2, 28, 0, 30), at(2026, 2, 28, 0, 30)),
        ("2w", at(2026, 2, 15, 12, 30), at(2026, 2, 15, 12, 30)),
        ("2026-02-01T01:00", at(2026, 2, 1, 1), at(2026, 2, 1, 1)),
        ("2026-02-01T02:00+01:00", at(2026, 2, 1, 1), at(2026, 2, 1, 1)),
    ],
)
def test_what_is_written_is_a_moment_or_a_whole_span(text, begins, ends):
    assert (moment(text, NOW), moment(text, NOW, end=True)) == (begins, ends)


def test_days_are_those_of_utc_wherever_the_clock_is():
    east = datetime(2026, 3, 1, 1, 0, tzinfo=timezone(timedelta(hours=9)))
    assert moment("today", east) == at(2026, 2, 28)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "soon",
        "7",
        "7x",
        "-7d",
        "2026-13",
        "2026-00",
        "2026-02-30",
        "999999w",
        "0000",
        "9999-12-31",
    ],
)
def test_anything_else_is_refused(text):
    with pytest.raises(ValueError):
        moment(text, NOW)

"""Moments and spans of time as people write them: 2026-11-05, 2026-11, 2026-W45, yesterday, 7d."""

from __future__ import annotations

import re
from datetime import UTC, date, datetime, time, timedelta

_AGO = re.compile(r"(\d{1,6})\s*([hdw])")
_UNITS = {"h": timedelta(hours=1), "d": timedelta(days=1), "w": timedelta(weeks=1)}
_MONTH = re.compile(r"(\d{4})(?:-(\d\d))?")
_WEEK = re.compile(r"\d{4}-?W\d\d")

_Span = tuple[datetime, datetime]
"""When it begins, and when it is over."""


def moment(text: str, now: datetime, *, end: bool = False) -> datetime:
    """The moment that is meant: where a day, a week, a month or a year is named, its beginning, or its
    `end`; `7d` is seven times 24 hours before `now`.  All is UTC but what names another zone.  Raises
    ValueError.
    """
    try:
        begins, ends = _span(text.strip(), now.astimezone(UTC))
    except OverflowError:
        raise ValueError(f"{text}: no calendar reaches as far") from None
    return ends if end else begins


def _span(text: str, now: datetime) -> _Span:
    today = now.date()
    named = {"today": today, "yesterday": today - timedelta(days=1)}
    if text in named:
        return _days(named[text], 1)
    if found := _AGO.fullmatch(text):
        return _at(now - int(found[1]) * _UNITS[found[2]])
    if found := _MONTH.fullmatch(text):
        return _months(int(found[1]), found[2])
    try:
        return _days(date.fromisoformat(text), 7 if _WEEK.fullmatch(text) else 1)
    except ValueError:
        return _at(datetime.fromisoformat(text))


def _at(found: datetime) -> _Span:
    known = found.replace(tzinfo=UTC) if found.tzinfo is None else found.astimezone(UTC)
    return known, known


def _days(first: date, number: int) -> _Span:
    begins = datetime.combine(first, time(), UTC)
    return begins, begins + timedelta(days=number)


def _months(year: int, month: str | None) -> _Span:
    """A month, or the whole year."""
    first = int(month or 1)
    after = year * 12 + first - 1 + (1 if month else 12)
    return datetime(year, first, 1, tzinfo=UTC), datetime(
        after // 12, after % 12 + 1, 1, tzinfo=UTC
    )

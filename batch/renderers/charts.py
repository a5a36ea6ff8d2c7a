"""Where the marks of a chart stand: numbers to rectangles.  Pure; the page draws them.

A chart is WIDTH units wide and drawn at about one pixel a unit, on a phone as on a large screen, so
that its words stay readable.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

from batch.reports.groups import Spread

WIDTH = 360.0
BAR_PITCH, BAR_HEIGHT = 38.0, 12.0
PLOT_LEFT, PLOT_TOP, PLOT_HEIGHT = 58.0, 10.0, 140.0
COLUMN_GAP = 0.25
X_LABELS_HEIGHT = 24.0
BINS_A_DECADE = (20, 10, 5)
MOST_BINS = 40


class Mark(NamedTuple):
    """A rectangle; `series` counts from 0, `title` says what it shows."""

    x: float
    y: float
    width: float
    height: float
    series: int
    title: str


class Label(NamedTuple):
    x: float
    y: float
    text: str
    anchor: str = "start"


class Chart(NamedTuple):
    """`lines` are the heights of the grid's lines."""

    height: float
    marks: list[Mark]
    labels: list[Label]
    lines: list[float]


class Point(NamedTuple):
    """One bar or column: its name, its values (one a series, stacked), and these in words."""

    name: str
    values: tuple[float, ...]
    words: str


def bars(points: Sequence[Point]) -> Chart:
    """Lying bars, one below the other, each under its name and its value in words."""
    most = max((sum(point.values) for point in points), default=0.0) or 1.0
    marks, labels = [], []
    for place, point in enumerate(points):
        y = place * BAR_PITCH
        labels += [Label(0, y + 13, point.name), Label(WIDTH, y + 13, point.words, "end")]
        x = 0.0
        for series, value in enumerate(point.values):
            width = value / most * WIDTH
            if width > 0:
                marks.append(Mark(x, y + 19, width, BAR_HEIGHT, series, _title(point)))
            x += width
    return Chart(max(1, len(points)) * BAR_PITCH, marks, labels, [])


def columns(points: Sequence[Point], scale: Sequence[tuple[float, str]]) -> Chart:
    """Standing columns from left to right; `scale` is the grid, its last line the top."""
    top = scale[-1][0]
    pitch = (WIDTH - PLOT_LEFT) / max(1, len(points))
    bottom = PLOT_TOP + PLOT_HEIGHT
    marks = []
    for place, point in enumerate(points):
        y = bottom
        for series, value in enumerate(point.values):
            height = value / top * PLOT_HEIGHT
            y -= height
            if height > 0:
                x = PLOT_LEFT + (place + COLUMN_GAP / 2) * pitch
                marks.append(Mark(x, y, pitch * (1 - COLUMN_GAP), height, series, _title(point)))
    lines = [bottom - value / top * PLOT_HEIGHT for value, _ in scale]
    labels = [
        Label(PLOT_LEFT - 6, y + 4, words, "end")
        for y, (_, words) in zip(lines, scale, strict=True)
    ]
    labels += [_below(points, place, pitch, bottom) for place in _named(len(points))]
    return Chart(bottom + X_LABELS_HEIGHT, marks, labels, lines)


def _title(point: Point) -> str:
    return f"{point.name}: {point.words}"


def _named(count: int) -> list[int]:
    """Which columns have their name below them: the first, the last, and the middle one."""
    return sorted({0, count // 2, count - 1}) if count > 2 else list(range(count))


def _below(points: Sequence[Point], place: int, pitch: float, bottom: float) -> Label:
    middle = PLOT_LEFT + (place + 0.5) * pitch
    if len(points) < 4:
        return Label(middle, bottom + 18, points[place].name, "middle")
    first, last = place == 0, place == len(points) - 1
    x = PLOT_LEFT if first else WIDTH if last else middle
    return Label(
        x, bottom + 18, points[place].name, "start" if first else "end" if last else "middle"
    )


def scale(most: float) -> list[float]:
    """Three or four round numbers from 0 to not less than `most`."""
    if most <= 0:
        return [0.0, 1.0]
    size = 10.0 ** math.floor(math.log10(most))
    step = next(size * part for part in (0.2, 0.25, 0.5, 1.0, 2.5, 5.0) if size * part * 4 >= most)
    return [step * n for n in range(math.ceil(round(most / step, 9)) + 1)]


def bins(spread: Spread) -> list[tuple[float, float, int]]:
    """(from, to, rows) in steps of equal ratio, as fine as makes at most MOST_BINS."""
    if not spread:
        return []
    made: list[tuple[float, float, int]] = []
    for fineness in BINS_A_DECADE:
        places: dict[int, int] = {}
        for seconds, rows in spread:
            place = math.floor(math.log10(seconds) * fineness + 1e-9)
            places[place] = places.get(place, 0) + rows
        made = [
            (10 ** (place / fineness), 10 ** ((place + 1) / fineness), places.get(place, 0))
            for place in range(min(places), max(places) + 1)
        ]
        if len(made) <= MOST_BINS:
            break
    return made

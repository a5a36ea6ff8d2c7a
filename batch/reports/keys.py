"""What the rows of a run can be grouped by: built-in keys, tags, columns."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import pyarrow as pa
import pyarrow.compute as pc

from batch import values
from batch.store.plan import Plan
from batch.store.seal import Layout


class Key(NamedTuple):
    """What rows are grouped by: the columns it looks at, and its value row by row."""

    columns: tuple[str, ...]
    of: Callable[[pa.Table], pa.ChunkedArray | pa.Array]


def _model(rows: pa.Table) -> pa.ChunkedArray:
    return pc.coalesce(rows["served_model"], rows["model"])


def _day(rows: pa.Table) -> pa.ChunkedArray:
    return rows["started_at"].cast(pa.date32())


def _month(rows: pa.Table) -> pa.ChunkedArray:
    return pc.floor_temporal(_day(rows), unit="month")


def _week(rows: pa.Table) -> pa.ChunkedArray:
    return pc.floor_temporal(_day(rows), unit="week")


def _hour(rows: pa.Table) -> pa.ChunkedArray:
    moments = rows["started_at"].cast(pa.timestamp("us"))  # UTC, without a zone to look up
    return pc.floor_temporal(moments, unit="hour")


BUILT_IN = {
    "model": Key(("served_model", "model"), _model),
    "endpoint": Key(("endpoint",), lambda rows: rows["endpoint"]),
    "status": Key(("status",), lambda rows: rows["status"]),
    "hour": Key(("started_at",), _hour),
    "day": Key(("started_at",), _day),
    "week": Key(("started_at",), _week),
    "month": Key(("started_at",), _month),
}
"""Model: the one that answered, else the one asked for; times are UTC, and a week begins on Monday."""

TIMES = ("hour", "day", "week", "month")
"""Those of the built-in keys that are times, the finest first."""

OWN_KEYS = {"model": BUILT_IN["model"], "day": BUILT_IN["day"]}
"""Always there, as `of.model` and `of.day`."""


class ChosenRun(NamedTuple):
    """One run: its folder, what it is called, its plan, its layout."""

    path: Path
    name: str
    known: Plan
    layout: Layout

    def key(self, name: str) -> Key | None:
        """What `--by name` means in this run; None when it has no such thing."""
        kind, _, rest = name.partition(":")
        tags = self.known.job.get("tags", {})
        if name in BUILT_IN:
            return BUILT_IN[name]
        if name == "run":
            return _constant(self.name)
        if kind == "tag" and rest:
            return _constant(tags[rest]) if rest in tags else None
        if name in tags:
            return _constant(tags[name])
        return _column(self.layout.schema, rest if kind == "column" and rest else name)


def _constant(value: str) -> Key:
    return Key((), lambda rows: pa.repeat(pa.scalar(value, pa.string()), len(rows)))


def _column(schema: pa.Schema, name: str) -> Key | None:
    if name not in schema.names:
        return None
    kind = schema.field(name).type
    if pa.types.is_nested(kind) or pa.types.is_binary(kind) or pa.types.is_large_binary(kind):
        return None
    return Key((name,), lambda rows: values.texts(rows[name]))

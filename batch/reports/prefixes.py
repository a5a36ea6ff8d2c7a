"""What prompt caches did for each beginning that prompts of a run have: what was read, what was written, and
what of that nobody read.

Tokens count as never read where that is certain.  A row that had `cached` tokens read to it and wrote
others behind them wrote up to their sum; nobody has read further than the most that was cached for any row
that begins so, or, where prompts of several beginnings have their head in common, for the first row of
another.  Rows with several attempts wrote and read in turn, which their columns do not tell apart: what
they wrote counts as read.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec
import pyarrow as pa
import pyarrow.compute as pc

from batch.reports.beginnings import SUMMED
from batch.reports.groups import ratio, rounded

SHOWN = 10
"""Beginnings that are told one by one."""


class Prefix(msgspec.Struct, frozen=True, kw_only=True):
    """Rows whose prompts begin alike; `label` is how, None for several beginnings.  The numbers are those
    of groups; `cache_unread_tokens` were written and certainly never read.
    """

    label: str | None
    rows: int
    input_tokens: int | None
    cached_tokens: int
    cache_write_tokens: int
    cache_unread_tokens: int
    cache_hit_rate: float | None
    cost_usd: float | None
    unpriced_rows: int
    cache_saved_usd: float | None


class Prefixes(msgspec.Struct, frozen=True):
    """The beginnings that `columns` make, so many of them: those that cost `most`, and all `others`."""

    columns: list[str]
    count: int
    most: list[Prefix]
    others: Prefix | None


def told(lines: pa.Table, names: Sequence[str]) -> tuple[int, Prefixes | None]:
    """The tokens that were written and never read, in all, and by beginning, where there are several and
    a cache was told of.  `lines` are those of `of_rows`, added up.
    """
    if not len(lines):
        return 0, None
    unread = _unread(lines)
    whole = pc.sum(unread).as_py() or 0
    known = lines.append_column("unread", unread).filter(pc.not_equal(lines["prefix"], 0))
    sums = [*((name, "sum") for name in (*SUMMED, "unread"))]
    made = known.group_by(["prefix", "label"]).aggregate(sums)
    tells = pc.any(pc.is_valid(made["cacheable_tokens_sum"])).as_py()
    if len(made) < 2 or not tells:
        return whole, None
    order = [
        ("cost_usd_sum", "descending"),
        ("input_tokens_sum", "descending"),
        ("prefix", "ascending"),
    ]
    at = pc.sort_indices(made, order)
    most, rest = made.take(at[:SHOWN]), made.take(at[SHOWN:])
    others = rest.group_by([]).aggregate([(f"{name}_sum", "sum") for name, _ in sums])
    others = others.rename_columns([f"{name}_sum" for name, _ in sums])
    return whole, Prefixes(
        sorted(names),
        len(made),
        [_prefix(line, line["label"]) for line in most.to_pylist()],
        _prefix(others.to_pylist()[0], None) if len(rest) else None,
    )


def _unread(lines: pa.Table) -> pa.ChunkedArray:
    """Of each line, the tokens that were certainly never read."""
    lines = lines.append_column("place", pa.array(range(len(lines)), pa.int64()))
    by = ["model", "prefix"]
    alike = lines.group_by(by).aggregate([("cached", "max"), ("first", "min")])
    joined = lines.join(alike, by, join_type="inner")
    is_first = pc.equal(joined["first"], joined["first_min"])
    foreign = joined.filter(pc.or_(pc.fill_null(is_first, False), pc.equal(joined["prefix"], 0)))
    heads = foreign.group_by("model").aggregate([("cached", "max")])
    heads = heads.rename_columns(["model", "head"])
    joined = joined.join(heads, "model", join_type="left outer").sort_by("place")
    reach = pc.max_element_wise(joined["cached_max"], joined["head"])
    behind = pc.multiply(pc.subtract(joined["cached"], reach), joined["rows"])
    written = pc.fill_null(joined["cache_write_tokens"], 0)
    beyond = pc.max_element_wise(pc.add(written, behind), 0)
    return pc.if_else(joined["once"], beyond, 0)


def _prefix(sums: dict[str, Any], label: str | None) -> Prefix:
    count = {name.removesuffix("_sum"): value or 0 for name, value in sums.items()}
    unknown = count["unpriced_rows"] and not count["cost_usd"]
    return Prefix(
        label=label,
        rows=count["rows"],
        input_tokens=sums["input_tokens_sum"],
        cached_tokens=count["cached_tokens"],
        cache_write_tokens=count["cache_write_tokens"],
        cache_unread_tokens=count["unread"],
        cache_hit_rate=ratio(count["cached_tokens"], count["cacheable_tokens"]),
        cost_usd=None if unknown else rounded(count["cost_usd"]),
        unpriced_rows=count["unpriced_rows"],
        cache_saved_usd=rounded(sums["cache_saved_usd_sum"]),
    )

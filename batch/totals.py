"""What results add up to.

A total is the sum of the column of its name, or counts the rows of which its rule in COUNTED holds.
Rules are written once, for one row and for columns of rows alike.  To add one: a field of Totals and,
where it counts rows, a rule.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from datetime import UTC, datetime
from functools import lru_cache
from operator import attrgetter
from typing import Any

import msgspec

from batch.model import Result, Usage

USAGE_SHARED = "usage_shared"
"""The flag of a row whose tokens are its share of what a request for many rows took."""


def add_known(one: float | None, other: float | None) -> Any:
    """The sum of what is known, None where nothing is."""
    return one + other if one is not None and other is not None else one if other is None else other


def add(one: Usage | None, other: Usage | None) -> Usage | None:
    """Both together.  What one of them does not know counts by the other alone."""
    if one is None or other is None:
        return one or other
    return Usage(
        *(add_known(getattr(one, name), getattr(other, name)) for name in Usage.__struct_fields__)
    )


class Facts(msgspec.Struct, frozen=True):
    """What rules are about, each a bool, or a column of them: all that knows `&` and `|`."""

    ok: Any
    failed: Any
    asked: Any  # here, and not taken from another run
    reused: Any
    doubtful: Any  # its usage was told, and cannot be
    told: Any  # input or output
    untold: Any  # input or output
    costless: Any  # its cost is not known
    open_ended: Any  # it may have cost more, and nobody knows how much at most


def _unknown_usage(row: Facts) -> Any:
    """It used tokens that nobody told."""
    return row.asked & (row.doubtful | (row.ok & row.untold))


def _unpriced(row: Facts) -> Any:
    """It was billed, and its cost is unknown."""
    return row.asked & row.costless & (row.ok | row.told | _unknown_usage(row))


COUNTED: dict[str, Callable[[Facts], Any]] = {
    "rows_ok": attrgetter("ok"),
    "rows_failed": attrgetter("failed"),
    "rows_reused": attrgetter("reused"),
    "unconfirmed_unpriced_rows": attrgetter("open_ended"),
    "unpriced_rows": _unpriced,
    "unknown_usage_rows": _unknown_usage,
}
"""Total -> the rule of what it counts."""


@lru_cache(maxsize=128)
def _counting(
    status: str,
    reused: bool,
    doubtful: bool,
    no_input: bool,
    no_output: bool,
    costless: bool,
    most: bool,
) -> tuple[str, ...]:
    """The totals that count a row of which this is true."""
    ok, told, untold = status == "ok", not (no_input and no_output), no_input or no_output
    row = Facts(ok, not ok, not reused, reused, doubtful, told, untold, costless, most)
    return tuple(name for name, rule in COUNTED.items() if rule(row))


def counting(result: Result) -> tuple[str, ...]:
    """The totals that count a result."""
    most = result.unconfirmed_tokens
    return _counting(
        result.status,
        result.reused,
        "usage_unknown" in result.flags,
        result.input_tokens is None,
        result.output_tokens is None,
        result.cost_usd is None,
        bool(most) and result.unconfirmed_cost_usd is None,
    )


class Group(msgspec.Struct, frozen=True, omit_defaults=True):
    """What a group of usage totals has in common."""

    date: str | None = None
    endpoint: str | None = None
    model: str | None = None
    served_model: str | None = None
    service_tier: str | None = None


class Totals(msgspec.Struct, omit_defaults=True):
    """Sums over results.  A plain accumulator: the sum of sums is the sum over the rows."""

    rows_ok: int = 0
    rows_failed: int = 0
    rows_reused: int = 0
    attempts: int = 0
    maybe_billed_attempts: int = 0
    input_tokens: int = 0
    cached_tokens: int = 0
    cache_write_tokens: int = 0
    output_tokens: int = 0
    reasoning_tokens: int = 0
    cost_usd: float = 0.0
    unconfirmed_tokens: int = 0
    unconfirmed_cost_usd: float = 0.0
    unconfirmed_unpriced_rows: int = 0
    unbounded_attempts: int = 0
    unpriced_rows: int = 0
    unknown_usage_rows: int = 0
    riding: int = 0  # attempts that had no request of their own; footers of old have none

    @property
    def requests(self) -> int:
        """Requests that were made."""
        return self.attempts - self.riding

    def add(self, result: Result) -> None:
        """Count one result.  The sums are written out, which takes 2 us less than a loop."""
        self.attempts += result.attempts
        if result.requests is not None:
            self.riding += result.attempts - result.requests
        self.maybe_billed_attempts += result.maybe_billed_attempts
        self.input_tokens += result.input_tokens or 0
        self.cached_tokens += result.cached_tokens or 0
        self.cache_write_tokens += result.cache_write_tokens or 0
        self.output_tokens += result.output_tokens or 0
        self.reasoning_tokens += result.reasoning_tokens or 0
        self.cost_usd += result.cost_usd or 0.0
        self.unconfirmed_tokens += result.unconfirmed_tokens or 0
        self.unconfirmed_cost_usd += result.unconfirmed_cost_usd or 0.0
        self.unbounded_attempts += result.unbounded_attempts
        for name in counting(result):
            setattr(self, name, getattr(self, name) + 1)

    def merge(self, other: Totals) -> None:
        """Count all that `other` has counted."""
        for name in Totals.__struct_fields__:
            setattr(self, name, getattr(self, name) + getattr(other, name))


SUMMED = tuple(name for name in Totals.__struct_fields__ if name not in (*COUNTED, "riding"))
"""Totals that are sums of the column of their name."""


@lru_cache(maxsize=1024)
def _group_key(
    day: int | None,
    endpoint: str | None,
    model: str | None,
    served_model: str | None,
    service_tier: str | None,
) -> str:
    """JSON of a Group; `day` counts from the epoch, in UTC."""
    date = None if day is None else datetime.fromtimestamp(day * 86_400, UTC).date().isoformat()
    return msgspec.json.encode(Group(date, endpoint, model, served_model, service_tier)).decode()


def group_key(result: Result) -> str:
    """The group a result is counted in, as JSON; its date is the UTC day of the last attempt."""
    day = None if result.started_at is None else int(result.started_at // 86_400)
    return _group_key(day, result.endpoint, result.model, result.served_model, result.service_tier)


class Summary(msgspec.Struct, omit_defaults=True):
    """All that is counted of a set of results: what a part's footer holds and what a run adds up
    to.  `misfits` are rows with something in the column `extra`.
    """

    groups: dict[str, Totals] = {}  # JSON of the Group -> its totals
    flags: dict[str, int] = {}
    failures: dict[str, int] = {}
    examples: dict[str, str] = {}  # error class -> the first message seen
    misfits: int = 0

    def add(self, result: Result) -> None:
        """Count one result."""
        key = group_key(result)
        if key not in self.groups:
            self.groups[key] = Totals()
        self.groups[key].add(result)
        for flag in result.flags:
            if flag == USAGE_SHARED:  # nothing odd
                continue
            self.flags[flag] = self.flags.get(flag, 0) + 1
        if result.error_class is not None and result.status == "failed":
            self.failures[result.error_class] = self.failures.get(result.error_class, 0) + 1
            self.examples.setdefault(result.error_class, result.error_message or "")

    def merge(self, other: Summary) -> None:
        """Count all that `other` has counted."""
        self.misfits += other.misfits
        for key, totals in other.groups.items():
            self.groups.setdefault(key, Totals()).merge(totals)
        for mine, theirs in ((self.flags, other.flags), (self.failures, other.failures)):
            for name, count in theirs.items():
                mine[name] = mine.get(name, 0) + count
        for name, example in other.examples.items():
            self.examples.setdefault(name, example)

    def totals(self) -> Totals:
        """Everything, over all groups."""
        whole = Totals()
        for totals in self.groups.values():
            whole.merge(totals)
        return whole

    def rows(self) -> Iterable[tuple[Group, Totals]]:
        """The groups, oldest first."""
        decoded = (
            (msgspec.json.decode(key, type=Group), totals) for key, totals in self.groups.items()
        )
        return sorted(decoded, key=lambda pair: msgspec.json.encode(pair[0]))

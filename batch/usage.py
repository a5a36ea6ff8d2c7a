"""One algebra of token counts.

Servers spell usage in many ways; here it is Usage (model.py): input with cached and cache-write
tokens inside, output with reasoning inside.  A count that cannot be (negative, fractional, a string
of letters) is unknown, never 0.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, datetime
from functools import lru_cache
from typing import Any

import msgspec

from batch.model import Result, Usage

MOST_TOKENS = 2**53
"""No answer has more; a larger count is a mistake of the server."""


def read(usage: Any) -> Usage | None:
    """The usage object of an answer, in the spelling of chat completions or of responses; None
    when unusable.
    """
    if not isinstance(usage, dict):
        return None
    inside_input = _table(usage, "prompt_tokens_details", "input_tokens_details")
    inside_output = _table(usage, "completion_tokens_details", "output_tokens_details")
    known = Usage(
        input_tokens=_first(usage, "prompt_tokens", "input_tokens"),
        cached_tokens=_first(inside_input, "cached_tokens")
        if inside_input
        else _first(usage, "cached_tokens", "prompt_cache_hit_tokens", "cache_read_input_tokens"),
        cache_write_tokens=_first(inside_input, "cache_write_tokens"),
        output_tokens=_first(usage, "completion_tokens", "output_tokens"),
        reasoning_tokens=_first(inside_output, "reasoning_tokens"),
    )
    return None if known == Usage() else known


def add(one: Usage | None, other: Usage | None) -> Usage | None:
    """Both together.  What one of them does not know counts by the other alone."""
    if one is None or other is None:
        return one or other
    return Usage(
        *(_plus(getattr(one, name), getattr(other, name)) for name in Usage.__struct_fields__)
    )


def _plus(one: int | None, other: int | None) -> int | None:
    return one + other if one is not None and other is not None else one if other is None else other


def _table(usage: dict[str, Any], *names: str) -> dict[str, Any]:
    return next((value for name in names if isinstance(value := usage.get(name), dict)), {})


def _first(table: dict[str, Any], *names: str) -> int | None:
    return next((count for name in names if (count := _count(table.get(name))) is not None), None)


def _count(value: Any) -> int | None:
    if isinstance(value, str) and value.isascii() and value.isdigit() and len(value) < 17:
        value = int(value)
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    usable = isinstance(value, int) and not isinstance(value, bool) and 0 <= value <= MOST_TOKENS
    return value if usable else None


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
    unpriced_rows: int = 0
    unknown_usage_rows: int = 0

    def add(self, result: Result) -> None:
        """Count one result."""
        ok = result.status == "ok"
        self.rows_ok += ok
        self.rows_failed += not ok
        self.rows_reused += result.reused
        self.attempts += result.attempts
        self.maybe_billed_attempts += result.maybe_billed_attempts
        self.input_tokens += result.input_tokens or 0
        self.cached_tokens += result.cached_tokens or 0
        self.cache_write_tokens += result.cache_write_tokens or 0
        self.output_tokens += result.output_tokens or 0
        self.reasoning_tokens += result.reasoning_tokens or 0
        self.cost_usd += result.cost_usd or 0.0
        unknown = (
            ok
            and not result.reused
            and (result.input_tokens is None or result.output_tokens is None)
        )
        self.unknown_usage_rows += unknown
        used = result.input_tokens is not None or result.output_tokens is not None
        self.unpriced_rows += (ok or used) and not result.reused and result.cost_usd is None

    def merge(self, other: Totals) -> None:
        """Count all that `other` has counted."""
        for name in Totals.__struct_fields__:
            setattr(self, name, getattr(self, name) + getattr(other, name))


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
    to.
    """

    groups: dict[str, Totals] = {}  # JSON of the Group -> its totals
    flags: dict[str, int] = {}
    failures: dict[str, int] = {}
    examples: dict[str, str] = {}  # error class -> the first message seen

    def add(self, result: Result) -> None:
        """Count one result."""
        key = group_key(result)
        self.groups.setdefault(key, Totals()).add(result)
        for flag in result.flags:
            self.flags[flag] = self.flags.get(flag, 0) + 1
        if result.error_class is not None and result.status == "failed":
            self.failures[result.error_class] = self.failures.get(result.error_class, 0) + 1
            self.examples.setdefault(result.error_class, result.error_message or "")

    def merge(self, other: Summary) -> None:
        """Count all that `other` has counted."""
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

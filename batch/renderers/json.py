"""A report as one JSON object."""

from __future__ import annotations

from typing import Any

import msgspec

from batch.reports.groups import Group
from batch.reports.report import Report
from batch.words import Kind

KIND: Kind = "json"
OURS = b'"generator": "batchmill"'


def text(report: Report) -> str:
    """`totals`, `groups`, `prefixes`, `failures`, and what they are of: `runs`, `by`, `since`, `until`."""
    since, until = report.period
    made = {
        "generator": "batchmill",
        "runs": report.runs,
        "by": report.by,
        "since": since,
        "until": until,
        "totals": {
            **msgspec.structs.asdict(report.totals),
            "cache_unread_tokens": report.cache_unread_tokens,
            "unpriced_models": list(report.unpriced_models),
        },
        "groups": [_group(group) for group in report.groups],
        "prefixes": report.prefixes,
        "failures": report.failures,
        "costing": report.costing or "recorded",
        "unused_prices": report.unused_prices,
    }
    return msgspec.json.format(msgspec.json.encode(made), indent=2).decode() + "\n"


def _group(group: Group) -> dict[str, Any]:
    return {"by": group.by, **msgspec.structs.asdict(group.numbers)}

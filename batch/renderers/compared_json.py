"""A comparison as one JSON object."""

from __future__ import annotations

from typing import Any

import msgspec

from batch.reports.compared import Comparison
from batch.reports.matches import Match
from batch.words import Kind

KIND: Kind = "json"


def text(made: Comparison) -> str:
    """How far two runs agree (null of one alone), `against` the truth each, and, as lists with an
    item a run, what they took.
    """
    told = made.numbers
    names = Match.__struct_fields__
    match = dict.fromkeys(names) if made.match is None else msgspec.structs.asdict(made.match)
    found = {
        "runs": made.runs,
        **match,
        "against": [
            {"run": run, "truth": made.against, **_with_truth(match)}
            for run, match in zip(made.runs, made.truths, strict=False)
        ],
        "cost_usd": [each.cost_usd for each in told],
        "unpriced_rows": [each.unpriced_rows for each in told],
        "tokens": {
            "input": [each.input_tokens for each in told],
            "output": [each.output_tokens for each in told],
        },
        "latency_p50": [each.latency_p50_s for each in told],
        "notes": made.notes,
    }
    return msgspec.json.format(msgspec.json.encode(found), indent=2).decode() + "\n"


def _with_truth(match: Match) -> dict[str, Any]:
    named = {"only_a": "only_truth", "only_b": "only_run"}
    return {named.get(name, name): value for name, value in msgspec.structs.asdict(match).items()}

"""How the prompts of a run begin, row by row, as far as its columns tell.

Nothing is kept of a beginning itself: it is known by the columns that `[prompt] shared` and `system` name.
Where these name none, or a column was not kept, all rows of a run are of one, unknown beginning.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from hashlib import blake2b
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from batch import columns, values
from batch.reports.keys import ChosenRun
from batch.requests.templates import BadTemplate, Template

LABEL = 80
"""Characters of one that are told."""

PREFIX, LABELS = "of.prefix", "of.label"
"""Columns of rows: a hash of how the prompt begins, 0 where that is unknown, and its first words."""

KEYS = ("model", "prefix", "label", "cached", "once")
SUMMED = (
    *("rows", "input_tokens", "cached_tokens", "cacheable_tokens", "cache_write_tokens"),
    *("cost_usd", "unpriced_rows", "cache_saved_usd"),
)
SUMS = [*((name, "sum") for name in SUMMED), ("first", "min")]
"""What is kept of rows with the same KEYS."""


def columns_of(run: ChosenRun) -> dict[str, str]:
    """The columns that make the beginning of a prompt in a run, by their names in its output; none where
    they are not known.
    """
    prompt = run.known.job.get("prompt") or {}
    sources = [prompt.get(part) for part in ("shared", "system")]
    try:
        named = [Template(source).named for source in sources if source and "{" in source]
    except BadTemplate:
        return {}
    if any(each.whole_row for each in named):
        return {}
    own = columns.of_run(run.layout.schema)
    carried = columns.carried(run.layout.schema, own).names
    there = dict(zip(carried, run.layout.schema.names, strict=False))
    words = {word for each in named for word in each.words - there.keys()}
    wanted = sorted({name for each in named for name in each.columns} - words)
    if not all(name in there and run.key(f"column:{there[name]}") for name in wanted):
        return {}
    return {there[name]: name for name in wanted}


def coded(rows: pa.Table, names: Sequence[str], needed: set[str]) -> pa.Table:
    """The rows with PREFIX and LABELS, without those of the columns they come from that are not `needed`
    besides.
    """
    code = pa.array([0] * len(rows), pa.int64())
    labels = pa.nulls(len(rows), pa.string())
    for name in names:
        hashes, words = _of_texts(values.texts(rows[name]))
        code = pc.add(pc.multiply(code, 0x9E3779B1), hashes)
        both = pc.binary_join_element_wise(labels, words, ", ")
        labels = words if labels.null_count == len(labels) else both
    code = pc.fill_null(code, 0)
    rows = rows.drop_columns([name for name in names if name not in needed])
    return rows.append_column(PREFIX, code).append_column(LABELS, labels)


def _of_texts(texts: pa.ChunkedArray) -> tuple[pa.Array, pa.Array]:
    """The hash and the first words of each; null where there is none."""
    hashes, words = [pa.array([], pa.int64())], [pa.array([], pa.string())]
    for chunk in texts.chunks:
        encoded = chunk.dictionary_encode()
        found = encoded.dictionary.to_pylist()
        hashed = pa.array([_hash(text) for text in found], pa.int64())
        short = pa.array(
            [" ".join(text[: 2 * LABEL].split())[:LABEL] for text in found], pa.string()
        )
        hashes.append(hashed.take(encoded.indices))
        words.append(short.take(encoded.indices))
    return pa.concat_arrays(hashes), pa.concat_arrays(words)


def _hash(text: str) -> int:
    return int.from_bytes(blake2b(text.encode(), digest_size=8).digest(), "little", signed=True)


def of_rows(rows: pa.Table, model: Any, added: Mapping[str, Any]) -> pa.Table:
    """What rows add: a line each with KEYS and what is summed; `added` is what they add to a report."""
    asked = pc.invert(pc.fill_null(rows["reused"], False))
    cached = pc.if_else(asked, pc.fill_null(rows["cached_tokens"], 0), 0)
    numbers = {**added, "rows": pa.repeat(1, len(rows))}
    return pa.table(
        {
            "model": pc.fill_null(model, ""),
            "prefix": rows[PREFIX],
            "label": pc.fill_null(rows[LABELS], ""),
            "cached": cached.cast(pa.int64()),
            "once": pc.and_(asked, pc.equal(rows["attempts"], 1)),
            **{
                name: numbers[name].cast(pa.float64() if name.endswith("_usd") else pa.int64())
                for name in SUMMED
            },
            "first": rows["started_at"].cast(pa.int64()),
        }
    )

"""`python tests/check_main_job.py RUN`: whether a finished run of jobs/sentiment.toml is what it should be.

Prints how many answers agree with the human raters; exits 1 with a sentence when something is wrong.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq


def main(run: Path) -> None:
    rows = read(run)
    check(len(rows) == 100, f"{len(rows)} rows, not 100")
    check(all(row["status"] == "ok" for row in rows), "a row is not ok")
    check(all((row["output_tokens"] or 0) > 0 for row in rows), "a row has no output tokens")
    usage = pq.read_table(run / "usage.parquet").to_pylist()
    for name in ("input_tokens", "output_tokens", "attempts"):
        whole, parts = sum(group[name] for group in usage), sum(row[name] for row in rows)
        check(whole == parts, f"usage.parquet says {whole} {name}, the rows add up to {parts}")
    agreed = sum(agrees(row) for row in rows)
    print(f"{agreed} of {len(rows)} answers agree with the human raters")
    check(agreed >= 80, "fewer than 80 answers agree")


def read(run: Path) -> list[dict[str, Any]]:
    """All rows of a run, in order."""
    parts = [pq.read_table(path) for path in sorted((run / "completions").glob("part-*.parquet"))]
    rows: list[dict[str, Any]] = pa.concat_tables(parts).to_pylist()
    return rows


def agrees(row: dict[str, Any]) -> bool:
    """Whether the answer names the side the raters were on, and only that."""
    answer = (row["completion"] or "").lower()
    said = [label for label in ("positive", "negative") if label in answer]
    return said == ["positive" if row["rating"] > 0 else "negative"]


def check(holds: bool, otherwise: str) -> None:
    if not holds:
        sys.exit(otherwise)


if __name__ == "__main__":
    main(Path(sys.argv[1]))

"""How far a run is, from its folder alone; works beside the process that is at it.

Sealed parts count by their footers, open ones by their journals, so it takes as long for a million
rows as for a thousand of the last ones.
"""

from __future__ import annotations

import itertools
import time
from collections.abc import Iterable, Iterator
from pathlib import Path

import msgspec
import pyarrow.parquet as pq

from batch.model import Result
from batch.store import journal, lock, log, parts, plan, recover, seal
from batch.store.plan import Plan
from batch.totals import Summary

RECENT_SECONDS = 60.0
"""The rate is that of the last minute."""


class Status(msgspec.Struct, frozen=True, kw_only=True):
    """`state` is running, interrupted, stopped or finished; `rows` and `pending` are None while
    unknown; `limit` is how many of the rows the last start was to ask, None for all; `waiting` is
    what a running one waits for.
    """

    run: str
    run_id: str
    state: str
    created_at: str
    input: str | list[str] | None
    model: str | None
    rows: int | None
    limit: int | None
    ok: int
    failed: int
    pending: int | None
    reused: int
    rows_per_second: float | None
    eta_seconds: float | None
    input_tokens: int
    output_tokens: int
    attempts: int
    flags: dict[str, int]
    failures: dict[str, int]
    open_parts: int
    holder: str | None = None
    waiting: str | None = None


def of(run: Path, known: Plan) -> Status:
    """The status of the run in a folder."""
    holder = lock.holder(run)
    summary, opened, recent = counted(run)
    totals = summary.totals()
    done = totals.rows_ok + totals.rows_failed
    rows = known.rows
    limit = known.job.get("limit")
    pending = None if rows is None else max(0, rows - done)
    wanted = min((count for count in (rows, limit) if count is not None), default=None)
    left = None if wanted is None else max(0, wanted - done)
    rate = _rate(recent, time.time()) if holder else None
    return Status(
        run=str(run.absolute()),
        run_id=known.run_id,
        state=_state(known, holder),
        created_at=known.created_at,
        input=known.job.get("input"),
        model=known.job.get("request", {}).get("model"),
        rows=rows,
        limit=limit,
        ok=totals.rows_ok,
        failed=totals.rows_failed,
        pending=pending,
        reused=totals.rows_reused,
        rows_per_second=rate,
        eta_seconds=left / rate if left is not None and rate else None,
        input_tokens=totals.input_tokens,
        output_tokens=totals.output_tokens,
        attempts=totals.attempts,
        flags=summary.flags,
        failures=summary.failures,
        open_parts=opened,
        holder=holder,
        waiting=log.waiting(run) if holder else None,
    )


def _state(known: Plan, holder: str | None) -> str:
    """A plan that still says "running" with nobody at it is what a kill leaves."""
    if holder is not None:
        return "running"
    return "interrupted" if known.state == "running" else known.state


def counted(run: Path) -> tuple[Summary, int, list[float]]:
    """The sum over all rows, the number of open parts, and when the latest rows were finished."""
    footers = recover.sealed(run)
    opened = {
        number: path
        for path in sorted((run / "open").glob("part-*"))
        if (number := parts.number(path)) is not None
    }
    whole, recent = Summary(), []
    for number in sorted(footers.keys() | opened.keys()):
        footer = footers.get(number)
        results = list(_newer(opened.get(number), footer.generation if footer else 0))
        if footer is not None:
            recent += _lately(_sealed(run, number))
        if footer is not None and not results:
            whole.merge(footer.summary)
            continue
        earlier = () if footer is None else seal.results(_sealed(run, number))
        for result in _together(earlier, results):
            whole.add(result)
        recent += [result.finished_at for result in results if result.finished_at is not None]
    return whole, len(opened), recent


def _together(earlier: Iterable[Result], later: Iterable[Result]) -> Iterable[Result]:
    """One result a row."""
    whole: dict[int, Result] = {}
    for result in itertools.chain(earlier, later):
        before = whole.get(result.row)
        whole[result.row] = result if before is None else seal.after(before, result)
    return whole.values()


def _newer(opened: Path | None, generation: int) -> Iterator[Result]:
    """What an open part's journal adds to its sealed part."""
    if opened is None:
        return
    path = opened / journal.NAME
    scan = journal.scan(path)
    if scan.header is not None and scan.header.generation == generation + 1:
        yield from journal.results(path, scan.entries)


def _sealed(run: Path, number: int) -> Path:
    return run / "completions" / f"{parts.name(number)}.parquet"


def _lately(part: Path) -> list[float]:
    """When the rows of a part were finished that was sealed a moment ago."""
    try:
        if part.stat().st_mtime < time.time() - RECENT_SECONDS:
            return []
        column = pq.ParquetFile(part).read(columns=["finished_at"]).column(0)
    except OSError:  # sealed anew at this moment
        return []
    return [micros / 1e6 for micros in column.cast("int64").to_pylist() if micros is not None]


def _rate(finished: list[float], now: float) -> float | None:
    recent = [moment for moment in finished if moment > now - RECENT_SECONDS]
    return len(recent) / max(1.0, now - min(recent)) if recent else None


def below(root: Path) -> Iterator[tuple[Path, Plan]]:
    """The runs in the folders below `root`, by path."""
    for path in sorted(root.rglob(plan.NAME)):
        known = plan.read(path.parent)
        if known is not None:
            yield path.parent, known

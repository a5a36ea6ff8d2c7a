"""How far a run is, from its folder alone; works beside the process that is at it.

Sealed parts count by their footers, open ones by their journals, so it takes as long for a million
rows as for a thousand of the last ones.
"""

from __future__ import annotations

import time
from collections import Counter
from datetime import UTC, datetime
from pathlib import Path

import msgspec

from batch.errors import StorageError
from batch.run_folder import RunFolder
from batch.store import cards, contents, lock, log
from batch.store.cards import Worker
from batch.store.files import parquet
from batch.store.plan import Plan
from batch.totals import Group, Summary

RECENT_SECONDS = 60.0
"""The rate is that of the last minute."""


class Working(msgspec.Struct, frozen=True, kw_only=True):
    """One of several workers of a run, as of `beat_at`, when it last told of itself.  `state` is working,
    silent (nothing was heard for a while), ended (with `exit_code`) or gone (killed); `rows` are those
    of its parts, None while unknown.
    """

    worker: str
    state: str
    host: str
    pid: int
    beat_at: str
    rows: int | None
    done: int
    failed: int
    rows_per_second: float | None
    waiting: str | None
    exit_code: int | None = None


class Status(msgspec.Struct, frozen=True, kw_only=True):
    """`state` is running, interrupted, stopped or finished; `rows` and `pending` are None while
    unknown; of a sample they count its own rows, chosen from the first `sampled_from` of the input;
    `limit` is how many of the rows the last start was to ask, None for all; `waiting` is
    what a running one waits for; `endpoints` are the rows that each has answered; `workers` are those
    that share it, if it is shared.
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
    requests: int
    flags: dict[str, int]
    failures: dict[str, int]
    endpoints: dict[str, int]
    open_parts: int
    sampled_from: int | None = None
    holder: str | None = None
    waiting: str | None = None
    workers: list[Working] = []


def _endpoints(summary: Summary) -> dict[str, int]:
    """How many rows each endpoint has answered, the busiest first."""
    found: Counter[str] = Counter()
    for key, totals in summary.groups.items():
        group = msgspec.json.decode(key, type=Group)
        if group.endpoint is not None:
            found[group.endpoint] += totals.rows_ok
    return dict(found.most_common())


def of(run: Path, known: Plan) -> Status:
    """The status of the run in a folder."""
    folder = RunFolder(run)
    holder = lock.holder(folder)
    summary, opened, finished = contents.counted(run)
    workers = list(map(_working, cards.read(folder)))
    totals = summary.totals()
    done = totals.rows_ok + totals.rows_failed
    rows = known.rows
    limit = known.job.get("limit")
    pending = None if rows is None else max(0, rows - done)
    wanted = min((count for count in (rows, limit) if count is not None), default=None)
    left = None if wanted is None else max(0, wanted - done)
    rate = _rate(finished + _lately(folder), time.time()) if holder else None
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
        requests=totals.requests,
        flags=summary.flags,
        failures=summary.failures,
        endpoints=_endpoints(summary),
        open_parts=opened,
        sampled_from=known.sampled_from,
        holder=holder,
        waiting=_waiting(folder, workers) if holder else None,
        workers=workers,
    )


def _working(found: Worker) -> Working:
    card, works = found.card, found.state in ("working", "silent")
    return Working(
        worker=card.worker,
        state=found.state,
        host=card.host,
        pid=card.pid,
        beat_at=datetime.fromtimestamp(card.beat_at, UTC).isoformat(timespec="seconds"),
        rows=card.rows,
        done=card.done,
        failed=card.failed,
        rows_per_second=card.rows_per_second if works else None,
        waiting=(card.waiting or None) if works else None,
        exit_code=None if works else card.exit_code,
    )


def _waiting(run: RunFolder, workers: list[Working]) -> str | None:
    """What a running run waits for; of several workers each thing once."""
    if not workers:
        return log.waiting(run)
    return "; ".join(dict.fromkeys(each.waiting for each in workers if each.waiting)) or None


def _state(known: Plan, holder: str | None) -> str:
    """A plan that still says "running" with nobody at it is what a kill leaves."""
    if holder is not None:
        return "running"
    return "interrupted" if known.state == "running" else known.state


def _lately(run: RunFolder) -> list[float]:
    """When the rows were finished of the parts that were sealed a moment ago."""
    found: list[float] = []
    for path in run.sealed_parts().values():
        try:
            if path.stat().st_mtime < time.time() - RECENT_SECONDS:
                continue
            with parquet(path) as file:
                column = file.read(["finished_at"]).column(0)
        except (OSError, StorageError):  # sealed anew at this moment
            continue
        found += [micros / 1e6 for micros in column.cast("int64").to_pylist() if micros is not None]
    return found


def _rate(finished: list[float], now: float) -> float | None:
    recent = [moment for moment in finished if moment > now - RECENT_SECONDS]
    return len(recent) / max(1.0, now - min(recent)) if recent else None

"""`batchmill status`: how far a run is."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import click

from batch import words
from batch.cli import options, put

if TYPE_CHECKING:
    from batch.reports.status import Status

EVERY = 2.0
"""Seconds between two looks at a run that is watched."""
AT_WORK = frozenset({"working", "silent"})
"""States of a worker that holds its lock."""


@click.command()
@click.argument("run", metavar="RUN", type=options.path)
@options.as_json
@click.option("--workers", is_flag=True, help="Tell of each worker of a shared run, too.")
@click.option("--watch", is_flag=True, help="Look again every 2 s until the run ends, or Ctrl-C.")
def status(run: Path, as_json: bool, watch: bool, workers: bool) -> None:
    """Counts, rate and time left; works beside the process that is at it.

    \b
    batchmill status runs/reviews
    batchmill status runs/reviews --watch
    """
    from batch import runs
    from batch.planning import place

    folder = place.run_folder(run)
    looks = watched(lambda: runs.Run(folder).status())
    try:
        for now in looks:
            if watch and not as_json:
                click.clear()  # of a terminal
            if not _put(now, as_json, workers=workers) or not watch:
                return
    except KeyboardInterrupt:
        if not watch:
            raise


def watched(
    look: Callable[[], Status], sleep: Callable[[float], object] = time.sleep
) -> Iterator[Status]:
    """The status of a run again and again, until it is under way no more."""
    while True:
        now = look()
        yield now
        if now.state != "running":
            return
        sleep(EVERY)


def _put(now: Status, as_json: bool, *, workers: bool) -> bool:
    import msgspec

    if as_json:
        return put(msgspec.json.encode(now), "json")
    lines = [*_lines(now), *(_workers(now) if workers else ())]
    return put("\n".join(map(words.one_line, lines)))


def _workers(now: Status) -> list[str]:
    """A line for each worker."""
    if not now.workers:
        return ["workers   none: this run is not shared (run --shard)"]
    width = max(len(each.worker) for each in now.workers)
    lines = []
    for each in now.workers:
        of = "" if each.rows is None else f" of {each.rows:,}"
        failed = f", {each.failed:,} failed" if each.failed else ""
        rate = "" if each.rows_per_second is None else f", {each.rows_per_second:,.1f} rows/s"
        waiting = "" if each.waiting is None else f", {each.waiting}"
        since = f", last heard of at {each.beat_at}" if each.state in ("silent", "gone") else ""
        if each.exit_code is not None:
            since = f", exit code {each.exit_code}"
        who = f"process {each.pid} on {each.host}"
        how_far = f"{each.done:,}{of} rows{failed}{rate}{waiting}"
        lines.append(f"worker    {each.worker:<{width}} {each.state:<7} {how_far}, {who}{since}")
    return lines


def _lines(now: Status) -> list[str]:
    from batch.words import duration

    at_work = sum(each.state in AT_WORK for each in now.workers)
    who = f"{at_work} workers" if at_work > 1 else now.holder
    by = f" by {who}" if now.holder else ""
    of = f" of {now.rows:,}" if now.rows is not None else ""
    if now.limit is not None and (now.rows is None or now.limit < now.rows):
        of = f" of the first {now.limit:,}" + (of and f" ({now.rows:,} in all)")
    if now.sampled_from is not None:
        of += f", a sample of {now.sampled_from:,}"
    pending = f", {now.pending:,} to go" if now.pending else ""
    lines = [
        f"{now.run}: {now.state}{by}",
        f"rows      {now.ok:,} ok, {now.failed:,} failed{of}{pending}",
        f"tokens    {now.input_tokens:,} in, {now.output_tokens:,} out, in {now.requests:,} requests",
    ]
    if now.rows_per_second is not None:
        left = f", {duration(now.eta_seconds)} left" if now.eta_seconds is not None else ""
        lines.append(f"rate      {now.rows_per_second:,.1f} rows/s{left}")
    if now.waiting is not None:
        lines.append(f"waiting   {now.waiting}")
    endpoints = now.endpoints if len(now.endpoints) > 1 else {}
    several = (("flags", now.flags), ("failures", now.failures), ("endpoints", endpoints))
    for name, counts in several:
        if counts:
            lines.append(
                f"{name:<9} {', '.join(f'{key} {count:,}' for key, count in counts.items())}"
            )
    return lines

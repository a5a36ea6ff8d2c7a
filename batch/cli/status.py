"""`batchmill status`: how far a run is."""

from __future__ import annotations

from pathlib import Path

import click

from batch import words
from batch.cli import options, put


@click.command()
@click.argument("run", metavar="RUN", type=options.path)
@options.as_json
def status(run: Path, as_json: bool) -> None:
    """Counts, rate and time left; works beside the process that is at it.

    \b
    batchmill status runs/reviews
    batchmill status runs/reviews --json
    """
    import msgspec

    from batch import runs
    from batch.planning import place

    now = runs.Run(place.run_folder(run)).status()
    if as_json:
        put(msgspec.json.encode(now), "json")
    else:
        put("\n".join(map(words.one_line, _lines(now))))


def _lines(now: object) -> list[str]:
    from batch.reports.status import Status
    from batch.words import duration

    assert isinstance(now, Status)
    by = f" by {now.holder}" if now.holder else ""
    of = f" of {now.rows:,}" if now.rows is not None else ""
    if now.limit is not None and (now.rows is None or now.limit < now.rows):
        of = f" of the first {now.limit:,}" + (of and f" ({now.rows:,} in all)")
    if now.sampled_from is not None:
        of += f", a sample of {now.sampled_from:,}"
    pending = f", {now.pending:,} to go" if now.pending else ""
    lines = [
        f"{now.run}: {now.state}{by}",
        f"rows      {now.ok:,} ok, {now.failed:,} failed{of}{pending}",
        f"tokens    {now.input_tokens:,} in, {now.output_tokens:,} out, in {now.attempts:,} requests",
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

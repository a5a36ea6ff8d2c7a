"""`batchmill verify`: whether a run is what was written."""

from __future__ import annotations

from pathlib import Path

import click

from batch import words
from batch.cli import put


@click.command()
@click.argument("run", metavar="RUN", type=click.Path(path_type=Path))
@click.option("--input", "with_input", is_flag=True, help="Also compare every row with the input.")
@click.option("--json", "as_json", is_flag=True, help="One JSON object a finding.")
def verify(run: Path, with_input: bool, as_json: bool) -> int:
    """Check hashes, that every row is there once, and that totals are the sums of rows.

    Exit code: 0 all is well, 1 rows are missing, 5 something is damaged.
    """
    import msgspec

    from batch import looking
    from batch.cli import jobs
    from batch.store import verify as verifying

    run = jobs.run_folder(run)
    known, _ = looking.opened(run)
    findings = list(verifying.verify(run, known))
    if with_input:
        findings += looking.against_input(run)
    for finding in findings:
        if as_json:
            put(msgspec.json.encode(finding), "json")
        else:
            put(words.one_line(finding.text))
    if not findings and not as_json:
        put(words.one_line(f"{run}: all is well"))
    return 5 if any(finding.damage for finding in findings) else 1 if findings else 0

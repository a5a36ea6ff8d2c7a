"""`batchmill verify`: whether a run is what was written."""

from __future__ import annotations

from pathlib import Path

import click

from batch import words
from batch.cli import options, put, say


@click.command()
@click.argument("run", metavar="RUN", type=options.path)
@click.option("--input", "with_input", is_flag=True, help="Also compare every row with the input.")
@click.option("--repair", is_flag=True,
              help="First set aside what is damaged; the next run asks its rows again.")  # fmt: skip
@click.option("--json", "as_json", is_flag=True, help="One JSON object a finding.")
def verify(run: Path, with_input: bool, repair: bool, as_json: bool) -> int:
    """Check hashes, that every row is there once, and that totals are the sums of rows.

    --repair never removes what is damaged: it moves it into the run's folder damaged/.

    Exit code: 0 all is well, 1 rows are missing, 5 something is damaged.

    \b
    batchmill verify runs/reviews
    batchmill verify runs/reviews --repair
    """
    import msgspec

    from batch import runs
    from batch.planning import place
    from batch.run_folder import RunFolder
    from batch.store import repair as repairing
    from batch.store.files import way_out_of

    run = place.run_folder(run)
    if repair:
        for line in repairing.repair(RunFolder(run)):
            say(line)
    found = runs.Run(run)
    findings = found.verify()
    if with_input:
        findings += found.verify_input()
    for finding in findings:
        if as_json:
            put(msgspec.json.encode(finding), "json")
        else:
            put(words.one_line(finding.text))
    if not findings and not as_json:
        put(words.one_line(f"{run}: all is well"))
    if not any(finding.damage for finding in findings):
        return 1 if findings else 0
    say(way_out_of(run))
    return 5

"""`batchmill runs`: the runs below a folder."""

from __future__ import annotations

from pathlib import Path

import click

from batch import words
from batch.cli import options, put


@click.command()
@click.argument("root", metavar="[ROOT]", type=options.path, default=Path("runs"))
@click.option("--json", "as_json", is_flag=True, help="One JSON object a line.")
def runs(root: Path, as_json: bool) -> None:
    """List the runs below a folder (default: runs)."""
    import msgspec

    from batch.errors import UsageError
    from batch.reports import status
    from batch.runs import Run

    if not root.is_dir():
        raise UsageError(f"{root}: no such folder")
    for path, _ in status.below(root):
        now = Run(path).status()
        if as_json:
            put(msgspec.json.encode(now), "json")
            continue
        of = "?" if now.rows is None else f"{now.rows:,}"
        counts = f"{now.ok:>11,} ok {now.failed:>7,} failed of {of:>11}"
        line = f"{now.created_at[:16]}  {now.state:<11} {counts}  {now.model or '-'}  {path}"
        put(words.one_line(line))

"""`batchmill runs`: the runs below a folder."""

from __future__ import annotations

from pathlib import Path

import click

from batch import words
from batch.cli import options, put, say
from batch.errors import BatchError


@click.command()
@click.argument("root", metavar="[ROOT]", type=options.path, default=Path("runs"))
@click.option("--json", "as_json", is_flag=True, help="One JSON object a line.")
def runs(root: Path, as_json: bool) -> int:
    """List the runs below a folder (default: runs).

    Exit code: 0, or 5 where one of them is damaged.

    \b
    batchmill runs
    batchmill runs /data/experiments --json
    """
    import msgspec

    from batch.errors import StorageError, UsageError
    from batch.run_folder import runs_below
    from batch.runs import Run

    if not root.is_dir():
        raise UsageError(f"{root}: no such folder")
    code = 0
    for path in runs_below(root):
        try:
            now = Run(path).status()
        except StorageError as damage:
            code = damage.exit_code
            _put_damaged(path, damage, as_json)
            continue
        if as_json:
            put(msgspec.json.encode(now), "json")
            continue
        of = "?" if now.rows is None else f"{now.rows:,}"
        counts = f"{now.ok:>11,} ok {now.failed:>7,} failed of {of:>11}"
        line = f"{now.created_at[:16]}  {now.state:<11} {counts}  {now.model or '-'}  {path}"
        put(words.one_line(line))
    return code


def _put_damaged(run: Path, damage: BatchError, as_json: bool) -> None:
    import msgspec

    if as_json:
        told = {"run": str(run.absolute()), "state": "damaged", "error": str(damage)}
        put(msgspec.json.encode(told), "json")
        return
    put(words.one_line(f"{'':<16}  {'damaged':<11} {damage}"))
    if damage.hint:
        say(damage.hint)

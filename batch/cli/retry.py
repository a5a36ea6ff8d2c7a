"""`batchmill retry`: ask chosen rows again."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from batch.cli import options


@click.command()
@click.argument("run", metavar="RUN", type=options.path)
@click.option(
    "--class",
    "classes",
    multiple=True,
    metavar="C",
    help="Rows that failed so.  [default: all failed]",
)
@click.option(
    "--flag", "flags", multiple=True, metavar="F", help="Rows with this flag, whatever their state."
)
@options.settings
@options.env_file
@click.option("--no-preflight", is_flag=True, help="Send parameters that servers usually refuse.")
@click.option(
    "--yes", is_flag=True, help="Go on where answers are mostly empty, invalid or misfits."
)
@options.quiet
def retry(
    run: Path, quiet: bool, yes: bool, env_file: Path | None, no_preflight: bool, **chosen: Any
) -> int:
    """Ask chosen rows of a run again; nothing else is asked.

    \b
    batchmill retry runs/cities                                          every failed row
    batchmill retry runs/cities --class context_length --set request.model=gpt-5.4
    batchmill retry runs/cities --flag length --set request.max_tokens=2000
    """
    from batch.cli import jobs
    from batch.cli.run import carry_out

    run = jobs.run_folder(run)
    cap = jobs.cap_given(chosen)
    job, again = jobs.again(run, **chosen)
    return carry_out(
        job,
        run,
        quiet=quiet,
        yes=yes,
        environment=jobs.environment(env_file),
        again=again,
        cap=cap,
        bounds=not no_preflight,
    )

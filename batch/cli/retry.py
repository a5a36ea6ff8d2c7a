"""`batchmill retry`: ask chosen rows again."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from batch.cli import options
from batch.cli.manner import Manner
from batch.cli.request_flags import Asking
from batch.cli.scraped import Scraped


@click.command(cls=Asking)
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
@options.progress
@options.metrics
def retry(run: Path, yes: bool, env_file: Path | None, no_preflight: bool, **wanted: Any) -> int:
    """Ask chosen rows of a run again; nothing else is asked.

    \b
    batchmill retry runs/cities                                          every failed row
    batchmill retry runs/cities --class context_length --set request.model=gpt-5.4
    batchmill retry runs/cities --flag length --max-tokens 2000
    """
    from batch.cli import jobs
    from batch.cli.run import carry_out
    from batch.planning import again, place

    run = place.run_folder(run)
    cap, settings = jobs.cap_given(wanted), jobs.settings(wanted["settings"])
    job, chosen = again.chosen(run, wanted["classes"], wanted["flags"], settings)
    return carry_out(
        job,
        run,
        manner=Manner(wanted["progress"] == "json", wanted["quiet"]),
        scraped=Scraped.at(wanted),
        yes=yes,
        environment=jobs.environment(env_file),
        again=chosen,
        cap=cap,
        bounds=not no_preflight,
    )

"""`batchmill export`: the results of a run as one file."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from batch.cli import options
from batch.store.form import Format


@click.command()
@click.argument("run", metavar="RUN", type=click.Path(path_type=Path))
@click.option("-o", "--output", metavar="FILE", required=True, type=click.Path(path_type=Path))
@options.form
@click.option("--excel", is_flag=True,
              help="CSV for a spreadsheet: no cell is a formula, and a BOM says UTF-8.")  # fmt: skip
@click.option("--force", is_flag=True, help="Write over a file that is there.")
def export(run: Path, output: Path, format_: Format | None, force: bool, **more: Any) -> None:
    """Write all results to one file, in input order.

    openai-batch writes the answers as OpenAI's Batch API does, and failed rows to FILE.errors beside it.
    """
    from batch import looking
    from batch.cli import jobs, say
    from batch.errors import Refused, UsageError
    from batch.store import form

    file = form.named(str(output), format_, **more)
    if file is None:
        raise UsageError(f"{output}: say --format, or name it *{', *'.join(form.OURS)}")
    if output.exists() and not force:
        raise Refused(f"{output} is there already", hint="choose another name, or --force")
    made = looking.export(jobs.run_folder(run), file)
    for line in [*made.notices, *(f"wrote {path}" for path in made.paths)]:
        say(line)

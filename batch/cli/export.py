"""`batchmill export`: the results of a run as one file."""

from __future__ import annotations

from pathlib import Path

import click


@click.command()
@click.argument("run", metavar="RUN", type=click.Path(path_type=Path))
@click.option("-o", "--output", metavar="FILE", required=True, type=click.Path(path_type=Path))
@click.option("--format", "format_", type=click.Choice(["parquet", "jsonl", "csv", "openai-batch"]),
              help="[default: by the file's suffix]")  # fmt: skip
@click.option("--force", is_flag=True, help="Write over a file that is there.")
def export(run: Path, output: Path, format_: str | None, force: bool) -> None:
    """Write all results to one file, in input order.

    openai-batch writes the answers as OpenAI's Batch API does, and failed rows to FILE.errors beside it.
    """
    from batch import runs
    from batch.cli import jobs, say
    from batch.errors import Refused, UsageError
    from batch.store.export import SUFFIXES

    chosen = format_ or SUFFIXES.get(output.suffix)
    if chosen is None:
        raise UsageError(
            f"{output}: say --format, or name it {', '.join(f'*{s}' for s in SUFFIXES)}"
        )
    if output.exists() and not force:
        raise Refused(f"{output} is there already", hint="choose another name, or --force")
    for path in runs.export(jobs.run_folder(run), output, chosen):
        say(f"wrote {path}")

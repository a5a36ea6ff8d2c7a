"""`batchmill export`: the results of a run as one file."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, cast

import click

from batch import words
from batch.cli import options
from batch.errors import StorageError, UsageError

if TYPE_CHECKING:
    from batch.outputs.form import File, Written


@click.command()
@click.argument("run", metavar="RUN", type=options.path)
@click.option("-o", "--output", metavar="FILE", required=True, type=options.path)
@options.form
@options.sample
@click.option("--excel", is_flag=True,
              help="CSV for a spreadsheet: no cell is a formula, and a BOM says UTF-8.")  # fmt: skip
@click.option("--force", is_flag=True, help="Write over a file that is there.")
def export(
    run: Path, output: Path, sample: int | None, seed: int | None, force: bool, **more: Any
) -> None:
    """Write all results, or a sample of them, to one file, in input order; `-o -` is standard output.

    openai-batch writes the answers as OpenAI's Batch API does, and failed rows, if there are any, to
    *.errors.jsonl beside it.

    \b
    batchmill export runs/reviews -o answers.csv
    batchmill export runs/reviews -o answers.jsonl --columns id,completion
    """
    from batch.cli import say
    from batch.errors import Refused
    from batch.outputs import export as exporting
    from batch.outputs import form
    from batch.planning import place

    file = form.named(str(output), more.pop("format"), **more)
    if file is None:
        raise UsageError(f"{output}: say --format, or name it *{', *'.join(form.OURS)}")
    there = [path for path in exporting.paths(file) if path.exists()]
    if there and not force:
        raise Refused(f"{there[0]} is there already", hint="choose another name, or --force")
    check_terminal(file)
    if seed is not None and sample is None:
        raise UsageError("--seed chooses the rows of a --sample")
    made = written(place.run_folder(run), file, sample, seed or 0)
    for line in [*made.notices, *(f"wrote {path}" for path in made.paths)]:
        say(line)


def check_terminal(file: File) -> None:
    """Raises UsageError for what no terminal can show."""
    if file.path is None and file.format == "parquet" and sys.stdout.isatty():
        raise UsageError("-o -: Parquet is no text; send it to a file or into a pipe")


def written(run: Path, file: File, sample: int | None = None, seed: int = 0) -> Written:
    """Write the results of a run, or a sample of them, to a file or to standard output, whose reader
    may go.
    """
    from batch import runs
    from batch.outputs.form import Written

    stdout: BinaryIO = sys.stdout.buffer
    if sys.stdout.isatty():
        kind: words.Kind = "text" if file.format == "csv" else "json"
        stdout = cast("BinaryIO", words.Terminal(sys.stdout, kind))
    try:
        return runs.Run(run).write(file, stdout, sample, seed)
    except BrokenPipeError:
        words.let_go(sys.stdout)
        return Written()
    except StorageError:
        words.let_go(sys.stdout)
        raise

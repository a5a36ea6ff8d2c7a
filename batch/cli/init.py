"""`batchmill init`: a job file to begin with."""

from __future__ import annotations

import os
from pathlib import Path

import click

from batch import command_line
from batch.cli import options, put, say
from batch.errors import Refused, UsageError


@click.command()
@click.argument("input", metavar="[INPUT]", required=False, type=options.Name())
@click.option("-o", "--output", metavar="JOB.toml|-", type=options.Name(),
              help="The job file, or standard output.  [default: INPUT's name]")  # fmt: skip
@options.reading
def init(
    input: str | None,
    output: str | None,
    input_format: str | None,
    delimiter: str | None,
    encoding: str | None,
) -> None:
    """Write a job file for the columns of an input, with a comment on each key, to begin with.

    \b
    batchmill init reviews.csv             writes reviews.toml, never over one that is there
    batchmill init                         job.toml, for an input that is not there yet
    batchmill init reviews.csv -o -        prints it
    """
    from batch.job_files import columns, draft
    from batch.job_files.schema import FILE
    from batch.outputs import whole
    from batch.readers import TextOptions

    job = _job(input, output)
    folder = Path() if job is None else job.parent
    said = {"input_format": input_format, "delimiter": delimiter, "encoding": encoding}
    given = {key: value for key, value in said.items() if value is not None}
    found = draft.ANY
    if input is not None:
        found = columns.found(input, input_format, TextOptions(delimiter, encoding))
    given = {"input": _seen_from(folder, input or "reviews.csv"), **given}
    text = draft.text(found, given, job, has_schema=(folder / FILE).exists())
    if job is None:
        put(text.removesuffix("\n"))
        return
    whole.put(job, text.encode())
    say(f"wrote {job}")
    say(f"to see what it asks: {command_line.of('run', job, '--dry-run')}")


def _job(input: str | None, output: str | None) -> Path | None:
    """The job file to write, None for standard output.  Raises UsageError, and Refused where there is
    something already.
    """
    from batch.planning import place

    if input == "-":
        raise UsageError("-: standard input is gone when the job is run; name a file")
    if input is not None and Path(input).suffix == ".toml":
        raise UsageError(
            f"{input} is a job file; to check it: {command_line.of('validate', Path(input))}"
        )
    if output == "-":
        return None
    name = "job" if input is None else place.stem(Path(input).absolute())
    job = Path(output or f"{name}.toml")
    if job.suffix != ".toml":
        raise UsageError(f"-o {job}: a job file is told by its name; call it {job}.toml")
    if os.path.lexists(job):
        raise Refused(f"{job} is there already", hint="choose another name with -o")
    return job


def _seen_from(folder: Path, input: str) -> str:
    """An input as a job file in `folder` names it: relative paths in it begin there."""
    if "://" in input or Path(input).is_absolute():
        return input
    return command_line.named(os.path.relpath(input, folder))

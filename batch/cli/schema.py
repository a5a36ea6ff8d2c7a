"""`batchmill schema`: what editors may know of a job file."""

from __future__ import annotations

from pathlib import Path

import click

from batch.cli import options, put, say


@click.command()
@click.option("-o", "--output", metavar="FILE", type=options.file, help="Write it to a file.")
def schema(output: Path | None) -> None:
    """Print the JSON Schema of a job file: every key, its type, its default and what it means.

    Editors that know TOML complete and check a job whose first line names it:
    #:schema ./batchmill.schema.json

    \b
    batchmill schema -o batchmill.schema.json
    """
    import msgspec

    from batch.errors import Refused
    from batch.job_files.schema import DIRECTIVE, FILE, is_ours
    from batch.job_files.schema import schema as made
    from batch.outputs import whole

    text = msgspec.json.format(msgspec.json.encode(made()))
    if output is None:
        put(text, "json")
        return
    if output.exists() and not is_ours(output):
        raise Refused(f"{output} is there already, and no schema of ours")
    whole.put(output, text + b"\n")
    say(f"wrote {output}")
    if output.name == FILE:
        say(f"for an editor, the first line of a job file beside it: {DIRECTIVE}")

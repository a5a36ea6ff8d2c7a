"""`batchmill validate`: a job and all its rows, checked without sending anything."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from batch.rehearsal import Validity

FLAGS = {
    "model": "request.model",
    "prompt": "prompt.user",
    "system": "prompt.system",
    "api": "request.api",
    "schema": "request.schema",
    "base_url": "endpoint.base_url",
    "limit": "limit",
}
"""Flag -> the key of the job it sets."""


@click.command(no_args_is_help=True)
@click.argument("what", metavar="JOB.toml|INPUT|RUN")
@click.option("-m", "--model", help="Which model to ask.")
@click.option("-p", "--prompt", metavar="TEMPLATE", help="The user's part.")
@click.option("-s", "--system", metavar="TEMPLATE", help="The system's part.")
@click.option(
    "--prompt-file", type=click.Path(dir_okay=False, path_type=Path), help="A file that holds -p."
)
@click.option("--api", help="Which API: chat, responses, completions or embeddings.")
@click.option("--schema", metavar="FILE|JSON", help="What answers must look like.")
@click.option("--base-url", metavar="URL", help="The endpoint whose bounds count.")
@click.option("--local", is_flag=True, help="The embedded model.")
@click.option("--limit", type=click.IntRange(min=1), help="Only the first N rows.")
@click.option(
    "--set",
    "settings",
    multiple=True,
    metavar="KEY=VALUE",
    help="Any key of the job, as table.key=value.",
)
@click.option(
    "--input-format",
    type=click.Choice(["jsonl", "parquet", "csv"]),
    help="Where the name does not tell.",
)
@click.option("--no-preflight", is_flag=True, help="Only what cannot be rendered, no bounds.")
@click.option(
    "-n",
    "count",
    type=click.IntRange(min=0),
    default=20,
    show_default=True,
    help="How many bad rows to name.",
)
@click.option("--json", "as_json", is_flag=True, help="One JSON object.")
def validate(what: str, count: int, as_json: bool, no_preflight: bool, **flags: Any) -> int:
    """Render every row and check it against the bounds of servers; nothing is sent, no key needed.

    Exit code: 0 all is well, 1 some rows are bad, 2 the job or its input is.
    """
    import msgspec

    from batch import looking, rehearsal
    from batch.cli import jobs
    from batch.progress import printable

    job, _ = jobs.read(what, flags, FLAGS)
    terms = rehearsal.Terms(
        environment=jobs.environment(None),
        input_format=flags["input_format"],
        bounds=not no_preflight,
        job_file=jobs.job_file(what),
    )
    found = rehearsal.validate(job, terms, count)
    if as_json:
        click.echo(looking.as_json(msgspec.structs.asdict(found)))
    else:
        click.echo(printable("\n".join(_lines(what, found))))
    return 1 if found.bad_rows else 0


def _lines(what: str, found: Validity) -> list[str]:
    lines = [f"{fault.where}: {fault.message}" for fault in found.faults]
    more = found.bad_rows - len(found.faults)
    if more:
        lines.append(f"… and {more:,} more")
    verdict = f"{found.bad_rows:,} of them bad" if found.bad_rows else "all is well"
    return [*lines, f"{what}: {found.rows:,} rows, {verdict}"]

"""`batchmill validate`: a job and all its rows, checked without sending anything."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from batch import words
from batch.cli import options, put
from batch.cli.request_flags import Asking

if TYPE_CHECKING:
    from batch.planning.validity import Validity


@click.command(cls=Asking, no_args_is_help=True)
@options.inputs
@options.question
@options.place
@options.rows
@options.settings
@click.option("--no-preflight", is_flag=True, help="Only what cannot be rendered, no bounds.")
@options.same_prompt
@click.option(
    "-n",
    "count",
    type=click.IntRange(min=0),
    default=20,
    show_default=True,
    help="How many bad rows to name.",
)
@options.as_json
def validate(
    whats: tuple[str, ...], count: int, as_json: bool, no_preflight: bool, **flags: Any
) -> int:
    """Render every row and check it against the bounds of servers; nothing is sent, no key needed.

    Exit code: 0 all is well, 1 some rows are bad, 2 the job or its input is.

    \b
    batchmill validate reviews.toml
    batchmill validate reviews.csv -m gpt-5.4-mini -p 'Translate to French: {{ text }}'
    """
    import msgspec

    from batch import runs
    from batch.cli import jobs
    from batch.planning import validity
    from batch.planning.terms import Terms

    job, folder = jobs.read(whats, flags)
    terms = Terms(
        asks=False,
        environment=jobs.environment(None),
        bounds=not no_preflight,
        job_file=jobs.job_file(whats),
        same_prompt=flags["same_prompt"],
        folder=folder if folder == Path(whats[0]) else None,
    )
    found = validity.of(job, terms, count)
    if as_json:
        put(runs.as_json(msgspec.structs.asdict(found)), "json")
    else:
        put("\n".join(map(words.one_line, _lines(options.shown(whats), found))))
    return 1 if found.bad_rows else 0


def _lines(what: str, found: Validity) -> list[str]:
    faults = [f"{fault.where}: {fault.message}" for fault in found.faults]
    lines = [*found.notices, *faults]
    more = found.bad_rows - len(found.faults)
    if more:
        lines.append(f"… and {more:,} more")
    if found.duplicates:
        lines.append(found.duplicates)
    verdict = f"{found.bad_rows:,} of them bad" if found.bad_rows else "all is well"
    return [*lines, f"{what}: {found.rows:,} rows, {verdict}"]

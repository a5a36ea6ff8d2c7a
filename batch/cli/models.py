"""`batchmill models`: what an endpoint offers."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from batch.errors import Stopped

FLAGS = {"base_url": "endpoint.base_url", "api_key_env": "endpoint.api_key_env"}
"""Flag -> the key of the job it sets."""


@click.command()
@click.argument("job", metavar="[JOB.toml|RUN]", required=False)
@click.option("--base-url", metavar="URL", help='The endpoint; "local" is the embedded model.')
@click.option(
    "--api-key-env",
    metavar="NAME",
    help="The variable that holds the key.  [default: OPENAI_API_KEY]",
)
@click.option(
    "--env-file",
    type=click.Path(dir_okay=False, path_type=Path),
    help="A file of NAME=value lines.",
)
@click.option("--local", is_flag=True, help="The embedded model.")
@click.option(
    "--set",
    "settings",
    multiple=True,
    metavar="KEY=VALUE",
    help="Any key of the job, as table.key=value.",
)
@click.option("--json", "as_json", is_flag=True, help="One JSON object.")
def models(job: str | None, env_file: Path | None, as_json: bool, **flags: Any) -> None:
    """List the models of an endpoint, one a line: that of a job, or the one the flags name.

    \b
    batchmill models
    batchmill models --base-url http://localhost:8000/v1
    batchmill models jobs/sentiment.toml
    """
    import msgspec

    from batch import models as offering
    from batch.cli import jobs
    from batch.progress import printable

    endpoint = jobs.endpoint(job, flags, FLAGS)
    found = offering.offered(endpoint, jobs.environment(env_file))
    if found.names is None:
        raise Stopped(
            f"this endpoint gives no list of its models ({found.why})",
            hint="it may answer all the same: its documentation names them",
        )
    if as_json:
        click.echo(msgspec.json.encode({"models": found.names}))
    else:
        click.echo(printable("\n".join(found.names)))

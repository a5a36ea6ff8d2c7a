"""`batchmill models`: what an endpoint offers."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from batch import words
from batch.cli import options, put
from batch.errors import Stopped


@click.command()
@click.argument("job", metavar="[JOB.toml|RUN]", required=False, type=options.Name())
@options.place
@options.key
@options.settings
@options.as_json
def models(job: str | None, env_file: Path | None, as_json: bool, **flags: Any) -> None:
    """List the models of an endpoint, one a line: that of a job, or the one the flags name.

    \b
    batchmill models
    batchmill models --base-url http://localhost:8000/v1
    batchmill models jobs/sentiment.toml
    """
    import msgspec

    from batch.cli import jobs
    from batch.transport import model_list as offering

    endpoint = jobs.endpoint(job, flags)
    found = offering.offered(endpoint, jobs.environment(env_file))
    if found.names is None:
        raise Stopped(
            f"this endpoint gives no list of its models ({found.why})",
            hint="it may answer all the same: its documentation names them",
        )
    if as_json:
        put(msgspec.json.encode({"models": found.names}), "json")
    else:
        put("\n".join(map(words.one_line, found.names)))

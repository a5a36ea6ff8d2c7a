"""`batchmill serve`: the embedded model as a server, for anything that speaks to OpenAI."""

from __future__ import annotations

import json
import os
from pathlib import Path

import click

from batch import command_line
from batch.cli import options, put
from batch.errors import UsageError


@click.command()
@click.option(
    "--model-file",
    type=options.file,
    help="A GGUF file of your own.  [default: the embedded model]",
)
@click.option(
    "--port", type=click.IntRange(0, 65535), default=0, help="0 takes a free one.  [default: 0]"
)
@click.option(
    "--api-key-env", metavar="NAME", help="Ask callers for the key in this environment variable."
)
@click.option("--parallel", type=click.IntRange(1, 64), help="Answers computed at the same time.")
def serve(
    model_file: Path | None, port: int, api_key_env: str | None, parallel: int | None
) -> None:
    """Serve the embedded model on this machine until Ctrl-C.

    It listens on 127.0.0.1 only, and asks for no key unless --api-key-env names one.  Without a key
    it answers no web page of another site.

    \b
    batchmill serve --port 8000
    """
    from batch.local import server as local
    from batch.model import EMBEDDED_MODEL
    from batch.progress import Progress

    def announce(server: local.Local) -> None:
        name = model_file.stem if model_file else EMBEDDED_MODEL
        put(server.base_url)
        put(_example(server.base_url, name, api_key_env))

    key, watch = _key(api_key_env), Progress().fetching
    local.serve(model_file, announce, port=port, api_key=key, parallel=parallel, watch=watch)


def _key(variable: str | None) -> str:
    if variable is None:
        return ""
    key = os.environ.get(variable, "")
    if not key:
        raise UsageError(f"--api-key-env: the environment variable {variable} is not set")
    return key


def _example(base_url: str, model: str, variable: str | None) -> str:
    key = f' -H "Authorization: Bearer ${variable}"' if variable else ""
    said = {"model": model, "messages": [{"role": "user", "content": "Say hello."}]}
    body = command_line.quoted(json.dumps(said))
    return f"curl {base_url}/chat/completions -H 'Content-Type: application/json'{key} -d {body}"

"""Flags that several commands have, and the keys of the job they set."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import lru_cache, reduce
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_args

import click

from batch import command_line
from batch.sampling import MOST_SEED
from batch.store.plan import Format

if TYPE_CHECKING:
    from click.shell_completion import CompletionItem

KEYS = {
    "model": "request.model",
    "prompt": "prompt.user",
    "system": "prompt.system",
    "api": "request.api",
    "schema": "request.schema",
    "output": "output.path",
    "format": "output.format",
    "columns": "output.columns",
    "flat": "output.flat",
    "concurrency": "limits.concurrency",
    "base_url": "endpoint.base_url",
    "api_key_env": "endpoint.api_key_env",
    "rpm": "limits.requests_per_minute",
    "tpm": "limits.tokens_per_minute",
    "limit": "limit",
    "sample": "sample",
    "seed": "seed",
    "input_format": "input_format",
    "delimiter": "delimiter",
    "encoding": "encoding",
}
"""Flag -> the key of the job it sets."""

Option = Callable[[Callable[..., Any]], Callable[..., Any]]


class InputFormat(click.ParamType):  # type: ignore[type-arg]  # it is generic only in later versions
    """One of the formats of input, which only readers know: they take 0.1 s to import."""

    name = "format"

    def shell_complete(
        self, ctx: click.Context, param: click.Parameter, incomplete: str
    ) -> list[CompletionItem]:
        return _formats().shell_complete(ctx, param, incomplete)

    def get_metavar(self, param: click.Parameter, ctx: click.Context) -> str | None:
        return _formats().get_metavar(param, ctx)

    def convert(self, value: str, param: click.Parameter | None, ctx: click.Context | None) -> str:
        return _formats().convert(value, param, ctx)


class Name(click.ParamType):  # type: ignore[type-arg]
    """What is read or written, as its name is written; `~` is home."""

    name = "text"

    def shell_complete(
        self, ctx: click.Context, param: click.Parameter, incomplete: str
    ) -> list[CompletionItem]:
        from click.shell_completion import CompletionItem

        return [CompletionItem(incomplete, type="file")]

    def convert(self, value: str, param: click.Parameter | None, ctx: click.Context | None) -> str:
        return command_line.home(value)


class PathType(click.Path):
    """A path; `~` is home."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        written = command_line.home(value) if isinstance(value, str) else value
        return super().convert(written, param, ctx)


path = PathType(path_type=Path)
file = PathType(dir_okay=False, path_type=Path)


@lru_cache
def _formats() -> click.Choice[str]:
    from batch.readers import FORMATS

    return click.Choice(FORMATS)


def together(*options: Option) -> Option:
    """All of them, in this order in the help."""
    return lambda command: reduce(lambda made, option: option(made), reversed(options), command)


inputs = click.argument(
    "whats", metavar="JOB.toml|INPUT…|RUN", nargs=-1, required=True, type=Name()
)


def shown(whats: Sequence[str]) -> str:
    """Inputs as they may be named in a line."""
    return whats[0] if len(whats) == 1 else f"{whats[0]} and {len(whats) - 1} more"


env_file = click.option(
    "--env-file",
    type=file,
    help="A file of NAME=value lines.",
)
settings = click.option(
    "--set",
    "settings",
    multiple=True,
    metavar="KEY=VALUE",
    help="Any key of the job, as table.key=value.",
)
quiet = click.option(
    "--quiet",
    is_flag=True,
    help="One line at the end, where something went wrong or is left to do.",
)
progress = click.option(
    "--progress",
    type=click.Choice(["text", "json"]),
    default="text",
    help="What stderr gets: words, or events as JSON lines and nothing else.  [default: text]",
)
metrics = together(
    click.option(
        "--metrics-port",
        metavar="N",
        type=click.IntRange(1, 65535),
        help="Tell Prometheus of the run, at /metrics of this port, while it lasts.",
    ),
    click.option("--metrics-host", metavar="HOST", help="Where that is.  [default: 127.0.0.1]"),
)
as_json = click.option("--json", "as_json", is_flag=True, help="One JSON object.")

question = together(
    click.option("-m", "--model", help="Which model to ask."),
    click.option(
        "-p",
        "--prompt",
        metavar="TEMPLATE",
        help="The user's part: Jinja2, {{ column }} stands for a value.",
    ),
    click.option("-s", "--system", metavar="TEMPLATE", help="The system's part."),
    click.option(
        "--prompt-file",
        type=file,
        help="A file that holds -p.",
    ),
    click.option("--api", help="Which API: chat, responses, completions or embeddings."),
    click.option(
        "--schema",
        metavar="FILE|JSON",
        type=Name(),
        help="What answers must look like; fills `parsed`.",
    ),
)
same_prompt = click.option(
    "--same-prompt",
    is_flag=True,
    help="Send a prompt that names no column: the same for every row.",
)
output = click.option(
    "-o",
    "--output",
    metavar="FOLDER|FILE|-",
    type=Name(),
    help="The run's folder [default: runs/NAME]; a file: *.parquet, *.jsonl, *.csv (.gz, .zst); or"
    " standard output.",
)


def _names(ctx: click.Context, option: click.Parameter, text: str | None) -> list[str] | None:
    """Names with commas between them; one that has a comma stands in quotes."""
    import csv

    return None if text is None else next(csv.reader([text], skipinitialspace=True)) or [""]


def _urls(
    ctx: click.Context, option: click.Parameter, given: tuple[str, ...]
) -> str | list[str] | None:
    """One URL, or a list of several."""
    return None if not given else given[0] if len(given) == 1 else list(given)


form = together(
    click.option(
        "--format",
        type=click.Choice(get_args(Format)),
        help="What the file holds.  [default: by its suffix]",
    ),
    click.option(
        "--columns",
        metavar="A,B",
        callback=_names,
        help="Only these columns; parsed.stars is a field of one.",
    ),
    click.option(
        "--flat", is_flag=True, default=None, help="The fields of `parsed` as columns of their own."
    ),
)
concurrency = click.option("-c", "--concurrency", help='Requests in flight, or "auto".')
rates = together(
    click.option("--rpm", help="Requests per minute at most."),
    click.option("--tpm", help="Tokens per minute at most."),
)
place = together(
    click.option(
        "--base-url",
        metavar="URL",
        multiple=True,
        callback=_urls,
        help='The endpoint, as in https://host/v1; "local" is the embedded model. Several share.',
    ),
    click.option("--local", is_flag=True, help="Ask the embedded model: no key, no network."),
)
key = together(
    click.option(
        "--api-key-env",
        metavar="NAME",
        help="The variable that holds the key.  [default: OPENAI_API_KEY]",
    ),
    env_file,
)
sample = together(
    click.option(
        "--sample",
        type=click.IntRange(min=1),
        help="Only N rows, chosen at random: always the same.",
    ),
    click.option(
        "--seed",
        metavar="S",
        type=click.IntRange(0, MOST_SEED),
        help="Another seed, another sample.  [default: 0]",
    ),
)
reading = together(
    click.option(
        "--input-format",
        type=InputFormat(),
        help="What the input is, where its name does not tell; lines: a row each, as `text`.",
    ),
    click.option(
        "--delimiter",
        metavar="CHARACTER",
        help=r"What stands between the fields of CSV; \t is a tab.  [default: found out]",
    ),
    click.option(
        "--encoding",
        metavar="NAME",
        help="That of text, as Python names it (cp1252).  [default: UTF-8, or found out]",
    ),
)
rows = together(
    click.option("--limit", type=click.IntRange(min=1), help="Only the first N rows."),
    sample,
    reading,
)

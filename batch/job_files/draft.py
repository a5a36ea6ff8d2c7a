"""A job file to begin with: what is on asks every row of an input, what is off tells what else there is."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from batch import command_line, words
from batch.job_files.columns import Columns
from batch.job_files.descriptions import descriptions
from batch.job_files.schema import DIRECTIVE, FILE
from batch.model import DEFAULT_API
from batch.requests.templates import names

SHOWN = {
    "": ("id_column", "limit", "sample", "tags"),
    "prompt": ("system", "user", "images"),
    "request": ("api", "model", "schema", "temperature"),
    "endpoint": ("base_url", "api_key_env"),
    "limits": ("requests_per_minute", "max_cost_usd"),
    "output": ("path",),
}
"""The keys that a draft shows, on or off, besides those of the input."""

MODEL = "gpt-5.4-mini"

ANY = Columns(("text",), text="{{ text }}")
"""What is drafted for where there is no input yet."""

WIDTH = 32
"""Where what is said of a key begins."""

Values = Mapping[str, Any]
"""Keys, dotted, with their values."""


def text(found: Columns, given: Values, job: Path | None, *, has_schema: bool = False) -> str:
    """The job file `job`, None for one without a name yet; `given` is how its input is
    read.  `has_schema` tells that there is a schema for editors beside it.
    """
    directive = DIRECTIVE if has_schema else f"# {DIRECTIVE}"
    more = "" if has_schema else f"   (on, editors know each key: batchmill schema -o {FILE})"
    lines = [
        f"{directive}{more}",
        f"# To run it: {command_line.of('run', job or Path('JOB.toml'))}",
        "# A line that begins with # is off; `batchmill schema` tells every key.",
        "",
        *(_on(key, value) for key, value in given.items()),
        f"# columns: {words.one_line(names.listed(found.names))}",
    ]
    return "\n".join([*lines, *_tables(_values(found))]) + "\n"


def _values(found: Columns) -> dict[str, Any]:
    """The keys that are on."""
    asked: dict[str, Any] = {"request.model": MODEL}
    if found.label is not None:
        asked["id_column"] = found.label
    if found.api not in (None, DEFAULT_API):
        asked["request.api"] = found.api
    if found.pictures is not None:
        asked |= {"prompt.user": "What is on this picture?", "prompt.images": found.pictures}
    elif found.text is not None:
        asked["prompt.user"] = f"In one sentence: what is this about?\n\n{found.text}"
    return asked


def _tables(on: Values) -> Iterator[str]:
    for table, keys in SHOWN.items():
        if table:
            yield ""
            yield f"{f'[{table}]':<{WIDTH - 1}} # {descriptions()[table].said}"
        for name in (f"{table}.{key}".lstrip(".") for key in keys):
            yield _on(name, on[name]) if name in on else _off(name)


def _on(name: str, value: Any) -> str:
    """A key with its value, and what it is."""
    said, key = descriptions()[name].said, name.rpartition(".")[2]
    if isinstance(value, str) and "\n" in value:
        return f"# {said}\n{key} = {_long(value)}"
    return f"{f'{key} = {_toml(value)}':<{WIDTH - 1}} # {said}"


def _off(name: str) -> str:
    """A key with an example, and what it is; it counts once the line begins with the key."""
    (said, example), key = descriptions()[name], name.rpartition(".")[2]
    return f"{f'# {key} = {example}':<{WIDTH - 1}} # {said}"


def _toml(value: Any) -> str:
    return _escaped(json.dumps(value, ensure_ascii=False))


def _long(value: str) -> str:
    """Text over several lines."""
    escaped = value.replace("\\", "\\\\").replace('"""', '""\\"')
    return f'"""\n{_escaped(escaped)}"""'


def _escaped(text: str) -> str:
    """JSON may hold what TOML may not."""
    return text.replace("\x7f", "\\u007f")

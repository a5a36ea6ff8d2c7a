"""What is said of a command or a flag that is none: the nearest one, or the key that is meant."""

from __future__ import annotations

import difflib
import re
from collections.abc import Collection, Iterator
from pathlib import Path

import click

from batch import command_line
from batch.cli import COMMANDS
from batch.cli.options import KEYS
from batch.cli.request_flags import Asking
from batch.requests.known_keys import KNOWN, OTHERS

MEANT = {
    "ask": "run",
    "continue": "run",
    "resume": "run",
    "start": "run",
    "check": "validate",
    "lint": "validate",
    "test": "validate",
    "cost": "report",
    "costs": "report",
    "price": "estimate",
    "diff": "compare",
    "convert": "export",
    "head": "show",
    "view": "show",
    "list": "runs",
    "ls": "runs",
    "new": "init",
    "create": "init",
    "completions": "completion",
    "server": "serve",
}
"""What others call our commands."""

SIMILAR = 0.66
"""How like another a word has to be (a ratio of difflib): `rnu` is `run`."""


def command(args: list[str]) -> str:
    """What is said of a command line whose first word is no command."""
    word = args[0]
    if word == "help":
        return (
            "there is no command 'help': every command tells of itself, as in batchmill run --help"
        )
    if Path(word).suffix == ".toml" or Path(word).exists():
        what = "; to run it: " + command_line.of("run", Path(word), *args[1:])
        return f"{word!r} is no command{what}"
    near = MEANT.get(word.casefold()) or _nearest(word, COMMANDS)
    if near is None:
        return f"there is no command {word!r}; the commands are {', '.join(COMMANDS)}"
    return f"there is no command {word!r}; did you mean {command_line.of(near, *args[1:])}?"


def flag(name: str, context: click.Context) -> str:
    """What is said of a flag, as it was typed, that a command does not have."""
    said = f"there is no flag {name}"
    if isinstance(context.command, click.Group):
        owner = next((each for each in _commands(context) if name in _names(each, context)), None)
        if owner is not None:
            return (
                f"{said} here: it stands behind its command, as in batchmill {owner.name} … {name}"
            )
        near = _nearest(name, _names(context.command, context))
        return f"{said}; did you mean {near}?" if near else said
    asks = isinstance(context.command, Asking)
    if asks and (way := _key(name)) is not None:
        return f"{said}; write {way}"
    if (elsewhere := _owner(name, context)) is not None:
        return f"{said}; {command_line.of(elsewhere)} has one"
    if near := _nearest(name, _names(context.command, context)):
        return f"{said}; did you mean {near}?"
    if not asks or not name.startswith("--"):
        return said
    return f"{said}; a parameter of requests may be any: --set request.{_as_key(name)}=VALUE"


def _commands(context: click.Context) -> Iterator[click.Command]:
    assert isinstance(context.command, click.Group)
    for name in COMMANDS:
        if (found := context.command.get_command(context, name)) is not None:
            yield found


def _owner(name: str, context: click.Context) -> str | None:
    """The first of the other commands that documents a flag."""
    above = context.parent
    if above is None or not isinstance(above.command, click.Group):
        return None
    for each in _commands(above):
        shown = [param for param in each.params if isinstance(param, click.Option)]
        if any(name in (*param.opts, *param.secondary_opts) for param in shown):
            return each.name
    return None


def _names(of: click.Command, context: click.Context) -> list[str]:
    params = of.get_params(context)
    options = [param for param in params if isinstance(param, click.Option)]
    return [name for option in options for name in (*option.opts, *option.secondary_opts)]


def _key(name: str) -> str | None:
    """How the key of a job is set which a flag is called like; None where there is none."""
    from batch import spec
    from batch.requests import preflight

    key = _as_key(name)
    if key == "input":
        return f"its name alone: {command_line.of('run', 'reviews.csv')}"
    tables = [name for name, keys in spec.KEYS.items() if key in keys]
    if tables and key not in spec.TABLES:
        return _set(f"{tables[0]}.{key}".lstrip("."))
    if place := re.match(r"(\w+) in \[(\w+)\](.*)", preflight.CLIENT_SIDE.get(key, "")):
        return _set(f"{place[2]}.{place[1]}") + place[3]
    return _set(f"request.{key}") if key in KNOWN | OTHERS else None


def _set(key: str) -> str:
    """How a key is set: by its flag, if it has one."""
    flags = {key: f"--{flag.replace('_', '-')} VALUE" for flag, key in KEYS.items()}
    return flags.get(key, f"--set {key}=VALUE")


def _as_key(name: str) -> str:
    return name.lstrip("-").replace("-", "_")


def _nearest(name: str, names: Collection[str]) -> str | None:
    """The one of `names` that one looks like most: rather one that differs in case and dashes alone."""
    alike = [each for each in names if _bare(each) == _bare(name)]
    words = [each for each in names if each.startswith("--") == name.startswith("--")]
    near = difflib.get_close_matches(name, words, n=1, cutoff=SIMILAR)
    return next(iter(alike or near or [each for each in words if each.startswith(name)]), None)


def _bare(name: str) -> str:
    return name.replace("_", "").replace("-", "").casefold()

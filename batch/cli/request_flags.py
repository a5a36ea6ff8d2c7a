"""The parameters of requests as flags: `--temperature 0` is `--set request.temperature=0`.

They stand in no help, since servers know 200 of them; a flag of ours that has such a name is ours.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from functools import cache

import click

from batch.requests.known_keys import KNOWN

_OTHERWISE = """
audio background conversation data_sources debug documents function_call functions image
image_config image_data include input input_ids instructions lora messages metadata model models
plugins preset prompt prompt_embeds provider regex rid route schema task text trace transforms usage
"""
OTHERWISE = frozenset(_OTHERWISE.split())
"""What people mean something else by on a command line, or what says what is asked."""

TEXTS = frozenset({"stop", "suffix", "user", "safety_identifier", "prompt_cache_key"})
"""What a number is a text for, too."""

BARE = frozenset({"echo", "ignore_eos", "logprobs", "parallel_tool_calls", "store", "stream"})
"""What is meant to be true where no value follows."""

_PREFIX = "request_"


class Asking(click.Command):
    """A command that asks, or judges what is asked: it takes the parameters of requests as flags, and
    has the flag `--set`.
    """

    def get_params(self, ctx: click.Context) -> list[click.Parameter]:
        params = super().get_params(ctx)
        own = frozenset(name for param in params for name in param.opts)
        return [*params, *_flags(ctx.meta.get(_TYPED, _ALL) - own, own)]

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        words = list(_with_values(args))
        # click takes 7 ms more to make all of them and look for them
        ctx.meta[_TYPED] = _ALL & {word.partition("=")[0] for word in words}
        try:
            rest = super().parse_args(ctx, words)
        finally:
            del ctx.meta[_TYPED]
        names = [name for name in ctx.params if name.startswith(_PREFIX)]
        given = {name.removeprefix(_PREFIX): ctx.params.pop(name) for name in names}
        said = [setting(key, value) for key, value in given.items() if value is not None]
        ctx.params["settings"] = (*(ctx.params.get("settings") or ()), *said)
        return rest

    def format_epilog(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        super().format_epilog(ctx, formatter)
        formatter.write_paragraph()
        formatter.write_text(
            "Parameters of requests are flags, too: --temperature 0, --max-tokens 50, --stop END"
            " and so on are --set request.temperature=0 and so on."
        )


def setting(key: str, value: str) -> str:
    """What `--set` is given for a parameter of requests."""
    if key in TEXTS and not value.startswith(("[", '"', "'")):
        value = json.dumps(value)
    return f"request.{key}={value}"


@cache
def _flags(typed: frozenset[str], own: frozenset[str]) -> list[click.Parameter]:
    """Those that may be `typed`, beside a command's `own`; it is asked for them several times."""
    return [
        click.Option([f"{_PREFIX}{key}", *names], hidden=True)
        for key, names in _SPELLINGS.items()
        if not typed.isdisjoint(names) and own.isdisjoint(names)
    ]


def spellings(key: str) -> list[str]:
    """How a key is typed as a flag."""
    return list(dict.fromkeys([f"--{key.replace('_', '-')}", f"--{key}"]))


_SPELLINGS = {key: spellings(key) for key in sorted(KNOWN - OTHERWISE)}
_ALL = frozenset(name for names in _SPELLINGS.values() for name in names)
_TYPED = f"{__name__}.typed"


def _with_values(args: Sequence[str]) -> Iterator[str]:
    """The words of a command line, where a parameter that needs no value has one."""
    bare = {name for key in BARE for name in spellings(key)}
    flags = args[: args.index("--")] if "--" in args else args
    for word, after in zip(flags, [*flags, ""][1:], strict=True):
        alone = word in bare and after not in ("true", "false") and not after.isdecimal()
        yield f"{word}=true" if alone else word
    yield from args[len(flags) :]

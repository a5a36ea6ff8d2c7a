"""Words to values: a command binds flags, calls one function, prints, and chooses an exit code.

A command is a module with a function of its name; it is imported when it is asked for, so that
`--help` is quick.
"""

from __future__ import annotations

import gc
import importlib
import os
import sys
import traceback
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any

import click

from batch import __version__, words
from batch.cli import manner
from batch.cli.manner import Manner
from batch.engine.loop import SELDOM
from batch.errors import BatchError, Interrupted, StorageError

if TYPE_CHECKING:
    from click.shell_completion import CompletionItem

COMMANDS = {
    "init": "Write a job file for the columns of a file.",
    "run": "Start, resume or finish a run: always the same command.",
    "retry": "Ask chosen rows again.",
    "show": "Look at rows of a run.",
    "status": "How far a run is; works beside it.",
    "runs": "The runs below a folder.",
    "report": "What runs cost.",
    "compare": "How far two runs agree, with each other or with the truth.",
    "verify": "Every row once, hashes, totals.",
    "export": "All results as one file.",
    "estimate": "What a job would cost and how long it would take.",
    "validate": "Render and check every row; send nothing.",
    "models": "What the endpoint offers.",
    "serve": "Serve the embedded model on this machine.",
    "schema": "The JSON Schema of a job file, for editors.",
    "completion": "What makes a shell complete commands and flags.",
    "docs": "The documentation, page by page.",
}

FIRST_WORDS = """\
batchmill sends every row of a file to an LLM API, exactly once, and gives you Parquet.

  batchmill init reviews.csv             writes reviews.toml, a job for the columns of your file
  batchmill run reviews.toml --dry-run   shows the first requests; needs no key and sends nothing
  batchmill run reviews.toml             sends them; killed or stopped, the same command goes on

All commands: batchmill --help"""
"""What is said where nothing is asked for."""


BUG = 70
"""The exit code of what nobody expected."""
FRAME_SIZE = 8_000
"""Values for which there is room in the frame that calls a command.  CPython takes memory for frames
in pieces of 16 KiB, and gives one back as soon as the call ends that needed it: a loop, or a module
that imports many, whose calls lie on the edge of a piece takes and gives one back at each of them
(1,459 times at a start).  For so large a frame it takes a piece of 128 KiB, which leaves 64 KiB for
the calls within it: enough.
"""
OURS = "this is a bug in batchmill; what was answered is kept, and the same command goes on"


class NotNeeded:
    """Hides what pyarrow imports where it is there, and nothing here needs: 0.3 s of every start,
    and 60 MB.
    """

    def find_spec(self, name: str, path: object, target: object = None) -> None:
        if name in ("numpy", "pandas"):
            raise ModuleNotFoundError(f"{name} is not needed here", name=name)


class Commands(click.Group):
    """Finds commands by module name."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, name: str) -> click.Command | None:
        if name not in COMMANDS:
            return None
        command = getattr(importlib.import_module(f"batch.cli.{name}"), name)
        assert isinstance(command, click.Command)
        return command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        if args[0] not in COMMANDS and not ctx.resilient_parsing:
            from batch.cli import unknown

            raise click.UsageError(unknown.command(args), ctx)
        return super().resolve_command(ctx, args)

    def invoke(self, ctx: click.Context) -> Any:
        """Ctrl-C is said in words, and not with click's empty line."""
        try:
            return super().invoke(ctx)
        except KeyboardInterrupt:
            raise Interrupted("interrupted") from None

    def shell_complete(self, ctx: click.Context, incomplete: str) -> list[CompletionItem[str]]:
        from click.shell_completion import CompletionItem

        named = [item for item in COMMANDS.items() if item[0].startswith(incomplete)]
        flags = click.Command.shell_complete(self, ctx, incomplete)
        return [*(CompletionItem(name, help=said) for name, said in named), *flags]

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl(list(COMMANDS.items()))


@click.command(
    cls=Commands,
    invoke_without_command=True,
    subcommand_metavar="COMMAND [ARGS]...",
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
)
@click.version_option(__version__, prog_name="batchmill")
@click.pass_context
def batchmill(ctx: click.Context) -> int:
    """Send every row of a file to an LLM API, exactly once, and get Parquet.

    Kill it, run the same command again: nothing is lost and nothing is paid twice.

    \b
    batchmill init reviews.csv
    batchmill run reviews.toml
    """
    if ctx.invoked_subcommand is None:
        words.remark(FIRST_WORDS, sys.stderr)
        return 2
    return 0


def main() -> None:
    """Run the command line.  A BatchError is one line and its exit code; anything else is a bug
    (70).
    """
    gc.set_threshold(SELDOM)  # what is imported from here on stays: looking through it takes 20 ms
    _have_streams()
    sys.stdout, sys.stderr = words.stream(sys.stdout), words.stream(sys.stderr)
    sys.excepthook = _bug
    sys.meta_path.insert(0, NotNeeded())
    code = _exit_code()
    if "batch.cli.signals" in sys.modules:
        sys.modules["batch.cli.signals"].disregard()
    gc.freeze()  # all goes with the process: to look through it once more takes 15 ms
    sys.exit(code)


def _have_streams() -> None:
    """Where a standard stream is closed its number is taken, so that no file or socket gets it, and
    what is read there is nothing.
    """
    for number in range(3):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)
    if sys.stdin is None:
        sys.stdin = Path(os.devnull).open(encoding="utf-8")  # noqa: SIM115  (until the process ends)


def _exit_code() -> int:
    try:
        code = batchmill.main(prog_name="batchmill", standalone_mode=False)
    except click.ClickException as error:
        if any(_asked()):
            return _failed(2, _said_of(error))
        _refuse(error)
        return 2
    except (click.Abort, KeyboardInterrupt):
        return 130 if not _asked().as_json else _failed(130, "interrupted")
    except BatchError as error:
        return _failed(error.exit_code, str(error), error.hint)
    return int(code or 0)


_exit_code.__code__ = _exit_code.__code__.replace(co_stacksize=FRAME_SIZE)


def _asked() -> Manner:
    return manner.of(sys.argv[1:])


def _failed(exit_code: int, error: str, hint: str | None = None) -> int:
    """Say in the manner that is asked for why the command fails."""
    if _asked().as_json:
        from batch.cli.json_lines import Lines

        Lines(sys.stderr).failed(exit_code, error, hint)
    elif _asked().quiet:
        say("; ".join(filter(None, (f"error: {error}", hint))))
    else:
        say(f"error: {error}")
        if hint:
            say(f"       {hint}")
    return exit_code


def _refuse(error: click.ClickException) -> None:
    """What click has to say of a command line."""
    context = error.ctx if isinstance(error, click.UsageError) else None
    if isinstance(error, click.exceptions.NoArgsIsHelpError):
        words.remark(error.format_message(), sys.stderr)
        return
    if context is not None:
        words.remark(context.get_usage(), sys.stderr)
        say(f"Try '{context.command_path} --help' for help.")
    say(f"error: {_said_of(error)}")


def _said_of(error: click.ClickException) -> str:
    """What is wrong, and for a flag that is none which one is meant."""
    if isinstance(error, click.NoSuchOption) and error.ctx is not None:
        from batch.cli import unknown

        return unknown.flag(error.option_name, error.ctx)
    return error.format_message()


def _bug(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
    """Show the traceback of what nobody expected, and leave with 70; what is durable stays so."""
    text = "".join(traceback.format_exception(kind, error, trace)).rstrip()
    if _asked().as_json:
        from batch.cli.json_lines import Lines

        Lines(sys.stderr).notice(text)
        _failed(BUG, f"{kind.__name__}: {error}", OURS)
    else:
        words.remark(text, sys.stderr)
        say(OURS)
    os._exit(BUG)


def say(text: str) -> None:
    """One line for the person at the terminal: stderr, stdout being for results."""
    words.remark(words.one_line(text), sys.stderr)


def put(text: str | bytes, kind: words.Kind = "text") -> bool:
    """Results, on stdout; gives whether somebody reads on.  Raises StorageError."""
    try:
        words.put(text if isinstance(text, str) else text.decode(), sys.stdout, kind)
    except OSError as error:
        words.let_go(sys.stdout)
        if words.is_gone(error):
            return False
        raise StorageError(f"standard output: {error.strerror}") from None
    return True

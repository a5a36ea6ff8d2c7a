"""`batchmill completion`: what makes a shell complete commands, flags and files."""

from __future__ import annotations

import click
from click import shell_completion

from batch.cli import put

SHELLS = ("bash", "zsh", "fish")

VARIABLE = "_BATCHMILL_COMPLETE"
"""By which the shell asks; click looks for it under this name."""


@click.command(no_args_is_help=True)
@click.argument("shell", type=click.Choice(SHELLS))
def completion(shell: str) -> None:
    """Print the script that makes a shell complete commands, flags and files.

    \b
    eval "$(batchmill completion bash)"                                      in ~/.bashrc
    eval "$(batchmill completion zsh)"                                       in ~/.zshrc
    batchmill completion fish > ~/.config/fish/completions/batchmill.fish    once
    """
    from batch.cli import batchmill

    kind = shell_completion.get_completion_class(shell)
    assert kind is not None
    put(kind(batchmill, {}, "batchmill", VARIABLE).source().strip())

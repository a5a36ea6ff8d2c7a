"""The program in a hand that does not know it: it says what to do, and every command shows how."""

from __future__ import annotations

import re
import shutil
import subprocess

import click
import pytest

from batch import cli

FLAG = re.compile(r"(?<![\w-])--?[a-z][a-z-]*")


def test_alone_it_says_three_things_to_do(batchmill):
    said = batchmill(fresh=True)
    calls = re.findall(r"^  (batchmill .*?)  ", said.stderr, re.M)
    assert (said.exit_code, said.stdout) == (2, "")
    assert len(calls) == 3
    assert all(call.split()[1] in cli.COMMANDS for call in calls)


@pytest.mark.parametrize("command", cli.COMMANDS)
def test_the_help_of_a_command_has_an_example_that_it_takes(batchmill, command):
    shown = batchmill(command, "--help").stdout
    examples = re.findall(rf"^ +.*\bbatchmill {command}\b(.*?)(?: {{3,}}.*)?$", shown, re.M)
    of = cli.batchmill.get_command(click.Context(cli.batchmill), command)
    assert of is not None
    known = {name for param in of.get_params(click.Context(of)) for name in param.opts}
    given = {flag for example in examples for flag in FLAG.findall(example)}
    assert [example for example in examples if not example.startswith(" [OPTIONS]")]
    assert given <= known


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion_is_a_script_that_asks_the_program(batchmill, shell):
    made = batchmill("completion", shell)
    assert (made.exit_code, made.stderr) == (0, "")
    assert "_BATCHMILL_COMPLETE" in made.stdout
    if shutil.which(shell):
        words = ["-n"] if shell != "fish" else ["--no-execute"]
        subprocess.run([shell, *words], input=made.stdout, text=True, check=True)


@pytest.mark.parametrize(
    ("line", "offered"),
    [
        ("batchmill val", "plain,validate"),
        ("batchmill run --dry", "plain,--dry-run"),
        ("batchmill report x --format m", "plain,md"),
        ("batchmill run x --input-format parq", "plain,parquet"),
        ("batchmill run jobs/", "file,jobs/"),
        ("batchmill run x -o runs/", "file,runs/"),
        ("batchmill show runs/", "file,runs/"),
        ("batchmill init rev", "file,rev"),
    ],
)
def test_commands_flags_choices_and_files_are_completed(batchmill, line, offered):
    words = {"COMP_WORDS": line, "COMP_CWORD": str(len(line.split()) - 1)}
    found = batchmill(env={"_BATCHMILL_COMPLETE": "bash_complete", **words}, fresh=True)
    assert offered in found.stdout.splitlines()

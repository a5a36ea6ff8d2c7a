"""`batchmill run`: a job file, an input or a run folder, and flags, to a Job."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from batch import words
from batch.cli import options, put, say
from batch.errors import CapReached, Different, Interrupted, Refused

if TYPE_CHECKING:
    from batch.outputs.form import File
    from batch.spec import Job


@click.command(no_args_is_help=True)
@options.inputs
@options.question
@options.output
@options.form
@options.concurrency
@options.place
@options.key
@options.rates
@click.option(
    "--max-cost",
    metavar="USD|none",
    help="What the run may cost at most, kills included; kept for later starts.",
)
@options.rows
@options.settings
@click.option("--on-bad-row", type=click.Choice(["stop", "record"]), default="stop",
              help="A row that cannot be asked: stop (default) or record it as failed.")  # fmt: skip
@click.option("--no-preflight", is_flag=True,
              help="Send parameters and models that servers usually refuse.")  # fmt: skip
@options.same_prompt
@click.option("--new", is_flag=True, help="Start anew; the run that is there is kept as RUN~1.")
@click.option("--reuse", metavar="RUN", type=click.Path(path_type=Path),
              help="Start anew, and take every answer to the same request from RUN.")  # fmt: skip
@click.option("--dry-run", is_flag=True, help="Show the first requests; send nothing.")
@click.option(
    "--yes",
    is_flag=True,
    help="Go on where answers are mostly empty, invalid or do not fit the schema, or it is dear.",
)
@options.quiet
def run(whats: tuple[str, ...], **flags: Any) -> int:
    """Send every row to the model; resume where an earlier start ended.

    \b
    batchmill run jobs/sentiment.toml
    batchmill run reviews.csv -m gpt-5.4-mini -p 'Translate to French: {{ text }}'
    """
    from batch.cli import jobs
    from batch.planning import preview
    from batch.planning.terms import Terms

    job, folder = jobs.read(whats, flags)
    how: dict[str, Any] = {
        "environment": jobs.environment(flags["env_file"]),
        "bounds": not flags["no_preflight"],
        "job_file": jobs.job_file(whats),
        "same_prompt": flags["same_prompt"] or folder == Path(whats[0]),  # a run has begun with it
    }
    if flags["dry_run"]:
        for line in preview.of(job, Terms(asks=False, **how)):
            put(line, "json")
        return 0
    return carry_out(
        job,
        folder,
        quiet=flags["quiet"],
        record_bad_rows=flags["on_bad_row"] == "record",
        yes=flags["yes"],
        asking=not flags["yes"],
        new=flags["new"],
        reuse=None if flags["reuse"] is None else jobs.run_folder(flags["reuse"]),
        cap=jobs.cap_given(flags),
        **how,
    )


def someone() -> Callable[[str], bool] | None:
    """Puts a question to the person at the terminal; None when there is none."""
    return _agrees if sys.stdin.isatty() and sys.stderr.isatty() else None


def _agrees(question: str) -> bool:
    try:
        return click.confirm(words.one_line(question), err=True)
    except (click.Abort, KeyboardInterrupt):
        raise Interrupted("interrupted; nothing was sent") from None


def carry_out(job: Job, folder: Path, *, quiet: bool, asking: bool = False, **how: Any) -> int:
    """Run `job`, say how it went, and give the exit code.  The keywords are those of Terms; with
    `asking`, the person at the terminal may be asked whether it is not too dear.
    A signal is heard to the end: what it left to say and to write is small.
    """
    from batch.cli import signals

    with signals.interruptible():
        return _carried_out(job, folder, quiet, asking, **how)


def _carried_out(job: Job, folder: Path, quiet: bool, asking: bool, **how: Any) -> int:
    from batch import runner
    from batch.cli import jobs, signals
    from batch.cli.export import check_terminal, written
    from batch.planning.terms import Terms
    from batch.progress import Progress
    from batch.reports import summary
    from batch.store.folder import free_name

    file = jobs.output_file(job)
    path = None if file is None else file.path
    if file is not None:
        check_terminal(file)
        _check_ours(file, folder)
    say_unless_quiet = (lambda _: None) if quiet else say
    around = runner.Surroundings(
        say=say_unless_quiet,
        consumers=() if quiet else (Progress(),),
        agrees=someone() if asking else None,
        hearing=signals.heard,
    )
    try:
        ended = runner.run(job, folder, Terms(**how), around)
    except Different as error:
        say(f"error: {error}; nothing was changed")
        run = shlex.quote(str(folder))
        anew = again_command() if how.get("again") is None else f"batchmill run {run}"
        say(f"to start anew, keeping it as {free_name(folder)}: {anew} --new")
        say(f"the same, taking from it the answers that still fit: {anew} --reuse {run}")
        return error.exit_code
    if file is not None and ended.stopped is None and how.get("probe") is None:
        for notice in written(folder, file).notices:
            say_unless_quiet(notice)
    if not quiet:
        for line in summary.lines(ended, path if ended.stopped is None else None):
            say(line)
    if file is not None and ended.stopped is not None:
        say(summary.unwritten(ended, path))
    if ended.stopped is not None:
        say(f"error: {summary.reason(ended.stopped, ended.run)}")
    if not quiet:
        for line in summary.unpriced(ended):
            say(line)
    cap_flag = "--max-cost " if how.get("again") is None else "--set limits.max_cost_usd="
    again = again_command(*(["--max-cost"] if isinstance(ended.stopped, CapReached) else []))
    if last := summary.next_step(ended, again, cap_flag):
        say(last)
    return ended.exit_code


def _check_ours(file: File, folder: Path) -> None:
    """Raises Refused where files are that no run in `folder` has written."""
    from batch.outputs import export
    from batch.run_folder import RunFolder

    there = [path for path in export.paths(file) if path.exists()]
    if there and not RunFolder(folder).plan.exists():
        hint = "choose another name with -o"
        raise Refused(f"{there[0]} is there already, and no run of ours", hint=hint)


def again_command(*without: str) -> str:
    """The command that goes on where this one ended: the same, without what starts anew, nor the
    flags `without` and their values.
    """
    command, *given = sys.argv[1:]
    if command == "estimate":  # its probe is a run
        command, without = "run", ("--probe", *without)
        given = [word for word in given if word != "--json"]
    left_out = ("--reuse", *without)
    words = iter([command, *given])
    kept = []
    for word in words:
        if word in left_out:
            next(words, None)
        elif word != "--new" and word.partition("=")[0] not in left_out:
            kept.append(word)
    return shlex.join(["batchmill", *kept])

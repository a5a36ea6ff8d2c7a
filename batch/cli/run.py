"""`batchmill run`: a job file, an input or a run folder, and flags, to a Job."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from batch import command_line, words
from batch.cli import engines, options, put, say
from batch.cli.manner import Manner
from batch.cli.request_flags import Asking
from batch.cli.scraped import Scraped
from batch.errors import CapReached, Different, Interrupted, UsageError

if TYPE_CHECKING:
    from batch.cli.endings import Ending
    from batch.cli.engines import Engine
    from batch.engine.engine import Interrupt
    from batch.engine.events import Consumer
    from batch.outputs.form import File
    from batch.planning.terms import Shard, Terms
    from batch.reports.summary import Ended
    from batch.spec import Job


@click.command(cls=Asking, no_args_is_help=True)
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
@click.option("--reuse", metavar="RUN", type=options.path, multiple=True,
              help="Start anew; take answers to the same request from RUN, or all runs in it.")  # fmt: skip
@click.option("--shard", metavar="I/N|auto",
              help="Be worker I of N (from 0 on) of a shared run; auto: as the scheduler says.")  # fmt: skip
@engines.options
@click.option("--dry-run", is_flag=True, help="Show the first requests; send nothing.")
@click.option(
    "--yes",
    is_flag=True,
    help="Go on where answers are mostly empty, invalid or do not fit the schema, or it is dear.",
)
@options.quiet
@options.progress
@options.metrics
def run(whats: tuple[str, ...], **flags: Any) -> int:
    """Send every row to the model; resume where an earlier start ended.

    \b
    batchmill run jobs/sentiment.toml
    batchmill run reviews.csv -m gpt-5.4-mini -p 'Translate to French: {{ text }}'
    """
    from batch.cli import jobs
    from batch.planning import place
    from batch.planning.terms import Terms

    job, folder = jobs.read(whats, flags)
    how: dict[str, Any] = {
        "environment": jobs.environment(flags["env_file"]),
        "bounds": not flags["no_preflight"],
        "job_file": jobs.job_file(whats),
        "same_prompt": flags["same_prompt"],
    }
    if flags["dry_run"]:
        from batch.planning import preview

        run = folder if folder == Path(whats[0]) else None
        for line in preview.of(job, Terms(folder=run, asks=False, **how)):
            put(line, "json")
        return 0
    shard = _shard(flags, job, how["environment"])
    engine = engines.given(flags)
    return carry_out(
        job,
        folder,
        shard=shard,
        manner=Manner(flags["progress"] == "json", flags["quiet"]),
        record_bad_rows=flags["on_bad_row"] == "record",
        yes=flags["yes"],
        asking=not flags["yes"],
        scraped=Scraped.at(flags),
        engine=engine,
        new=flags["new"],
        reuse=tuple(run for what in flags["reuse"] for run in place.runs_in(what)),
        cap=jobs.cap_given(flags),
        **how,
    )


def _shard(flags: dict[str, Any], job: Job, environment: dict[str, str]) -> Shard | None:
    """Which of several workers this is; None where the run is this process's alone."""
    if flags["shard"] is None:
        return None
    from batch.cli import shards
    from batch.planning import place

    shard = shards.given(flags["shard"], environment)
    if flags["new"]:
        raise UsageError("--shard: with --new each worker would begin anew; choose another -o")
    if place.output_file(job) is not None:
        raise UsageError(
            "--shard: no worker has all results: leave the file to `batchmill export RUN -o FILE`,"
            " and name a folder with -o"
        )
    return shard


def someone() -> Callable[[str], bool] | None:
    """Puts a question to the person at the terminal; None when there is none."""
    return _agrees if sys.stdin.isatty() and sys.stderr.isatty() else None


def _agrees(question: str) -> bool:
    try:
        return click.confirm(words.one_line(question), err=True)
    except (click.Abort, KeyboardInterrupt):
        raise Interrupted("interrupted; nothing was sent") from None


def carry_out(
    job: Job,
    folder: Path,
    *,
    manner: Manner,
    asking: bool = False,
    scraped: Scraped = Scraped(),  # noqa: B008  (frozen)
    engine: Engine | None = None,
    **how: Any,
) -> int:
    """Run `job`, say in this manner how it went, and give the exit code.  The keywords are those of
    Terms; with `asking`, the person at the terminal may be asked whether it is not too dear.
    A signal is heard to the end: what it left to say and to write is small.
    """
    from batch.cli import signals

    with signals.interruptible(), scraped.consumers(job) as told:
        return _carried_out(job, folder, manner, told, engine, asking=asking, **how)


def _carried_out(
    job: Job,
    folder: Path,
    manner: Manner,
    told: Sequence[Consumer],
    engine: Engine | None,
    *,
    asking: bool,
    **how: Any,
) -> int:
    from batch import runner
    from batch.cli import endings
    from batch.planning import place
    from batch.planning.terms import Terms
    from batch.transport import descriptors

    file = place.output_file(job)
    if file is not None:
        from batch.cli.export import check_terminal

        check_terminal(file)
        place.check_ours(file, folder)
    terms = Terms(**how)
    descriptors.raise_limit()
    try:
        with _shown(manner) as shown:
            around = runner.Surroundings(
                consumers=(*shown, *told),
                agrees=someone() if asking and not manner.as_json else None,
                hearing=_hearing,
            )
            run = runner.run if engine is None else engine.run
            ended = run(job, folder, terms, around)
    except Different as error:
        return _different(error, folder, manner, again=terms.again is not None)
    endings.tell(_ending(ended, job, file, terms), manner)
    return ended.exit_code


@contextmanager
def _shown(manner: Manner) -> Iterator[tuple[Consumer, ...]]:
    """What shows a person or a program how far the run is."""
    if manner.quiet:
        yield ()
    elif manner.as_json:
        from batch.cli.json_lines import Lines

        yield (Lines(sys.stderr),)
    else:
        from batch.progress import Progress

        with closing(Progress()) as progress:
            yield (progress,)


@contextmanager
def _hearing(interrupt: Interrupt) -> Iterator[None]:
    """A run in the foreground hears signals, and its process is its own."""
    from batch.cli import signals
    from batch.engine import loop

    with signals.heard(interrupt), loop.garbage_seldom_collected():
        yield


def _different(error: Different, folder: Path, manner: Manner, *, again: bool) -> int:
    """Say what to do with a folder that holds another run."""
    ways = _ways_to_start_anew(folder, again=again)
    if any(manner):
        raise Different(f"{error}; nothing was changed", hint="; ".join(ways))
    for line in (f"error: {error}; nothing was changed", *ways):
        say(line)
    return error.exit_code


def _ways_to_start_anew(folder: Path, *, again: bool) -> tuple[str, ...]:
    from batch.store.folder import free_name

    run = command_line.quoted(folder)
    anew = command_line.of("run", folder) if again else command_line.of(*again_words())
    return (
        f"to start anew, keeping it as {free_name(folder)}: {anew} --new",
        f"the same, taking from it the answers that still fit: {anew} --reuse {run}",
    )


def _ending(ended: Ended, job: Job, file: File | None, terms: Terms) -> Ending:
    """Write the file that was asked for, and see what to do next."""
    from batch.cli.endings import Ending
    from batch.reports import summary

    probes = terms.probe is not None
    notices: tuple[str, ...] = ()
    if file is not None and ended.stopped is None and not probes:
        from batch.cli.export import written

        notices = tuple(written(ended.run.path, file).notices)
    cap = "--max-cost {}" if terms.again is None else "--set limits.max_cost_usd={}"
    left_out = ["--max-cost"] if isinstance(ended.stopped, CapReached) else []
    ways: tuple[str, ...] = ()
    if isinstance(ended.stopped, Different):
        ways = _ways_to_start_anew(ended.run.path, again=terms.again is not None)
    return Ending(
        ended=ended,
        exit_code=0 if probes and ended.exit_code == 1 else ended.exit_code,
        file=None if probes else file,
        notices=notices,
        prices=tuple(job.prices),
        ways=ways,
        step=summary.next_step(ended, again_words(*left_out), cap),
    )


def again_words(*without: str) -> tuple[str, ...]:
    """The command that goes on where this one ended: the same, without what starts anew, nor the
    flags `without` and their values.  Flags may be written behind it.
    """
    command, *given = sys.argv[1:]
    if command == "estimate":  # its probe is a run
        command, without = "run", ("--probe", *without)
        given = [word for word in given if word != "--json"]
    left_out = ("--reuse", *without)
    words = iter([command, *given])
    kept = []
    for word in words:
        if word == "--":
            kept += [command_line.named(name) if name != "-" else name for name in words]
        elif word in left_out:
            next(words, None)
        elif word != "--new" and word.partition("=")[0] not in left_out:
            kept.append(word)
    return tuple(kept)

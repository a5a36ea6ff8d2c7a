"""`batchmill estimate`: what a job would take."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import click

from batch.cli import options, put
from batch.cli.manner import Manner
from batch.cli.request_flags import Asking
from batch.errors import UsageError

if TYPE_CHECKING:
    from batch.planning.estimate import Estimate


@click.command(cls=Asking, no_args_is_help=True)
@options.inputs
@options.question
@options.output
@options.concurrency
@options.place
@options.key
@options.rates
@options.rows
@options.settings
@click.option("--no-preflight", is_flag=True, help="Only what cannot be rendered is a bad row.")
@options.same_prompt
@click.option("--probe", metavar="N", type=click.IntRange(min=1),
              help="Ask the first N rows and learn from them; they stay in the run.")  # fmt: skip
@options.as_json
@options.progress
def estimate(
    whats: tuple[str, ...], as_json: bool, no_preflight: bool, probe: int | None, **flags: Any
) -> int:
    """Tokens, money and time that a job would take, or what is left of its run; of several job files
    or runs a line each, and their sum.

    Every row is rendered; nothing is sent (but for --probe) and no key is needed.

    \b
    batchmill estimate reviews.toml
    batchmill estimate reviews.toml --probe 20
    """
    import msgspec

    from batch import json_text
    from batch.cli import jobs
    from batch.renderers import estimated

    apart = jobs.apart(whats, flags)
    if apart[1:]:
        _check_several(flags, probe)
    found: list[tuple[str, Estimate]] = []
    for each in apart:
        if probe is not None and (code := _probe(each, as_json, no_preflight, probe, flags)) > 1:
            return code
        found.append((options.shown(each), _of(each, no_preflight, flags)))
    if as_json:
        told = [{"job": name, **msgspec.to_builtins(one)} for name, one in found]
        put(json_text.encode(told if apart[1:] else told[0]), "json")
    elif apart[1:]:
        put(estimated.texts(found))
    else:
        put(estimated.text(*found[0]))
    return 0


def _check_several(flags: dict[str, Any], probe: int | None) -> None:
    if probe is not None:
        raise UsageError("--probe asks rows of one job: name it alone")
    if flags["output"] is not None:
        raise UsageError("-o names the run of one job: name that alone")


def _of(whats: Sequence[str], no_preflight: bool, flags: dict[str, Any]) -> Estimate:
    from batch.cli import jobs
    from batch.planning import estimate as estimating
    from batch.planning.terms import Terms

    job, folder = jobs.read(whats, flags)
    how = _terms(whats, no_preflight, flags)
    return estimating.of(job, Terms(folder=folder, asks=False, **how))


def _probe(
    whats: Sequence[str], quiet: bool, no_preflight: bool, rows: int, flags: dict[str, Any]
) -> int:
    """Ask the first rows; the exit code of that."""
    from batch.cli import jobs
    from batch.cli.run import carry_out

    job, folder = jobs.read(whats, flags)
    if job.input == "-":
        raise UsageError("--probe: standard input is read once; name a file")
    how = _terms(whats, no_preflight, flags)
    manner = Manner(flags["progress"] == "json", quiet)
    return carry_out(job, folder, manner=manner, probe=rows, cap=jobs.cap_given(flags), **how)


def _terms(whats: Sequence[str], no_preflight: bool, flags: dict[str, Any]) -> dict[str, Any]:
    from batch.cli import jobs

    return {
        "environment": jobs.environment(flags["env_file"]),
        "bounds": not no_preflight,
        "job_file": jobs.job_file(whats),
        "same_prompt": flags["same_prompt"],
    }

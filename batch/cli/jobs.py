"""A job file, an input or a run folder, and flags -> a Job and the folder of its run."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

from batch import command_line, job_toml, spec
from batch.cli.options import KEYS
from batch.errors import UsageError
from batch.planning import again, cap, place
from batch.planning import environment as variables
from batch.run_folder import is_run
from batch.spec import Job
from batch.store import plan
from batch.store.budget_file import Cap
from batch.store.plan import Plan
from batch.transport.endpoint import Endpoint


def read(whats: Sequence[str], flags: dict[str, Any]) -> tuple[Job, Path]:
    """The job meant by a job file, a run or inputs, with `flags` over it, and its run folder."""
    over: dict[str, Any] = {}
    if "-" in whats and whats[1:]:
        raise UsageError("-: standard input stands alone")
    what, path = whats[0], Path(whats[0])
    here = Path.cwd()
    source = job_file(whats)
    run: Path | None = None
    before: str | None = None
    tables: dict[str, Any]
    said = settings(flags["settings"])
    if source is not None:
        tables = job_toml.absolute(job_toml.read(path), path.parent.absolute(), path)
    elif (known := _to_go_on(whats, flags, said)) is not None:
        tables, run, over = known.tables, path, dict(known.over)
        before = tables.get("output", {}).get("path")
    else:
        tables = job_toml.absolute({"input": list(whats) if whats[1:] else what}, here)
    said.pop(again.CAP, None)  # kept by the run, not by the job: see cap_given
    for key, value in said.items():
        spec.put(tables, key, value)
    tables = job_toml.absolute(tables, here)
    for flag, key in KEYS.items():
        if (given := flags.get(flag)) is not None:
            number = flag in ("concurrency", "rpm", "tpm")
            said[key] = spec.value_of(given) if number else given
            spec.put(tables, key, said[key])
    over |= spec.given(said)
    if flags["local"]:
        spec.put(tables, "endpoint.base_url", "local")
    if flags.get("prompt_file") is not None:
        spec.put(tables, "prompt.file", str(flags["prompt_file"].absolute()))
    made = spec.check(job_toml.absolute(tables, here), source, over)
    if flags.get("seed") is not None and made.sample is None:
        raise UsageError(
            "--seed chooses the rows of a --sample; that of the model is --set request.seed=…"
        )
    if run is not None and made.output.path != before:
        to = command_line.near(made.output.path or "all.parquet")
        raise UsageError(
            f"-o: {what} is a run and stays where it is; to ask its rows something else, say what"
            f" with -p; to write them to a file: {command_line.of('export', path, '-o', to)}"
        )
    return made, run or place.folder_of(made, path)


def _to_go_on(whats: Sequence[str], flags: dict[str, Any], said: dict[str, Any]) -> Plan | None:
    """The plan of the run that is to go on; None where inputs are named.  A run with a prompt is an
    input.
    """
    known = plan.read(Path(whats[0]))
    prompt = _prompts(flags, said)
    if known is not None and whats[1:] and not prompt:
        raise UsageError(
            f"{whats[0]} is a run: name it alone to go on with it, or say with -p what to ask of it"
        )
    return None if prompt else known


def _prompts(flags: dict[str, Any], said: dict[str, Any]) -> bool:
    """Whether flags say what is asked."""
    return bool(flags.get("prompt") or flags.get("prompt_file") or "prompt.user" in said)


def apart(whats: Sequence[str], flags: dict[str, Any]) -> list[Sequence[str]]:
    """What makes a job each: job files and runs alone, inputs together."""
    prompts = _prompts(flags, settings(flags["settings"]))
    jobs = [_is_job_file(what) or (is_run(Path(what)) and not prompts) for what in whats]
    return [[what] for what in whats] if all(jobs) else [whats]


def cap_given(flags: dict[str, Any]) -> Cap | None:
    """The cap that `--max-cost` or `--set limits.max_cost_usd` gives; None where neither does.
    Raises JobError.
    """
    said = settings(flags["settings"])
    given = said.get(again.CAP, flags.get("max_cost"))
    if isinstance(given, str):
        given = spec.value_of(given)
    return None if given is None else cap.given(given)


def endpoint(what: str | None, flags: dict[str, Any]) -> Endpoint:
    """The endpoint of the job meant by `what`, or of none, with `flags` over it."""
    whats = [what or "-"]
    if what is not None and job_file(whats) is None and plan.read(Path(what)) is None:
        raise UsageError(f"{what} is neither a job file nor a run")
    return read(whats, flags)[0].endpoint


def job_file(whats: Sequence[str]) -> Path | None:
    """The job file, where that is named.  Raises UsageError where something else is, too."""
    named = [what for what in whats if _is_job_file(what)]
    if named and whats[1:]:
        raise UsageError(
            f"{named[0]} is a job file, which stands alone; its `input` names files, or a list"
        )
    return Path(named[0]) if named else None


def _is_job_file(what: str) -> bool:
    return Path(what).suffix == ".toml"


def runs(whats: Iterable[Path]) -> Iterator[Path]:
    """The folders of the runs meant by RUN…, each of which may also be a folder with runs below it.
    Raises UsageError where there is none.
    """
    for what in whats:
        yield from place.runs_in(what)


def settings(given: Iterable[str]) -> dict[str, Any]:
    """What `--set table.key=value` says, each time."""
    return dict(map(_setting, given))


def _setting(text: str) -> tuple[str, Any]:
    key, given, value = text.partition("=")
    if not given:
        raise UsageError(f"--set {text}: expected table.key=value")
    return key.strip(), spec.value_of(value, json=key.strip().startswith("request."))


def environment(env_file: Path | None) -> dict[str, str]:
    """The environment, over what `env_file` sets.  Raises UsageError."""
    return variables.of(env_file)

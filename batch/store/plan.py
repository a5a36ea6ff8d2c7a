"""run.json: what a run is doing, and whether a job is the same one.

A run's identity is API + prompt + model + request parameters, and its sample if it is one.  The rest
of a job (endpoint, limits, retry, limit, tags, prices, where the input lies) may change when it is
resumed.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from types import MappingProxyType
from typing import Annotated, Any, Literal

import msgspec

from batch import __version__
from batch.damage import damaged
from batch.errors import Refused, StorageError
from batch.model import DEFAULT_API
from batch.run_folder import RunFolder
from batch.sampling import Chosen
from batch.store.files import Disk, content

Format = Literal["jsonl", "csv", "parquet", "openai-batch"]
"""What a file of results holds."""

FORMAT, PLANNED = 1, 2
"""Of the folder of a run, and of one whose parts were planned before anything was asked."""

NOTHING: Mapping[str, Any] = MappingProxyType({})

RULES = 2
"""How rows become questions.  1: attributes before keys, an empty CSV cell is an empty text, a row's
own body wins over flags.  A run goes on by the rules with which it began.
"""


class Output(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """`[output]` of a job."""

    path: str | None = None
    format: Format | None = None
    columns: list[str] | None = None
    flat: bool = False
    part_rows: Annotated[int, msgspec.Meta(ge=1, le=1_000_000)] = 5_000
    response: Literal["auto"] | bool = "auto"
    request: bool = False


class Again(msgspec.Struct, frozen=True):
    """One `batchmill retry`: which rows, and the keys it changed for them."""

    at: str
    classes: list[str]
    flags: list[str]
    settings: dict[str, Any]


class Values(msgspec.Struct, frozen=True):
    """Data that were in memory: so many rows, and the hash of what they hold."""

    rows: int
    hash: str


class Plan(msgspec.Struct, frozen=True, kw_only=True):
    """What run.json says.

    `job` holds the tables of the job as last run, without secrets.  `prices` names the price lists of
    the last start.  `reading` is how the input is read.  `over` holds request keys that flags gave:
    they overrule the bodies that rows bring.  `data` tells of an input that was in memory.  A sample was
    chosen from the first `sampled_from` rows of the input; `rows` counts its own.
    """

    run_id: str
    created_at: str
    user: str
    job: dict[str, Any]
    inputs: list[dict[str, Any]]
    input_format: str
    rows: int | None = None
    resumed: int = 0
    retries: list[Again] = []
    reuse: str | list[str] | None = None
    prices: str | None = None
    state: str = "running"
    rules: int = 1
    reading: dict[str, Any] = {}
    over: dict[str, Any] = {}
    doubted: list[str] = []
    data: Values | None = None
    sampled_from: int | None = None
    format: int = FORMAT
    batchmill: str = __version__

    @property
    def reused(self) -> list[Path]:
        """The runs whose answers it takes."""
        return [
            Path(name)
            for name in ([self.reuse] if isinstance(self.reuse, str) else self.reuse or [])
        ]

    @property
    def is_planned(self) -> bool:
        """Whether all its parts were planned before anything was asked."""
        return self.format == PLANNED

    @property
    def tables(self) -> dict[str, Any]:
        """The tables of the job, with which it may be carried out again: without the headers whose values
        were not kept.
        """
        found = self.job.get("endpoint")
        if found is None:
            return self.job
        many = isinstance(found, list)
        return {**self.job, "endpoint": [*map(_with_kept, found)] if many else _with_kept(found)}

    @property
    def keys(self) -> str:
        """How the idempotency keys of its requests begin: a retry wants other answers."""
        return f"{self.run_id}-{len(self.retries)}" if self.retries else self.run_id


def new(job: dict[str, Any], inputs: list[dict[str, Any]], input_format: str, **more: Any) -> Plan:
    """The plan of a run that starts now.  `more` are further fields."""
    return Plan(
        run_id=f"run_{os.urandom(8).hex()}",
        created_at=datetime.now(UTC).isoformat(timespec="seconds"),
        user=_user(),
        job=without_secrets(job),
        inputs=inputs,
        input_format=input_format,
        rules=RULES,
        **more,
    )


def names_of(runs: Sequence[Path]) -> str | list[str] | None:
    """What `reuse` of a plan says of these runs."""
    names = [str(run.absolute()) for run in runs]
    return names or None if len(names) != 1 else names[0]


def chosen(known: Plan) -> Chosen | None:
    """The rows of a run that is a sample; None where it is none."""
    size = known.job.get("sample")
    if size is None or known.sampled_from is None:
        return None
    return Chosen(known.sampled_from, size, known.job.get("seed", 0))


def without_secrets(job: dict[str, Any]) -> dict[str, Any]:
    """`job` without the values of its headers, but for those that name an environment variable."""
    found = job.get("endpoint")
    if found is None:
        return job
    if isinstance(found, list):
        return {**job, "endpoint": [_without_values(table) for table in found]}
    return {**job, "endpoint": _without_values(found)}


def _without_values(endpoint: dict[str, Any]) -> dict[str, Any]:
    """One table, whose headers keep their names."""
    if not endpoint.get("headers"):
        return endpoint
    return {**endpoint, "headers": _names_of_variables(endpoint["headers"])}


def _names_of_variables(headers: dict[str, str]) -> dict[str, str | None]:
    return {name: value if value.startswith("$") else None for name, value in headers.items()}


def _with_kept(endpoint: dict[str, Any]) -> dict[str, Any]:
    """One table, with the headers whose values are known."""
    if not endpoint.get("headers"):
        return endpoint
    known = {name: value for name, value in endpoint["headers"].items() if value is not None}
    return {**endpoint, "headers": known}


def told(again: Again) -> Again:
    """A retry as it is kept: without the values of headers that it gave, as a job is."""
    kept: dict[str, Any] = {}
    for key, value in again.settings.items():
        match key.split("."):
            case ["endpoint"]:
                kept[key] = without_secrets({key: value})[key]
            case ["endpoint", "headers"]:
                kept[key] = _names_of_variables(value)
            case ["endpoint", "headers", *_]:
                kept[key] = _names_of_variables({key: value})[key]
            case _:
                kept[key] = value
    return msgspec.structs.replace(again, settings=kept)


def read(run: Path) -> Plan | None:
    """The plan in a folder, None when there is none.  Raises Damaged, and Refused for a newer
    format.
    """
    folder = RunFolder(run)
    path = folder.plan
    if not run.is_dir():
        return None
    found = content(path)
    if found is None:
        if not folder.plan_copy.exists():
            return None
        found = content(path)  # it is made before its copy, and may have come just now
    if found is None:
        raise damaged(path, "is missing")
    try:
        plan = msgspec.json.decode(found, type=Plan)
    except ValueError as error:  # DecodeError, and UnicodeDecodeError
        raise damaged(path, str(error)) from None
    if plan.format not in (FORMAT, PLANNED):
        raise Refused(
            f"{path}: format {plan.format} is from another version of batchmill ({plan.batchmill})"
        )
    return plan


def write(disk: Disk, run: RunFolder, plan: Plan) -> None:
    """Make `plan` the plan of the run, durably; and keep it twice."""
    text = [msgspec.json.format(msgspec.json.encode(plan), indent=2), b"\n"]
    for path in (run.plan, run.plan_copy):
        disk.put(path, text, run.drafts)


def kept_twice(run: RunFolder) -> Plan | None:
    """The plan that the copy holds; None where it holds none."""
    try:
        return msgspec.json.decode(content(run.plan_copy) or b"", type=Plan)
    except (ValueError, StorageError):
        return None


def is_same_run(one: Plan, other: Plan) -> bool:
    """Whether two plans are of one run and agree on what was asked.  One may be that of an earlier
    start.
    """
    fields = (
        *("run_id", "created_at", "input_format", "rules", "over", "inputs", "reading", "reuse"),
        "sampled_from",
    )
    same = all(getattr(one, name) == getattr(other, name) for name in fields)
    counted = one.rows == other.rows or None in (one.rows, other.rows)
    return same and counted and identity(one.job) == identity(other.job)


PROMPT = ("system", "shared", "user", "images", "audio")
"""Keys of `[prompt]` that say what is asked."""


def identity(job: dict[str, Any], over: Mapping[str, Any] = NOTHING) -> dict[str, Any]:
    """What makes a job this job: a comparable value a part.  That a key was given by a flag (`over`)
    matters where rows may bring bodies of their own.
    """
    request = dict(job.get("request", {}))
    prompt = job.get("prompt", {})
    flags = {} if prompt.get("user") is not None else over
    sample = job.get("sample")
    return {
        "sample": sample,
        "seed": (sample and job.get("seed")) or None,
        **{f"{_flag(key)} (by a flag)": value for key, value in flags.items()},
        "request.api": request.pop("api", DEFAULT_API),
        "request.model": request.pop("model", None),
        **{f"prompt.{key}": prompt.get(key) for key in PROMPT},
        **{
            f"request.{key}": value
            for key, value in request.items()
            if key not in ("stream", "stream_options")
        },
    }


def _flag(key: str) -> str:
    return key if key.startswith("prompt.") else f"request.{key}"


def differences(old: Plan, job: dict[str, Any], over: Mapping[str, Any] = NOTHING) -> list[str]:
    """The parts of the identity in which `job` differs from the run's, as key names."""
    before, now = identity(old.job, old.over), identity(job, over)
    return sorted(key for key in before.keys() | now.keys() if before.get(key) != now.get(key))


def _user() -> str:
    import getpass

    try:
        return getpass.getuser()
    except (OSError, KeyError, ImportError):  # no name for this uid, as in many containers
        return "unknown"

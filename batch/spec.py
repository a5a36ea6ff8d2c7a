"""Job: one frozen value out of the tables of a job file and flags.

Each table is declared in the room that obeys it; here they are put together, and an error gets its
file, line and key.  Precedence: flag > job file > environment > default.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Annotated, Any

import msgspec

from batch import job_keys, job_toml, places
from batch.apis import APIS, Parameters
from batch.costs.prices import Price
from batch.engine.duplicates import Dedupe
from batch.engine.retry import Retry
from batch.errors import JobError
from batch.limits import division
from batch.limits.limits import Limits
from batch.limits.pool import Pool, Share
from batch.places import Place
from batch.requests.prompts import Prompt, Prompter
from batch.sampling import MOST_SEED
from batch.store.plan import Output
from batch.structured import schema as schemas
from batch.structured.schema import BadSchema
from batch.transport import endpoint as endpoints
from batch.transport.endpoint import Endpoint

NOTHING: Mapping[str, Any] = MappingProxyType({})


class Job(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """What to do.  Paths are absolute.  `endpoint` is the first, or only, one that is asked, `share` what
    is said of it as one of several; `others` are the rest of these.
    """

    input: str | list[str] | None = None
    input_format: str | None = None
    delimiter: str | None = None
    encoding: str | None = None
    name: str | None = None
    id_column: str | None = None
    keep: list[str] | None = None
    limit: Annotated[int, msgspec.Meta(ge=1)] | None = None
    sample: Annotated[int, msgspec.Meta(ge=1)] | None = None
    seed: Annotated[int, msgspec.Meta(ge=0, le=MOST_SEED)] = 0
    dedupe: Dedupe = "auto"
    tags: dict[str, str] = {}
    prompt: Prompt = Prompt()
    request: Parameters = Parameters()
    endpoint: Endpoint = Endpoint()
    share: Share = Share()
    others: list[Place] = []
    pool: Pool = Pool()
    limits: Limits = Limits()
    retry: Retry = Retry()
    output: Output = Output()
    prices: dict[str, Price] = {}

    @property
    def places(self) -> list[Place]:
        """All endpoints that the job names."""
        return [Place(self.endpoint, self.share), *self.others]

    @property
    def is_pooled(self) -> bool:
        """Whether several endpoints are asked, or one with limits of its own."""
        return bool(self.others) or self.pool.urls_file is not None or self.share != Share()

    def of_worker(self, worker: int, workers: int) -> Job:
        """With the share of one of several workers (from 0 on) in its limits, but for what it may cost."""
        share = division.share(self.share, worker, workers)
        others = [place.of_worker(worker, workers) for place in self.others]
        limits = division.limits(self.limits, worker, workers)
        return msgspec.structs.replace(self, share=share, others=others, limits=limits)

    def prompter(self) -> Prompter:
        """What makes questions of this job's rows.  Raises JobError for a template that does not parse."""
        wins = SYSTEM in self.request.over
        return Prompter(
            self.prompt, self.id_column, system_wins=wins, api=self.request.api, apis=APIS
        )


TABLES = {
    "prompt": Prompt,
    "pool": Pool,
    "limits": Limits,
    "retry": Retry,
    "output": Output,
}


OURS = ("api", "model", "schema")
"""The keys of `[request]` that are not sent as they are."""

KEYS = {
    job_keys.TOP: tuple(key for key in Job.__struct_fields__ if key not in ("share", "others")),
    **{name: kind.__struct_fields__ for name, kind in TABLES.items()},
    "request": OURS,
    "endpoint": places.KEYS,
}
"""The keys of each table; `[request]` takes any other, too."""

SYSTEM = "prompt.system"
"""Beside the keys of `[request]`, the one key of a flag that rows with their own messages obey."""


def put(tables: dict[str, Any], key: str, value: Any) -> None:
    """Set `table.key` (or a key of the job itself) to `value`, as a flag does.  Raises JobError."""
    *parents, last = key.split(".")
    for parent in parents:
        inner: Any = tables.setdefault(parent, {})
        if isinstance(inner, list):
            raise JobError(f"{key}: the job has several tables [[{parent}]]; change it there")
        if not isinstance(inner, dict):
            raise JobError(f"--set {key}: {parent} is no table")
        tables = inner
    tables[last] = value


def value_of(text: str, *, json: bool = False) -> Any:
    """The value in `--set key=value`: TOML where it is TOML, an object or a list where it is `json`
    and may be so, else the text itself.
    """
    try:
        return tomllib.loads(f"value = {text}")["value"]
    except (tomllib.TOMLDecodeError, RecursionError):
        pass
    try:
        return msgspec.json.decode(text) if json and text.lstrip().startswith(("{", "[")) else text
    except (msgspec.DecodeError, RecursionError):
        return text


def check(
    tables: dict[str, Any], source: Path | None = None, given: Mapping[str, Any] = NOTHING
) -> Job:
    """`tables` as a Job.  Raises JobError with file, line and key; `source` is the job file,
    None for flags alone.  `given` are the keys of requests that flags gave (`over` of a plan).
    """
    try:
        _check_keys(tables, source)
        _check_prices(tables.get("prices"), source)
        request = _parameters(tables.get("request", {}), given)
        endpoints_of = places.split(tables.get("endpoint", {}))
        made = msgspec.convert({**tables, **endpoints_of, "request": request}, Job)
    except msgspec.ValidationError as error:
        raise JobError(_explained(str(error), tables, source)) from None
    except BadSchema as error:
        problem = f"schema: {error} - at `$.request`"
        raise JobError(_explained(problem, tables, source)) from None
    for place in made.places:
        try:
            endpoints.check(place.endpoint)
        except JobError as error:
            raise JobError(f"{job_toml.place(['endpoint', 'base_url'], source)}{error}") from None
    if made.endpoint.local:
        _check_local(made, source)
        if made.request.model is None:
            request = msgspec.structs.replace(made.request, model=made.endpoint.local_model)
            made = msgspec.structs.replace(made, request=request)
    return made


def _check_keys(tables: dict[str, Any], source: Path | None) -> None:
    """Raises JobError for a key that is none, with those that are."""
    for name, keys in KEYS.items():
        for given in _given_tables(tables, name):
            for key in given if isinstance(given, dict) and name != "request" else ():
                if key not in keys:
                    where = job_toml.place([name, key] if name else [key], source)
                    table = f"[{name}] " if name else ""
                    meant = job_keys.meant(key, name, KEYS, dotted=source is None)
                    raise JobError(f"{where}{table}unknown key {key!r} {meant}")


def _given_tables(tables: dict[str, Any], name: str) -> list[Any]:
    """The tables of a name, of which there may be several; without a name, the job itself."""
    if name == "endpoint":
        return list(places.tables_of(tables))
    return [tables.get(name) if name else tables]


def _check_local(made: Job, source: Path | None) -> None:
    """Raises JobError for what the embedded model cannot do, whichever it is."""
    for name in ("images", "audio"):
        if getattr(made.prompt, name):
            where = job_toml.place(["prompt", name], source)
            raise JobError(f"{where}[prompt] {name}: the embedded model reads text only")
    if not APIS[made.request.api].IS_LOCAL:
        where = job_toml.place(["request", "api"], source)
        raise JobError(f"{where}[request] api: the embedded model gives no {made.request.api}")


def _check_prices(prices: Any, source: Path | None) -> None:
    """Name the model where its prices are wrong.  A name with a dot that is not quoted is a table."""
    for model, price in prices.items() if isinstance(prices, dict) else ():
        try:
            msgspec.convert(price, Price)
        except msgspec.ValidationError as error:
            problem = str(error).partition(" - at `$")[0].replace("`", "")
            keys = ", ".join(Price.__struct_fields__)
            raise JobError(
                f"{job_toml.place(['prices', model], source)}[prices] {model!r}: {problem}"
                f' (known: {keys}; names stand in quotes: "{model}")'
            ) from None


def prices_in(path: Path) -> dict[str, Price]:
    """The table `[prices]` of a file, which may be a whole job.  Raises JobError."""
    found = job_toml.read(path).get("prices")
    if not isinstance(found, dict) or not found:
        raise JobError(f"{path}: it has no table [prices]")
    _check_prices(found, path)
    return msgspec.convert(found, dict[str, Price])


def given(settings: Mapping[str, Any]) -> dict[str, Any]:
    """The keys of requests among the keys of a job that flags give, each with its value."""
    found: dict[str, Any] = {}
    for key, value in settings.items():
        table, _, name = key.partition(".")
        if key == SYSTEM:
            found[key] = value
        elif table == "request" and name:
            found[name] = value
        elif key == "request" and isinstance(value, dict):
            found |= value
    return found


def _parameters(request: Any, given: Mapping[str, Any]) -> Any:
    """`[request]` takes any key: those that are not ours are sent as they are."""
    if not isinstance(request, dict):
        return request
    ours = {key: request[key] for key in OURS if key in request}
    sent = {key: value for key, value in request.items() if key not in OURS}
    if "schema" in ours:
        if "response_format" in sent:
            raise BadSchema("response_format says it too; keep one of them")
        if isinstance(text := sent.get("text"), dict) and "format" in text:
            raise BadSchema("text.format says it too; keep one of them")
        ours["schema"] = schemas.expanded(ours["schema"])
        sent["response_format"] = schemas.response_format(ours["schema"])
    over = {key: value for key, value in given.items() if key.partition(".")[0] != "schema"}
    if len(over) < len(given) and "schema" in ours:
        over["response_format"] = sent["response_format"]
    return {**ours, "sent": sent, "over": over}


def over(tables: dict[str, Any], settings: dict[str, Any]) -> dict[str, Any]:
    """`tables` without the endpoint, with `settings` (dotted key -> value) over them, but for those of
    the endpoint.
    """
    made = msgspec.json.decode(msgspec.json.encode(without_unknown(tables)))
    for key, value in settings.items():
        if key.partition(".")[0] != "endpoint":
            put(made, key, value)
    return made  # type: ignore[no-any-return]


def without_unknown(tables: dict[str, Any]) -> dict[str, Any]:
    """The tables of a run.json as far as looking at a run needs them: no endpoint, whose secrets
    were left out.
    """
    return {key: value for key, value in tables.items() if key != "endpoint"}


def tables_of(job: Job) -> dict[str, Any]:
    """The tables that `check` makes `job` of again; defaults are left out."""
    tables: dict[str, Any] = msgspec.to_builtins(job)
    request = tables.pop("request")
    del request["over"]
    if job.sample is None:  # there is nothing to choose
        del tables["seed"]
    named = {key: request[key] for key in OURS if request[key] is not None}
    if "schema" in named:  # it is made anew
        del request["sent"]["response_format"]
    tables = _without_empty(places.joined(tables))
    return {**tables, "request": {**named, **request["sent"]}}


def _without_empty(table: dict[str, Any]) -> dict[str, Any]:
    pruned = {key: _pruned(value) for key, value in table.items()}
    return {key: value for key, value in pruned.items() if value is not None and value != {}}


def _pruned(value: Any) -> Any:
    if isinstance(value, list):
        return [_pruned(each) for each in value]
    return _without_empty(value) if isinstance(value, dict) else value


def _explained(problem: str, tables: dict[str, Any], source: Path | None) -> str:
    """msgspec's words -> `job.toml:10: [limits] concurrency: …`."""
    text, _, path = problem.partition(" - at `$")
    path = re.sub(r"^\.(others\[\d+\]\.)?(share|endpoint)\b", ".endpoint", path)
    keys = [key for key in re.sub(r"\[.*?\]", "", path).rstrip("`").split(".") if key]
    if named := re.match(r"(\w+): ", text):  # our own checks name the key themselves
        keys.append(named[1])
    elif len(keys) > 1:
        text = f"{keys[-1]}: {text}"
    elif keys:
        text = f"{keys[0]}: {text}"
    table = f"[{keys[0]}] " if len(keys) > 1 else ""
    return f"{job_toml.place(keys, source)}{table}{text.replace('`', '')}"

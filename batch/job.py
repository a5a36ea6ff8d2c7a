"""Job: one frozen value out of a TOML file and flags.

Each table is declared in the room that obeys it; here they are put together and errors get their
file, line and key. Precedence: flag > job file > environment > default.
"""

from __future__ import annotations

import difflib
import re
import tomllib
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Annotated, Any

import msgspec

from batch import endpoint as endpoints
from batch import schema as schemas
from batch.apis import Parameters
from batch.endpoint import Endpoint
from batch.errors import JobError
from batch.limiter import Limits
from batch.prices import Price
from batch.prompts import Prompt, Prompter
from batch.retry import Retry
from batch.schema import BadSchema
from batch.store.plan import Output

NOTHING: Mapping[str, Any] = MappingProxyType({})


class Job(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """What to do.  Paths are absolute."""

    input: str | list[str] | None = None
    input_format: str | None = None
    delimiter: str | None = None
    encoding: str | None = None
    name: str | None = None
    id_column: str | None = None
    keep: list[str] | None = None
    limit: Annotated[int, msgspec.Meta(ge=1)] | None = None
    tags: dict[str, str] = {}
    prompt: Prompt = Prompt()
    request: Parameters = Parameters()
    endpoint: Endpoint = Endpoint()
    limits: Limits = Limits()
    retry: Retry = Retry()
    output: Output = Output()
    prices: dict[str, Price] = {}

    def prompter(self) -> Prompter:
        """What makes questions of this job's rows.  Raises JobError for a template that does not parse."""
        wins = SYSTEM in self.request.over
        return Prompter(self.prompt, self.id_column, system_wins=wins, api=self.request.api)


TABLES = {
    "prompt": Prompt,
    "endpoint": Endpoint,
    "limits": Limits,
    "retry": Retry,
    "output": Output,
}


OURS = ("api", "model", "schema")
"""The keys of `[request]` that are not sent as they are."""

SYSTEM = "prompt.system"
"""The one key given by a flag, beside those of `[request]`, that rows with their own messages obey."""


def read(path: Path) -> dict[str, Any]:
    """The tables of a job file, with its paths made absolute; not checked yet (`check` does).
    Raises JobError.
    """
    try:
        text = path.read_text(encoding="utf-8-sig")
        tables = tomllib.loads(text)
    except FileNotFoundError:
        raise JobError(f"no such job file: {path}") from None
    except tomllib.TOMLDecodeError as error:
        raise JobError(_placed(path, text, str(error))) from None
    except (OSError, UnicodeDecodeError) as error:
        raise JobError(f"{path}: cannot be read: {error}") from None
    return tables


def _placed(path: Path, text: str, problem: str) -> str:
    """tomllib's `… (at line 3, column 5)` -> `job.toml:3: not TOML: …`; what it finds at the end is
    placed in the last line.
    """
    why, _, place = problem.rpartition(" (at ")
    found = re.match(r"line (\d+)", place)
    line = found[1] if found else len(text.splitlines())
    return f"{path}:{line}: not TOML: {why or problem}"


def at(tables: dict[str, Any], folder: Path, source: Path | None = None) -> dict[str, Any]:
    """`tables` with relative paths taken from `folder`, and the files of prompt and schema read in.
    Raises JobError, which names the place in the job file `source`.
    """
    made = {key: dict(value) if isinstance(value, dict) else value for key, value in tables.items()}
    if "input" in made:
        given = made["input"]
        made["input"] = (
            [_absolute(p, folder) for p in given]
            if isinstance(given, list)
            else _absolute(given, folder)
        )
    output, prompt, endpoint = (made.get(name) for name in ("output", "prompt", "endpoint"))
    request = made.get("request")
    if isinstance(request, dict) and isinstance(request.get("schema"), str):
        request["schema"] = _schema(request["schema"], folder, source)
    if isinstance(output, dict) and isinstance(output.get("path"), str):
        slash = "/" * output["path"].endswith("/")  # by which a folder is told from a file
        output["path"] = _absolute(output["path"], folder).removesuffix("/") + slash
    if isinstance(prompt, dict) and isinstance(prompt.get("files_from"), list):
        prompt["files_from"] = [_absolute(path, folder) for path in prompt["files_from"]]
    if isinstance(endpoint, dict) and str(endpoint.get("base_url", "")).startswith("local:"):
        endpoint["base_url"] = "local:" + _absolute(
            endpoint["base_url"].removeprefix("local:"), folder
        )
    if isinstance(prompt, dict) and isinstance(prompt.get("file"), str):
        file = folder / prompt.pop("file")
        try:
            prompt.setdefault("user", file.read_text(encoding="utf-8"))
        except (OSError, UnicodeDecodeError) as error:
            where = place(["prompt", "file"], source)
            raise JobError(f"{where}[prompt] file: cannot read {file}: {_why(error)}") from None
    return made


def _why(error: Exception) -> str:
    """What is wrong with a file, without its name."""
    return (isinstance(error, OSError) and error.strerror) or str(error)


def _schema(given: str, folder: Path, source: Path | None) -> Any:
    """A schema given as the path of a JSON file, or as JSON itself."""
    inline = given.lstrip().startswith("{")
    file = folder / Path(given).expanduser()
    try:
        return msgspec.json.decode(given if inline else file.read_bytes())
    except (OSError, msgspec.DecodeError, UnicodeDecodeError) as error:
        where, what = place(["request", "schema"], source), "" if inline else f" {file}"
        raise JobError(f"{where}[request] schema: cannot read{what}: {_why(error)}") from None


def _absolute(path: Any, folder: Path) -> Any:
    if not isinstance(path, str) or path == "-" or "://" in path:
        return path
    return str(folder.absolute() / Path(path).expanduser())


def put(tables: dict[str, Any], key: str, value: Any) -> None:
    """Set `table.key` (or a key of the job itself) to `value`, as a flag does.  Raises JobError."""
    *parents, last = key.split(".")
    for parent in parents:
        tables = tables.setdefault(parent, {})
        if not isinstance(tables, dict):
            raise JobError(f"--set {key}: {parent} is no table")
    tables[last] = value


def value_of(text: str) -> Any:
    """The value in `--set key=value`: TOML where it is TOML, else the text itself."""
    try:
        return tomllib.loads(f"value = {text}")["value"]
    except tomllib.TOMLDecodeError:
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
        made = msgspec.convert({**tables, "request": request}, Job)
    except msgspec.ValidationError as error:
        raise JobError(_explained(str(error), tables, source)) from None
    except BadSchema as error:
        problem = f"schema: {error} - at `$.request`"
        raise JobError(_explained(problem, tables, source)) from None
    try:
        endpoints.check(made.endpoint)
    except JobError as error:
        raise JobError(f"{place(['endpoint', 'base_url'], source)}{error}") from None
    if made.endpoint.local:
        _check_local(made, source)
        if made.request.model is None:
            request = msgspec.structs.replace(made.request, model=made.endpoint.local_model)
            made = msgspec.structs.replace(made, request=request)
    return made


def _check_keys(tables: dict[str, Any], source: Path | None) -> None:
    """Raises JobError for a key that is none, with those that are."""
    rooms: list[tuple[list[str], Any, tuple[str, ...]]] = [([], tables, Job.__struct_fields__)]
    rooms += [([name], tables.get(name), kind.__struct_fields__) for name, kind in TABLES.items()]
    for parents, given, known in rooms:
        for key in given if isinstance(given, dict) else ():
            if key not in known:
                where = place([*parents, key], source)
                table = "".join(f"[{name}] " for name in parents)
                raise JobError(f"{where}{table}unknown key {key!r} {_known(known, key)}")


def _check_local(made: Job, source: Path | None) -> None:
    """Raises JobError for what the embedded model cannot do, whichever it is."""
    for name in ("images", "audio"):
        if getattr(made.prompt, name):
            where = place(["prompt", name], source)
            raise JobError(f"{where}[prompt] {name}: the embedded model reads text only")
    if made.request.api == "embeddings":
        where = place(["request", "api"], source)
        raise JobError(f"{where}[request] api: the embedded model gives no embeddings")


def _check_prices(prices: Any, source: Path | None) -> None:
    """Name the model where its prices are wrong.  A name with a dot that is not quoted is a table."""
    for model, price in prices.items() if isinstance(prices, dict) else ():
        try:
            msgspec.convert(price, Price)
        except msgspec.ValidationError as error:
            problem = str(error).partition(" - at `$")[0].replace("`", "")
            keys = ", ".join(Price.__struct_fields__)
            raise JobError(
                f"{place(['prices', model], source)}[prices] {model!r}: {problem}"
                f' (known: {keys}; names stand in quotes: "{model}")'
            ) from None


def prices_in(path: Path) -> dict[str, Price]:
    """The table `[prices]` of a file, which may be a whole job.  Raises JobError."""
    found = read(path).get("prices")
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
    """`tables` without the endpoint, with `settings` (dotted key -> value) over them."""
    made = msgspec.json.decode(msgspec.json.encode(without_unknown(tables)))
    for key, value in settings.items():
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
    named = {key: request[key] for key in OURS if request[key] is not None}
    if "schema" in named:  # it is made anew
        del request["sent"]["response_format"]
    return {**_without_empty(tables), "request": {**named, **request["sent"]}}


def _without_empty(table: dict[str, Any]) -> dict[str, Any]:
    pruned = {
        key: _without_empty(value) if isinstance(value, dict) else value
        for key, value in table.items()
    }
    return {key: value for key, value in pruned.items() if value is not None and value != {}}


def _explained(problem: str, tables: dict[str, Any], source: Path | None) -> str:
    """msgspec's words -> `job.toml:10: [limits] concurrency: …`."""
    text, _, path = problem.partition(" - at `$")
    keys = [key for key in re.sub(r"\[.*?\]", "", path).rstrip("`").split(".") if key]
    if named := re.match(r"(\w+): ", text):  # our own checks name the key themselves
        keys.append(named[1])
    elif len(keys) > 1:
        text = f"{keys[-1]}: {text}"
    elif keys:
        text = f"{keys[0]}: {text}"
    table = f"[{keys[0]}] " if len(keys) > 1 else ""
    return f"{place(keys, source)}{table}{text.replace('`', '')}"


def _known(fields: tuple[str, ...], wrong: str) -> str:
    near = difflib.get_close_matches(wrong, fields, n=3, cutoff=0.5)
    if near:
        return f"(did you mean {' or '.join(near)}?)"
    return f"(known: {', '.join(fields)})"


def place(keys: list[str], source: Path | None) -> str:
    """`job.toml:10: ` where a key stands in a job file; nothing where there is no file."""
    if source is None:
        return ""
    line = _line_of(keys, source.read_text(encoding="utf-8-sig").splitlines())
    return f"{source}:{line}: " if line else f"{source}: "


def _line_of(keys: list[str], lines: list[str]) -> int | None:
    """The line where a key stands: under its `[table]`, dotted, or inside an inline table; None
    if set by a flag.
    """
    *parents, last = keys or [""]
    table: list[str] = []
    for number, line in enumerate(lines, 1):
        stripped = line.strip()
        if header := re.match(r"\[\s*([^\[\]]+?)\s*\]", stripped):
            table = _keys(header[1])
            if table == keys:
                return number
        elif assigned := re.match(r"([^=#]+?)\s*=", stripped):
            path = table + _keys(assigned[1])
            inline = path == parents and re.search(rf"\b{re.escape(last)}\b\s*=", stripped)
            if path == keys or inline:
                return number
    return None


def _keys(written: str) -> list[str]:
    """The parts of a dotted key; none where it is no key."""
    try:
        value: Any = tomllib.loads(f"{written} = 0")
    except tomllib.TOMLDecodeError:
        return []
    keys = []
    while isinstance(value, dict):
        [(key, value)] = value.items()
        keys.append(key)
    return keys

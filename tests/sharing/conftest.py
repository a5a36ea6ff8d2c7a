"""A Ray of the tests' own, which runs of several tests join."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from tests.conftest import ROOT

STARTING = """
import ray, sys
from ray.scripts.scripts import main
main()
"""


@pytest.fixture(scope="session")
def ray_folder() -> Iterator[Path]:
    """Where Ray keeps its logs; the names of its sockets there may not be long."""
    folder = Path(tempfile.mkdtemp(prefix="r"))
    yield folder
    shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(scope="session")
def ray_address(ray_folder: Path) -> Iterator[str]:
    """Where a Ray with room for eight workers is.  Its processes know no key."""
    with _ray(ray_folder, ROOT) as address:
        yield address


@pytest.fixture
def other_ray(tmp_path: Path) -> Iterator[str]:
    """Where a Ray is whose machine has another version of the program."""
    package = tmp_path / "other" / "batch"
    shutil.copytree(ROOT / "batch", package, ignore=shutil.ignore_patterns("__pycache__"))
    init = package / "__init__.py"
    init.write_text(f"{init.read_text()}\n__version__ = '0.0.1'\n")
    folder = Path(tempfile.mkdtemp(prefix="r"))
    with _ray(folder, package.parent) as address:
        yield address
    shutil.rmtree(folder, ignore_errors=True)


@contextmanager
def _ray(folder: Path, path: Path) -> Iterator[str]:
    """Ray, which keeps its files in a folder, and whose processes import from a path."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    command = [
        *(sys.executable, "-c", STARTING, "start", "--head", "--block", f"--port={port}"),
        *("--num-cpus=8", "--include-dashboard=false", "--disable-usage-stats"),
        *("--object-store-memory=80000000", f"--temp-dir={folder}"),
        "--node-ip-address=127.0.0.1",
    ]
    env = {"PATH": os.environ["PATH"], "HOME": str(folder), "PYTHONPATH": str(path)}
    process = subprocess.Popen(
        command, env=env, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, start_new_session=True
    )
    assert process.stdout is not None
    said = b""
    while b"--block" not in said and (line := process.stdout.readline()):
        said += line
    assert process.poll() is None, said.decode()
    yield f"127.0.0.1:{port}"
    process.send_signal(signal.SIGTERM)
    with suppress(subprocess.TimeoutExpired):
        process.wait(20)
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.stdout.close()

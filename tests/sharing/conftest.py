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
from contextlib import suppress
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
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    command = [
        *(sys.executable, "-c", STARTING, "start", "--head", "--block", f"--port={port}"),
        *("--num-cpus=8", "--include-dashboard=false", "--disable-usage-stats"),
        *("--object-store-memory=80000000", f"--temp-dir={ray_folder}"),
        "--node-ip-address=127.0.0.1",
    ]
    env = {"PATH": os.environ["PATH"], "HOME": str(ray_folder), "PYTHONPATH": str(ROOT)}
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

"""A real nginx or haproxy of a test's own: its configuration, its port, and its process.

It is given its socket, which listens already: no other program can take the port, and whoever
connects before it is up is answered when it is.
"""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import pytest

NGINX = """\
daemon off;
user root;
worker_processes 1;
pid {folder}/nginx.pid;
error_log stderr;
events {{}}
http {{
    access_log /dev/stdout;
    client_body_temp_path {folder}/bodies;
    proxy_temp_path {folder}/answers;
    fastcgi_temp_path {folder}/fastcgi;
    uwsgi_temp_path {folder}/uwsgi;
    scgi_temp_path {folder}/scgi;
    upstream api {{
        server 127.0.0.1:{upstream};
        keepalive 8;
    }}
    {outside}
    server {{
        listen 127.0.0.1:{port} {listen};
        {inside}
        location / {{
            proxy_pass http://api;
        }}
    }}
}}
"""

HAPROXY = """\
global
    log stdout format raw local0
defaults
    mode http
    log global
    option httplog
    timeout connect 10s
    timeout client 60s
    timeout server 60s
frontend front
    bind fd@{fd} {listen}
    default_backend api
    {inside}
backend api
    {outside}
    server api 127.0.0.1:{upstream}
"""


@dataclass(frozen=True)
class Setup:
    """What is special about a proxy: lines `inside` what listens, options of how it does, and lines
    `outside` of it (beside nginx's server, in haproxy's backend).
    """

    inside: str = ""
    outside: str = ""
    listen: str = ""


@dataclass(frozen=True)
class Proxy:
    """A proxy that runs."""

    port: int
    folder: Path

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/v1"

    @property
    def secure_url(self) -> str:
        return f"https://127.0.0.1:{self.port}/v1"

    def log(self) -> str:
        """A line for each request, with the status that the client got."""
        return (self.folder / "access.log").read_text()


@contextmanager
def nginx(folder: Path, upstream: int, setup: Setup) -> Iterator[Proxy]:
    """In front of the port `upstream`.  It speaks HTTP/1.0 there, unless it is told otherwise."""
    command = [_installed("nginx"), "-p", str(folder), "-e", "stderr"]
    config = folder / "nginx.conf"
    with socket.create_server(("127.0.0.1", 0), backlog=512) as listener:
        port = listener.getsockname()[1]
        config.write_text(NGINX.format(folder=folder, port=port, upstream=upstream, **vars(setup)))
        with _running([*command, "-c", str(config)], listener, folder) as proxy:
            yield proxy


@contextmanager
def haproxy(folder: Path, upstream: int, setup: Setup) -> Iterator[Proxy]:
    """In front of the port `upstream`, where it keeps connections alive."""
    command = [_installed("haproxy"), "-db", "-f"]
    config = folder / "haproxy.cfg"
    with socket.create_server(("127.0.0.1", 0), backlog=512) as listener:
        config.write_text(HAPROXY.format(fd=listener.fileno(), upstream=upstream, **vars(setup)))
        with _running([*command, str(config)], listener, folder) as proxy:
            yield proxy


def _installed(name: str) -> str:
    path = os.pathsep.join([os.environ["PATH"], "/usr/sbin"])
    found = shutil.which(name, path=path)
    if found is None:  # the gate installs them, and this lane is its own
        pytest.skip(f"{name} is not installed")
    return found


@contextmanager
def _running(command: Sequence[str], listener: socket.socket, folder: Path) -> Iterator[Proxy]:
    """The process has the only copy of `listener`: when it ends, the port refuses."""
    port, fd = listener.getsockname()[1], listener.fileno()
    with (folder / "access.log").open("ab") as output:
        process = subprocess.Popen(
            command,
            env={"PATH": os.environ["PATH"], "NGINX": f"{fd};"},  # so nginx is given its sockets
            pass_fds=[fd],
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    listener.close()
    try:
        yield Proxy(port, folder)
    finally:
        stopped = process.poll()
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
    assert stopped is None, f"it ended by itself: {(folder / 'access.log').read_text()}"


PROXIES = {"nginx": nginx, "haproxy": haproxy}

"""What the pages show as commands, and a folder in which they can be carried out: against servers on
localhost, with the files that the pages name.
"""

from __future__ import annotations

import base64
import json
import re
import shlex
import socket
import stat
import sys
from collections.abc import Iterator
from pathlib import Path

import yaml

from tests import program
from tests.fake_api import FakeAPI, Step

AS_IN_CI = re.compile(r"^(python3 -m venv |\.venv/bin/)")
"""Commands that install the project: .ci/run carries out README's, and whoever changes the program
theirs.
"""
PLACEHOLDER = re.compile(r"^export \w+=…$")
"""A key that the reader has."""

RUNS: dict[str, list[str]] = {
    "commands.md": ["run cities.toml"],
    "compare.md": [
        "run cities.toml -o runs/short",
        "run cities.toml -s 'Be brief.' -o runs/system",
    ],
    "output.md": ["run cities.toml", "run cities.toml -o runs/sentiment"],
    "report.md": ["run cities.toml"],
}
"""Runs of which a page takes for granted that they were made."""

CODES: dict[tuple[str, str], int] = {}
"""Commands of a page that end with another code than 0, and why."""

URL = re.compile(r"https?://[\w.-]+(?::\d+)?(?:/v1)?(?=[\s\"',/]|$)", re.MULTILINE)
LISTENS = re.compile(r"(?<=--metrics-port )\d+")
KEYS = ("OPENAI_API_KEY", "GATEWAY_KEY")
ANSWER = {"sentiment": "positive", "stars": 5}
CITIES = ("Oslo", "Lima", "Kyiv", "Rome", "Bonn", "Cairo")
PIXEL = base64.b64decode(
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAAAAAA6fptVAAAACklEQVR4nGNgAAAAAgABSK+kcQAAAABJRU5ErkJggg=="
)
SAMPLES = {
    "cities.csv": "name,country\n" + "".join(f"{name},somewhere\n" for name in CITIES),
    "reviews.csv": "id,customer,text\n1,acme,Great battery.\n2,acme,It broke.\n3,globex,Fine.\n",
    "labels.csv": "row,id,sentiment\n0,1,positive\n1,2,negative\n2,3,positive\n",
    "photos.csv": "photo\nphotos/one.png\n",
    ".env": "GATEWAY_KEY=sk-no-key\n",
    "contract.toml": '[prices]\n"gpt-5.4-mini" = { input = 0.5, output = 2 }\n',
    "cities.toml": """\
input = "cities.csv"
tags = { customer = "acme" }
prompt = { user = "{{ name }} in {{ country }}" }
endpoint = { provider = "openai" }
[request]
model = "gpt-5.4-mini"
max_completion_tokens = 100
schema = { sentiment = ["positive", "negative"], stars = "integer" }
""",
}
"""Files that pages name without showing them."""

OF_OPENAI = '[endpoint]\nprovider = "openai"\n'
"""What a job says of itself that names no server: our server on localhost has OpenAI's prices."""

_SHOWN = re.compile(r"^`([\w.]+\.toml)`[^\n]*:\n\n```toml\n(.*?)^```$", re.MULTILINE | re.DOTALL)
_BLOCK = re.compile(r"^```(console|sh|crontab|yaml)\n(.*?)^```$", re.MULTILINE | re.DOTALL)

KINDS = {"console", "sh", "crontab", "yaml"}
"""Languages of the blocks whose commands are carried out."""


def name(page: Path) -> str:
    """README.md, jobs/README.md, cost.md."""
    return page.name if page.parent.name != "jobs" else f"jobs/{page.name}"


def commands(page: Path) -> list[str]:
    """What a page has its reader type, or a machine do, in the order in which it stands there."""
    blocks = _BLOCK.findall(page.read_text("utf-8"))
    found = [line for kind, block in blocks for line in _lines(kind, block)]
    return [line for line in found if not AS_IN_CI.match(line) and not PLACEHOLDER.match(line)]


def _lines(kind: str, block: str) -> Iterator[str]:
    if kind == "console":
        yield from re.findall(r"^\$ (.*)$", block, re.MULTILINE)
    elif kind == "sh":
        yield from block.splitlines()
    elif kind == "crontab":
        yield from (line.split(maxsplit=5)[5] for line in block.splitlines())
    else:
        yield from (step["run"] for step in yaml.safe_load(block))  # of a CI's job


class World:
    """A folder with the samples and the jobs that a page shows, and a server for each that it names."""

    def __init__(self, folder: Path, page: Path) -> None:
        self.folder = folder
        self._servers: dict[str, FakeAPI] = {}
        self.env = {"OPENAI_BASE_URL": self._server("default"), **dict.fromkeys(KEYS, "sk-no-key")}
        shown = dict(_SHOWN.findall(page.read_text("utf-8")))
        jobs = {
            path: text if "[endpoint]" in text else text + OF_OPENAI for path, text in shown.items()
        }
        for path, text in (SAMPLES | jobs).items():
            (folder / path).write_text(self.here(text), encoding="utf-8")
        (folder / "photos").mkdir()
        (folder / "photos" / "one.png").write_bytes(PIXEL)
        (folder / "reviews").symlink_to(folder)  # $HOME/reviews

    def here(self, text: str) -> str:
        """The text with servers on localhost in place of those that it names, and any port to listen at."""
        return LISTENS.sub(str(_free_port()), URL.sub(lambda url: self._server(url[0]), text))

    def script(self, line: str) -> list[str]:
        """How a shell carries a command out, with `batchmill` and `duckdb` being what they are here."""
        programs = self.folder / "programs"
        if not programs.exists():  # none may be written while it is carried out
            programs.mkdir()
            duckdb = [sys.executable, "-c", "import duckdb, sys; print(duckdb.sql(sys.argv[2]))"]
            for each, words in (("batchmill", program.in_shell()), ("duckdb", duckdb)):
                path = programs / each
                path.write_text(f'#!/bin/sh\nexec {shlex.join(words)} "$@"\n')
                path.chmod(stat.S_IRWXU)
        return ["bash", "-euo", "pipefail", "-c", f'PATH="{programs}:$PATH"; {self.here(line)}']

    @property
    def servers(self) -> dict[str, FakeAPI]:
        """By the URLs that stand for them in the pages."""
        return self._servers

    def close(self) -> None:
        for server in self._servers.values():
            server.close()

    def _server(self, name: str) -> str:
        if name not in self._servers:
            api = self._servers[name] = FakeAPI()
            api.always = Step(content=json.dumps(ANSWER))
            api.models = ["gpt-5.4-mini", "qwen3-8b", "qwen3:8b", "team/mini"]
        return self._servers[name].url


def _free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port: int = free.getsockname()[1]
        return port

"""What reaches a terminal or a pipe, whatever others wrote and whatever it can encode."""

from __future__ import annotations

import io
import json
import os
import re
import signal
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from subprocess import DEVNULL
from typing import Any

import pytest

from batch.engine.counts import Counts
from batch.engine.events import Notice, Opened, Progressed
from batch.progress import Progress
from batch.totals import Summary
from tests import program
from tests.conftest import ROOT
from tests.fake_api import Step
from tests.program import Server
from tests.reading import asking, in_shell, rows, texts, until, write

DRIVING = "\x00\x07\x08\x1b[2J\x7f\x9b31m\x85\u061c\u200e\u200f\u2028\u2029\u202e\u2066\u2069"
OBEYED = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028\u2029\u202a-\u202e\u2066-\u2069]"
)
FOREIGN = "Привет 🚀 日本 é \u2500"
CODINGS = [
    {"PYTHONIOENCODING": "cp1252"},
    {"PYTHONIOENCODING": "latin-1"},
    {"PYTHONIOENCODING": "cp437"},
    {"PYTHONIOENCODING": "ascii"},
    {"PYTHONUTF8": "0", "LC_ALL": "C"},
    {"PYTHONUTF8": "0", "PYTHONIOENCODING": "utf-16"},
]


Printed = Callable[..., bytes]


@pytest.fixture(scope="module")
def servers() -> Iterator[Callable[[dict[str, str]], Server]]:
    """Fork servers whose interpreters were started with these variables."""
    made: dict[tuple[tuple[str, str], ...], Server] = {}

    def server(env: dict[str, str]) -> Server:
        key = tuple(env.items())
        if key not in made:
            made[key] = Server(env=env)
        return made[key]

    yield server
    for each in made.values():
        each.close()


@pytest.fixture
def printed(
    servers: Callable[[dict[str, str]], Server], tmp_path: Path, env: dict[str, str]
) -> Printed:
    """What the program prints where the interpreter was started with these variables."""
    at_start = {name: value for name, value in env.items() if name != program.CODING}

    def printed(*args: object) -> bytes:
        out, err = tmp_path / "printed", tmp_path / "complaints"
        with out.open("wb") as stdout, err.open("wb") as stderr:
            pipes: dict[str, Any] = {"stdin": DEVNULL, "stdout": stdout, "stderr": stderr}
            if at_start:
                given = {"PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT), **env}
                started = servers(at_start).start(list(map(str, args)), tmp_path, given, **pipes)
                code = started.wait(60)
            else:
                code = program.start(args, tmp_path, env, **pipes).wait(60)
        complaints = err.read_bytes()
        assert b"Traceback" not in complaints, complaints
        assert code in (0, 1), complaints
        return out.read_bytes()

    return printed


@pytest.fixture
def hostile(api, batchmill, tmp_path):
    """A run whose names, prompts, answers, errors and model would all drive a terminal."""
    rows = [
        {"id": f"{DRIVING}{n}", "text": f"{n}{DRIVING}", f"c{DRIVING}": DRIVING}
        for n in ("one", "two")
    ]
    (tmp_path / "in.jsonl").write_text("".join(f"{json.dumps(row)}\n" for row in rows))
    api.script = {
        "one": [Step(content=f"said {DRIVING}")],
        "two": [Step(400, body={"error": {"message": f"no {DRIVING}", "code": f"c{DRIVING}"}})],
    }
    more = ("--set", "id_column=id", "--set", f"tags.who={json.dumps(DRIVING)}")
    ended = batchmill("run", "in.jsonl", *asking(api, "-m", "m\x1b[2J", *more))
    assert ended.exit_code == 1, ended.stderr
    return ended


COMMANDS = [
    ("show", "runs/in"),
    ("show", "runs/in", "--json"),
    ("status", "runs/in"),
    ("status", "runs/in", "--json"),
    ("runs",),
    ("runs", "--json"),
    *(
        (
            "report",
            "runs/in",
            "--by",
            "column:id",
            "--by",
            "tag:who",
            "--by",
            "model",
            "--format",
            name,
        )
        for name in ("table", "md", "json", "csv", "html")
    ),
    ("compare", "runs/in", "runs/in", "--on", "id", "--field", f"c{DRIVING}"),
    ("compare", "runs/in", "runs/in", "--json", "-o", "page.html"),
    ("compare", "runs/in", "--against", f"in.jsonl:c{DRIVING}"),
    ("verify", "runs/in", "--input"),
    ("export", "runs/in", "-o", f"out{DRIVING[2:]}.csv"),
    ("estimate", "in.jsonl", "-m", "m\x1b[2J", "-p", "{{ text }}"),
    ("validate", "in.jsonl", "-p", "{{ nothing\x1b }}"),
    ("validate", "in.jsonl", "-m", "m", "-p", "{{ nothing }}"),
    ("run", "in.jsonl", "-m", "m", "-p", "{{ text }}", "--dry-run"),
    ("run", f"nothing{DRIVING[1:]}.jsonl", "-m", "m", "-p", "x"),
    ("run", "in.jsonl", "--env-file", f"runs{DRIVING[1:]}"),
    ("show", "runs/in", "--row", DRIVING[1:]),
    ("show", "runs/in", DRIVING[1:]),
    ("show", "runs/in", f"--{DRIVING[1:]}"),
]


def test_nothing_that_others_wrote_drives_the_terminal(hostile, batchmill):
    assert not OBEYED.search(hostile.stderr)
    for command in COMMANDS:
        ended = batchmill(*command)
        assert ended.exit_code in (0, 1, 2), (command, ended.stderr)
        assert "Traceback" not in ended.stderr
        assert not OBEYED.search(ended.stdout), command
        assert not OBEYED.search(ended.stderr), command


def test_json_says_the_truth_in_escapes(hostile, batchmill):
    [first, _] = batchmill("show", "runs/in", "--json").stdout.splitlines()
    values = json.loads(first)
    assert values["completion"] == f"said {DRIVING}"
    assert values[f"c{DRIVING}"] == DRIVING
    asked = batchmill("run", "in.jsonl", "-m", "m", "-p", "{{ text }}", "--dry-run").stdout
    [body, _] = re.split(r"^# .*\n", asked, flags=re.M)[1:]
    assert json.loads(body)["messages"][0]["content"] == f"one{DRIVING}"
    report = batchmill("report", "runs/in", "--by", "tag:who", "--format", "json").stdout
    assert json.loads(report)["groups"][0]["by"] == {"tag:who": DRIVING}


def test_a_line_break_of_others_begins_no_line_of_ours(api, batchmill, tmp_path):
    forged = "no\nto go on: rm -rf ~"
    write(tmp_path / "in.jsonl", ["hello"])
    api.script = {"hello": [Step(400, body={"error": {"message": forged}})]}
    ended = batchmill("run", "in.jsonl", *asking(api))
    assert ended.exit_code in (1, 3)
    said = batchmill("run", f"x\n{forged}.jsonl", "-m", "m", "-p", "x").stderr + ended.stderr
    assert not re.search("^to go on: rm", said, re.M)


@pytest.fixture
def foreign(api, batchmill, tmp_path):
    """A run whose texts no encoding of one byte holds."""
    write(tmp_path / "in.jsonl", [FOREIGN, "bad"])
    refusal = Step(400, body={"error": {"message": FOREIGN}})
    api.script = {"Привет": [Step(content=FOREIGN)], "bad": [refusal]}
    ended = batchmill("run", "in.jsonl", *asking(api))
    assert ended.exit_code == 1, ended.stderr


@pytest.mark.parametrize("env", CODINGS, ids=lambda env: "_".join(env.values()))
def test_whatever_the_terminal_encodes_all_is_shown(foreign, printed, env):
    encoding = env.get("PYTHONIOENCODING", "ascii")
    for command in (
        ("show", "runs/in"),
        ("status", "runs/in"),
        *(
            ("report", "runs/in", "--by", "column:text", "--format", f)
            for f in ("table", "md", "csv")
        ),
        ("compare", "runs/in", "--against", "in.jsonl:text"),
        ("run", "in.jsonl", "-m", "m", "-p", "{{ text }}", "--dry-run"),
        ("validate", "in.jsonl", "-m", "m", "-p", "{{ text }}"),
        ("estimate", "in.jsonl", "-m", "m", "-p", "{{ text }}"),
        ("runs",),
        ("export", "runs/in", "-o", f"{FOREIGN}.{len(env)}{encoding}.csv"),
    ):
        printed(*command).decode(encoding)
    shown = printed("show", "runs/in", "--json")
    [first, second] = map(json.loads, shown.decode(encoding).splitlines())
    assert first["completion"] == first["text"] == second["error_message"] == FOREIGN
    report = ("report", "runs/in", "--by", "column:text", "--format")
    made = printed(*report, "json")
    assert FOREIGN in {
        group["by"]["column:text"] for group in json.loads(made.decode(encoding))["groups"]
    }


@pytest.mark.parametrize("env", CODINGS[:1], ids=["cp1252"])
def test_the_page_of_a_report_is_utf_8_whatever_the_terminal_encodes(foreign, printed, env):
    page = printed("report", "runs/in", "--by", "column:text", "--format", "html")
    assert "&#1055;" in page.decode("utf-8")
    assert "\\u" not in page.decode("utf-8")


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_the_bar_is_not_driven_either():
    stream = Terminal()
    progress, counts = Progress(stream), Counts(Summary())
    progress(Opened(Path("run"), "run_1", 0, Summary().totals()))
    progress(Progressed(1.0, 1, *counts.now(), 0, f"no\n{DRIVING}"))
    progress(Notice(f"oh\n{DRIVING}"))
    progress.close()
    assert not OBEYED.search(stream.getvalue().replace("\r", ""))
    assert "no \ufffd" in stream.getvalue()


UNWATCHED = ["2>&-", "2>/dev/full", "2> >(exit)", "<&- >&- 2>&-", "<&-"]


def unwatched(words: str) -> dict[str, Any]:
    """Its streams, as a shell would make them of these words."""
    if words == "2>/dev/full":
        return {"stderr": Path(words[2:]).open("wb")}
    if words == "2> >(exit)":
        reads, writes = os.pipe()
        os.close(reads)
        return {"stderr": os.fdopen(writes, "wb")}
    return {"closed": [fd for fd, word in enumerate(("<&-", " >&-", "2>&-")) if word in words]}


@pytest.mark.parametrize("words", UNWATCHED)
def test_a_run_that_nobody_watches_runs(api, tmp_path, words):
    write(tmp_path / "in.jsonl", texts(20))
    ended = in_shell(tmp_path, words, "run", "in.jsonl", *asking(api))
    assert ended.returncode == 0, ended
    assert len(rows(tmp_path / "runs/in")) == 20


@pytest.mark.parametrize("words", UNWATCHED)
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_signal_stops_a_run_that_nobody_watches(api, start, tmp_path, words, number):
    api.always = Step(delay=0.05)
    write(tmp_path / "in.jsonl", texts(2_000))
    with ExitStack() as stack:
        streams = unwatched(words)
        if "stderr" in streams:
            stack.enter_context(streams["stderr"])
        process = start("run", "in.jsonl", *asking(api, "-c", 8), **streams)
    until(lambda: len(api.ledger) > 16, process)
    process.send_signal(number)
    code = process.wait(60)
    assert code == {"SIGINT": 130, "SIGTERM": 143, "SIGHUP": 129}[number.name]
    kept = [row["status"] for row in rows(tmp_path / "runs/in")]
    assert kept == ["ok"] * len(api.ledger)
    assert len(kept) < 2_000


def test_a_reader_that_has_gone_is_no_fault(foreign, tmp_path):
    ended = in_shell(tmp_path, "| true", "show", "runs/in", "--json")
    assert (ended.returncode, ended.stderr) == (0, b"")


def test_a_full_disk_behind_standard_output_is_said(foreign, tmp_path):
    ended = in_shell(tmp_path, "> /dev/full", "show", "runs/in")
    assert ended.returncode == 5
    assert ended.stderr.startswith(b"error: standard output: ")

"""Windows and macOS, as far as they can be played here: what they refuse and lack."""

from __future__ import annotations

import os
import signal
import subprocess
import sys

import pytest

import batch
from batch.engine.notices import DRAIN_SECONDS
from tests import unix_only
from tests.conftest import Finished, end
from tests.fake_api import Step, answer_to
from tests.program import ROOT, Server
from tests.reading import asking, completions, parts, texts, until, write

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="played with what Linux tells")

SIGBREAK = 21
CODING = "cp1252"
"""What pipes speak on Windows in the west."""
PYTHON = (sys.executable, "-X", "warn_default_encoding")
ANEW = "--set", "output.part_rows=7"


@pytest.fixture
def started(tmp_path):
    """Starts Python, with these words, as the program is started; what still runs is killed."""
    processes = []

    def started(*words):
        process = subprocess.Popen(
            [*PYTHON, *map(str, words)],
            cwd=tmp_path,
            env=environment(tmp_path),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )
        processes.append(process)
        return process

    yield started
    for process in processes:
        process.kill()
        process.communicate()


def environment(home):
    return {
        "PATH": os.environ["PATH"],
        "HOME": str(home),
        "PYTHONPATH": str(ROOT),
        "PYTHONIOENCODING": CODING,
    }


@pytest.fixture(scope="module")
def windows():
    """Forks the program there."""
    words = (*PYTHON[1:], "-m", "tests.windows")
    server = Server(words, {"PYTHONIOENCODING": CODING}, CODING)
    yield server
    server.close()


@pytest.fixture
def start(windows, tmp_path):
    """Starts the program on Windows; what still runs is killed."""
    processes = []

    def start(*words, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE):
        pipes = {"stdin": stdin, "stdout": stdout, "stderr": subprocess.PIPE}
        argv = [str(word) for word in words]
        process = windows.start(argv, tmp_path, environment(tmp_path), **pipes)
        processes.append(process)
        return process

    yield start
    for process in processes:
        end(process)


@pytest.fixture
def batchmill(start):
    """The program on Windows."""

    def batchmill(*words, stdin=None):
        process = start(*words, stdin=subprocess.DEVNULL if stdin is None else subprocess.PIPE)
        said = process.communicate(stdin, timeout=60)
        return Finished(process.returncode, *said)

    return batchmill


def played(started, script, *packages, timeout=60):
    """The lines that a script says on Windows, where `packages` are, too."""
    process = started("-c", f"from tests import windows; windows.install{packages}\n{script}")
    said, complaints = process.communicate(timeout=timeout)
    assert process.returncode == 0, complaints.decode(CODING)
    return said.decode(CODING).splitlines()


def works(ended, code=0):
    assert ended.exit_code == code, ended.stdout + ended.stderr
    return ended.stdout


# the play itself


REFUSED = """
import os
from pathlib import Path
import filelock

def refused(call):
    try:
        call()
    except (OSError, NotImplementedError) as error:
        print(type(error).__name__)
    else:
        print("went")

os.mkdir("f")
Path("a").write_bytes(b"1")
Path("b").write_bytes(b"22")
refused(lambda: os.open("f", os.O_RDONLY))
refused(lambda: open("a:b", "w", encoding="utf-8"))
refused(lambda: os.mkdir("nul"))
with open("b", "rb"):
    refused(lambda: os.replace("a", "b"))
    refused(lambda: Path("b").unlink())
refused(lambda: os.replace("a", "b"))
with open("f/c", "wb"):
    refused(lambda: os.rename("f", "g"))
with filelock.FileLock("lock"):
    refused(lambda: Path("lock").read_bytes())
    refused(lambda: Path("lock").write_bytes(b"x"))
print(Path("lock").exists())
"""


def test_what_windows_refuses_is_refused(started):
    named = ["OSError", "OSError"]
    in_use = ["PermissionError", "PermissionError", "went", "PermissionError"]
    locked = ["PermissionError", "PermissionError", "False"]
    assert played(started, REFUSED) == ["PermissionError", *named, *in_use, *locked]


def test_what_windows_lacks_is_not_there(started):
    script = """
for line in (
    "import fcntl", "import resource", "import uvloop", "from os import fork",
    "import os; os.O_DIRECTORY", "import signal; signal.SIGHUP", "import select; select.poll",
):
    try:
        exec(line, {"__name__": "batch.anywhere"})
    except (ImportError, AttributeError):
        continue
    print(line)
"""
    assert played(started, script) == []


def test_a_fork_speaks_as_programs_do_there(start, tmp_path):
    with (tmp_path / "said").open("wb") as said:
        assert start("--version", stdout=said).wait(60) == 0
    assert (tmp_path / "said").read_bytes().endswith(b"\r\n")


# the program there


def test_every_command_works_where_windows_refuses(api, batchmill, tmp_path):
    write(tmp_path / "in.jsonl", texts(20))
    api.script = {"text 00003": [Step(400, body={"error": {"message": "cursed"}})]}
    run = ("run", "in.jsonl", *asking(api, *ANEW))
    works(batchmill(*run), 1)
    works(batchmill("retry", "runs/in"))  # which replaces a part
    answers = [(row, answer_to(prompt)) for row, prompt in enumerate(texts(20))]
    assert completions(tmp_path / "runs/in") == answers
    for command in ("status", "show", "report", "verify"):
        works(batchmill(command, "runs/in"))
    for name in ("all.csv", "all.parquet", "all.jsonl.gz"):
        works(batchmill("export", "runs/in", "-o", name))
    works(batchmill("export", "runs/in", "-o", "all.csv", "--force"))
    works(batchmill(*run, "--new"))
    changed = ("run", "in.jsonl", *asking(api, *ANEW, "-s", "Be brief."))
    works(batchmill(*changed), 4)
    works(batchmill(*changed, "--reuse", "runs/in"))
    assert completions(tmp_path / "runs/in~1") == answers
    assert {"runs/in", "runs/in~1", "runs/in~2"} <= set(works(batchmill("runs")).split())


def test_an_input_and_a_job_are_judged_there(api, batchmill, tmp_path):
    write(tmp_path / "in.csv", texts(3))
    question = ("in.csv", "-m", "m", "-p", "{{ text }} → …")
    for command in ("validate", "estimate"):
        works(batchmill(command, *question))
    works(batchmill("run", *question, "--dry-run"))
    works(batchmill("models", "--base-url", api.url))


def test_standard_input_is_kept_and_begun_anew_there(api, batchmill, tmp_path):
    lines = write(tmp_path / "in.jsonl", texts(5)).read_text()
    command = ("run", "-", *asking(api, "-o", "run"))
    works(batchmill(*command, stdin=lines))
    works(batchmill("run", "run", "--new"))
    assert len(completions(tmp_path / "run")) == len(completions(tmp_path / "run~1")) == 5
    assert len(works(batchmill(*command[:-2], "-o", "-", stdin=lines)).splitlines()) == 5


SIGNALS = [(signal.SIGINT, 130), (signal.SIGTERM, 143), (SIGBREAK, 130)]


@pytest.mark.parametrize(("number", "code"), SIGNALS, ids=["SIGINT", "SIGTERM", "SIGBREAK"])
def test_a_signal_drains_a_run_there_and_it_goes_on(api, start, batchmill, tmp_path, number, code):
    write(tmp_path / "in.jsonl", texts(60))
    api.script = {"text 00059": [Step(hang=True), ...]}
    api.latency = 0.5
    command = ("run", "in.jsonl", *asking(api, *ANEW, "-c", 60))
    process = start(*command)
    until(lambda: len(api.ledger) >= 60, process)
    process.send_signal(number)
    assert any("once more" in line for line in process.stderr)
    until(lambda: sum(asked.completed for asked in api.ledger) == 59, process)
    until(lambda: batch.open(tmp_path / "runs/in").status().ok == 59, process)
    process.send_signal(number)
    _, stderr = process.communicate(timeout=DRAIN_SECONDS / 2)
    assert process.returncode == code, stderr
    assert len(completions(tmp_path / "runs/in")) == 59
    api.script, api.latency = {}, 0
    works(batchmill(*command))
    assert [row for row, _ in completions(tmp_path / "runs/in")] == list(range(60))
    works(batchmill("verify", "runs/in"))


@pytest.mark.second_lane
def test_a_run_is_seen_and_kept_from_others_and_survives_a_kill_there(
    api, start, batchmill, tmp_path
):
    write(tmp_path / "in.jsonl", texts(30))
    api.script = {"text 00025": [Step(hang=True), ...]}
    command = ("run", "in.jsonl", *asking(api, *ANEW, "-c", 30))
    process = start(*command)
    until(lambda: len(api.ledger) >= 30, process)
    for beside in ("status", "show", "report"):
        works(batchmill(beside, "runs/in"))
    assert f"process {process.pid} on " in works_not(batchmill(*command), 4)
    assert f"process {process.pid} on " in works_not(batchmill(*command, "--new"), 4)
    process.kill()
    process.wait()
    api.script = {}
    works(batchmill(*command))
    assert [row for row, _ in completions(tmp_path / "runs/in")] == list(range(30))


def works_not(ended, code):
    works(ended, code)
    return ended.stderr


def test_a_damaged_run_is_repaired_there(api, batchmill, tmp_path):
    write(tmp_path / "in.jsonl", texts(20))
    run, command = tmp_path / "runs/in", ("run", "in.jsonl", *asking(api, *ANEW))
    works(batchmill(*command))
    for damaged in (parts(run)[1], run / "usage.parquet"):
        damaged.write_bytes(damaged.read_bytes()[:-9])
    (run / "run.json").unlink()
    (run / "run.json").mkdir()
    assert "verify --repair" in works_not(batchmill("status", "runs/in"), 5)
    works(batchmill(*command), 5)
    works(batchmill("verify", "--repair", "runs/in"), 1)
    works(batchmill(*command))
    assert [row for row, _ in completions(run)] == list(range(20))


def test_a_name_that_windows_refuses_is_told(api, batchmill, tmp_path):
    write(tmp_path / "in.jsonl", texts(2))
    for name in ("a:b", "con"):
        ended = batchmill("run", "in.jsonl", *asking(api), "--set", f"name={name}")
        assert "choose another name with -o" in works_not(ended, 5)


def test_a_unix_socket_is_refused_before_anything_is_sent(batchmill, tmp_path):
    write(tmp_path / "in.jsonl", texts(2))
    command = ("run", "in.jsonl", "-m", "m", "-p", "{{ text }}", "--base-url", "unix:///x.sock/v1")
    assert "no unix sockets" in works_not(batchmill(*command), 2)
    assert not (tmp_path / "runs").exists()


def test_a_reader_that_has_gone_is_no_fault_there(api, batchmill, start, tmp_path):
    """Who reads a megabyte: far more than a pipe holds."""
    write(tmp_path / "in.jsonl", [f"{text} {'x' * 10_000}" for text in texts(100)])
    works(batchmill("run", "in.jsonl", *asking(api)))
    for words in (("show", "runs/in", "-n", 100, "--json"), ("export", "runs/in", "-o", "-")):
        process = start(*words)
        process.stdout.close()
        process.stdout = None
        assert process.communicate(timeout=60)[1] == ""
        assert process.returncode == 0


def test_a_file_that_somebody_reads_is_replaced_when_it_is_let_go(started):
    script = """
import threading
from pathlib import Path
from batch.store.files import Disk

Path("tmp").mkdir()
Path("a").write_bytes(b"1")
reader = open("a", "rb")
threading.Timer(0.05, reader.close).start()
Disk().put(Path("a"), [b"2"], Path("tmp"))
print(Path("a").read_text(encoding="utf-8"))
"""
    assert played(started, script) == ["2"]


def test_more_connections_than_one_select_takes_are_looked_at(started):
    script = """
import resource
import socket
from batch.transport import pool

class Protocol:
    def __init__(self, end):
        self.transport, self.end = self, end
    def get_extra_info(self, name):
        return self.end

resource.setrlimit(resource.RLIMIT_NOFILE, (1024, resource.getrlimit(resource.RLIMIT_NOFILE)[1]))
pairs = [socket.socketpair() for _ in range(400)]
protocols = [Protocol(end) for pair in pairs for end in pair]
pairs[399][0].send(b"x")
print(pool.speaking(protocols) == {protocols[799]})
"""
    assert played(started, script) == ["True"]


def test_a_limit_of_open_files_that_macos_keeps_to_itself_is_told(api, started, tmp_path):
    write(tmp_path / "in.jsonl", texts(2))
    script = """
import resource, runpy, sys

def setrlimit(what, limits):
    raise ValueError("current limit exceeds maximum limit")

resource.getrlimit = lambda what: (256, resource.RLIM_INFINITY)
resource.setrlimit = setrlimit
runpy.run_module("batch", run_name="__main__", alter_sys=True)
"""
    process = started("-c", script, "run", "in.jsonl", *asking(api, "-c", 300))
    _, stderr = process.communicate(timeout=60)
    assert process.returncode == 2, stderr
    assert b"256 open files" in stderr


# what stands in the code


def test_nothing_that_windows_lacks_is_used_without_asking():
    found = {
        str(path.relative_to(ROOT)): used
        for path in (ROOT / "batch").rglob("*.py")
        if (used := unix_only.used_in(path.read_text(encoding="utf-8")))
    }
    assert found == {}


@pytest.mark.parametrize(
    "line",
    [
        "import fcntl",
        "from resource import getrlimit",
        "from os import fork",
        "os.open(folder, os.O_DIRECTORY)",
        "signal.signal(signal.SIGHUP, handler)",
        "select.poll()",
        "socket.socket(socket.AF_UNIX)",
        "loop.add_signal_handler(2, call)",
        "def f():\n    os.kill(1, signal.SIGKILL)",
    ],
)
def test_a_use_is_found(line):
    assert unix_only.used_in(line)


@pytest.mark.parametrize(
    "line",
    [
        "os.open(file, os.O_RDONLY)",
        "getattr(os, 'O_NOFOLLOW', 0)",
        "signal.signal(signal.SIGINT, handler)",
        "def f():\n    if hasattr(select, 'poll'):\n        select.poll()",
        "def f():\n    try:\n        import resource\n    except ImportError:\n        return",
    ],
)
def test_what_is_asked_for_or_there_is_no_use(line):
    assert not unix_only.used_in(line)


# the tests there


@pytest.mark.second_lane
def test_the_tests_can_be_collected_there(started):
    script = f"""
import importlib
from pathlib import Path
from tests import conftest

for path in sorted(Path({str(ROOT)!r}, "tests").rglob("test_*.py")):
    if str(path) not in conftest.collect_ignore:
        importlib.import_module(".".join(path.relative_to({str(ROOT)!r}).with_suffix("").parts))
        print(path.name)
"""
    found = set(played(started, script, "tests", timeout=110))
    assert {"test_readers.py", "test_report.py", "test_engine.py"} <= found
    assert {"test_terminals.py", "test_crash.py"}.isdisjoint(found)

"""What is added to the program is added in one place: each recipe is carried out in a copy of it."""

from __future__ import annotations

import compileall
import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests import program
from tests.conftest import ROOT
from tests.fake_api import Step
from tests.reading import asking, rows, texts, write


class Copy:
    """A copy of a compiled package, in which files are written and lines inserted."""

    def __init__(self, compiled: Path, folder: Path) -> None:
        self.folder = folder
        shutil.copytree(compiled, folder / "batch")

    def write(self, name: str, text: str) -> None:
        """Add a file."""
        assert not (self.folder / name).exists()
        (self.folder / name).write_text(text)

    def insert(self, name: str, after: str, line: str) -> None:
        """Add a line to a file, after the one that begins with `after`."""
        path = self.folder / name
        lines = path.read_text().splitlines()
        [place] = [number for number, old in enumerate(lines) if old.startswith(after)]
        path.write_text("\n".join([*lines[: place + 1], line, *lines[place + 1 :], ""]))

    def python(self, code: str) -> str:
        """What `code` prints."""
        command = [sys.executable, "-c", code]
        ran = subprocess.run(command, cwd=self.folder, capture_output=True, text=True, check=False)
        assert ran.returncode == 0, ran.stderr
        return ran.stdout

    def batchmill(self, *arguments: object) -> str:
        """What the program prints."""
        code, stdout, stderr = self._ran(*arguments)
        assert code == 0, stderr
        return stdout

    def refused(self, *arguments: object) -> str:
        """All that the program says to what it does not take."""
        code, stdout, stderr = self._ran(*arguments)
        assert code in (1, 2)
        return stdout + stderr

    def _ran(self, *arguments: object) -> tuple[int, str, str]:
        """Exit code and streams of the program that lies in the folder."""
        process = program.start(arguments, self.folder)
        stdout, stderr = process.communicate(timeout=60)
        return process.returncode, stdout, stderr


@pytest.fixture(scope="module")
def compiled(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The package, compiled once."""
    folder = tmp_path_factory.mktemp("compiled") / "batch"
    unfinished = shutil.ignore_patterns("__pycache__")  # others write there now
    shutil.copytree(ROOT / "batch", folder, ignore=unfinished)
    assert compileall.compile_dir(folder, quiet=2)
    return folder


@pytest.fixture
def copy(compiled: Path, tmp_path: Path) -> Copy:
    return Copy(compiled, tmp_path)


def test_a_dialect_of_headers_is_one_edit(copy):
    copy.insert(
        "batch/headers.py",
        "DIALECTS = (",
        '    Dialect(Window("quota", "quota-left", "quota-reset-ms"), unit=0.001),',
    )
    said = copy.python("""if True:
        from batch import headers
        answered = {"Quota": "500", "Quota-Left": "250", "Quota-Reset-Ms": "30000", "Quota-Name": "x"}
        kept = {name: value for each, value in answered.items() if (name := headers.kept(each))}
        print(sorted(kept), headers.speaks_of_limits(kept))
        print(headers.announced(kept, 0.0).requests_per_minute)
        print(headers.reset_seconds(kept | {"quota-left": "0"}, 0.0))
    """)
    assert said.splitlines() == ["['quota', 'quota-left', 'quota-reset-ms'] True", "500.0", "30.0"]


def test_a_limit_whose_name_tells_its_period_needs_no_reset(copy):
    copy.insert(
        "batch/headers.py",
        "DIALECTS = (",
        '    Dialect(tokens=Window("tokens-per-hour", "tokens-left", seconds=3600)),',
    )
    said = copy.python("""if True:
        from batch import headers
        print(headers.announced({"tokens-per-hour": "60000"}, 0.0).tokens_per_minute)
    """)
    assert said == "1000.0\n"


TEXTS = '''
"""`POST /texts/completions`: completions, in which what is asked is called `say`."""

from batch.apis import completions
from batch.apis.completions import *

PATH = "/texts/completions"
ASKED_IN = ("say",)
OUTPUT_CAPS = ("most",)
IS_LOCAL = False
IF_UNHEEDED = " (alas)"


def body(messages, parameters):
    built = completions.body(messages, parameters)
    return built if messages is None else {**built, "say": built["prompt"]}
'''


def with_texts(copy: Copy) -> None:
    """Add the API."""
    copy.write("batch/apis/texts.py", TEXTS)
    copy.insert("batch/apis/__init__.py", "MODULES = {", '    "texts": "texts",')


def test_an_api_is_one_file_and_one_line(api, copy):
    with_texts(copy)
    write(copy.folder / "in.jsonl", texts(2))
    copy.batchmill("run", "in.jsonl", *asking(api), "--api", "texts", "-o", "out")
    assert [seen.path for seen in api.ledger] == ["/v1/texts/completions"] * 2
    assert {seen.body["say"] for seen in api.ledger} == set(texts(2))
    assert [row["status"] for row in rows(copy.folder / "out")] == ["ok"] * 2
    local = copy.refused("run", "in.jsonl", "-p", "{{ text }}", "--api", "texts", "--local")
    assert "the embedded model gives no texts" in local


def test_a_row_may_name_an_added_api(api, copy):
    with_texts(copy)
    asked = {"model": "m", "prompt": "hi", "say": "hi"}
    line = {"custom_id": "a", "url": "/v1/texts/completions", "body": asked}
    path = copy.folder / "in.jsonl"
    path.write_text(json.dumps(line))
    copy.batchmill("run", path, "--base-url", api.url, "-o", "out")
    assert [seen.path for seen in api.ledger] == ["/v1/texts/completions"]
    assert api.ledger[0].body == asked

    del asked["say"]
    path.write_text(json.dumps(line))
    refused = copy.refused("validate", path, "--base-url", api.url)
    assert "say: is missing" in refused


NOTE = '''
"""A report in one line."""

KIND = "text"


def text(report):
    return f"{report.totals.rows_ok} rows in {report.totals.attempts} requests\\n"
'''


def test_a_report_format_is_one_file_and_one_line(api, copy):
    copy.write("batch/renderers/note.py", NOTE)
    copy.insert("batch/renderers/__init__.py", "MODULES = {", '    "note": "note",')
    write(copy.folder / "in.jsonl", texts(2))
    copy.batchmill("run", "in.jsonl", *asking(api), "-o", "out")
    assert copy.batchmill("report", "out", "--format", "note") == "2 rows in 2 requests\n"
    assert "[note|table|" in copy.batchmill("report", "--help")


VERSES = '''
"""Verse: a row a line, in the column `text`."""

import pyarrow as pa

from batch.model import Batch, Position, Row
from batch.readers import lines

SUFFIXES = (".verse",)
GROWS = True
HAS_EXTRA = False
NOTES = 0

size = lines.size


def detect(path, options):
    return lines.detect(path, options)[0]


def read(path, start, reading):
    for line in lines.read(path, start, reading.dialect(start.file)):
        table = pa.record_batch({"text": [line.text.decode().rstrip()]})
        end = Position(start.file, line.offset, line.number)
        yield Batch(table, start, end)
        start = end


def rows(spooled, start, name, first_index, folder):
    return [Row(first_index, values, f"{name}:{start.line + 1}") for values in spooled.to_pylist()]


def schema(paths, reading, first):
    return pa.schema([("text", pa.string())])


def carry(spooled, schema, keep):
    return spooled.columns
'''


def test_an_input_format_is_one_file_and_one_line(api, copy):
    copy.write("batch/readers/verses.py", VERSES)
    copy.insert("batch/readers/formats.py", "MODULES = {", '    "verse": "verses",')

    path = copy.folder / "in.verse"
    path.write_text("Snow is\nfalling\n")
    copy.batchmill("run", path, *asking(api), "-o", "out")
    assert [row["text"] for row in rows(copy.folder / "out")] == ["Snow is", "falling"]
    path.write_text("Snow is\nfalling\ndown\n")
    copy.batchmill("run", path, *asking(api), "-o", "out")
    assert len(api.ledger) == 3

    path.rename(copy.folder / "in.txt")
    copy.batchmill("run", "in.txt", *asking(api), "--input-format", "verse", "-o", "named")
    assert len(rows(copy.folder / "named")) == 3
    assert "[verse|jsonl|" in copy.batchmill("run", "--help")

    said = copy.python("""if True:
        from pathlib import Path
        from batch.readers import resolve
        from batch.readers.cuts import cuts
        print([part.rows for part in cuts(resolve("in.txt", Path.cwd(), "verse"), 2, 1 << 20)])
    """)
    assert said == "[2, 1]\n"


RULE = """
    Rule("warming", lambda again, _: again.code == "warming_up", lambda _: 20, backs_off=False),
"""


def test_a_retry_rule_is_one_line(api, copy):
    warming = Step(500, body={"error": {"message": "wait", "code": "warming_up"}})
    api.script = {"text 00001": [warming] * 6}
    write(copy.folder / "in.jsonl", texts(3))
    command = ("run", "in.jsonl", *asking(api), "--set=retry.max_attempts=3", "-o", "out")
    copy.refused(*command)
    [failed] = [row for row in rows(copy.folder / "out") if row["status"] == "failed"]
    assert (failed["attempts"], failed["error_code"]) == (3, "warming_up")

    copy.insert("batch/engine/retry.py", "RULES = (", RULE.strip("\n"))
    api.script = {"text 00001": [warming] * 6}
    copy.batchmill(*command, "--new")
    found = rows(copy.folder / "out")
    assert [(row["status"], row["attempts"]) for row in found] == [("ok", 1), ("ok", 7), ("ok", 1)]


COLUMN_BEFORE = '    _plain("request_hash", pa.string()),'
COLUMN = """
    Column("tokens", pa.int64(), of=lambda row: (row.input_tokens or 0) + (row.output_tokens or 0)),
"""


def test_an_output_column_is_one_line(api, copy):
    write(copy.folder / "in.jsonl", texts(3))
    copy.batchmill("run", "in.jsonl", *asking(api), "--limit=2", "-o", "before")
    copy.insert("batch/columns.py", COLUMN_BEFORE, COLUMN.strip("\n"))
    copy.batchmill("run", "in.jsonl", *asking(api), "--limit=2", "-o", "out")
    copy.batchmill("run", "in.jsonl", *asking(api), "-o", "out")
    found = rows(copy.folder / "out")
    assert [row["tokens"] for row in found] == [
        row["input_tokens"] + row["output_tokens"] for row in found
    ]
    copy.batchmill("export", "out", "-o", "out.csv")
    assert "tokens" in (copy.folder / "out.csv").read_text().splitlines()[0].split(",")

    copy.batchmill("run", "in.jsonl", *asking(api), "-o", "before")
    found = rows(copy.folder / "before")
    assert len(found) == 3 and "tokens" not in found[0]  # the columns of a run do not change

"""Journals of versions that wrote a vector as a list of numbers are read as they were."""

from __future__ import annotations

import json
import zlib
from pathlib import Path

import pyarrow as pa
import pytest

from batch.store import journal
from tests.fake_api import Step, embedding_of
from tests.reading import asking, table, texts, until, write

BY = 3.0
"""What vectors are divided by, so that 32 bits do not hold their numbers to the digit."""
PROMPTS = texts(80)
VECTORS = [[number / BY for number in embedding_of(prompt)] for prompt in PROMPTS]
ASKING = ("--api", "embeddings", "--set", "limits.inputs_per_request=10")


@pytest.fixture
def killed(api, start, tmp_path) -> Path:
    """A run that was killed when all but ten of its rows were in its journal, in the old form."""
    write(tmp_path / "in.jsonl", PROMPTS)
    api.embedder.by = BY
    api.script = {PROMPTS[-1]: [Step(hang=True)]}
    process = start("run", "in.jsonl", *asking(api, *ASKING))
    run = tmp_path / "runs/in"
    path = run / "open/part-00000000/journal.jsonl"
    until(lambda: path.exists() and path.read_bytes().count(b"\n") > 70, process)
    process.kill()
    process.wait()
    api.script = {}
    assert in_old_form(path) == 70
    return run


def in_old_form(path: Path) -> int:
    """Write a journal anew.  Gives how many vectors it has."""
    first, *rest = path.read_bytes().splitlines(keepends=True)
    lines = [first]
    for line in rest:
        held = json.loads(journal.payload(line) or b"")
        payload = json.dumps({**held, "embedding": VECTORS[held["row"]]}).encode()
        lines.append(b"%08x %s\n" % (zlib.crc32(payload), payload))
    path.write_bytes(b"".join(lines))
    return len(rest)


def as_sent(rows: int) -> list[list[float]]:
    found: list[list[float]] = pa.array(VECTORS[:rows], pa.list_(pa.float32())).to_pylist()
    return found


def test_a_run_goes_on_from_it(api, batchmill, killed):
    before = len(api.ledger)
    assert batchmill("run", "in.jsonl", *asking(api, *ASKING)).exit_code == 0
    assert {text for each in api.ledger[before:] for text in each.texts} == {*PROMPTS[70:]}
    assert table(killed)["embedding"].to_pylist() == as_sent(80)
    assert batchmill("verify", killed).exit_code == 0


def test_it_is_shown_exported_counted_and_reused(api, batchmill, killed, tmp_path):
    shown = batchmill("show", killed, "--json", "-n", 100)
    assert [json.loads(line)["embedding"] for line in shown.stdout.splitlines()] == as_sent(70)
    assert json.loads(batchmill("status", killed, "--json").stdout)["ok"] == 70
    totals = json.loads(batchmill("report", killed, "--format", "json").stdout)["totals"]
    assert totals["rows_ok"] == 70
    assert batchmill("export", killed, "-o", tmp_path / "out.parquet").exit_code == 0
    before = len(api.ledger)
    again = ("run", "in.jsonl", "-o", tmp_path / "again", "--reuse", killed)
    assert batchmill(*again, *asking(api, *ASKING)).exit_code == 0
    assert {text for each in api.ledger[before:] for text in each.texts} == {*PROMPTS[70:]}
    assert table(tmp_path / "again")["embedding"].to_pylist() == as_sent(80)

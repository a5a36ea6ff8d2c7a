"""One door before the first request: what is known of a job behind it."""

from __future__ import annotations

import gzip
import json
import random
import sys
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from batch import readers, spec
from batch.errors import Different, InputError, JobError
from batch.planning.prepare import Prepared, prepare
from batch.planning.terms import Terms
from batch.requests.prompts import BadRow
from tests.reading import ran, texts, write

ELSEWHERE = {"base_url": "http://127.0.0.1:9/v1"}
PRICES = {"m": {"input": 1.0, "output": 2.0}}


def prepared(
    path: Path, *, folder: Path | None = None, asks: bool = True, **tables: Any
) -> Prepared:
    """What is known of a job about this file; nothing listens where it asks."""
    whole = {
        "input": str(path),
        "prompt": {"user": "{{ text }}"},
        "request": {"model": "m", "max_tokens": 10},
        "endpoint": ELSEWHERE,
        "prices": PRICES,
        **tables,
    }
    terms = Terms(environment={}, folder=folder, asks=asks, bounds=False)
    with ExitStack() as stack:
        return prepare(spec.check(whole), terms, stack)


def bytes_read() -> int:
    """By this process so far."""
    said = Path("/proc/self/io").read_text()
    return int(said.split("rchar:")[1].split()[0])


@pytest.mark.skipif(sys.platform != "linux", reason="Linux counts what a process reads")
@pytest.mark.parametrize(
    ("kind", "size"), [("jsonl", 400), ("json", 400), ("csv", 1750), ("jsonl.gz", 1750)]
)
def test_the_first_rows_are_read_once(tmp_path, kind, size):
    """Beside a few megabytes from which CSV and what is packed are judged."""
    noise = random.Random(1)
    rows = [{"text": f"{row} {noise.randbytes(size).hex()}", "n": row} for row in range(9_000)]
    path = tmp_path / f"in.{kind}"
    if kind == "jsonl":
        path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    elif kind == "jsonl.gz":
        with gzip.open(path, "wt", compresslevel=1) as file:
            file.writelines(json.dumps(row) + "\n" for row in rows)
    elif kind == "json":
        path.write_text(json.dumps(rows))
    else:
        path.write_text("text,n\n" + "".join(f"{row['text']},{row['n']}\n" for row in rows))
    prepared(path, folder=tmp_path / "warm", limits={"max_cost_usd": 1.0})
    before = bytes_read()
    found = prepared(path, folder=tmp_path / "run", limits={"max_cost_usd": 1.0})
    assert found.first is not None
    assert found.first.rows == 9_000
    assert bytes_read() - before < 1.3 * path.stat().st_size


@pytest.mark.second_lane
def test_of_a_larger_input_no_more_is_read_than_is_held(tmp_path):
    noise = random.Random(1)
    with gzip.open(tmp_path / "in.jsonl.gz", "wt", compresslevel=0) as file:
        file.writelines(
            json.dumps({"text": noise.randbytes(5_000).hex()}) + "\n" for _ in range(9_000)
        )
    before = bytes_read()
    found = prepared(tmp_path / "in.jsonl.gz", folder=tmp_path / "run")
    assert found.first.rows is None
    assert bytes_read() - before < (tmp_path / "in.jsonl.gz").stat().st_size


def test_an_input_whose_first_rows_are_forgotten_gives_them_again(tmp_path):
    source = readers.resolve(str(write(tmp_path / "in.jsonl", texts(700))), tmp_path)
    before = [row.values for row in source.all_rows()]
    source.forget()
    assert [row.values for row in source.all_rows()] == before
    assert readers.resolve(str(tmp_path / "in.jsonl"), tmp_path).schema(None) == source.schema(None)


def test_rows_of_many_pictures_are_not_taken_for_all(tmp_path):
    (tmp_path / "cat.png").write_bytes(b"\x89PNG\r\n\x1a\n" + bytes(9 << 20))
    path = tmp_path / "in.jsonl"
    path.write_text('{"text": "what is it?", "picture": "cat.png"}\n' * 20)
    prompt = {"user": "{{ text }}", "images": "picture"}
    assert prepared(path, folder=tmp_path / "run", prompt=prompt).first.rows is None


def test_all_that_is_known_before_the_first_request_is_in_one_frozen_value(tmp_path):
    path = write(tmp_path / "in.jsonl", texts(3))
    found = prepared(path, folder=tmp_path / "run", limits={"max_cost_usd": 1.0})
    assert found.known is None
    assert len(found.targets) == 1
    assert (found.first.api, found.first.models, found.first.rows) == ("chat", {"m"}, 3)
    assert {"text", "completion", "cost_usd"} <= set(found.schema.names)
    assert found.place("chat") == "http://127.0.0.1:9/v1/chat/completions"
    assert not (tmp_path / "run").exists()
    with pytest.raises(AttributeError, match="immutable"):
        found.notices = ()


def test_where_nothing_asks_a_bad_row_is_told_and_not_raised(tmp_path):
    path = write(tmp_path / "in.jsonl", texts(3))
    path.write_text(path.read_text() + "{\n")
    with pytest.raises(InputError, match=r"in\.jsonl:4"):
        prepared(path, folder=tmp_path / "run")
    found = prepared(path, asks=False)
    asked = [asked for _, asked in found.requests()]
    assert len(asked) == 4
    assert isinstance(asked[3], BadRow)
    assert (found.first, found.targets, found.schema) == (None, (), None)


def test_where_nothing_asks_a_run_of_another_job_is_told_and_not_raised(api, tmp_path):
    rows = [{"text": text} for text in texts(2)]
    run = ran(api, tmp_path, rows, {"temperature": 0.5}, prompt={"user": "{{ text }}"})
    assert run.exit_code == 0
    path, folder = tmp_path / "in.jsonl", tmp_path / "run"
    with pytest.raises(Different):
        prepared(path, folder=folder)
    found = prepared(path, folder=folder, asks=False)
    assert found.known is None
    assert "temperature" in str(found.standing.different)


def test_a_cap_that_nothing_can_keep_is_refused_before_the_folder_is_made(tmp_path):
    path = write(tmp_path / "in.jsonl", texts(3))
    with pytest.raises(JobError, match="max_cost_usd"):
        prepared(path, folder=tmp_path / "run", limits={"max_cost_usd": 1.0}, prices={})
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(("asked", "named"), [("fake-modle", "fake-model"), ("m", "fake-modle")])
def test_the_name_that_an_endpoint_has_for_the_model_is_looked_up_there(
    api, tmp_path, asked, named
):
    """And not the job's own."""
    tables = {
        "input": str(write(tmp_path / "in.jsonl", ["a"])),
        "prompt": {"user": "{{ text }}"},
        "request": {"model": asked},
        "endpoint": {"base_url": api.url, "api_key_env": "", "model": named},
    }
    with ExitStack() as stack:
        if named in api.models:
            assert prepare(spec.check(tables), Terms(environment={}), stack)
        else:
            with pytest.raises(JobError, match="fake-modle"):
                prepare(spec.check(tables), Terms(environment={}), stack)

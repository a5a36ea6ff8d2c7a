"""Jobs and runs from Python: what they are made of, and what comes back."""

from __future__ import annotations

import contextlib
import dataclasses
import io
import json
import subprocess
import sys
from pathlib import Path
from typing import Any, Literal, TypedDict

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest
from pydantic import BaseModel

import batch
from batch import spec
from batch.errors import CapReached, Different, JobError, Refused, RowsFailed, Stopped, UsageError
from tests.door.conftest import tables
from tests.fake_api import Step, answer_to
from tests.reading import texts, write


class Opinion(BaseModel):
    sentiment: Literal["good", "bad"]
    stars: int | None = None


class OpinionDict(TypedDict):
    sentiment: Literal["good", "bad"]
    stars: int | None


@dataclasses.dataclass
class OpinionData:
    sentiment: Literal["good", "bad"]
    stars: int | None


def test_every_name_of_the_door_is_found_by_either_name_of_the_package():
    import batchmill
    import batchmill.errors
    import batchmill.events

    for name in ("job", "run", "arun", "open", "Run"):
        assert getattr(batchmill, name) is getattr(batch, name)
        assert name in dir(batch) and name in dir(batchmill)
    assert batchmill.errors.UsageError is UsageError
    assert batchmill.events.Ended is batch.events.Ended
    with pytest.raises(AttributeError):
        batch.nothing  # noqa: B018


def test_naming_the_package_loads_nothing_heavy():
    code = "import sys, batch, batchmill; print({'pyarrow', 'aiohttp', 'click'} & set(sys.modules))"
    assert subprocess.check_output([sys.executable, "-c", code], text=True) == "set()\n"


def test_a_job_is_the_same_from_a_file_from_tables_and_from_both(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("hot.toml").write_text(
        '[prompt]\nuser = "{{ text }}"\n[request]\nmodel = "m"\ntemperature = 1.0\n'
    )
    made = batch.job(prompt={"user": "{{ text }}"}, request={"model": "m", "temperature": 0.5})
    both = batch.job("hot.toml", request={"temperature": 0.5}, limits={"concurrency": 3})
    assert both.request.sent == made.request.sent == {"temperature": 0.5}
    assert both.request.model == made.request.model and both.prompt == made.prompt
    assert (both.limits.concurrency, both.name) == (3, "hot")


def test_a_key_beside_a_file_leaves_the_rest_of_its_table(tmp_path):
    """Every table that a job file may have, prices among them."""
    tables = {
        "prompt": ('system = "s"', {"user": "{{ text }}"}),
        "request": ('model = "m"', {"temperature": 0}),
        "endpoint": ('base_url = "http://localhost:1"', {"total_timeout": 5}),
        "pool": ("wait_ready = 3", {"affinity": "off"}),
        "limits": ("concurrency = 3", {"requests_per_minute": 5}),
        "retry": ("max_attempts = 3", {"first_delay": 1}),
        "output": ("part_rows = 3", {"request": True}),
        "prices": ("m = { input = 1, output = 2 }", {"n": {"input": 3, "output": 4}}),
        "tags": ('a = "b"', {"c": "d"}),
    }
    assert tables.keys() >= spec.TABLES.keys()
    path = tmp_path / "job.toml"
    path.write_text("".join(f"[{name}]\n{said}\n" for name, (said, _) in tables.items()))
    made = spec.tables_of(batch.job(path, **{name: more for name, (_, more) in tables.items()}))
    for name, (said, more) in tables.items():
        key = said.partition(" = ")[0]
        assert {key, *more} <= made[name].keys(), name


@pytest.mark.parametrize(
    ("wrong", "word"),
    [
        ({"promt": {}}, "prompt"),
        ({"limits": {"rpm": 3}}, "requests_per_minute"),
        ({"limits": {"concurrency": "many"}}, "concurrency"),
        ({"request": {"schema": 3}}, "schema"),
    ],
)
def test_a_job_that_is_none_names_the_key(wrong, word):
    with pytest.raises(JobError, match=word):
        batch.job(**wrong)


def test_a_file_a_list_of_files_and_paths_are_inputs(api, job, tmp_path):
    write(tmp_path / "one.jsonl", texts(2))
    write(tmp_path / "two.jsonl", ["x", "y"])
    assert batch.run(job, "one.jsonl").path == Path("runs/one")
    assert batch.run(job, tmp_path / "one.jsonl").plan.resumed == 1
    both = batch.run(job, [Path("one.jsonl"), "two.jsonl"], to="both")
    assert [row["text"] for row in both] == [*texts(2), "x", "y"]


def test_tables_job_files_and_run_folders_are_jobs(api, job, tmp_path):
    write(tmp_path / "in.jsonl", texts(2))
    Path("hot.toml").write_text(
        f'input = "in.jsonl"\n[prompt]\nuser = "{{{{ text }}}}"\n[request]\nmodel = "m"\n'
        f'[endpoint]\nbase_url = "{api.url}"\napi_key_env = ""\n'
    )
    assert batch.run("hot.toml").path == Path("runs/hot")
    assert batch.run("runs/hot").plan.resumed == 1
    assert batch.run(tables(api), "in.jsonl").path == Path("runs/in")
    with pytest.raises(UsageError, match="neither a job file"):
        batch.run("nothing-here")


def test_a_limit_is_lifted_by_the_next_call(api, job):
    assert batch.run(job, pl.DataFrame({"text": texts(9)}), to="run", limit=4).status().ok == 4
    assert batch.run(job, pl.DataFrame({"text": texts(9)}), to="run").status().ok == 9
    assert len(api.ledger) == 9


def test_numbers_of_numpy_are_numbers(api, job):
    frame = pl.DataFrame({"text": texts(9)})
    temperature = np.float32(0.5)
    request, prices = (
        {"model": "m", "temperature": temperature, "max_tokens": 9},
        {"m": {"input": 1, "output": 1}},
    )
    made = batch.job(**tables(api, request=request, prices=prices))
    four, three, nine = map(untyped, (np.int64(4), np.int32(3), np.float32(9)))
    run = batch.run(made, frame, to="run", limit=four, max_cost=nine)
    assert (run.status().ok, api.ledger[0].body["temperature"]) == (4, 0.5)
    sample = batch.run(made, frame, to="sample", sample=three, seed=three)
    assert sample.status().ok == 3
    settings = {"request.max_tokens": np.int64(99)}
    assert run.retry(settings=settings, max_cost=np.int8(9)).stopped is None


def untyped(value: object) -> Any:
    return value


def test_results_go_to_the_file_that_is_named(api, job, tmp_path):
    run = batch.run(job, pl.DataFrame({"text": texts(3)}), to="answers.csv")
    assert run.path == tmp_path / "answers.csv.run"
    assert pl.read_csv("answers.csv")["completion"].to_list() == list(map(answer_to, texts(3)))
    Path("mine.parquet").write_bytes(b"mine")
    with pytest.raises(Refused):
        batch.run(job, pl.DataFrame({"text": texts(3)}), to="mine.parquet")
    assert Path("mine.parquet").read_bytes() == b"mine"


def test_files_are_written_where_standard_output_takes_text_only(api, job, monkeypatch):
    """A notebook's has no bytes; `redirect_stdout` puts any stream in its place, or none."""
    frame = pl.DataFrame({"text": ["é", "b"]})
    for number, stream in enumerate((io.StringIO(), None)):
        with monkeypatch.context() as patched:
            patched.setattr(sys, "stdout", stream)
            run = batch.run(job, frame, to=f"answers{number}.csv")
            run.export(f"more{number}.parquet")
        answers = pl.read_csv(f"answers{number}.csv")["completion"].to_list()
        assert answers == pl.read_parquet(f"more{number}.parquet")["completion"].to_list()
        assert answers == [answer_to("é"), answer_to("b")]


def test_standard_output_that_takes_text_gets_text(api, job):
    rows = [{"text": "é"}, {"text": "b"}]
    with contextlib.redirect_stdout(io.StringIO()) as shown:
        run = batch.run(job, rows, to="-")
    found = [json.loads(line)["completion"] for line in shown.getvalue().splitlines()]
    assert found == [row["completion"] for row in run]
    parquet = batch.job(**tables(api, output={"path": "-", "format": "parquet"}, name="parquet"))
    with contextlib.redirect_stdout(io.StringIO()), pytest.raises(UsageError, match="name a file"):
        batch.run(parquet, rows)
    assert len(api.ledger) == 2


def test_another_job_is_different_and_new_starts_anew(api, job):
    frame = pl.DataFrame({"text": texts(3)})
    batch.run(job, frame, to="run")
    other = batch.job(**tables(api, request={"model": "fake-model", "temperature": 0}))
    with pytest.raises(Different, match="temperature"):
        batch.run(other, frame, to="run")
    assert batch.run(other, frame, to="run", new=True).plan.resumed == 0
    assert batch.open("run~1").status().ok == 3


def test_a_cap_stops_a_run_without_an_exception_and_a_higher_one_goes_on(api, job):
    priced = batch.job(
        **tables(
            api,
            request={"model": "fake-model", "max_tokens": 20},
            prices={"fake-model": {"input": 1e5, "output": 1e5}},
        )
    )
    frame = pl.DataFrame({"text": texts(50)})
    run = batch.run(priced, frame, to="run", max_cost=10)
    assert isinstance(run.stopped, CapReached)
    with pytest.raises(CapReached):
        run.raise_for_status()
    assert (run.report().totals.cost_usd or 0) <= 10
    run = batch.run(priced, frame, to="run", max_cost="none")
    run.raise_for_status()
    assert (run.stopped, run.status().ok) == (None, 50)


def test_a_cap_among_the_settings_of_a_retry_holds_and_leaves_the_job_as_it_is(api, job):
    api.script = {"bad": [400]}
    priced = batch.job(
        **tables(
            api,
            request={"model": "fake-model", "max_tokens": 20},
            prices={"fake-model": {"input": 1e5, "output": 1e5}},
        )
    )
    frame = pl.DataFrame({"text": [*texts(9), *(f"bad {n}" for n in range(9))]})
    run = batch.run(priced, frame, to="run")
    spent = run.report().totals.cost_usd
    run = run.retry(settings={"limits.max_cost_usd": 1}, max_cost=1e9)
    assert isinstance(run.stopped, CapReached)
    assert (run.status().failed, run.report().totals.cost_usd) == (9, spent)
    run = run.retry(settings={"limits.max_cost_usd": "none"})
    assert (run.stopped, run.status().ok) == (None, 18)
    with pytest.raises(JobError, match="max_cost_usd"):
        run.retry(settings={"limits.max_cost_usd": "much"})


def test_a_refused_key_stops_a_run_and_says_so(api, job):
    api.key = "right"
    run = batch.run(job, pl.DataFrame({"text": texts(3)}), to="run")
    assert isinstance(run.stopped, Stopped) and run.stopped.exit_code == 3
    assert "stopped" in run._repr_html_()


def test_failed_rows_are_looked_at_raised_and_asked_again(api, job):
    api.script = {"bad": [400], "worse": [400, 400]}
    run = batch.run(job, pl.DataFrame({"text": ["good", "bad <b>", "worse"]}), to="run")
    assert [row["text"] for row in run.rows(failed=True)] == ["bad <b>", "worse"]
    with pytest.raises(RowsFailed) as failed:
        run.raise_for_status()
    assert (failed.value.failed, failed.value.exit_code) == (2, 1)
    assert batch.run("run", retry_failed=False).status().failed == 2
    assert len(api.ledger) == 3
    run = run.retry()
    assert [row["text"] for row in run.rows(failed=True)] == ["worse"]
    run = batch.run("run", retry_failed=True)
    run.raise_for_status()
    assert api.asked("good") == 1


async def test_chosen_rows_are_asked_again_with_other_settings_in_a_loop(api, job):
    api.script = {"long": [Step(finish_reason="length")]}
    run = await batch.arun(job, [{"text": "long"}, {"text": "short"}], to="run")
    assert [row["text"] for row in run.rows(flag="length")] == ["long"]
    run = await run.aretry(flags=["length"], settings={"request.max_tokens": 99})
    assert [row["finish_reason"] for row in run] == ["stop", "stop"]
    assert api.ledger[-1].body["max_tokens"] == 99
    with pytest.raises(UsageError, match="no 'lenght'"):
        run.retry(flags=["lenght"])


@pytest.mark.parametrize("kind", [Opinion, OpinionDict, OpinionData])
def test_a_type_is_a_schema_and_answers_are_its_instances(api, job, kind):
    api.script = {"bad": [400], "": [Step(content='{"sentiment": "good", "stars": 3}')]}
    typed = batch.job(**tables(api, request={"model": "fake-model", "schema": kind}))
    run = batch.run(typed, [{"text": "fine"}, {"text": "bad"}], to="run")
    sent = api.ledger[0].body["response_format"]["json_schema"]
    assert sent["strict"] is True
    assert set(sent["schema"]["required"]) == {"sentiment", "stars"}
    expected = {"sentiment": "good", "stars": 3}
    assert list(run.rows(as_=kind)) == [kind(**expected), None]
    assert next(iter(run))["parsed"] == expected


class Optional(BaseModel):
    sentiment: str
    stars: int | None


class OptionalDict(TypedDict):
    sentiment: str
    stars: int | None


@pytest.mark.parametrize("kind", [Optional, OptionalDict])
def test_answers_that_were_taken_are_instances_where_a_key_was_left_out(api, job, kind):
    """In `parsed` it is null; a schema that does not require the key has such answers taken."""
    api.script = {"": [Step(content='{"sentiment": "good"}')]}
    schema = {
        "type": "object",
        "properties": {"sentiment": {"type": "string"}, "stars": {"type": ["integer", "null"]}},
        "required": ["sentiment"],
    }
    made = batch.job(**tables(api, request={"model": "fake-model", "schema": schema}))
    run = batch.run(made, [{"text": "fine"}], to="run")
    assert list(run.rows(as_=kind)) == [kind(sentiment="good", stars=None)]
    with pytest.raises(ValueError, match="integer"):
        list(run.rows(as_=Numbers))


class Numbers(BaseModel):
    sentiment: int


def test_a_run_is_a_stream_of_rows_types_and_order_for_every_library(api, job):
    run = batch.run(
        batch.job(**tables(api, output={"part_rows": 3})), pa.table({"text": texts(8)}), to="run"
    )
    import duckdb

    whole = pa.table(run)
    assert whole.schema.equals(pa.schema(run.tables().__next__().schema))
    assert whole["completion"].to_pylist() == list(map(answer_to, texts(8)))
    assert pl.DataFrame(run)["completion"].to_list() == whole["completion"].to_pylist()
    assert pl.from_arrow(run).struct.field("row").to_list() == list(range(8))
    assert pd.DataFrame(run)["completion"].tolist() == whole["completion"].to_pylist()
    assert duckdb.sql("select max(row), count(*) from run").fetchall() == [(7, 8)]
    assert len(list(pa.RecordBatchReader.from_stream(run))) >= 3  # part by part
    assert [row["row"] for row in run] == list(range(8))


def test_a_notebook_shows_what_failed_and_runs_nothing_of_it(api, job):
    evil = "<script>alert(1)</script>"
    api.script = {"bad": [Step(400, body={"error": {"message": evil}})]}
    shown = batch.run(job, [{"text": "good"}, {"text": "bad"}], to="run")._repr_html_()
    assert "1 ok, 1 failed" in shown and "invalid_request" in shown
    assert "<script>" not in shown and "&lt;script&gt;" in shown


def test_opening_a_run_writes_nothing_in_it(api, job):
    batch.run(job, [{"text": "a"}], to="run")
    before = {path: path.stat().st_mtime_ns for path in Path("run").rglob("*")}
    run = batch.open("run")
    assert (run.status().ok, run.report(by="model").totals.rows_ok, run.verify()) == (1, 1, [])
    run.export("out.jsonl")
    assert {path: path.stat().st_mtime_ns for path in Path("run").rglob("*")} == before
    with pytest.raises(UsageError):
        batch.open("nothing")
    with pytest.raises(UsageError, match="format"):
        run.export("out.what")


def test_bad_rows_are_errors_unless_they_are_to_be_recorded(api, job, tmp_path):
    rows = [{"text": "a"}, {"other": "b"}]
    with pytest.raises(UsageError):
        batch.run(job, rows, to="run")
    assert api.ledger == []
    run = batch.run(job, rows, to="run", on_bad_row="record")
    assert [row["error_class"] for row in run] == [None, "invalid_row"]


def test_another_word_for_what_becomes_of_bad_rows_is_an_error(api, job, tmp_path):
    with pytest.raises(UsageError, match=r"on_bad_row.*'skip'.*'record'"):
        batch.run(job, [{"text": "a"}, {"other": "b"}], to="run", on_bad_row="skip")  # type: ignore[arg-type]
    assert not (tmp_path / "run").exists() and not api.ledger


def test_a_key_comes_from_the_environment_that_is_given(api, job):
    api.key = "sesame"
    keyed = batch.job(**tables(api, endpoint={"base_url": api.url, "api_key_env": "KEY"}))
    run = batch.run(keyed, [{"text": "a"}], to="run", environment={"KEY": "sesame"})
    assert run.status().ok == 1
    run = batch.run(keyed, [{"text": "a"}], to="other", environment={})
    assert isinstance(run.stopped, Stopped)


def test_a_sample_is_chosen_by_its_seed_and_belongs_to_the_run(api, job):
    frame = pl.DataFrame({"text": texts(50)})
    run = batch.run(job, frame, to="run", sample=5, seed=3)
    chosen = [row["row"] for row in run]
    assert (len(chosen), chosen == sorted(chosen), len(api.ledger)) == (5, True, 5)
    assert batch.run(job, frame, to="run", sample=5, seed=3).plan.resumed == 1
    for size, seed in ((None, 0), (6, 3), (5, 4)):
        with pytest.raises(Different):
            batch.run(job, frame, to="run", sample=size, seed=seed)
    grown = pl.DataFrame({"text": texts(60)})
    assert [row["row"] for row in batch.run(job, grown, to="run", sample=5, seed=3)] == chosen
    whole = batch.run(job, frame, to="whole", reuse="run")
    assert (whole.status().ok, whole.status().reused, len(api.ledger)) == (50, 5, 50)


def test_two_runs_are_compared(api, job):
    frame = pl.DataFrame({"text": texts(8)})
    one = batch.run(job, frame, to="one")
    api.script = {"text 00003": [Step(content="something else")]}
    other = batch.run(job, frame, to="other")
    found = batch.compare(one, "other").match
    assert (found.joined, found.fields["completion"].agreement) == (8, 7 / 8)
    assert batch.compare(other, one).match.fields["completion"].agreement == 7 / 8

"""Rows that are request bodies as they stand."""

from __future__ import annotations

import json

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from batch.requests.bare_bodies import bare_body, passed_over

USER = {"role": "user", "content": "what is snow"}
SYSTEM = {"role": "system", "content": "Be brief."}
MESSAGES = {"messages": [USER]}


@pytest.mark.parametrize(
    "values",
    [
        {"model": "m", **MESSAGES},
        {"model": "m", **MESSAGES, "temperature": 0.3, "metadata": {"row": 1}},
        {**MESSAGES, "max_tokens": 5},
        {"model": "m", "input": "snow"},
        {"model": "m", "prompt": "snow", "max_tokens": 5},
        {"custom_id": "a", "id": 3, "model": "m", **MESSAGES},
    ],
)
def test_a_row_of_parameters_is_a_body(values):
    body = {key: value for key, value in values.items() if key not in ("custom_id", "id")}
    assert bare_body(values) == body


@pytest.mark.parametrize(
    ("values", "over"),
    [
        (MESSAGES, []),
        ({**MESSAGES, "source": "web"}, []),
        ({**MESSAGES, "model": "m", "source": "web", "temperature": 1}, ["model", "temperature"]),
        ({**MESSAGES, "model": None, "source": "web"}, []),
        ({"prompt": "snow"}, []),
        ({"text": "snow", "model": "m"}, []),
        ({"question": "snow", "n": 4}, []),
    ],
)
def test_a_row_of_data_is_none(values, over):
    assert bare_body(values) is None
    assert passed_over(values) == over


def run(api, batchmill, tmp_path, *rows, flags=("-m", "m")):
    (tmp_path / "in.jsonl").write_text("".join(f"{json.dumps(row)}\n" for row in rows))
    ended = batchmill("run", "in.jsonl", *flags, "--base-url", api.url, "-c", "1")
    return ended, [asked.body for asked in api.ledger]


def test_nothing_of_a_body_is_dropped_and_no_model_need_be_named(api, batchmill, tmp_path):
    body = {"model": "of-the-row", **MESSAGES, "temperature": 0.3}
    ended, asked = run(api, batchmill, tmp_path, {"id": 1, **body}, flags=())
    assert ended.exit_code == 0, ended.stderr
    assert asked == [body]


def test_a_flag_wins_over_it_and_says_so(api, batchmill, tmp_path):
    body = {"model": "of-the-row", **MESSAGES}
    ended, asked = run(api, batchmill, tmp_path, body, flags=("-m", "n", "-s", "Be brief."))
    assert asked == [{"model": "n", "messages": [SYSTEM, USER]}]
    assert "flags win over what rows say themselves: model" in ended.stderr


def test_a_system_part_of_the_job_file_is_for_those_without(api, batchmill, tmp_path):
    own = {"role": "system", "content": "Be long."}
    (tmp_path / "job.toml").write_text(
        'input = "in.jsonl"\n[prompt]\nsystem = "Be brief."\n[request]\nseed = 1\nmodel = "m"\n'
    )
    rows = [{"model": "a", **MESSAGES}, {"model": "a", "messages": [own, USER]}]
    (tmp_path / "in.jsonl").write_text("".join(f"{json.dumps(row)}\n" for row in rows))
    ended = batchmill("run", "job.toml", "--base-url", api.url, "-c", "1")
    assert ended.exit_code == 0, ended.stderr
    said = [asked.body["messages"] for asked in api.ledger]
    assert said == [[SYSTEM, USER], [own, USER]]


def test_a_prompt_alone_is_what_the_user_says(api, batchmill, tmp_path):
    row = {"model": "a", "prompt": "what is snow", "max_tokens": 5}
    _, asked = run(api, batchmill, tmp_path, row, flags=())
    assert asked == [{"model": "a", "max_tokens": 5, **MESSAGES}]


def test_an_input_names_the_apis_that_take_it(api, batchmill, tmp_path):
    row = {"model": "a", "input": "snow"}
    ended, asked = run(api, batchmill, tmp_path, row, flags=())
    assert ended.exit_code == 2 and "--api embeddings" in ended.stderr and not asked
    ended, asked = run(api, batchmill, tmp_path, row, flags=("--api", "embeddings"))
    assert ended.exit_code == 0, ended.stderr
    assert asked[0]["input"] == "snow"


def test_columns_that_only_look_like_parameters_are_named(api, batchmill, tmp_path):
    row = {**MESSAGES, "model": "who-wrote-it", "source": "web"}
    ended, asked = run(api, batchmill, tmp_path, row)
    assert asked == [{"model": "m", **MESSAGES}]
    assert "not sent: model (" in ended.stderr


def test_a_parquet_row_is_sent_without_its_nulls(api, batchmill, tmp_path):
    rows = [{"model": "a", "temperature": 0.5, **MESSAGES}, {"model": "a", "seed": 1, **MESSAGES}]
    pq.write_table(pa.Table.from_pylist(rows, schema=pa.schema(
        [("model", pa.string()), ("temperature", pa.float64()), ("seed", pa.int64()),
         ("messages", pa.list_(pa.struct([("role", pa.string()), ("content", pa.string())])))]
    )), tmp_path / "in.parquet")  # fmt: skip
    ended = batchmill("run", "in.parquet", "--base-url", api.url, "-c", "1")
    assert ended.exit_code == 0, ended.stderr
    assert [asked.body for asked in api.ledger] == rows

"""What a flag says holds, also for rows that bring a request of their own; the job file gives defaults."""

from __future__ import annotations

import json
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from batch.apis import weighing
from batch.store import plan
from tests.reading import asking, rows

USER = {"role": "user", "content": "what is snow"}
SYSTEM = {"role": "system", "content": "Be brief."}


@pytest.mark.parametrize(
    ("job", "row", "flags", "body"),
    [
        ({"temperature": 0}, {}, {}, {"temperature": 0}),
        ({"temperature": 0}, {"temperature": 1}, {}, {"temperature": 1}),
        ({"temperature": 0}, {"temperature": 1}, {"temperature": 2}, {"temperature": 2}),
        ({}, {"model": "a"}, {"model": "b", "api": "chat"}, {"model": "b"}),
        ({"max_tokens": 5}, {"max_completion_tokens": 9}, {}, {"max_completion_tokens": 9}),
        ({}, {"max_completion_tokens": 9}, {"max_tokens": 5}, {"max_tokens": 5}),
        ({}, {"max_output_tokens": 9}, {"max_tokens": 5}, {"max_tokens": 5}),
        (
            {"response_format": {"type": "json_object"}},
            {"text": {"format": {"type": "text"}, "verbosity": "low"}},
            {},
            {"text": {"format": {"type": "text"}, "verbosity": "low"}},
        ),
        (
            {},
            {"text": {"format": {"type": "text"}, "verbosity": "low"}},
            {"response_format": {"type": "json_object"}},
            {"text": {"verbosity": "low"}, "response_format": {"type": "json_object"}},
        ),
        ({}, {"reasoning": {"effort": "low"}}, {"reasoning_effort": "high"}, {"reasoning_effort": "high"}),
        ({}, {"a": {"b": 1, "c": 2}}, {"a.b": 3}, {"a": {"b": 3, "c": 2}}),
        ({}, {"a": 1}, {"a.b": 3}, {"a": {"b": 3}}),
        ({"seed": 1}, {"temperature": None}, {}, {"seed": 1, "temperature": None}),
    ],
)  # fmt: skip
def test_a_row_wins_over_the_job_file_and_a_flag_over_both(
    job: dict[str, Any], row: dict[str, Any], flags: dict[str, Any], body: dict[str, Any]
) -> None:
    before = json.dumps([job, row, flags])
    assert weighing.weighed(job, row, flags) == body
    assert json.dumps([job, row, flags]) == before


def save(folder, *asked):
    (folder / "in.jsonl").write_text("".join(f"{json.dumps(row)}\n" for row in asked))


def line(**body):
    made = {"model": "of-the-line", "messages": [SYSTEM, USER], "temperature": 0.1, **body}
    return {"custom_id": "a-1", "method": "POST", "url": "/v1/chat/completions", "body": made}


def bodies(api):
    return [asked.body for asked in api.ledger]


def test_flags_hold_for_batch_lines_and_one_line_says_so(api, batchmill, tmp_path):
    save(tmp_path, line(), line(temperature=0.7))
    flags = ("-m", "of-the-flag", "--set", "request.temperature=0.7", "-s", "Be long.", "-c", "1")
    ended = batchmill("run", "in.jsonl", "--base-url", api.url, *flags)
    assert ended.exit_code == 0, ended.stderr
    assert (
        bodies(api)
        == [
            {
                "model": "of-the-flag",
                "messages": [{"role": "system", "content": "Be long."}, USER],
                "temperature": 0.7,
            }
        ]
        * 2
    )
    told = [said for said in ended.stderr.splitlines() if "flags win" in said]
    assert len(told) == 1
    assert "model" in told[0] and "temperature" in told[0] and "2 of the first rows" in told[0]


def test_the_system_flag_stands_in_place_of_what_rows_bring(api, batchmill, tmp_path):
    save(tmp_path, {"messages": [SYSTEM, USER]}, {"messages": [USER]})
    command = ("run", "in.jsonl", "-m", "m", "--base-url", api.url, "-c", "1", "-s", "Be long.")
    assert batchmill(*command).exit_code == 0
    asked = [{"role": "system", "content": "Be long."}, USER]
    assert [body["messages"] for body in bodies(api)] == [asked, asked]


def test_the_system_flag_is_the_instructions_of_a_body_of_responses(api, batchmill, tmp_path):
    body = {"model": "m", "instructions": "Be brief.", "input": [SYSTEM, USER]}
    save(tmp_path, {"custom_id": "1", "url": "/v1/responses", "body": body})
    ended = batchmill("run", "in.jsonl", "--base-url", api.url, "-s", "Be long.")
    assert ended.exit_code == 0, ended.stderr
    assert bodies(api) == [{"model": "m", "instructions": "Be long.", "input": [USER]}]


def test_an_api_that_contradicts_the_url_of_a_line_is_refused_before_anything_is_sent(
    api, batchmill, tmp_path
):
    save(tmp_path, line())
    ended = batchmill("run", "in.jsonl", "--base-url", api.url, "--api", "responses")
    assert ended.exit_code == 2
    assert "in.jsonl:1" in ended.stderr and "--api" in ended.stderr
    assert not api.ledger


def test_a_run_keeps_the_flags_with_which_it_began(api, batchmill, tmp_path):
    save(tmp_path, line(), line(), line())
    flags = ("--set", "request.temperature=0.7", "-s", "Be long.")
    first = batchmill("run", "in.jsonl", "--base-url", api.url, *flags, "--limit", "1")
    assert first.exit_code == 0, first.stderr
    assert plan.read(tmp_path / "runs/in").over == {"temperature": 0.7, "prompt.system": "Be long."}
    again = batchmill("run", "runs/in", "--set", "limit=3")
    assert again.exit_code == 0, again.stderr
    assert len(api.ledger) == 3
    assert {body["temperature"] for body in bodies(api)} == {0.7}
    without = batchmill("run", "in.jsonl", "--base-url", api.url)
    assert without.exit_code == 4
    assert "temperature" in without.stderr
    assert len(api.ledger) == 3


def test_where_a_template_asks_a_flag_is_as_good_as_the_job_file(api, batchmill, tmp_path):
    save(tmp_path, {"text": "snow"}, {"text": "rain"})
    job = 'input = "in.jsonl"\n[prompt]\nuser = "{{ text }}"\n[request]\nmodel = "m"\nseed = 1\n'
    (tmp_path / "job.toml").write_text(job)
    flags = ("--base-url", api.url, "-c", "1")
    assert (
        batchmill("run", "job.toml", *flags, "--limit", "1", "--set", "request.seed=1").exit_code
        == 0
    )
    assert batchmill("run", "job.toml", *flags).exit_code == 0
    assert len(api.ledger) == 2


def test_a_retry_with_a_changed_key_changes_it_for_rows_with_their_own_body(
    api, batchmill, tmp_path
):
    save(tmp_path, line(max_tokens=1))
    assert batchmill("run", "in.jsonl", "--base-url", api.url).exit_code == 0
    again = batchmill(
        "retry", "runs/in", "--class", "server_error", "--set", "request.max_tokens=9"
    )
    assert again.exit_code == 0 and len(api.ledger) == 1
    api.script = {"what is snow": [500] * 9}
    save(tmp_path, line(max_tokens=1))
    command = (
        "run",
        "in.jsonl",
        "--base-url",
        api.url,
        "-o",
        "runs/b",
        "--set",
        "retry.max_attempts=1",
    )
    assert batchmill(*command).exit_code == 1
    api.script = {}
    again = batchmill("retry", "runs/b", "--set", "request.max_tokens=9")
    assert again.exit_code == 0, again.stderr
    assert bodies(api)[-1]["max_tokens"] == 9
    assert batchmill("verify", "runs/b", "--input").exit_code == 0


def test_messages_of_parquet_are_sent_without_the_nulls_of_their_structs(api, batchmill, tmp_path):
    call = {"id": "c", "type": "function", "function": {"name": "f", "arguments": "{}"}}
    messages = [
        {"role": "user", "content": "what is snow"},
        {"role": "assistant", "content": None, "tool_calls": [call]},
        {"role": "tool", "content": "cold", "tool_call_id": "c"},
    ]
    pq.write_table(pa.table({"messages": [messages]}), tmp_path / "in.parquet")
    ended = batchmill("run", "in.parquet", "-m", "m", "--base-url", api.url)
    assert ended.exit_code == 0, ended.stderr
    assert bodies(api)[0]["messages"] == messages


def test_what_a_jsonl_row_says_itself_stays_as_it_is(api, batchmill, tmp_path):
    save(tmp_path, {"messages": [{**USER, "name": None}]})
    assert batchmill("run", "in.jsonl", "-m", "m", "--base-url", api.url).exit_code == 0
    assert bodies(api)[0]["messages"] == [{**USER, "name": None}]


def test_a_label_that_several_rows_bear_is_named(api, batchmill, tmp_path):
    save(tmp_path, *({"text": "snow", "custom_id": name} for name in ("a", "b", "a", "a")))
    ended = batchmill("run", "in.jsonl", *asking(api))
    assert ended.exit_code == 0
    assert "2 rows bear a custom_id that an earlier row bears: 'a' (in.jsonl:3)" in ended.stderr
    checked = batchmill("validate", "in.jsonl", "-m", "m", "-p", "{{ text }}", "--json")
    assert "in.jsonl:3" in json.loads(checked.stdout)["duplicates"]
    assert [row["custom_id"] for row in rows(tmp_path / "runs/in")] == ["a", "b", "a", "a"]

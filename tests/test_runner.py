"""A run from the command line to its Parquet files, against a server that does what a script says."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from decimal import Decimal

import duckdb
import pandas as pd
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tests.fake_api import Step, answer_to
from tests.reading import asking, completions, parts, rows, table, texts, until, write


def refusal(message: str, status: int = 400) -> Step:
    return Step(status, body={"error": {"message": message, "type": "invalid_request_error"}})


def answers(prompts: list[str]) -> list[tuple[int, str]]:
    return [(row, answer_to(prompt)) for row, prompt in enumerate(prompts)]


@pytest.mark.parametrize(
    ("name", "stream"),
    [
        ("in.jsonl", "false"),
        ("in.jsonl", "true"),
        ("in.csv", "false"),
        ("in.csv", "true"),
        ("in.parquet", "false"),
        ("in.parquet", "true"),
        ("in.jsonl.gz", "false"),
        ("in.jsonl.zst", "true"),
    ],
)
def test_asks_every_row_once_and_gives_it_its_own_answer(api, batchmill, tmp_path, name, stream):
    prompts = texts(250)
    write(tmp_path / name, prompts)
    more = ("--set", f"request.stream={stream}", "--set", "output.part_rows=100")
    ended = batchmill("run", name, *asking(api, *more))
    assert ended.exit_code == 0, ended.stderr
    assert completions(tmp_path / "runs/in") == answers(prompts)
    assert api.prompts() == dict.fromkeys(prompts, 1)
    assert len(parts(tmp_path / "runs/in")) == 3
    assert {(asked.body or {}).get("stream", False) for asked in api.ledger} == {stream == "true"}
    assert ended.stdout == ""


def test_says_first_where_the_run_lies_and_at_last_how_it_went(api, batchmill, tmp_path):
    write(tmp_path / "in.jsonl", texts(7))
    ended = batchmill("run", "in.jsonl", *asking(api))
    lines = ended.stderr.splitlines()
    assert lines[0] == f"{tmp_path / 'runs/in'} (new)"
    assert "7 ok, 0 failed" in ended.stderr
    assert "runs/in/completions/*.parquet" in ended.stderr


def test_the_same_job_on_jsonl_and_parquet_gives_the_same_answers(api, batchmill, tmp_path):
    for name in ("lines.jsonl", "columns.parquet"):
        write(tmp_path / name, texts(120))
        assert batchmill("run", name, *asking(api)).exit_code == 0
    one, other = (table(tmp_path / "runs" / name) for name in ("lines", "columns"))
    same = ["id", "text", "row", "completion", "input_tokens", "output_tokens", "request_hash"]
    assert one.select(same).to_pylist() == other.select(same).to_pylist()


def test_carried_parquet_columns_keep_types_and_values(api, batchmill, tmp_path):
    carried = pa.table(
        {
            "text": texts(3),
            "at": pa.array([datetime(2024, 2, 29, 12, tzinfo=UTC)] * 3, pa.timestamp("ns", "UTC")),
            "price": pa.array([Decimal("1.10"), None, Decimal("-3.33")], pa.decimal128(9, 2)),
            "raw": pa.array([b"\x00\xff", b"", None], pa.binary()),
            "tags": pa.array([["a", None], [], None], pa.list_(pa.string())),
            "kind": pa.array(["x", "y", "x"]).dictionary_encode(),
            "where": pa.array(
                [{"lat": 1.5}, None, {"lat": None}], pa.struct([("lat", pa.float32())])
            ),
            "small": pa.array([1, None, 255], pa.uint8()),
        }
    )
    pq.write_table(carried, tmp_path / "in.parquet")
    assert batchmill("run", "in.parquet", *asking(api)).exit_code == 0
    output = pq.read_table(parts(tmp_path / "runs/in")[0]).select(carried.column_names)
    assert output.schema.remove_metadata() == carried.schema
    assert output.to_pylist() == carried.to_pylist()


def test_a_column_whose_name_is_taken_is_carried_as_input_(api, batchmill, tmp_path):
    carried = pa.table({"text": texts(2), "status": ["a", "b"], "Model": [1, 2]})
    pq.write_table(carried, tmp_path / "in.parquet")
    ended = batchmill("run", "in.parquet", *asking(api))
    output = table(tmp_path / "runs/in")
    assert output["input_status"].to_pylist() == ["a", "b"]
    assert output["input_Model"].to_pylist() == [1, 2]
    assert output["status"].to_pylist() == ["ok", "ok"]
    assert "carried as others: " in ended.stderr and "input_status" in ended.stderr


def test_batch_lines_win_over_the_job_file_and_keep_their_custom_ids(api, batchmill, tmp_path):
    said = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "what is snow"}]
    body = {"model": "of-the-line", "messages": said, "temperature": 0.1}
    line = {"custom_id": "a-1", "method": "POST", "url": "/v1/chat/completions", "body": body}
    (tmp_path / "in.jsonl").write_text(json.dumps(line))
    (tmp_path / "job.toml").write_text(
        'input = "in.jsonl"\n[request]\nmodel = "of-the-job"\ntemperature = 0.9\nmax_tokens = 5\n'
    )
    ended = batchmill("run", "job.toml", "--base-url", api.url)
    assert ended.exit_code == 0, ended.stderr
    assert [asked.body for asked in api.ledger] == [{**body, "max_tokens": 5}]
    (row,) = rows(tmp_path / "runs/job")
    assert (row["custom_id"], row["model"]) == ("a-1", "of-the-line")
    assert row["completion"] == answer_to("what is snow")


def test_a_column_messages_is_the_conversation(api, batchmill, tmp_path):
    messages = [{"role": "user", "content": "what is snow"}]
    (tmp_path / "in.jsonl").write_text(json.dumps({"messages": messages}))
    assert (
        batchmill("run", "in.jsonl", "-m", "m", "-s", "Be brief.", "--base-url", api.url).exit_code
        == 0
    )
    assert api.ledger[0].body["messages"] == [{"role": "system", "content": "Be brief."}, *messages]


def test_a_column_prompt_is_what_the_user_says(api, batchmill, tmp_path):
    (tmp_path / "in.csv").write_text("prompt\nwhat is snow\nwhat is rain\n")
    assert batchmill("run", "in.csv", "-m", "m", "--base-url", api.url).exit_code == 0
    assert completions(tmp_path / "runs/in") == answers(["what is snow", "what is rain"])


@pytest.mark.parametrize("what", ["inputs", "inputs/*.jsonl"])
def test_a_folder_and_a_glob_are_all_their_files_in_order(api, batchmill, tmp_path, what):
    prompts = texts(30)
    (tmp_path / "inputs").mkdir()
    for first, name in ((20, "c"), (0, "a"), (10, "b")):
        write(tmp_path / f"inputs/{name}.jsonl", prompts[first : first + 10])
    assert batchmill("run", what, *asking(api, "-o", "out")).exit_code == 0
    assert completions(tmp_path / "out") == answers(prompts)


def test_a_glob_is_called_by_its_folder(api, batchmill, tmp_path):
    (tmp_path / "inputs").mkdir()
    write(tmp_path / "inputs/a.jsonl", texts(3))
    assert batchmill("run", "inputs/*.jsonl", *asking(api)).exit_code == 0
    assert completions(tmp_path / "runs/inputs") == answers(texts(3))


def test_standard_input_is_kept_and_the_same_again_asks_nothing(api, batchmill, tmp_path):
    lines = "".join(f'{{"text": "{text}"}}\n' for text in texts(40))
    assert batchmill("run", "-", *asking(api), stdin=lines).exit_code == 0
    again = batchmill("run", "-", *asking(api), stdin=lines)
    assert again.exit_code == 0, again.stderr
    assert "(resuming)" in again.stderr
    assert completions(tmp_path / "runs/stdin") == answers(texts(40))
    assert (tmp_path / "runs/stdin/input.jsonl").read_text() == lines
    assert len(api.ledger) == 40


def test_usage_adds_up_to_the_rows(api, batchmill, tmp_path):
    write(tmp_path / "in.jsonl", texts(60))
    api.script = {"text 00003": [500], "text 00004": [refusal("no")]}
    settings = ("--set", "output.part_rows=25", "--set", "retry.first_delay=0.01")
    assert batchmill("run", "in.jsonl", *asking(api, *settings)).exit_code == 1
    output = table(tmp_path / "runs/in").to_pandas()
    usage = pd.read_parquet(tmp_path / "runs/in/usage.parquet")
    for name in ("input_tokens", "cached_tokens", "output_tokens", "reasoning_tokens", "attempts"):
        assert usage[name].sum() == output[name].sum(), name
    assert usage["rows_ok"].sum() == 59
    assert usage["rows_failed"].sum() == 1
    assert usage["input_tokens"].sum() == sum(asked.input_tokens for asked in api.ledger)
    assert usage["output_tokens"].sum() == sum(asked.output_tokens for asked in api.ledger)


def test_duckdb_pandas_and_polars_read_the_output_at_any_time(api, start, tmp_path):
    def counts() -> list[int]:
        folder = tmp_path / "runs/in/completions"
        return [
            duckdb.sql(f"SELECT * FROM '{folder}/*.parquet'").to_arrow_table().num_rows,
            len(pd.read_parquet(folder)),
            pl.read_parquet(f"{folder}/*.parquet").height,
        ]

    write(tmp_path / "in.jsonl", texts(100))
    patience = ("retry.first_delay=0.02", "retry.max_delay=0.02", "retry.max_attempts=100000")
    settings = [
        word for setting in ("output.part_rows=50", *patience) for word in ("--set", setting)
    ]
    api.always = Step(500)
    process = start("run", "in.jsonl", *asking(api, "-c", 64, *settings))
    until(lambda: len(api.ledger) >= 20, process)
    assert counts() == [0, 0, 0]
    api.script = {"text 00099": [500, ...]}
    api.always = None
    until(lambda: parts(tmp_path / "runs/in"), process)
    assert counts() == [50, 50, 50]
    api.script = {}
    process.communicate(timeout=30)
    assert process.returncode == 0
    assert counts() == [100, 100, 100]


@pytest.mark.parametrize("stream", ["false", "true"])
def test_a_row_that_fails_for_a_moment_succeeds_and_tells_its_story(
    api, batchmill, tmp_path, stream
):
    write(tmp_path / "in.jsonl", texts(20))
    api.script = {"text 00003": [429, 503, 500, Step(reset=True)]}
    settings = ("--set", "retry.first_delay=0.01", "--set", f"request.stream={stream}")
    ended = batchmill("run", "in.jsonl", *asking(api, *settings))
    assert ended.exit_code == 0, ended.stderr
    output = rows(tmp_path / "runs/in")
    row = output[3]
    assert (row["status"], row["completion"], row["attempts"]) == ("ok", answer_to("text 00003"), 5)
    log = [(attempt["http_status"], attempt["error_class"]) for attempt in row["attempt_log"]]
    assert log == [
        (429, "rate_limited"),
        (503, "overloaded"),
        (500, "server_error"),
        (None, "connection"),
        (200, None),
    ]
    others = [other for other in output if other["row"] != 3]
    assert {(other["attempts"], other["attempt_log"]) for other in others} == {(1, None)}


def test_a_row_whose_chances_are_used_up_fails_with_the_servers_reason(api, batchmill, tmp_path):
    write(tmp_path / "in.jsonl", texts(5))
    api.script = {"text 00002": [500, ...]}
    settings = ("--set", "retry.first_delay=0.01", "--set", "retry.max_attempts=3")
    ended = batchmill("run", "in.jsonl", *asking(api, *settings))
    assert ended.exit_code == 1
    row = rows(tmp_path / "runs/in")[2]
    assert (row["status"], row["completion"], row["attempts"]) == ("failed", None, 3)
    assert (row["error_class"], row["http_status"]) == ("server_error", 500)
    assert "Scripted 500" in row["error_message"]
    assert "to ask 1 failed rows again: batchmill run in.jsonl" in ended.stderr.splitlines()[-1]


def test_a_rejected_row_fails_with_its_reason_and_the_others_go_on(api, batchmill, tmp_path):
    write(tmp_path / "in.jsonl", texts(40))
    api.script = {"text 00000": [refusal("the text is cursed")]}
    ended = batchmill("run", "in.jsonl", *asking(api, "-c", 1))
    assert ended.exit_code == 1
    failed, *others = rows(tmp_path / "runs/in")
    assert (failed["status"], failed["http_status"]) == ("failed", 400)
    assert failed["error_class"] == "invalid_request"
    assert failed["error_message"] == "the text is cursed"
    assert {row["status"] for row in others} == {"ok"}
    assert api.asked("text 00000") == 1
    assert "the text is cursed" in ended.stderr
    assert ended.stderr.splitlines()[-1] == "to see what failed: batchmill show runs/in --failed"


def test_a_wrong_key_stops_the_run_and_no_row_fails_for_it(api, batchmill, tmp_path):
    write(tmp_path / "in.jsonl", texts(200))
    api.key = "sk-right"
    ended = batchmill("run", "in.jsonl", *asking(api, "-c", 4), env={"OPENAI_API_KEY": "sk-wrong"})
    assert ended.exit_code == 3
    assert "Incorrect API key" in ended.stderr
    assert rows(tmp_path / "runs/in") == []
    assert len(api.ledger) <= 4
    assert "sk-wrong" not in ended.stderr
    again = batchmill("run", "in.jsonl", *asking(api), env={"OPENAI_API_KEY": "sk-right"})
    assert again.exit_code == 0
    assert completions(tmp_path / "runs/in") == answers(texts(200))


@pytest.mark.parametrize("count", [5, 200])
def test_a_job_that_every_row_is_refused_for_stops_with_the_servers_words(
    api, batchmill, tmp_path, count
):
    write(tmp_path / "in.jsonl", texts(count))
    api.always = refusal("Unknown parameter: 'wibble'")
    ended = batchmill("run", "in.jsonl", *asking(api, "-c", 4, "--set", "request.wibble=1"))
    assert ended.exit_code == 3
    assert "Unknown parameter: 'wibble'" in ended.stderr
    assert rows(tmp_path / "runs/in") == []
    assert len(api.ledger) <= 24


def test_rpm_lets_no_burst_out(api, batchmill, tmp_path):
    write(tmp_path / "in.jsonl", texts(20))
    assert batchmill("run", "in.jsonl", *asking(api, "--rpm", 1200)).exit_code == 0
    moments = sorted(asked.at for asked in api.ledger)
    assert moments[-1] - moments[0] >= 0.8
    assert moments[9] - moments[0] >= 0.3


def test_no_more_than_concurrency_are_in_flight(api, batchmill, tmp_path):
    write(tmp_path / "in.jsonl", texts(70))
    api.latency = 0.05
    assert batchmill("run", "in.jsonl", *asking(api, "-c", 7)).exit_code == 0
    assert api.peak_in_flight == 7
    assert api.connections == 7


def test_a_waiting_row_holds_no_slot(api, batchmill, tmp_path):
    prompts = texts(15)
    write(tmp_path / "in.jsonl", prompts)
    api.script = {"text": [500]}
    assert batchmill("run", "in.jsonl", *asking(api, "-c", 1)).exit_code == 0
    sent = [asked.prompt for asked in api.ledger]
    assert sorted(sent) == sorted([*prompts, *prompts])
    assert sent != [prompt for prompt in prompts for _ in range(2)]


def test_a_job_file_says_it_all(api, batchmill, tmp_path):
    (tmp_path / "jobs").mkdir()
    write(tmp_path / "jobs/in.jsonl", texts(5))
    job = 'input = "in.jsonl"\n[prompt]\nuser = "{{ text }}"\n[request]\nmodel = "m"\n'
    (tmp_path / "jobs/answers.toml").write_text(f'{job}[endpoint]\nbase_url = "{api.url}"\n')
    ended = batchmill("run", "jobs/answers.toml")
    assert ended.exit_code == 0, ended.stderr
    assert completions(tmp_path / "runs/answers") == answers(texts(5))


def test_rows_that_cannot_be_asked_are_recorded_if_wanted(api, batchmill, tmp_path):
    (tmp_path / "in.jsonl").write_text(
        '{"text": "one"}\n{"text": \n{"other": 1}\n{"text": "two"}\n'
    )
    ended = batchmill("run", "in.jsonl", *asking(api, "--on-bad-row", "record"))
    assert ended.exit_code == 1, ended.stderr
    output = rows(tmp_path / "runs/in")
    assert [row["status"] for row in output] == ["ok", "failed", "failed", "ok"]
    assert [row["error_class"] for row in output[1:3]] == ["invalid_row"] * 2
    assert output[1]["error_message"].startswith("in.jsonl:2: ")
    assert output[2]["error_message"].startswith("in.jsonl:3: ")
    assert sorted(api.prompts()) == ["one", "two"]

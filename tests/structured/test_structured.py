"""A job with a schema: answers are held to it, and what they say is a typed column."""

from __future__ import annotations

import json
import shlex
from typing import Any

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tests.fake_api import Step
from tests.reading import asking, rows, table, texts, write

SHORTHAND = (
    '{"mood": ["good", "bad"], "stars": "integer", "tags": "string[]", "who": {"n": "number"}}'
)
GOOD = {"mood": "good", "stars": 4, "tags": ["a", "b"], "who": {"n": 1.5}}
TYPE = pa.struct(
    [
        ("mood", pa.string()),
        ("stars", pa.int64()),
        ("tags", pa.list_(pa.string())),
        ("who", pa.struct([("n", pa.float64())])),
    ]
)
USAGE = {"prompt_tokens": 10, "completion_tokens": 5, "total_tokens": 15}


def says(content: object, **more: Any) -> Step:
    text = content if isinstance(content, str) else json.dumps(content)
    return Step(content=text, usage=USAGE, **more)


def run(api, batchmill, tmp_path, count: int, *more: object, schema: str = SHORTHAND):
    write(tmp_path / "in.jsonl", texts(count))
    return batchmill("run", "in.jsonl", *asking(api, "--schema", schema, "-o", "out", *more))


def test_parsed_opens_as_a_struct_with_no_cast(api, batchmill, tmp_path):
    api.always = says(GOOD)
    api.script = {"text 00001": [says(f"Here is the JSON:\n```json\n{json.dumps(GOOD)}\n```")]}
    ended = run(api, batchmill, tmp_path, 3)
    assert ended.exit_code == 0, ended.stderr
    assert table(tmp_path / "out").schema.field("parsed").type == TYPE
    select = "SELECT parsed, parsed.who.n + parsed.stars, flags, typeof(parsed) FROM"
    found = duckdb.sql(f"{select} '{tmp_path}/out/completions/*.parquet' ORDER BY row").fetchall()
    assert [row[:3] for row in found] == [
        (GOOD, 5.5, []),
        (GOOD, 5.5, ["json_repaired"]),
        (GOOD, 5.5, []),
    ]
    kind = "STRUCT(mood VARCHAR, stars BIGINT, tags VARCHAR[], who STRUCT(n DOUBLE))"
    assert {row[3].replace('"', "") for row in found} == {kind}
    sent = api.ledger[0].body["response_format"]
    assert (sent["type"], sent["json_schema"]["strict"]) == ("json_schema", True)
    assert list(sent["json_schema"]["schema"]["properties"]) == ["mood", "stars", "tags", "who"]


def test_an_answer_that_does_not_fit_is_asked_again_and_its_cost_counted(api, batchmill, tmp_path):
    wrong = says({**GOOD, "mood": "so so"})
    api.always = says(GOOD)
    api.script = {
        "text 00001": [wrong, says("no JSON at all"), says(GOOD)],
        "text 00002": [wrong, ...],
        "text 00003": [says('{"mood": "go', finish_reason="length"), ...],
    }
    ended = run(api, batchmill, tmp_path, 5)
    assert ended.exit_code == 1, ended.stderr
    fits, mended, misfit, cut, _ = rows(tmp_path / "out")
    assert [row["attempts"] for row in (fits, mended, misfit, cut)] == [1, 3, 3, 1]
    assert mended["parsed"] == GOOD and mended["status"] == "ok"
    assert [mended["input_tokens"], mended["output_tokens"]] == [30, 15]
    classes = [one["error_class"] for one in mended["attempt_log"]]
    assert classes == ["schema_mismatch", "schema_mismatch", None]
    assert (misfit["status"], misfit["error_class"]) == ("failed", "schema_mismatch")
    assert misfit["error_message"].startswith("mood: ")
    assert "so so" in misfit["response_json"]
    assert [misfit["parsed"], misfit["output_tokens"]] == [None, 15]
    assert cut["error_class"] == "schema_mismatch" and "raise max_tokens" in cut["error_message"]
    for row, finish, flags in ((misfit, "stop", []), (cut, "length", ["length"])):
        assert (row["finish_reason"], row["flags"], row["served_model"]) == (finish, flags, "m")


def test_attempts_at_the_schema_are_a_key(api, batchmill, tmp_path):
    api.always = says("never")
    ended = run(api, batchmill, tmp_path, 1, "--set", "retry.schema_attempts=1")
    assert ended.exit_code == 1, ended.stderr
    assert api.asked("text") == 1


def test_a_refusal_is_an_answer_without_anything_parsed(api, batchmill, tmp_path):
    message = {"role": "assistant", "content": None, "refusal": "I cannot say."}
    choice = {"index": 0, "message": message, "finish_reason": "stop"}
    api.always = Step(body={"model": "m", "choices": [choice], "usage": USAGE})
    assert run(api, batchmill, tmp_path, 1).exit_code == 0
    (row,) = rows(tmp_path / "out")
    assert [row["status"], row["refusal"], row["parsed"]] == ["ok", "I cannot say.", None]
    assert row["attempts"] == 1 and "refusal" in row["flags"]


FREE = '{"type": "object", "properties": {"n": {}}, "required": ["n"]}'


def test_what_parquet_cannot_type_is_json_text_and_said_once(api, batchmill, tmp_path):
    (tmp_path / "free.json").write_text(FREE)
    api.always = says('{"n": [1, "x", 123456789012345678901234567890]}')
    ended = run(api, batchmill, tmp_path, 2, schema="free.json")
    assert ended.exit_code == 0, ended.stderr
    assert ended.stderr.count("no type where n may be anything") == 1
    texts_ = [row["parsed"] for row in rows(tmp_path / "out")]
    assert texts_ == ['{"n":[1,"x",123456789012345678901234567890]}'] * 2


@pytest.mark.parametrize("schema", [SHORTHAND, FREE])
def test_parsed_survives_a_retry_an_export_and_a_further_job(api, batchmill, tmp_path, schema):
    answer = GOOD if schema == SHORTHAND else {"n": {"deep": ["x"]}}
    api.always = says(answer)
    api.script = {"text 00001": [says(f"Well: {json.dumps(answer)}"), says("never"), ...]}
    assert run(api, batchmill, tmp_path, 3, schema=schema).exit_code == 0
    retried = batchmill("retry", "out", "--flag", "json_repaired")
    assert retried.exit_code == 0, retried.stderr  # what was paid for gives way to no failure
    one = rows(tmp_path / "out")[1]
    assert one["attempts"] == 4 and (one["parsed"] == answer or json.loads(one["parsed"]) == answer)

    shown = batchmill("show", "out", "--row", 1)
    assert f"parsed      {json.dumps(answer, separators=(',', ':'))}" in shown.stdout
    assert batchmill("export", "out", "-o", "out.csv").exit_code == 0
    assert f'"{json.dumps(answer, separators=(",", ":"))}"' in (
        (tmp_path / "out.csv").read_text().replace('""', '"')
    )

    field = "parsed.who.n" if schema == SHORTHAND else "parsed.n.deep[0]"
    api.always, api.script = None, {}
    api.reset_ledger()
    more = ("-m", "m", "-p", f"{{{{ text }}}} {{{{ {field} }}}}", "--base-url", api.url)
    chained = batchmill("run", "in.jsonl", *more, "--set", 'input="out"', "-o", "next")
    assert chained.exit_code == 0, chained.stderr
    said = "1.5" if schema == SHORTHAND else "x"
    assert set(api.prompts()) == {f"{text} {said}" for text in texts(3)}
    assert pq.read_schema(tmp_path / "next/completions/_schema.parquet").field("parsed").type == (
        TYPE if schema == SHORTHAND else pa.string()
    )


def test_the_schema_is_part_of_what_makes_a_job(api, batchmill, tmp_path):
    api.always = says({"a": "x"})
    assert run(api, batchmill, tmp_path, 2, schema='{"a": "string"}').exit_code == 0
    other = run(api, batchmill, tmp_path, 2, schema='{"a": "string", "b": "string"}')
    assert other.exit_code == 4
    assert "request.schema changed" in other.stderr
    assert batchmill("retry", "out", "--set", "request.schema=x").exit_code == 2
    api.reset_ledger()
    same = run(api, batchmill, tmp_path, 2, "--reuse", "out", schema='{"a": "string"}')
    assert same.exit_code == 0, same.stderr
    assert api.ledger == []
    assert [row["parsed"] for row in rows(tmp_path / "out")] == [{"a": "x"}] * 2


def test_a_streamed_answer_is_parsed_too(api, batchmill, tmp_path):
    api.always = says(GOOD)
    assert run(api, batchmill, tmp_path, 2, "--set", "request.stream=true").exit_code == 0
    assert [row["parsed"] for row in rows(tmp_path / "out")] == [GOOD] * 2


def test_misfits_of_the_responses_api_name_the_other_one(api, batchmill, tmp_path):
    api.always = says("never")
    once = ("--set", "retry.schema_attempts=1", "--set", "request.api=responses")
    stopped = run(api, batchmill, tmp_path, 60, *once)
    assert stopped.exit_code == 3
    assert 'try api = "chat"' in stopped.stderr


def test_a_schema_that_no_answer_fits_stops_the_run(api, batchmill, tmp_path):
    api.always = says("never")
    once = ("--set", "retry.schema_attempts=1", "-c", 1)
    stopped = run(api, batchmill, tmp_path, 60, *once)
    assert stopped.exit_code == 3
    assert "first 50 rows have no answer that fits the schema: no JSON: never" in stopped.stderr
    assert "look at them: batchmill show out --failed" in stopped.stderr
    shown = batchmill("show", "out", "--failed", "-n", 1).stdout
    assert "  answer      never\n" in shown
    go_on = stopped.stderr.splitlines()[-1].removeprefix("to go on all the same: batchmill ")
    assert len(rows(tmp_path / "out")) == 50
    assert batchmill(*shlex.split(go_on)).exit_code == 1
    assert len(rows(tmp_path / "out")) == 60

"""What a result says is in its columns, and what the columns say is the result."""

from __future__ import annotations

from typing import Any

import msgspec
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from batch import columns, vectors
from batch.columns import COLUMNS, EMBEDDING, REQUEST_JSON
from batch.model import AttemptRecord, Choice, Result, ToolCall

CALL = ToolCall("call_1", "look", '{"x":1}')
EMPTY = Result(row=0, status="failed")
FULL = Result(
    row=1,
    status="ok",
    custom_id="c",
    flags=["length", "empty"],
    completion="héllo\n\u2028",
    reasoning="r",
    refusal="no",
    tool_calls=[CALL],
    choices=[Choice(0, "a", "stop", None, "r", [CALL]), Choice(1, None, "length", "no")],
    finish_reason="length",
    model="m",
    served_model="m-1",
    service_tier="default",
    input_tokens=1,
    cached_tokens=0,
    cache_write_tokens=2,
    output_tokens=2**40,
    reasoning_tokens=3,
    usage_json="{}",
    cost_usd=0.25,
    cost_source="list",
    reported_cost_usd=0.5,
    reused=True,
    attempts=2,
    maybe_billed_attempts=1,
    attempt_log=[
        AttemptRecord("e", 1.5, 0.25, "m-1", 504, "timeout", 1, 2, 0.125, True),
        AttemptRecord("e", 2.5, 0.25),
    ],
    http_status=200,
    error_class="timeout",
    error_code="c",
    error_message="late",
    latency_s=0.5,
    ttft_s=0.25,
    started_at=1_700_000_000.123456,
    finished_at=1_700_000_001.5,
    endpoint="h/v1",
    request_id="req",
    request_hash="00",
    response_json="{}",
)


def table(results: list[Result]) -> pa.Table:
    schema, _ = columns.schema(pa.schema([]), COLUMNS)
    return pa.Table.from_arrays(columns.arrays(results, COLUMNS), schema=schema)


def test_a_result_survives_parquet(tmp_path):
    pq.write_table(table([EMPTY, FULL]), tmp_path / "part.parquet")
    read = pq.read_table(tmp_path / "part.parquet").to_pylist()
    assert [columns.result(row) for row in read] == [EMPTY, FULL]


def test_a_result_without_news_is_null_and_not_zero():
    known = {name: value for name, value in table([EMPTY]).to_pylist()[0].items() if value}
    assert known == {"status": "failed"}
    row = table([EMPTY]).to_pylist()[0]
    assert [row["input_tokens"], row["cost_usd"], row["started_at"]] == [None] * 3
    assert [row["flags"], row["reused"], row["attempts"]] == [[], False, 0]


@pytest.mark.parametrize(
    "column", [*COLUMNS, EMBEDDING, REQUEST_JSON], ids=lambda column: column.name
)
def test_every_column_is_a_field_of_a_result(column):
    assert column.name in Result.__struct_fields__


def test_columns_have_different_names():
    names = [
        column.name.lower() for column in columns.chosen(request=True, of_apis=columns.OF_APIS)
    ]
    assert len(set(names)) == len(names)
    assert columns.chosen(request=False) == COLUMNS


@pytest.mark.parametrize("request_", [True, False])
@pytest.mark.parametrize("embedding", [True, False])
def test_our_columns_are_told_from_those_of_the_same_name_that_are_carried(request_, embedding):
    own = columns.chosen(request_, (EMBEDDING,) if embedding else ())
    carried = pa.schema([("embedding", pa.string()), ("request_json", pa.string())])
    schema, renamed = columns.schema(carried, own)
    assert columns.of_run(schema) == own
    assert [before for before, _ in renamed] == [
        *(["embedding"] if embedding else []),
        *(["request_json"] if request_ else []),
    ]


def test_moments_keep_their_microseconds():
    moment = table([FULL])["started_at"][0]
    assert moment.value == 1_700_000_000_123_456
    assert moment.type == pa.timestamp("us", "UTC")


def test_no_results_are_a_table_too():
    assert table([]).num_rows == 0


@pytest.mark.parametrize(
    ("names", "shown"),
    [
        (["id", "text"], ["id", "text"]),
        (["status"], ["input_status"]),
        (["Status", "MODEL"], ["input_Status", "input_MODEL"]),
        (["input_status", "status"], ["input_status", "input_input_status"]),
        (["status", "input_status"], ["input_status", "input_input_status"]),
        (["extra"], ["extra"]),
    ],
)
def test_a_carried_column_gives_way_and_keeps_its_name_in_mind(names, shown):
    carried = pa.schema([pa.field(name, pa.int32()) for name in names])
    schema, renamed = columns.schema(carried, COLUMNS)
    assert schema.names == [*shown, *(column.name for column in COLUMNS)]
    assert renamed == [pair for pair in zip(names, shown, strict=True) if pair[0] != pair[1]]
    assert columns.carried(schema, COLUMNS) == carried


def test_the_column_of_what_fits_no_other_keeps_its_name():
    role = {columns.ROLE: b"extra"}
    carried = pa.schema(
        [pa.field("extra", pa.string()), pa.field("extra", pa.string(), True, role)]
    )
    schema, renamed = columns.schema(carried, COLUMNS)
    assert schema.names[:2] == ["input_extra", "extra"]
    assert renamed == [("extra", "input_extra")]


def test_a_result_is_found_among_carried_columns():
    row = {"text": "hi", "extra": None, **table([FULL]).to_pylist()[0]}
    assert columns.result(row) == FULL


def test_the_journal_and_the_columns_say_the_same():
    assert msgspec.json.decode(msgspec.json.encode(FULL), type=Result) == FULL


@pytest.mark.parametrize("form", ["table", "batch", "slice"])
def test_the_results_of_a_table_have_their_vectors(form):
    results = [
        FULL,
        msgspec.structs.replace(FULL, embedding=vectors.packed([0.1, -2])),
        EMPTY,
        msgspec.structs.replace(FULL, row=3, embedding=vectors.packed([5])),
    ]
    own = columns.chosen(request=False, of_apis=(EMBEDDING,))
    schema, _ = columns.schema(pa.schema([]), own)
    made = pa.Table.from_arrays(columns.arrays(results, own), schema=schema)
    made.validate(full=True)
    if form == "table":
        assert list(columns.results(pa.concat_tables([made, made]))) == results * 2
    elif form == "batch":
        assert list(columns.results(made.to_batches()[0])) == results
    else:
        for at in range(len(results)):
            assert list(columns.results(made[at : at + 1])) == results[at : at + 1]


NESTED = pa.struct(
    [
        ("n", pa.int64()),
        ("tags", pa.list_(pa.string())),
        ("who", pa.struct([("name", pa.string())])),
        ("items", pa.list_(pa.struct([("x", pa.float64())]))),
    ]
)


def test_parsed_has_the_type_of_its_schema_at_any_depth(tmp_path):
    values: list[Any] = [
        {"n": 1, "tags": ["a", None], "who": {"name": "x"}, "items": [{"x": 1.0}, {"x": None}]},
        None,
        {"n": None, "tags": None, "who": None, "items": None},
        {"n": 2, "tags": [], "who": {"name": None}, "items": []},
        {"n": 3, "tags": [], "who": None, "items": [None, {"x": 2.0}]},
    ]
    own = columns.chosen(request=False, parsed_type=NESTED)
    results = [
        Result(row=row, status="ok", parsed=value and msgspec.json.encode(value).decode())
        for row, value in enumerate(values)
    ]
    schema, _ = columns.schema(pa.schema([]), own)
    made = pa.Table.from_arrays(columns.arrays(results, own), schema=schema)
    made.validate(full=True)
    pq.write_table(made, tmp_path / "part.parquet")
    read = pq.read_table(tmp_path / "part.parquet")
    assert read.schema.field("parsed").type == NESTED
    assert read["parsed"].to_pylist() == values
    assert [columns.result(row) for row in read.to_pylist()] == results


def test_a_carried_parsed_is_not_taken_for_our_own():
    carried = pa.schema([("parsed", pa.int32()), ("request_json", pa.int32())])
    plain, _ = columns.schema(carried, COLUMNS)
    assert columns.of_run(plain) == COLUMNS
    own = columns.chosen(request=True, parsed_type=NESTED)
    typed, _ = columns.schema(carried, own)
    names = [(column.name, column.type) for column in columns.of_run(typed)]
    assert names == [(column.name, column.type) for column in own]
    assert typed.names[:2] == ["input_parsed", "input_request_json"]

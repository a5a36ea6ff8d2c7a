"""The output columns, one line each.  To add one, add a line below `row`; its value is a field of
model.Result, or worked out of a Result by a function.

The schema of a run is the carried input columns, then these.  A carried column whose name is taken
(compared case-insensitively, as DuckDB does) gets the prefix `input_`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from datetime import datetime
from typing import Any

import msgspec
import pyarrow as pa
from msgspec.structs import astuple

from batch import vectors
from batch.model import Result
from batch.structured import column_type

TOOL_CALLS = pa.list_(
    pa.struct([("id", pa.string()), ("name", pa.string()), ("arguments", pa.string())])
)
CHOICES = pa.list_(
    pa.struct(
        [
            ("index", pa.int32()),
            ("completion", pa.string()),
            ("finish_reason", pa.string()),
            ("refusal", pa.string()),
            ("reasoning", pa.string()),
            ("tool_calls", TOOL_CALLS),
        ]
    )
)
ATTEMPT_LOG = pa.list_(
    pa.struct(
        [
            ("endpoint", pa.string()),
            ("served_model", pa.string()),
            ("http_status", pa.int32()),
            ("error_class", pa.string()),
            ("started_at", pa.timestamp("us", "UTC")),
            ("latency_s", pa.float64()),
            ("input_tokens", pa.int64()),
            ("output_tokens", pa.int64()),
            ("cost_usd", pa.float64()),
            ("maybe_billed", pa.bool_()),
        ]
    )
)
MOMENT = pa.timestamp("us", "UTC")


def _as_they_are(held: Sequence[Any]) -> Sequence[Any]:
    return held


class Column(msgspec.Struct, frozen=True):
    """A column of the output.  `values` takes what results hold to what pyarrow makes an array of.
    `of` works out what a result holds, if that is no field of it.
    """

    name: str
    type: pa.DataType
    values: Callable[[Sequence[Any]], Sequence[Any] | pa.Array] = _as_they_are
    of: Callable[[Result], Any] | None = None


def _plain(name: str, type_: pa.DataType) -> Column:
    return Column(name, type_)


def _moment(name: str) -> Column:
    return Column(name, MOMENT, lambda held: [_micros(seconds) for seconds in held])


def _nested(name: str, type_: pa.DataType) -> Column:
    return Column(name, type_, lambda held: [_dicts(values) for values in held])


def _micros(seconds: float | None) -> int | None:
    return None if seconds is None else round(seconds * 1e6)


def _dicts(values: Any) -> Any:
    if values is None:
        return None
    made = [msgspec.structs.asdict(value) for value in values]
    for value in made:
        if "started_at" in value:
            value["started_at"] = _micros(value["started_at"])
        if value.get("tool_calls"):
            value["tool_calls"] = _dicts(value["tool_calls"])
    return made


COLUMNS = (
    _plain("row", pa.int64()),
    _plain("custom_id", pa.string()),
    _plain("status", pa.string()),
    _plain("flags", pa.list_(pa.string())),
    _plain("completion", pa.string()),
    _plain("reasoning", pa.string()),
    _plain("refusal", pa.string()),
    _nested("tool_calls", TOOL_CALLS),
    _nested("choices", CHOICES),
    _plain("finish_reason", pa.string()),
    _plain("model", pa.string()),
    _plain("served_model", pa.string()),
    _plain("service_tier", pa.string()),
    _plain("input_tokens", pa.int64()),
    _plain("cached_tokens", pa.int64()),
    _plain("cache_write_tokens", pa.int64()),
    _plain("output_tokens", pa.int64()),
    _plain("reasoning_tokens", pa.int64()),
    _plain("usage_json", pa.string()),
    _plain("cost_usd", pa.float64()),
    _plain("cost_source", pa.string()),
    _plain("reported_cost_usd", pa.float64()),
    _plain("reused", pa.bool_()),
    _plain("attempts", pa.int32()),
    _plain("maybe_billed_attempts", pa.int32()),
    _plain("unconfirmed_tokens", pa.int64()),
    _plain("unconfirmed_cost_usd", pa.float64()),
    _plain("unbounded_attempts", pa.int32()),
    _nested("attempt_log", ATTEMPT_LOG),
    _plain("http_status", pa.int32()),
    _plain("error_class", pa.string()),
    _plain("error_code", pa.string()),
    _plain("error_message", pa.string()),
    _plain("latency_s", pa.float64()),
    _plain("ttft_s", pa.float64()),
    _moment("started_at"),
    _moment("finished_at"),
    _plain("endpoint", pa.string()),
    _plain("request_id", pa.string()),
    _plain("request_hash", pa.string()),
    _plain("response_json", pa.string()),
)

EMBEDDING = Column("embedding", vectors.IN_ARROW, vectors.column)
"""Only where an API is asked that gives it (its COLUMNS)."""


def requests(result: Result) -> int:
    """The requests that are counted at a row."""
    return result.attempts if result.requests is None else result.requests


REQUESTS = Column("requests", pa.int32(), of=requests)
"""Only where rows may share requests."""
OF_APIS = (EMBEDDING, REQUESTS)

REQUEST_JSON = _plain("request_json", pa.string())
"""Only with `output.request = true`: the body that was sent."""

PARSED = "parsed"
"""Only with a schema: the answer, typed by it."""

DUPLICATE = "duplicate"
"""The flag of a row that has the answer of another row of its run."""
FLAGS = (
    "length",
    "content_filter",
    "refusal",
    "empty",
    "usage_unknown",
    "model_differs",
    "json_repaired",
    "text_repaired",
    "finish_unknown",
    "choices_missing",
    DUPLICATE,
    "usage_shared",
)
"""Every flag a row can have."""

NAME = b"batchmill.name"
"""Field metadata of a renamed column: its name in the input."""

ROLE = b"batchmill"
"""Field metadata of a carried column: what it holds beyond its type."""

JSON = b"json"
"""JSON text, of any value."""
NESTED = b"nested"
"""JSON text, of lists and objects only."""
EXTRA = b"extra"
"""JSON text of an object: what fits no other column."""


def chosen(
    request: bool, of_apis: Sequence[Column] = (), parsed_type: pa.DataType | None = None
) -> tuple[Column, ...]:
    """The columns of a run: `of_apis` are those that its APIs give, `parsed_type` is that of
    `parsed`, None without a schema.
    """
    own = [*COLUMNS, *of_apis, *([REQUEST_JSON] if request else [])]
    if parsed_type is not None:
        at = 1 + next(index for index, column in enumerate(own) if column.name == "choices")
        own.insert(at, _parsed(parsed_type))
    return tuple(own)


def of_run(schema: pa.Schema) -> tuple[Column, ...]:
    """The columns of a run whose output has `schema`: they begin with `row`.  They are those with
    which it began, of the types they had then; one that nobody here knows is null.
    """
    own = list(schema)[schema.names.index(COLUMNS[0].name) :]
    parsed_type = next((field.type for field in own if field.name == PARSED), None)
    known = {column.name: column for column in chosen(True, OF_APIS, parsed_type)}
    return tuple(
        msgspec.structs.replace(
            known.get(field.name, _plain(field.name, field.type)), type=field.type
        )
        for field in own
    )


def null(name: str, rows: int) -> pa.Array:
    """A column of ours that a run lacks, as it began before there was one.  Raises KeyError for one
    that is none of ours.
    """
    types = {column.name: column.type for column in (*COLUMNS, *OF_APIS, REQUEST_JSON)}
    return pa.nulls(rows, types[name])


def _parsed(kind: pa.DataType) -> Column:
    return Column(PARSED, kind, lambda texts: column_type.values(texts, kind))


def schema(carried: pa.Schema, own: Sequence[Column]) -> tuple[pa.Schema, list[tuple[str, str]]]:
    """The schema of a run's output, and the carried columns that had to be renamed (from, to)."""
    taken = {column.name.lower() for column in own}
    if any(is_extra(field) for field in carried):
        taken.add("extra")
    fields, renamed = [], []
    for field in carried:
        name = field.name
        while name.lower() in taken and not is_extra(field):
            name = f"input_{name}"
        if name != field.name:
            renamed.append((field.name, name))
        taken.add(name.lower())
        if name != field.name:
            field = field.with_name(name).with_metadata(
                {**(field.metadata or {}), NAME: field.name}
            )
        fields.append(field)
    ours = (pa.field(column.name, column.type) for column in own)
    return pa.schema([*fields, *ours], carried.metadata), renamed


def carried(schema: pa.Schema, own: Sequence[Column]) -> pa.Schema:
    """The carried columns of a run's output, under their names in the input."""
    fields = list(schema)[: len(schema) - len(own)]
    return pa.schema([field.with_name(_name_in_input(field)) for field in fields])


def _name_in_input(field: pa.Field) -> str:
    name: bytes = (field.metadata or {}).get(NAME, field.name.encode())
    return name.decode()


def role(field: pa.Field) -> bytes | None:
    """What a carried column holds beyond its type, None when that says it all."""
    found: bytes | None = (field.metadata or {}).get(ROLE)
    return found


def is_extra(field: pa.Field) -> bool:
    """Whether this is the column of what fits no other (JSONL)."""
    return role(field) == EXTRA


def by_rules_1(carried: pa.Schema) -> pa.Schema:
    """The carried columns of a run as such runs filled them: in JSON text are only lists and
    objects, and not in a column that was renamed.
    """
    return pa.schema([_by_rules_1(field) for field in carried])


def _by_rules_1(field: pa.Field) -> pa.Field:
    if role(field) != JSON:
        return field
    metadata = field.metadata
    return field.with_metadata({ROLE: NESTED} if NAME not in metadata else {NAME: metadata[NAME]})


def arrays(results: Sequence[Result], own: Sequence[Column]) -> list[pa.Array]:
    """One array a column."""
    fields = zip(*map(astuple, results), strict=True)  # of no results: none
    held = dict(zip(Result.__struct_fields__, fields, strict=len(results) > 0))
    held |= {each.name: tuple(map(each.of, results)) for each in own if each.of is not None}
    nothing = (None,) * len(results)
    return [_array(column, held.get(column.name, nothing)) for column in own]


def _array(column: Column, held: tuple[Any, ...]) -> pa.Array:
    """Most columns of most runs hold nothing, which is quicker said than counted."""
    if held.count(None) == len(held):
        return pa.nulls(len(held), column.type)
    return pa.array(column.values(held), column.type)


def results(table: pa.Table | pa.RecordBatch) -> Iterator[Result]:
    """The Results that the rows of an output came from, as far as it has their columns."""
    if EMBEDDING.name not in table.schema.names:
        yield from map(result, table.to_pylist())
        return
    held = table.column(EMBEDDING.name)
    held = held.combine_chunks() if isinstance(held, pa.ChunkedArray) else held
    rest = table.drop_columns([EMBEDDING.name]).to_pylist()
    for values, vector in zip(rest, vectors.of_column(held), strict=True):
        yield result({**values, EMBEDDING.name: vector})


def result(values: dict[str, Any]) -> Result:
    """The Result that a row of the output came from, as far as `values` hold its columns."""
    known = {name: value for name, value in values.items() if name in Result.__struct_fields__}
    answer = column_type.text(known.pop(PARSED, None))
    made = msgspec.convert(_seconds(known), Result, strict=False)
    return made if answer is None else msgspec.structs.replace(made, parsed=answer)


def _seconds(value: Any) -> Any:
    """Moments as seconds since the epoch, at any depth; nulls left to their defaults."""
    if isinstance(value, dict):
        return {key: _seconds(inner) for key, inner in value.items() if inner is not None}
    if isinstance(value, list):
        return [_seconds(inner) for inner in value]
    return value.timestamp() if isinstance(value, datetime) else value

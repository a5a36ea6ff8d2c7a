"""A schema becomes a column that Parquet and DuckDB can type, or JSON text with a reason."""

from __future__ import annotations

import pyarrow as pa
import pytest

from batch.structured import column_type
from batch.structured.column_type import Misfit, Untypable

S, I, D, B = pa.string(), pa.int64(), pa.float64(), pa.bool_()  # noqa: E741


def object_(**properties: object) -> dict[str, object]:
    return {"type": "object", "properties": properties}


@pytest.mark.parametrize(
    ("schema", "kind"),
    [
        ({"type": "string"}, S),
        ({"type": "string", "format": "date-time"}, S),
        ({"type": "integer"}, I),
        ({"type": "number"}, D),
        ({"type": "boolean"}, B),
        ({"type": "null"}, S),
        ({"type": ["integer", "null"]}, I),
        ({"type": ["integer", "number"]}, D),
        ({"enum": ["a", "b", None]}, S),
        ({"enum": [1, 2]}, I),
        ({"enum": [1, 2.5]}, D),
        ({"const": True}, B),
        ({"anyOf": [{"type": "number"}, {"type": "null"}]}, D),
        ({"oneOf": [{"type": "string", "maxLength": 3}, {"enum": ["long"]}]}, S),
        ({"allOf": [{"$ref": "#/$defs/n"}]}, I),
        ({"$ref": "#/$defs/n"}, I),
        ({"$ref": "#/$defs/a~1b"}, B),
        ({"type": "array", "items": {"type": "number"}}, pa.list_(D)),
        ({"items": {"type": "string"}}, pa.list_(S)),
        (object_(a={"type": "string"}), pa.struct([("a", S)])),
        ({"properties": {"a": {"type": "integer"}}}, pa.struct([("a", I)])),
        (
            {"type": "array", "items": object_(a={"type": "array", "items": {"type": "string"}})},
            pa.list_(pa.struct([("a", pa.list_(S))])),
        ),
    ],
)
def test_a_schema_has_a_type(schema, kind):
    whole = {**object_(x=schema), "$defs": {"n": {"type": "integer"}, "a/b": {"type": "boolean"}}}
    assert column_type.column_type(whole) == pa.struct([("x", kind)])


@pytest.mark.parametrize(
    ("schema", "why"),
    [
        ({}, "x may be anything"),
        (True, "x may be anything"),
        ({"type": "object"}, "x has no keys"),
        ({**object_(a={"type": "string"}), "additionalProperties": True}, "x may have any keys"),
        (
            {**object_(a={"type": "string"}), "additionalProperties": {"type": "string"}},
            "x may have any keys",
        ),
        ({"type": ["string", "integer"]}, "x may be of several types"),
        ({"anyOf": [{"type": "string"}, {"type": "integer"}]}, "x may be of several types"),
        ({"enum": ["a", 1]}, "x may be of several types"),
        ({"type": "array"}, "x may hold anything"),
        ({"type": "array", "items": {}}, r"x\[\] may be anything"),
        (
            {"type": "array", "prefixItems": [{"type": "string"}], "items": {"type": "string"}},
            "x may hold anything",
        ),
        ({"$ref": "#"}, "x holds itself"),
        ({"$ref": "#/$defs/tree"}, "holds itself"),
        ({"$ref": "#anchor"}, "x refers to #anchor"),
        (object_(a={"type": "string"}, A={"type": "string"}), "differ only in case"),
    ],
)
def test_what_parquet_cannot_type_says_why(schema, why):
    tree = {"type": "array", "items": {"$ref": "#/$defs/tree"}}
    with pytest.raises(Untypable, match=why):
        column_type.column_type({**object_(x=schema), "$defs": {"tree": tree}})


@pytest.mark.parametrize(
    ("value", "kind", "fitted"),
    [
        ({"a": "x", "more": 1}, pa.struct([("a", S), ("b", I)]), {"a": "x", "b": None}),
        ([1, 2.0, None], pa.list_(I), [1, 2, None]),
        (3, D, 3.0),
        (2**63 - 1, I, 2**63 - 1),
        (None, B, None),
    ],
)
def test_a_value_is_made_to_fit(value, kind, fitted):
    assert column_type.fit(kind)(value) == fitted
    assert pa.array([column_type.fit(kind)(value)], kind).to_pylist() == [fitted]


@pytest.mark.parametrize(
    ("value", "kind", "where"),
    [
        (
            {"a": [1, 2**63]},
            pa.struct([("a", pa.list_(I))]),
            r"^a\[1\]: expected an integer of 64 bits, not one that is larger$",
        ),
        (
            {"a": {"b": "x"}},
            pa.struct([("a", pa.struct([("b", I)]))]),
            r"^a\.b: expected an integer of 64 bits, not 'x'$",
        ),
        (2**63, I, "64 bits"),
        (10**400, D, "expected a number"),
        (0.5, I, "expected an integer"),
        (True, I, "expected an integer"),
        (1, B, "expected true or false"),
        (1, S, "expected a string"),
        ("x", pa.list_(S), "expected an array"),
        ("x" * 500, pa.struct([("a", S)]), "^the answer: expected an object"),
    ],
)
def test_a_value_that_cannot_fit_says_where(value, kind, where):
    with pytest.raises(Misfit, match=where) as caught:
        column_type.fit(kind)(value)
    assert len(str(caught.value)) < 200


def test_what_another_version_kept_does_not_keep_a_part_from_being_sealed():
    kept = ['{"a":99999999999999999999}', None, '{"a":1}']
    assert column_type.values(kept, pa.struct([("a", I)])) == [None, None, {"a": 1}]


def test_json_text_is_kept_to_the_digit():
    text = '{"a":1.10,"b":123456789012345678901}'
    assert column_type.values([text, None], column_type.TEXT) == [text, None]
    assert column_type.text(text) == text

"""A schema means what the job says, an answer fits it or says where it does not."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from batch.errors import JobError
from batch.model import Choice, Completion, Result, ToolCall
from batch.outcome import Accept, Reject, TryAgain
from batch.structured import schema
from batch.structured.schema import BadSchema
from batch.structured.validator import Checker

SENTIMENT = schema.expanded({"sentiment": ["good", "bad"]})
STRING = {"type": "string"}


def strict(**properties: object) -> dict[str, object]:
    return {
        "type": "object",
        "properties": properties,
        "required": list(properties),
        "additionalProperties": False,
    }


@pytest.mark.parametrize(
    ("given", "meant"),
    [
        ({"name": "string"}, strict(name=STRING)),
        ({"ok": "boolean", "n": "integer"}, strict(ok={"type": "boolean"}, n={"type": "integer"})),
        ({"tags": "string[]"}, strict(tags={"type": "array", "items": STRING})),
        ({"label": ["a", "b"]}, strict(label={"type": "string", "enum": ["a", "b"]})),
        ({"stars": [1, 2, 3]}, strict(stars={"type": "integer", "enum": [1, 2, 3]})),
        ({"who": {"name": "string"}}, strict(who=strict(name=STRING))),
        (
            {"people": [{"name": "string"}]},
            strict(people={"type": "array", "items": strict(name=STRING)}),
        ),
        (
            {"labels": [["a", "b"]]},
            strict(labels={"type": "array", "items": {"type": "string", "enum": ["a", "b"]}}),
        ),
        ({"n": {"type": "integer", "minimum": 1}}, strict(n={"type": "integer", "minimum": 1})),
        ({"type": "string", "name": "string"}, strict(type=STRING, name=STRING)),
        ({"title": "string", "description": "string"}, strict(title=STRING, description=STRING)),
        ({"type": ["free", "paid"]}, strict(type={"type": "string", "enum": ["free", "paid"]})),
    ],
)
def test_a_shorthand_is_every_key_and_no_other(given, meant):
    assert schema.expanded(given) == meant


@pytest.mark.parametrize(
    "given",
    [
        strict(name=STRING),
        {"type": "object", "properties": {"a": STRING}, "title": "T"},
        {"$ref": "#/$defs/A", "$defs": {"A": strict(a=STRING)}},
        {"anyOf": [strict(a=STRING), strict(b=STRING)]},
        {"type": "array", "items": STRING},
    ],
)
def test_a_json_schema_stays_as_it_is(given):
    assert schema.expanded(given) == given
    assert schema.expanded(schema.expanded(given)) == given


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({}, "fields and their types"),
        ("string", "fields and their types"),
        ({"a": {"b": "strng"}}, "a.b: 'strng' is no type"),
        ({"a": []}, r"a: \[\] is no type"),
        ({"a": ["x", 1]}, "is no type"),
        ({"a": True}, "is no type"),
        ({"type": "string", "title": "string"}, "must be an object or an array"),
    ],
)
def test_what_is_no_schema_says_where(given, said):
    with pytest.raises(BadSchema, match=said):
        schema.expanded(given)


@pytest.mark.parametrize(
    ("given", "is_strict"),
    [
        ({"a": "string", "b": {"c": "integer[]"}}, True),
        ({"type": "object", "properties": {"a": STRING}, "required": ["a"]}, False),
        ({**strict(a=STRING), "required": []}, False),
        ({"$ref": "#/$defs/A", "$defs": {"A": {"properties": {"a": STRING}}}}, False),
    ],
)
def test_a_server_is_asked_to_be_strict_where_it_can_be(given, is_strict):
    asked = schema.response_format(schema.expanded(given))
    assert asked["type"] == "json_schema"
    assert asked["json_schema"]["strict"] is is_strict
    assert asked["json_schema"]["schema"] == schema.expanded(given)


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        (
            {"type": "object", "properties": {"a": {"type": "strng"}}},
            "at properties/a/type: 'strng' is no type \\(known: string,",
        ),
        ({"$ref": "#/$defs/no", "$defs": {}}, ""),
        ({"$ref": "http://127.0.0.1:9/schema.json"}, "which is not fetched"),
        ({"$ref": "file:///etc/passwd"}, "which is not fetched"),
    ],
)
def test_a_broken_or_remote_schema_is_an_error_of_the_job(wrong, said):
    with pytest.raises(JobError, match=rf"\[request\] schema: .*{said}"):
        Checker(wrong)


FITS = '{"sentiment":"good"}'


@pytest.mark.parametrize(
    ("text", "repaired"),
    [
        (FITS, False),
        ('\n{ "sentiment":\n "good" }\n', False),
        (f"```json\n{FITS}\n```", True),
        (f"```\n{FITS}\n```\nAnything else?", True),
        (f"Here is the JSON: {FITS}", True),
        (f"In [1], {{as asked}}: {FITS} Done.", True),
        (f'<think>{{"sentiment":"bad"}}</think>{FITS}', True),
        (f'Not {{"sentiment": 1}} but {FITS}', True),
        ("{" * 50 + f"```json\n{FITS}\n```", True),
    ],
)
def test_json_is_found_in_an_answer(text, repaired):
    found = Checker(SENTIMENT).read(text)
    assert (found.json, found.repaired) == (FITS, repaired)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "the answer is empty"),
        ("good", "no JSON: good"),
        ('"good"', "the answer: "),
        ('{"sentiment":"fine"}', "sentiment: "),
        ("{}", "the answer: "),
        ('{"sentiment":"good","why":"x"}', "the answer: "),
        ('{"answer":{"sentiment":"good"}}', "the answer: "),
        ("[" * 100_000, "no JSON"),
        ("{" * 100_000, "no JSON"),
        ('{"sentiment":' * 3000, "no JSON"),
        ('{"sentiment":' + "[" * 900 + "]" * 900 + "}", "the answer: "),
    ],
)
def test_an_answer_that_does_not_fit_says_where(text, said):
    found = Checker(SENTIMENT).read(text)
    assert found.json is None
    assert found.problem.startswith(said)
    assert len(found.problem) < 300


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ('{"n":9223372036854775807}', None),
        ('{"n":9223372036854775808}', "n: expected an integer of 64 bits"),
        ('{"n":-1e30}', "n: expected an integer of 64 bits"),
        ('{"n":2.0}', None),
        ('{"n":' + "9" * 5000 + "}", "n: "),
        ('{"n":1e999}', "n: "),
        ('{"n":NaN}', "n: "),
    ],
)
def test_a_number_must_fit_its_column(text, said):
    found = Checker(schema.expanded({"n": "integer"})).read(text)
    assert (found.json is not None) == (said is None)
    assert said is None or found.problem.startswith(said)


def test_half_a_character_is_mended():
    found = Checker(schema.expanded({"a": "string"})).read(r'{"a":"\ud83d!"}')
    assert msgspec.json.decode(found.json or "") == {"a": "\ufffd!"}
    assert found.repaired


def judged(text: str | None, finish_reason: str = "stop", **more: Any) -> object:
    choice = Choice(0, text, finish_reason, **more)
    return Checker(SENTIMENT).judge(Accept(Completion([choice])))


def test_what_becomes_of_an_answer():
    fits = judged(FITS)
    assert isinstance(fits, Accept)
    assert (fits.completion.parsed, fits.completion.flags) == (FITS, [])
    again = judged("I would say good.")
    assert isinstance(again, TryAgain)
    assert (again.error_class, again.mismatch) == ("schema_mismatch", True)
    cut = judged('{"sentiment":"go', "length")
    assert isinstance(cut, Reject)
    assert cut.error_class == "schema_mismatch" and "max_tokens" in cut.message


@pytest.mark.parametrize(
    ("text", "finish_reason", "more"),
    [
        (None, "stop", {"refusal": "I will not."}),
        ("half", "content_filter", {}),
        (None, "tool_calls", {"tool_calls": [ToolCall("1", "look", "{}")]}),
    ],
)
def test_a_refusal_is_an_answer_without_anything_parsed(text, finish_reason, more):
    kept = judged(text, finish_reason, **more)
    assert isinstance(kept, Accept)
    assert kept.completion.parsed is None


def test_an_earlier_answer_is_taken_only_if_it_fits():
    checker = Checker(SENTIMENT)
    fits = checker.again(Result(row=0, status="ok", completion=FITS))
    assert fits is not None and fits.parsed == FITS
    assert checker.again(Result(row=0, status="ok", completion="good")) is None
    refused = Result(row=0, status="ok", refusal="no")
    assert checker.again(refused) == refused

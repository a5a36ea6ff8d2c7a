"""What is nested more deeply than we follow is an error in words, and what is not is taken."""

from __future__ import annotations

import contextlib

import pytest

from batch.errors import JobError
from batch.requests.templates.template import BadTemplate, Template, Unrenderable
from batch.spec import check
from batch.structured.schema import BadSchema, expanded
from batch.structured.validator import Checker

TEMPLATES = {
    "parentheses": lambda n: "{{ " + "(" * n + "text" + ")" * n + " }}",
    "lists": lambda n: "{{ " + "[" * n + "text" + "]" * n + " }}",
    "tables": lambda n: "{{ " + '{"a":' * n + "text" + "}" * n + " }}",
    "ifs": lambda n: "{% if text %}" * n + "{{ text }}" + "{% endif %}" * n,
    "elses": lambda n: "{% if not text %}a{% else %}" * n + "{{ text }}" + "{% endif %}" * n,
    "loops": lambda n: "{% for a in [1] %}" * n + "{{ text }}" + "{% endfor %}" * n,
    "macros": lambda n: "{% macro a() %}" * n + "{{ text }}" + "{% endmacro %}" * n,
    "blocks": lambda n: "{% filter trim %}" * n + "{{ text }}" + "{% endfilter %}" * n,
    "filters": lambda n: "{{ text" + "|trim" * n + " }}",
    "nots": lambda n: "{{ " + "not " * n + "text }}",
    "sums": lambda n: "{{ text" + " + 'a'" * n + " }}",
    "calls": lambda n: "{{ text" + "()" * n + " }}",
    "attributes": lambda n: "{{ row" + ".a" * n + " }}",
    "items": lambda n: "{{ " + "row[" * n + "0" + "]" * n + " }}",
    "conditions": lambda n: "{{ " + "'a' if not text else " * n + "'b' }}",
}


def wrapped(wrap, inner, times):
    for _ in range(times):
        inner = wrap(inner)
    return inner


def struct(inner):
    return {
        "type": "object",
        "properties": {"a": inner},
        "required": ["a"],
        "additionalProperties": False,
    }


SCHEMAS = {
    "shorthand": lambda n: {"a": wrapped(lambda inner: {"a": inner}, "string", n)},
    "list": lambda n: {"a": wrapped(lambda inner: [inner], ["x", "y"], n)},
    "suffix": lambda n: {"a": "string" + "[]" * n},
    "objects": lambda n: struct(wrapped(struct, {"type": "string"}, n)),
    "arrays": lambda n: struct(
        wrapped(lambda inner: {"type": "array", "items": inner}, {"type": "string"}, n)
    ),
    "choices": lambda n: struct(
        wrapped(lambda inner: {"anyOf": [inner, {"type": "null"}]}, {"type": "string"}, n)
    ),
    "nots": lambda n: struct(wrapped(lambda inner: {"not": inner}, {"type": "string"}, n)),
    "labels": lambda n: struct({"enum": [wrapped(lambda inner: [inner], 1, n)]}),
    "definitions": lambda n: {
        **struct({"type": "string"}),
        "$defs": wrapped(lambda i: {"a": i}, {}, n),
    },
}


@pytest.mark.parametrize("levels", [30, 100, 300, 5_000])
@pytest.mark.parametrize("kind", TEMPLATES)
def test_a_nested_template_is_read_or_refused_in_words(kind, levels):
    try:
        Template(TEMPLATES[kind](levels)).render({"text": "hello", "row": {}})
    except (BadTemplate, Unrenderable) as error:
        assert str(error)


@pytest.mark.parametrize("kind", ["filters", "nots", "sums", "calls", "attributes"])
def test_what_is_nested_too_deeply_to_be_compiled_is_not_tried(kind):
    with pytest.raises(BadTemplate, match="nested more than 200 levels deep"):
        Template(TEMPLATES[kind](300))
    with contextlib.suppress(Unrenderable):  # there is no such column, or it cannot be called
        Template(TEMPLATES[kind](90)).render({"text": "hello", "row": {}})


@pytest.mark.parametrize("levels", [300, 5_000])
@pytest.mark.parametrize("kind", SCHEMAS)
def test_a_schema_that_is_nested_too_deeply_is_refused_in_words(kind, levels):
    with pytest.raises(BadSchema, match="nested more than 100 levels deep"):
        expanded(SCHEMAS[kind](levels))
    with pytest.raises(JobError, match="nested more than 100 levels deep"):
        check({"request": {"model": "m", "schema": SCHEMAS[kind](300)}})


@pytest.mark.parametrize("kind", SCHEMAS)
def test_a_schema_that_is_nested_less_is_taken(kind):
    Checker(expanded(SCHEMAS[kind](40))).read('{"a": 1}')


@pytest.mark.parametrize("levels", [50, 300])
def test_a_schema_of_many_references_in_each_other_is_taken(levels):
    refs = {f"d{n}": struct({"$ref": f"#/$defs/d{n + 1}"}) for n in range(levels)}
    schema = struct({"$ref": "#/$defs/d0"}) | {"$defs": refs | {f"d{levels}": {"type": "string"}}}
    found = Checker(expanded(schema)).read('{"a": 1}')
    assert found.json is None


@pytest.mark.parametrize("levels", [300, 20_000])
@pytest.mark.parametrize("what", ["job", "schema", "flag", "set"])
def test_a_file_or_flag_of_such_a_schema_is_exit_2(what, levels, batchmill, tmp_path):
    text = '{"a":' * levels + '"string"' + "}" * levels
    toml = text.replace('"a":', "a =")
    (tmp_path / "in.jsonl").write_text('{"text": "hello"}\n')
    (tmp_path / "schema.json").write_text(text)
    (tmp_path / "job.toml").write_text(
        f'input = "in.jsonl"\n[request]\nmodel = "m"\nschema = {toml}\n'
    )
    asked = ("in.jsonl", "-m", "m", "-p", "{{ text }}", "--base-url", "http://127.0.0.1:9")
    done = {
        "job": ("job.toml",),
        "schema": (*asked, "--schema", "schema.json"),
        "flag": (*asked, "--schema", text),
        "set": (*asked, "--set", f"request.schema={toml}"),
    }[what]
    if levels > 300 and what in ("flag", "set"):  # Linux takes 128 KiB for one
        pytest.skip("longer than an argument may be")

    done = batchmill("run", *done, "--dry-run")

    assert done.exit_code == 2, done.stderr
    assert "deep" in done.stderr

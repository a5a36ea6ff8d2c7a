"""What is wrong with a line that is no JSON is said in words that do not depend on a library."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from batch.readers.json_faults import fault

VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=10,
)


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ('{"a": 1', "ends in the middle of an object"),
        ('{"a": 1, ', "ends in the middle of an object"),
        ('{"a": tru', "ends in the middle of an object"),
        ('[{"a": 1}', "ends in the middle of an array"),
        ('{"a": "Snow is', "ends in the middle of a string"),
        ('{"a": "x\\', "ends in the middle of a string"),
        ('{"a": "x\\u12', "ends in the middle of a string"),
        ('{"a": 1, }', "a comma behind the last value, in column 8"),
        ('{"a": [1,2,]}', "a comma behind the last value, in column 11"),
        ('{"a": 1} {"b": 2}', "there is more behind the end of an object, in column 10"),
        ("{'a': 1}", "single quotes, where JSON has double ones, in column 2"),
        ('{"a": 1, b: 2}', "a key without quotes, in column 10"),
        ('{"a": True}', "True, which JSON writes true, in column 7"),
        ('{"a": None}', "None, which JSON writes null, in column 7"),
        ('{"a": yes}', "'yes' is no value of JSON, in column 7"),
        ('{"a": 1 "b": 2}', "a comma is missing, in column 9"),
        ('{"a": [] "b": 2}', "a comma is missing, in column 10"),
        ('{"a": }', "a value is missing before '}', in column 7"),
        ('{"a": "x\ty"}', "a control character that is not escaped, in column 9"),
        ('{"a": "C:\\dir"}', "an escape that JSON does not know, in column 10"),
        ('{"a": 1} // b', "there is more behind the end of an object, in column 10"),
        ('{"a": 1, // b', "a comment, which JSON does not have, in column 10"),
        ('{"a": 1]', "']' stands where it may not, in column 8"),
        ('{"Größe": x}', "'x' is no value of JSON, in column 11"),
    ],
)
def test_a_fault_says_what_is_wrong_and_where(line: str, said: str) -> None:
    assert fault(line) == said


def test_a_quote_that_is_not_escaped_is_named() -> None:
    said = "a comma or a colon is missing, or a quote inside a string is not escaped, in column 13"
    assert fault('{"a": "say "hi" now"}') == said


@given(VALUES, st.data())
def test_an_object_that_is_cut_off_ends_in_the_middle(value: object, data: st.DataObject) -> None:
    text = json.dumps({"a": value}, ensure_ascii=data.draw(st.booleans()))
    cut = data.draw(st.integers(1, len(text) - 1))
    assert fault(text[:cut]).startswith("ends in the middle of ")


@given(st.text() | st.text('{}[]",:\\u1a \t'))
def test_any_text_that_is_no_json_has_a_fault_of_one_line(text: str) -> None:
    try:
        json.loads(text)
    except ValueError:
        said = fault(text)
        assert len(said.splitlines()) == 1 and len(said) < 150

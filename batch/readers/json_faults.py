"""What is wrong with a text that is no JSON, in our words.

Python's json module says where; the words do not depend on its version.
"""

from __future__ import annotations

import json
import re

_DECODER = json.JSONDecoder(parse_int=float)  # an integer of 5,000 digits would be refused

_PYTHON = {"True": "true", "False": "false", "None": "null"}
_WORD = r"[^\W\d]\w{,30}"
_KEY = r"[^\W\d][\w$-]*\s*:"
_TRAILING_COMMA = r",\s*[}\]]"
_CUT_WORD = r"(?:t|tr|tru|f|fa|fal|fals|n|nu|nul|-)$"
_CUT_ESCAPE = r"\\(?:u[0-9a-fA-F]{,4})?$"


COMMA = "a comma behind the last value"


def fault(text: str) -> str:
    """What is wrong with a text that should be one value, and in which column, counted from 1."""
    text = text.rstrip()
    try:
        _, end = _DECODER.raw_decode(text, len(text) - len(text.lstrip()))
    except json.JSONDecodeError as error:
        place, words = error.pos, problem(text, error.pos)
    else:
        place = len(text) - len(text[end:].lstrip())
        words = f"there is more behind the end of {_kind(text)}"
    if words.startswith("ends "):
        return words
    if words == COMMA:  # newer versions of Python stop at the comma, older ones behind it
        place = text.rindex(",", 0, place + 1)
    return f"{words}, in column {place + 1}"


def problem(text: str, place: int) -> str:
    """What is wrong at the place where the json module could not read on."""
    before, after = text[:place].rstrip(), text[place:]
    first = after[:1]
    if not after.strip() or re.match(_CUT_WORD, after):
        return f"ends in the middle of {_kind(text)}"
    if first == '"' and before[-1:] in ("", "{", "[", ",", ":"):
        return "ends in the middle of a string"
    if first < " " or first == "\x7f":
        return "a control character that is not escaped"
    if "\\" in text[max(0, place - 1) : place + 1]:
        cut = re.search(_CUT_ESCAPE, text)
        return "ends in the middle of a string" if cut else "an escape that JSON does not know"
    return _of_value(first, before, after)


def _of_value(first: str, before: str, after: str) -> str:
    """What is wrong between two values, or where one should be."""
    last = before[-1:]
    if re.match(_TRAILING_COMMA, last + after) or (
        last not in "{[:," and re.match(_TRAILING_COMMA, after)
    ):
        return COMMA
    if first in "}],:" and last in ("[", ",", ":"):
        return f"a value is missing before {first!r}"
    if first == "'":
        return "single quotes, where JSON has double ones"
    if after.startswith(("//", "/*", "#")):
        return "a comment, which JSON does not have"
    if last in ("{", ",") and re.match(_KEY, after):
        return "a key without quotes"
    word = re.match(_WORD, after)
    if last == '"' and (word or first == '"'):
        return "a comma or a colon is missing, or a quote inside a string is not escaped"
    if (last.isalnum() or last in ("}", "]")) and first in '"{[':
        return "a comma is missing"
    if word is None:
        return f"{first!r} stands where it may not"
    if word[0] in _PYTHON:
        return f"{word[0]}, which JSON writes {_PYTHON[word[0]]}"
    return f"{word[0]!r} is no value of JSON"


def _kind(text: str) -> str:
    """What a text begins with."""
    return {"{": "an object", "[": "an array"}.get(text.lstrip()[:1], "a value")

"""The schema of a job's answers: as the job says it, as it is sent, and whether an answer fits.

`[request] schema` is a JSON Schema or our shorthand for one: a field is a type name (`string`,
`number`, `integer`, `boolean`, and `string[]` for a list), a list of labels, a table of fields, or a
list that holds one of these.  Pure, but for the import of the validator.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any

import msgspec
import pyarrow as pa

from batch import bodies, parsed
from batch.errors import JobError
from batch.model import Choice, Result
from batch.outcome import Accept, Outcome, Reject, TryAgain

APIS = frozenset({"chat", "responses"})
"""The APIs whose answers can be held to a schema."""

NAME = "answer"
"""What the schema is called on the wire; servers want a name."""

TYPES = ("string", "number", "integer", "boolean")
CONTAINERS = ("object", "array", "null")
_WORDS = """
    type properties required additionalProperties patternProperties propertyNames minProperties
    maxProperties items prefixItems minItems maxItems uniqueItems contains minContains maxContains
    enum const anyOf oneOf allOf not if then else minimum maximum exclusiveMinimum exclusiveMaximum
    multipleOf minLength maxLength pattern format title description default examples definitions
    deprecated readOnly writeOnly nullable dependentRequired dependentSchemas
    """
KEYWORDS = frozenset(_WORDS.split())
"""The words of JSON Schema (https://json-schema.org/draft/2020-12/schema); also those with `$`."""

MOST_STARTS = 20
"""Places in a text at which a JSON value is looked for: a text of nothing but brackets ends."""

MESSAGE_LENGTH = 200

_LENIENT = json.JSONDecoder(strict=False)


class BadSchema(ValueError):
    """`schema` of a job is none.  The text says where and why."""


def expanded(given: Any) -> dict[str, Any]:
    """The JSON Schema that is meant, a shorthand made strict: every key, and no other.

    Raises BadSchema.
    """
    if not isinstance(given, dict) or not given:
        raise BadSchema("expected a JSON Schema, or fields and their types")
    if not _is_json_schema(given):
        return _object(given, "")
    if given.get("type", "object") not in ("object", "array"):
        raise BadSchema("the answer must be an object or an array")
    return given


def _is_json_schema(table: dict[str, Any]) -> bool:
    """Whether a table says it in JSON Schema's words and is no table of fields."""
    if not all(key in KEYWORDS or key.startswith(("$", "x-")) for key in table):
        return False
    names = table.get("type")
    names = names if isinstance(names, list) else [names]
    return (
        all(name in TYPES + CONTAINERS for name in names)
        or isinstance(table.get("properties"), dict)
        or any(key in table for key in ("$ref", "$schema", "$defs"))
        or any(isinstance(table.get(word), list) for word in ("anyOf", "oneOf", "allOf"))
    )


def _object(fields: dict[str, Any], at: str) -> dict[str, Any]:
    properties = {
        name: _field(field, f"{at}.{name}" if at else name) for name, field in fields.items()
    }
    return {
        "type": "object",
        "properties": properties,
        "required": list(properties),
        "additionalProperties": False,
    }


def _field(given: Any, at: str) -> dict[str, Any]:
    match given:
        case str() if given.endswith("[]"):
            return {"type": "array", "items": _field(given.removesuffix("[]"), at)}
        case str() if given in TYPES:
            return {"type": given}
        case dict() if given:
            return given if _is_json_schema(given) else _object(given, at)
        case [dict() | list() as inner]:
            return {"type": "array", "items": _field(inner, at)}
        case [str(), *_] if all(isinstance(label, str) for label in given):
            return {"type": "string", "enum": given}
        case [int(), *_] if all(type(label) is int for label in given):
            return {"type": "integer", "enum": given}
    known = f'{", ".join(TYPES)}, a list as in string[], labels as in ["yes", "no"], or a table'
    raise BadSchema(f"{at}: {given!r} is no type (known: {known})")


def response_format(schema: dict[str, Any]) -> dict[str, Any]:
    """The parameter of chat completions that asks for answers of `schema`.

    A server that is asked to be strict refuses a schema with optional or free keys, so it is only
    asked where the schema has none
    (https://platform.openai.com/docs/guides/structured-outputs#supported-schemas).
    """
    named = {"name": NAME, "schema": schema, "strict": _is_strict(schema)}
    return {"type": "json_schema", "json_schema": named}


def _is_strict(node: Any) -> bool:
    if isinstance(node, list):
        return all(map(_is_strict, node))
    if not isinstance(node, dict):
        return True
    if isinstance(properties := node.get("properties"), dict) and (
        node.get("additionalProperties") is not False
        or set(node.get("required", ())) != properties.keys()
    ):
        return False
    return all(map(_is_strict, node.values()))


class Reading(msgspec.Struct, frozen=True):
    """What was found in an answer: JSON that fits, or the reason why there is none.

    `repaired` tells that it had to be taken out of other text, or mended.
    """

    json: str | None = None
    repaired: bool = False
    problem: str = ""


class Checker:
    """Holds answers to one schema."""

    def __init__(self, schema: dict[str, Any]) -> None:
        """Raises JobError for a schema that is none, or that refers to another document."""
        import jsonschema_rs  # 50 ms, which only jobs with a schema pay

        try:
            self._validator = jsonschema_rs.validator_for(schema, retriever=_nothing_remote)
        except jsonschema_rs.ValidationError as error:
            place = "/".join(map(str, error.instance_path))
            where = f"at {place}: " if place else ""
            raise JobError(f"[request] schema: {where}{error.message}") from None
        try:
            self.type: pa.DataType = parsed.column_type(schema)
            self.untypable: str | None = None
        except parsed.Untypable as reason:
            self.type, self.untypable = parsed.TEXT, str(reason)
        self._fits = None if self.untypable else parsed.fit(self.type)

    def judge(self, judged: Outcome) -> Outcome:
        """An accepted answer with what was parsed of it, or what is to become of one that does
        not fit.

        A refusal, a filtered answer and a call of a tool are answers of their own kind.  One that
        was cut off would be cut off again.
        """
        if not isinstance(judged, Accept) or not judged.completion.choices:
            return judged
        first = judged.completion.choices[0]
        found = self.read(first.completion or "")
        if found.json is not None:
            flags = [*judged.completion.flags, *(["json_repaired"] if found.repaired else [])]
            return Accept(
                msgspec.structs.replace(judged.completion, parsed=found.json, flags=flags)
            )
        if _is_no_text(first):
            return judged
        if first.finish_reason == "length":
            cut = f"cut off before it was whole, raise max_tokens ({found.problem})"
            return Reject("schema_mismatch", cut)
        return TryAgain("schema_mismatch", found.problem, mismatch=True)

    def again(self, known: Result) -> Result | None:
        """An answer that another run took, with what is parsed of it here; None when it does not
        fit.
        """
        found = self.read(known.completion or "")
        other = known.refusal or known.tool_calls or known.finish_reason == "content_filter"
        if found.json is None and not other:
            return None
        return msgspec.structs.replace(known, parsed=found.json)

    def read(self, text: str) -> Reading:
        """The JSON in an answer's text that fits the schema."""
        problem = "" if text.strip() else "the answer is empty"
        for value, written, repaired in _found(text):
            fault = self._fault(value)
            if fault is None:
                return Reading(written, repaired)
            problem = problem or fault
        return Reading(problem=problem or f"no JSON: {_short(text.strip(), 60)}")

    def _fault(self, value: Any) -> str | None:
        """Where and why `value` does not fit; None when it does."""
        try:
            for error in self._validator.iter_errors(value):
                path = "".join(
                    f"[{step}]" if isinstance(step, int) else f".{step}"
                    for step in error.instance_path
                )
                return f"{path.removeprefix('.') or 'the answer'}: {_short(error.message)}"
            if self._fits is not None:
                self._fits(value)
        except parsed.Misfit as misfit:
            return _short(str(misfit))
        except ValueError as error:  # nested more deeply than the validator follows
            return f"the answer: {_short(str(error))}"
        return None


def _nothing_remote(uri: str) -> Any:
    raise ValueError(f"{uri} is another document, which is not fetched")


def _is_no_text(choice: Choice) -> bool:
    return bool(choice.refusal or choice.tool_calls or choice.finish_reason == "content_filter")


def _found(text: str) -> Iterator[tuple[Any, str, bool]]:
    """The JSON values that an answer may mean, as value, as JSON on one line, and whether it was
    not simply the whole text.
    """
    whole, mended = bodies.decode(text.encode())
    if whole is not None:
        yield whole, _compact(whole) if mended else _on_one_line(text), mended
        return
    text = text.rpartition("</think>")[2]
    fence = text.find("```")
    if fence >= 0:
        yield from _embedded(text, fence)
    yield from _embedded(text, 0)


def _embedded(text: str, start: int) -> Iterator[tuple[Any, str, bool]]:
    """The objects and arrays inside other text, from `start` on."""
    end = start
    for opening in _starts(text, start):
        if opening < end:  # inside the last one
            continue
        try:
            lenient, end = _LENIENT.raw_decode(text, opening)
        except (ValueError, RecursionError):
            continue
        value, _ = bodies.decode(json.dumps(lenient).encode())
        if value is not None:
            yield value, _compact(value), True


def _starts(text: str, start: int) -> Iterator[int]:
    for number, found in enumerate(re.compile(r"[{\[]").finditer(text, start)):
        if number == MOST_STARTS:
            return
        yield found.start()


def _on_one_line(text: str) -> str:
    """As it stands, numbers to the digit, but for the space around it."""
    return msgspec.json.format(text.removeprefix("\ufeff"), indent=-1)


def _compact(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))


def _short(text: str, length: int = MESSAGE_LENGTH) -> str:
    return text if len(text) <= length else f"{text[:length]}…"

"""The schema of a job's answers: as the job says it, and as it is sent.

`[request] schema` is a JSON Schema or our shorthand for one: a field is a type name (`string`,
`number`, `integer`, `boolean`, and `string[]` for a list), a list of labels, a table of fields, or a
list that holds one of these.
"""

from __future__ import annotations

from typing import Any

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


MOST_LEVELS = 100
"""Levels of a schema: servers take 10 or less; validators and Parquet end before 200."""

_TOO_DEEP = f"it is nested more than {MOST_LEVELS} levels deep"


class BadSchema(ValueError):
    """`schema` of a job is none.  The text says where and why."""


def expanded(given: Any) -> dict[str, Any]:
    """The JSON Schema that is meant, a shorthand made strict: every key, and no other.

    Raises BadSchema.
    """
    try:
        made = _expanded(given)
    except RecursionError:
        raise BadSchema(_TOO_DEEP) from None
    if not _is_within(made, MOST_LEVELS):
        raise BadSchema(_TOO_DEEP)
    return made


def _is_within(node: Any, levels: int) -> bool:
    if not isinstance(node, dict | list):
        return True
    inner = node.values() if isinstance(node, dict) else node
    return levels > 0 and all(_is_within(each, levels - 1) for each in inner)


def _expanded(given: Any) -> dict[str, Any]:
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

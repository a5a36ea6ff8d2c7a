"""The column `parsed`: a JSON Schema -> its Arrow type, and JSON values -> what fits that type.

A schema that Parquet has no type for (several types for one value, free keys, recursion) becomes
JSON text.  The root is an object or an array, so a column of strings always holds JSON text.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import msgspec
import pyarrow as pa

from batch.structured.schema import MOST_LEVELS

TEXT = pa.string()
"""The type of a column that holds JSON text."""

SCALARS = {
    "string": pa.string(),
    "integer": pa.int64(),
    "number": pa.float64(),
    "boolean": pa.bool_(),
    "null": pa.string(),  # nothing but nulls
}


class Untypable(ValueError):
    """Parquet has no type for this schema.  The text says where and why."""


class Misfit(ValueError):
    """A value does not fit the column's type.  The text says where and why."""

    def __init__(self, expected: str, value: Any, at: str = "") -> None:
        text = repr(value)[:60] if type(value) is not int else "one that is larger"
        super().__init__(f"{at.removeprefix('.') or 'the answer'}: expected {expected}, not {text}")
        self._made_of = (expected, value, at)

    def inside(self, place: str) -> Misfit:
        """The same, seen from one level further out."""
        expected, value, at = self._made_of
        return Misfit(expected, value, place + at)


def column_type(schema: dict[str, Any]) -> pa.DataType:
    """The type of the values of `schema`.  Raises Untypable.

    Objects become structs of the properties that are named: with no `additionalProperties` other
    keys may come, and are in `completion` only.
    """
    kind = _Typing(schema).type_of(schema, "", frozenset())
    if not pa.types.is_struct(kind) and not pa.types.is_list(kind):
        raise Untypable("the root is no object or array")
    return kind


class _Typing:
    """One schema on its way to a type; `seen` are the references that a place lies inside of."""

    def __init__(self, root: dict[str, Any]) -> None:
        self._root = root

    def type_of(self, node: Any, at: str, seen: frozenset[str]) -> pa.DataType:
        if not isinstance(node, dict):
            raise Untypable(f"{_named(at)} may be anything")
        if isinstance(reference := node.get("$ref"), str):
            if reference in seen:
                raise Untypable(f"{_named(at)} holds itself ({reference})")
            if len(seen) == MOST_LEVELS:
                raise Untypable(f"{_named(at)[:MOST_LEVELS]}… lies too deep")
            return self.type_of(self._resolved(reference, at), at, seen | {reference})
        for word in ("anyOf", "oneOf", "allOf"):
            if word in node:
                return self._of_any(node[word], at, seen)
        match self._kind(node, at):
            case "object":
                return self._struct(node, at, seen)
            case "array":
                return self._list(node, at, seen)
            case kind:
                return SCALARS[kind]

    def _resolved(self, reference: str, at: str) -> Any:
        found: Any = self._root if reference == "#" or reference.startswith("#/") else None
        for step in reference.removeprefix("#").split("/")[1:]:
            step = step.replace("~1", "/").replace("~0", "~")
            found = found.get(step) if isinstance(found, dict) else None
        if found is None:
            raise Untypable(f"{_named(at)} refers to {reference}")
        return found

    def _of_any(self, nodes: Any, at: str, seen: frozenset[str]) -> pa.DataType:
        """The one type of all alternatives, null left out."""
        real = [node for node in nodes if not _is_null(node)]
        kinds = [self.type_of(node, at, seen) for node in real]
        if not kinds or any(kind != kinds[0] for kind in kinds):
            raise Untypable(f"{_named(at)} may be of several types")
        return kinds[0]

    def _kind(self, node: dict[str, Any], at: str) -> str:
        given = node.get("type")
        names = {given} if isinstance(given, str) else set(given or _kinds_of(node))
        names = names - {"null"} or names
        if names == {"integer", "number"}:
            return "number"
        if len(names) != 1:
            raise Untypable(f"{_named(at)} may be {'of several types' if names else 'anything'}")
        return str(names.pop())

    def _struct(self, node: dict[str, Any], at: str, seen: frozenset[str]) -> pa.DataType:
        properties = node.get("properties") or {}
        if node.get("additionalProperties", False) is not False or "patternProperties" in node:
            raise Untypable(f"{_named(at)} may have any keys")
        if not properties or len({name.lower() for name in properties} - {""}) < len(properties):
            raise Untypable(f"{_named(at)} has no keys, or keys that differ only in case")
        fields = [
            (name, self.type_of(inner, _inside(at, name), seen))
            for name, inner in properties.items()
        ]
        return pa.struct(fields)

    def _list(self, node: dict[str, Any], at: str, seen: frozenset[str]) -> pa.DataType:
        if "prefixItems" in node or not isinstance(node.get("items"), dict):
            raise Untypable(f"{_named(at)} may hold anything")
        return pa.list_(self.type_of(node["items"], f"{at}[]", seen))


def _is_null(node: Any) -> bool:
    return isinstance(node, dict) and (node.get("type") == "null" or node.get("const", 0) is None)


def _kinds_of(node: dict[str, Any]) -> set[str]:
    """The JSON types of a schema that does not name them."""
    if "properties" in node:
        return {"object"}
    if "items" in node:
        return {"array"}
    values = node.get("enum", [node["const"]] if "const" in node else [])
    names = {bool: "boolean", int: "integer", float: "number", str: "string", type(None): "null"}
    return {names.get(type(value), "object") for value in values}


def _named(at: str) -> str:
    return at or "the answer"


def _inside(at: str, name: str) -> str:
    return f"{at}.{name}" if at else name


Fit = Callable[[Any], Any]
"""Decoded JSON -> what pyarrow takes.  Raises Misfit."""


def fit(kind: pa.DataType) -> Fit:
    """What makes values fit `kind`; made once, as it is called for every row.

    A whole number written as 2.0 is an integer, as JSON Schema has it; null fits everywhere.
    """
    if pa.types.is_struct(kind):
        return _fit_struct({field.name: fit(field.type) for field in kind})
    if pa.types.is_list(kind):
        return _fit_list(fit(kind.value_type))
    if pa.types.is_integer(kind):
        return _integer
    if pa.types.is_floating(kind):
        return _number
    return _boolean if pa.types.is_boolean(kind) else _string


def _fit_struct(fields: dict[str, Fit]) -> Fit:
    def struct(value: Any) -> dict[str, Any] | None:
        if value is None:
            return None
        if type(value) is not dict:
            raise Misfit("an object", value)
        made, name = {}, ""
        try:
            for name, inner in fields.items():
                made[name] = inner(value.get(name))
        except Misfit as misfit:
            raise misfit.inside(f".{name}") from None
        return made

    return struct


def _fit_list(item: Fit) -> Fit:
    def list_(value: Any) -> list[Any] | None:
        if value is None:
            return None
        if type(value) is not list:
            raise Misfit("an array", value)
        made: list[Any] = []
        try:
            for inner in value:
                made.append(item(inner))  # noqa: PERF401  (its length tells which one did not fit)
        except Misfit as misfit:
            raise misfit.inside(f"[{len(made)}]") from None
        return made

    return list_


def _integer(value: Any) -> int | None:
    if type(value) is float and value.is_integer():
        value = int(value)
    if value is None or (type(value) is int and -(2**63) <= value < 2**63):
        return value
    raise Misfit("an integer of 64 bits", value)


def _number(value: Any) -> float | None:
    if value is None or type(value) is float:
        return value
    if type(value) is int and abs(value) < 2**1023:
        return float(value)
    raise Misfit("a number of 64 bits", value)


def _boolean(value: Any) -> bool | None:
    if value is None or type(value) is bool:
        return value
    raise Misfit("true or false", value)


def _string(value: Any) -> str | None:
    if value is None or type(value) is str:
        return value
    raise Misfit("a string", value)


def values(texts: Sequence[str | None], kind: pa.DataType) -> list[Any]:
    """What pyarrow makes the column of.  A value that does not fit (another version wrote it) is
    null: its text is in `completion`.
    """
    if kind == TEXT:
        return list(texts)
    fits = fit(kind)
    return [None if text is None else _or_null(msgspec.json.decode(text), fits) for text in texts]


def _or_null(value: Any, fits: Fit) -> Any:
    try:
        return fits(value)
    except Misfit:
        return None


def text(value: Any) -> str | None:
    """A value of the column, as Python shows it, as the JSON that it came from."""
    if value is None:
        return None
    return value if isinstance(value, str) else msgspec.json.encode(value).decode()

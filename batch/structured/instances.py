"""Answers as instances of the types whose schema they were given: pydantic models, and whatever msgspec
converts to (TypedDict, dataclass, Struct).
"""

from __future__ import annotations

from typing import Any

import msgspec


def schema_of(kind: type) -> dict[str, Any]:
    """The JSON Schema of a type, strict as servers want it: every key, and no other.  Raises TypeError
    for a type that has none.
    """
    pydantic = getattr(kind, "model_json_schema", None)
    made = msgspec.json.schema(kind) if pydantic is None else pydantic()
    defined = made.pop("$defs", {})
    if "$ref" in made:
        made = {**defined[_name(made["$ref"])], **{k: v for k, v in made.items() if k != "$ref"}}
    strict = _strict(made, defined)
    named = _names(strict, defined)
    if named:
        strict["$defs"] = {name: _strict(defined[name], defined) for name in sorted(named)}
    return strict  # type: ignore[no-any-return]


def _strict(node: Any, defined: dict[str, Any]) -> Any:
    """Without defaults, which no key that has to be there needs; a reference stands alone."""
    if isinstance(node, list):
        return [_strict(each, defined) for each in node]
    if not isinstance(node, dict):
        return node
    if "$ref" in node and len(node) > 1:
        rest = {key: value for key, value in node.items() if key != "$ref"}
        return _strict({**defined[_name(node["$ref"])], **rest}, defined)
    made = {key: _strict(each, defined) for key, each in node.items() if key != "default"}
    if isinstance(node.get("properties"), dict):
        made["properties"] = {
            name: _strict(each, defined) for name, each in node["properties"].items()
        }
        made["required"] = list(node["properties"])
        made.setdefault("additionalProperties", False)
    return made


def _names(node: Any, defined: dict[str, Any]) -> set[str]:
    """The definitions that are referred to, also by one another."""
    found: set[str] = set()
    waiting = [node]
    while waiting:
        held = waiting.pop()
        if isinstance(held, list):
            waiting += held
        elif isinstance(held, dict):
            waiting += held.values()
            name = _name(held["$ref"]) if isinstance(held.get("$ref"), str) else None
            if name in defined and name not in found:
                found.add(name)
                waiting.append(defined[name])
    return found


def _name(reference: str) -> str:
    return reference.rpartition("/")[2]


def of(kind: type, row: dict[str, Any]) -> Any:
    """The answer of a row as an instance of `kind`, None where it has none.  What `kind` refuses raises
    its own error: pydantic's or msgspec's ValidationError.

    Its text tells it best: in `parsed`, keys that were left out are null.  That is what fits where the
    text was repaired, or where null is what `kind` wants.
    """
    parsed = row.get("parsed")
    if parsed is None:
        return None
    try:
        said = msgspec.json.decode(row["completion"] or "")
    except msgspec.DecodeError:
        return _as(kind, _read(parsed))
    try:
        return _as(kind, said)
    except ValueError as refused:  # so are both kinds of ValidationError
        try:
            return _as(kind, _read(parsed))
        except ValueError:
            raise refused from None


def _read(parsed: Any) -> Any:
    return msgspec.json.decode(parsed) if isinstance(parsed, str) else parsed


def _as(kind: type, answer: Any) -> Any:
    if hasattr(kind, "model_validate"):
        return kind.model_validate(answer)
    return msgspec.convert(answer, kind)

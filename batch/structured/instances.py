"""Answers as instances of the types whose schema they were given: pydantic models, and whatever msgspec
converts to (TypedDict, dataclass, Struct).
"""

from __future__ import annotations

from typing import Any

import msgspec


def schema_of(kind: type) -> dict[str, Any]:
    """The JSON Schema of a type.  Raises TypeError for one that has none."""
    if hasattr(kind, "model_json_schema"):
        return dict(kind.model_json_schema())
    made = msgspec.json.schema(kind)
    names = made.pop("$ref", "").rpartition("/")[2]
    if not names:
        return made
    return {**made["$defs"][names], **({"$defs": made["$defs"]} if len(made["$defs"]) > 1 else {})}


def of(kind: type, row: dict[str, Any]) -> Any:
    """The answer of a row as an instance of `kind`, None where it has none.  What `kind` refuses raises
    its own error: pydantic's or msgspec's ValidationError.
    """
    answer = _answer(row)
    if answer is None:
        return None
    if hasattr(kind, "model_validate"):
        return kind.model_validate(answer)
    return msgspec.convert(answer, kind)


def _answer(row: dict[str, Any]) -> Any:
    """The object that the model gave.  Its text tells it best: in `parsed`, keys that were left out are
    null.
    """
    parsed = row.get("parsed")
    if parsed is None:
        return None
    try:
        return msgspec.json.decode(row["completion"] or "")
    except msgspec.DecodeError:  # it was repaired
        return msgspec.json.decode(parsed) if isinstance(parsed, str) else parsed

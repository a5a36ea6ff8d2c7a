"""The JSON Schema of a job file, by which editors complete, explain and check it.

Types, bounds and defaults are those of the values that a job is made of.
"""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Any

import msgspec

from batch import spec
from batch.apis import APIS
from batch.costs.prices import Price
from batch.job_files.descriptions import Description, descriptions
from batch.limits.pool import Share
from batch.requests.bare_bodies import ASKING
from batch.requests.known_keys import KNOWN
from batch.transport.endpoint import Endpoint

FILE = "batchmill.schema.json"
"""What it is called beside a job file."""

DIRECTIVE = f"#:schema ./{FILE}"
"""The line by which Taplo, and what is built on it, finds the schema of a TOML file."""

TITLE = "A job of batchmill"


def schema() -> dict[str, Any]:
    """The schema, in the words that all editors know (draft 7, and nothing by reference)."""
    kinds = (spec.Job, *spec.TABLES.values(), Price)
    _, made = msgspec.json.schema_components(kinds)
    properties = _properties(made["Job"], "")
    for table, kind in spec.TABLES.items():
        properties[table] = _table(made[kind.__name__], table)
    properties["endpoint"] = _endpoint()
    properties["request"] = _request()
    properties["prices"] = _said(descriptions()["prices"]) | {
        "type": "object",
        "additionalProperties": _table(made["Price"], "prices"),
    }
    return {
        "$schema": "http://json-schema.org/draft-07/schema#",
        "title": TITLE,
        "type": "object",
        "properties": properties,
        "additionalProperties": False,
    }


def is_ours(path: Path) -> bool:
    """Whether a file is such a schema, of any version."""
    try:
        held = msgspec.json.decode(path.read_bytes())
    except (OSError, msgspec.DecodeError):
        return False
    return isinstance(held, dict) and held.get("title") == TITLE


def _table(made: dict[str, Any], name: str) -> dict[str, Any]:
    needed = {"required": made["required"]} if made["required"] else {}
    return _said(descriptions()[name]) | {
        "type": "object",
        "properties": _properties(made, name),
        "additionalProperties": False,
        **needed,
    }


def _properties(made: dict[str, Any], table: str) -> dict[str, Any]:
    """The keys of one table; tables in it are left out."""
    keys = {key: f"{table}.{key}".lstrip(".") for key in made["properties"]}
    return {
        key: _said(descriptions()[name]) | _without_null(made["properties"][key])
        for key, name in keys.items()
        if table or (key in spec.KEYS[""] and key not in (*spec.KEYS, "prices"))
    }


def _endpoint() -> dict[str, Any]:
    """`[endpoint]`, or several `[[endpoint]]`; each may have a list of URLs."""
    _, made = msgspec.json.schema_components((Endpoint, Share))
    kinds = made["Endpoint"]["properties"] | made["Share"]["properties"]
    table = _table({"properties": kinds, "required": []}, "endpoint")
    url = table["properties"]["base_url"]
    del url["type"]
    url["anyOf"] = [{"type": "string"}, {"type": "array", "items": {"type": "string"}}]
    said = {"description": table.pop("description")}
    return said | {"anyOf": [table, {"type": "array", "items": table}]}


def _request() -> dict[str, Any]:
    """`[request]` takes any key; those that servers know are named."""
    kinds: dict[str, Any] = {
        "api": {"type": "string", "enum": list(APIS)},
        "model": {"type": "string"},
        "schema": {"type": ["object", "string"]},
    }
    assert kinds.keys() == set(spec.OURS)
    named = descriptions()
    sent: dict[str, Any] = {key: {} for key in sorted(KNOWN.difference(ASKING, kinds))}
    told = {
        key: _said(named[name]) for key in (*kinds, *sent) if (name := f"request.{key}") in named
    }
    return _said(named["request"]) | {
        "type": "object",
        "properties": {key: told.get(key, {}) | kind for key, kind in (kinds | sent).items()},
    }


def _said(of: Description) -> dict[str, Any]:
    if not of.example:
        return {"description": of.said}
    return {
        "description": of.said,
        "examples": [tomllib.loads(f"example = {of.example}")["example"]],
    }


def _without_null(made: dict[str, Any]) -> dict[str, Any]:
    """TOML has no null: a key that may be left out is left out."""
    made = {
        key: value for key, value in made.items() if key != "default" or value not in (None, {})
    }
    kinds = [kind for kind in made.pop("anyOf", []) if kind != {"type": "null"}]
    if len(kinds) == 1:
        return {**kinds[0], **made}
    return ({"anyOf": kinds} if kinds else {}) | made

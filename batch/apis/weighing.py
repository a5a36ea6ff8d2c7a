"""What a request says where job, row and flags all speak: a row wins over the job file, a flag over
both.  Pure.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

Body = dict[str, Any]

NOT_SENT = ("api", "prompt.system")
"""Keys given by flags that are no part of a body as they are."""

CAPS = ("max_tokens", "max_completion_tokens", "max_output_tokens")
SAME: dict[str, list[tuple[str, ...]]] = {
    **{cap: [(other,) for other in CAPS if other != cap] for cap in CAPS},
    "response_format": [("text", "format")],
    "reasoning_effort": [("reasoning", "effort")],
    "verbosity": [("text", "verbosity")],
}
"""Parameter -> where else a body may say the same, in the words of another API."""


def weighed(job: Body, row: Body, flags: Mapping[str, Any]) -> Body:
    """One body.  Of two words for the same, the weightier one stays."""
    return over(_under(job, row), flags)


def over(body: Body, flags: Mapping[str, Any]) -> Body:
    """`body` with what flags say; a dotted key goes into the table it names."""
    said = {key: value for key, value in flags.items() if key not in NOT_SENT}
    if not said:
        return body
    made = body
    for key in said:
        for path in SAME.get(key, ()):
            made = _without(made, path)
    made = dict(made)
    for key, value in said.items():
        *parents, last = key.split(".")
        table = made
        for parent in parents:
            inner = table.get(parent)
            table[parent] = dict(inner) if isinstance(inner, dict) else {}
            table = table[parent]
        table[last] = value
    return made


def overruled(row: Body, flags: Mapping[str, Any]) -> list[str]:
    """The keys of flags that say something else than a row's own body."""
    return [key for key in flags if key not in NOT_SENT and over(row, {key: flags[key]}) != row]


def _under(job: Body, row: Body) -> Body:
    """`row`, with what only the job says."""
    mine = {key: value for key, value in job.items() if not _says(row, key)}
    return {**mine, **row}


def _says(row: Body, key: str) -> bool:
    """Whether a row says what `key` does, by another name."""
    return any(_at(row, path) is not None for path in SAME.get(key, ()))


def _at(body: Body, path: tuple[str, ...]) -> Any:
    value: Any = body
    for name in path:
        value = value.get(name) if isinstance(value, dict) else None
    return value


def _without(body: Body, path: tuple[str, ...]) -> Body:
    """`body` without what stands at `path`, in which no table is left empty."""
    first, *rest = path
    if first not in body:
        return body
    kept = {key: value for key, value in body.items() if key != first}
    if rest and isinstance(body[first], dict):
        inner = _without(body[first], tuple(rest))
        return {**kept, first: inner} if inner else kept
    return body if rest else kept

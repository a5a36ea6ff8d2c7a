"""What the columns of an input say of how its rows are to be asked."""

from __future__ import annotations

import re
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import msgspec

from batch import readers
from batch.apis import APIS
from batch.errors import InputError
from batch.model import Row
from batch.planning import sources
from batch.planning.first_rows import Sample
from batch.readers import FIRST_ROWS, TextOptions
from batch.requests.prompts import BadRow, Prompt, Prompter
from batch.requests.templates import Template, Unrenderable
from batch.requests.templates.names import place_of

LABEL = re.compile(r"(?:.*[_\W])?(?:id|uid|uuid|key|code)", re.IGNORECASE)
"""The name of a column that tells rows apart."""


class Columns(msgspec.Struct, frozen=True):
    """The columns of an input.  `api` is the one in which rows ask by themselves, None where a prompt
    is needed; then `text` is how it names the column that is worth asking about, and `pictures` one that
    holds pictures, if there is nothing but these.  `label` may become custom_id.
    """

    names: tuple[str, ...]
    api: str | None = None
    text: str | None = None
    pictures: str | None = None
    label: str | None = None


def found(input: str, format: str | None, options: TextOptions) -> Columns:
    """What an input holds, by its first rows.  Raises InputError."""
    source = readers.resolve(input, Path.cwd(), format, None, options)
    rows = list(Sample(source, FIRST_ROWS))
    if not rows:
        raise sources.no_rows(source)
    read = [row for row in rows if row.fault is None]
    if not read:
        raise InputError(f"{rows[0].where}: {rows[0].fault}")
    return of(read)


def of(rows: Sequence[Row]) -> Columns:
    """What these rows have in common."""
    names = tuple(dict.fromkeys(name for row in rows for name in row.values))
    values = {name: [row.values.get(name) for row in rows] for name in names}
    label = next((name for name in names if _tells_apart(name, values[name])), None)
    if (api := _own_api(rows)) is not None:
        return Columns(names, api=api, label=label)
    others = [name for name in names if name != label]
    longest = sorted(others, key=lambda name: -sum(map(_length, values[name])))
    pictures = next((name for name in others if any(map(_is_bytes, values[name]))), None)
    for place in (place for name in longest for place in _places(name)):
        if _renders(place, rows):
            return Columns(names, text=place, label=label)
    text = None if pictures or label is None else place_of(label)
    return Columns(names, text=text, pictures=pictures, label=label)


def _own_api(rows: Sequence[Row]) -> str | None:
    """The API by which all rows ask without a prompt; None where one does not."""
    for name in APIS:
        with suppress(BadRow):
            prompter = Prompter(Prompt(), api=name, apis=APIS)
            for row in rows:
                prompter.question(row)
            return name
    return None


def _tells_apart(name: str, values: list[Any]) -> bool:
    known = [value for value in values if isinstance(value, str | int)]
    if name == "custom_id":  # it does so without a word
        return False
    return bool(LABEL.fullmatch(name)) and len(set(known)) == len(known) == len(values)


def _length(value: Any) -> int:
    return len(value) if isinstance(value, str) else 0


def _is_bytes(value: Any) -> bool:
    return isinstance(value, bytes) or (isinstance(value, dict) and "bytes" in value)


def _places(name: str) -> tuple[str, str]:
    """How a prompt names a column: one that every row has, and one that a row may lack."""
    place = place_of(name)
    return place, f"{place[:-3]} | default('', true) }}}}"


def _renders(place: str, rows: Sequence[Row]) -> bool:
    template = Template(place)
    try:
        for row in rows:
            template.render(row.values)
    except Unrenderable:
        return False
    return True

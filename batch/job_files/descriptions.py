"""What each key of a job means, and an example of it, as every_key.toml tells them."""

from __future__ import annotations

import re
from functools import cache
from pathlib import Path
from typing import NamedTuple

EVERY_KEY = Path(__file__).with_name("every_key.toml")

_LINE = re.compile(r"(?:\[(\w+)(?:\.\"[^\"]+\")?\]|(\w+) = (.*?)) +# (.+)")
"""A table or a key with its example, and what is said of it."""


class Description(NamedTuple):
    """What a key is, and an example of its value, in TOML; none of a table."""

    said: str
    example: str = ""


@cache
def descriptions() -> dict[str, Description]:
    """By `table`, `table.key`, or the key alone where it stands in no table; in the order of the file."""
    found: dict[str, Description] = {}
    table = ""
    for line in EVERY_KEY.read_text(encoding="utf-8").splitlines():
        if not (told := _LINE.fullmatch(line)):
            continue
        name, key, example, said = told.groups()
        if name is not None:
            table = name
            found[table] = Description(said)
        else:
            found[f"{table}.{key}".lstrip(".")] = Description(said, example)
    return found

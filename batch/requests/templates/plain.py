"""Templates that are texts and names of columns, as most are, told without Jinja, which takes 20 ms
at a start.

What is not certainly one is left to Jinja; a test compares the two over random templates.
"""

from __future__ import annotations

import re

from batch.requests.templates.names import RESERVED

Part = tuple[str, str | None]
"""A text, or a column in whose place it stands."""

COLUMN = re.compile(r"\{\{\s*(\w+)\s*\}\}")
MORE = re.compile(r"\{[{%#]|[\ud800-\udfff]")
"""What begins more than a text, and what nobody can send."""
END_OF_LINE = re.compile(r"\r\n?")
"""What Jinja makes a plain newline of."""


def parts(source: str) -> list[Part] | None:
    """The parts of a template, in order; None where it is, or may be, more than these."""
    pieces = COLUMN.split(source)
    texts, columns = pieces[::2], pieces[1::2]
    if any(map(MORE.search, (*(f"{text}{{" for text in texts[:-1]), texts[-1]))):
        return None
    if not all(name.isidentifier() and name not in RESERVED for name in columns):
        return None
    found: list[Part] = []
    for at, piece in enumerate(pieces):
        if at % 2 or piece:
            text = END_OF_LINE.sub("\n", piece)
            found.append(("", piece) if at % 2 else (text, None))
    return found


def head(parts: list[Part]) -> int:
    """How many characters stand before the first column."""
    text, column = parts[0] if parts else ("", None)
    return 0 if column is not None else len(text)

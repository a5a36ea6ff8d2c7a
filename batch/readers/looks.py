"""Files of text are looked at before they are read, and what a person says of them is heard."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from batch.errors import InputError
from batch.readers import csv, encodings, json, jsonl, kinds, plain
from batch.readers.reading import OLD, Dialect, Said

LOOKS: dict[str, Callable[[str, Said], Dialect]] = {
    "jsonl": jsonl.look,
    "json": json.look,
    "csv": csv.look,
    "lines": plain.look,
}


def heard(said: Said, format: str) -> Said:
    """What was said, in Python's words.  Raises InputError where it cannot be, or says nothing."""
    if said.delimiter is not None and format != "csv":
        raise InputError(f"delimiter: the input is {format}; only CSV has one")
    if said.encoding is not None and format not in LOOKS:
        raise InputError(f"encoding: the input is {format}; only text has one")
    encoding = None if said.encoding is None else encodings.named(said.encoding)
    return Said(None if said.delimiter is None else csv.delimiter(said.delimiter), encoding)


def check(paths: Sequence[str], format: str) -> None:
    """Raises InputError for a file that is something else by its first bytes."""
    if format != "run":
        for path in paths:
            kinds.check(path, format)


def dialects(paths: Sequence[str], format: str, said: Said) -> list[Dialect]:
    """How the files are read; nothing where they are no text.  Raises InputError."""
    look = LOOKS.get(format)
    return [] if look is None else [look(path, said) for path in paths]


def contradiction(found: str, dialects: Sequence[Dialect], format: str, said: Said) -> str | None:
    """What a format `found` now, or what was said, has against how a run reads its input, in words;
    None where it is the same.
    """
    if found != format:
        return f"as {format}, and not as {found}"
    said = heard(said, format)
    for dialect in dialects or [OLD]:
        for word in ("delimiter", "encoding"):
            own, given = getattr(dialect, word), getattr(said, word)
            if given not in (None, own):
                return f"with the {word} {own!r}, and not {given!r}"
    return None

"""How the text files of an input are read: detected from their first bytes, or set by the user."""

from __future__ import annotations

from collections.abc import Sequence

from batch.errors import InputError
from batch.readers import encodings, kinds
from batch.readers.formats import READERS
from batch.readers.reading import OLD, Dialect, TextOptions


def normalized(options: TextOptions, format: str) -> TextOptions:
    """The options with Python's name of the encoding.  Raises InputError for one that does not apply
    to the format, or is none.
    """
    if options.delimiter is not None and format != "csv":
        raise InputError(f"delimiter: the input is {format}; only CSV has one")
    if options.encoding is not None and READERS[format].detect is None:
        raise InputError(f"encoding: the input is {format}; only text has one")
    encoding = None if options.encoding is None else encodings.named(options.encoding)
    if options.delimiter is None:
        return TextOptions(None, encoding)
    from batch.readers import csv

    return TextOptions(csv.delimiter(options.delimiter), encoding)


def check(paths: Sequence[str], format: str) -> None:
    """Raises InputError for a file that is something else by its first bytes."""
    if format != "run":
        for path in paths:
            kinds.check(path, format)


def dialects(paths: Sequence[str], format: str, options: TextOptions) -> list[Dialect]:
    """The dialect of each file; nothing where the format is no text.  Raises InputError."""
    detect = READERS[format].detect
    return [] if detect is None else [detect(path, options) for path in paths]


def contradiction(
    found: str, dialects: Sequence[Dialect], format: str, options: TextOptions
) -> str | None:
    """How a format `found` now, or the options, differ from how a run reads its input, in words; None
    where they do not.
    """
    if found != format:
        return f"as {format}, and not as {found}"
    options = normalized(options, format)
    for dialect in dialects or [OLD]:
        for word in ("delimiter", "encoding"):
            own, given = getattr(dialect, word), getattr(options, word)
            if given not in (None, own):
                return f"with the {word} {own!r}, and not {given!r}"
    return None

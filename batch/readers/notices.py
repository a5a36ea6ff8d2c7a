"""What was found out of an input by looking at it, in words: a line for all files that are alike."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from batch.readers import source
from batch.readers.reading import UTF8, Dialect, TextOptions

MOST_NAMED = 5
MOST_LINES = 3

_DELIMITERS = {"\t": "a tab", "|": "'|'", ";": "';'", ",": "','"}


def notices(
    paths: Sequence[str], dialects: Sequence[Dialect], options: TextOptions
) -> tuple[str, ...]:
    alike: dict[str, list[str]] = {}
    for path, dialect in zip(paths, dialects, strict=True):
        if found := "; ".join(_words(path, dialect, options)):
            alike.setdefault(found, []).append(source.basename(path))
    lines = [
        f"{names[0]}{f' and {len(names) - 1} more' if names[1:] else ''}: {found}"
        for found, names in alike.items()
    ]
    more = len(lines) - MOST_LINES
    if more > 0:
        lines[MOST_LINES:] = [f"… and so on for {more} more kinds of files"]
    return tuple(lines)


def _words(path: str, dialect: Dialect, options: TextOptions) -> Iterator[str]:
    if options.delimiter is None and dialect.delimiter is not None:
        yield from _delimiter(path, dialect.delimiter)
    if options.encoding is None and dialect.encoding != UTF8:
        yield f"its text is {dialect.encoding.upper()}"
    if dialect.within is not None:
        yield f"its rows are those of {dialect.within!r}"
    if dialect.names is not None:
        yield from _names(path, dialect)


def _delimiter(path: str, mark: str) -> Iterator[str]:
    from batch.readers import csv

    if mark != csv.usual(path):
        yield f"{_DELIMITERS.get(mark, repr(mark))} stands between its fields"


def _names(path: str, dialect: Dialect) -> Iterator[str]:
    from batch.readers import csv

    renamed, made = csv.renamed(path, dialect), []
    for before, name in renamed:
        if not before:
            made.append(f"{name} (it had no name)")
        elif name != before:
            shown = name if name.isprintable() else repr(name)
            made.append(f"{shown} (another {before!r})")
    if made:
        more = f" and {len(made) - MOST_NAMED} more" if made[MOST_NAMED:] else ""
        yield f"columns are called {', '.join(made[:MOST_NAMED])}{more}"
    if len(made) < len(renamed):
        yield "spaces around names are left out"

"""Results that are longer than the terminal, page by page."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Iterator
from itertools import chain

import click

from batch import words
from batch.cli import put


def put_all(texts: Iterator[str], kind: words.Kind) -> None:
    """Print texts, a line break behind each: through $PAGER (or less) where a terminal has no room
    for them.  Raises StorageError.
    """
    first = _screenful(texts) if sys.stdout.isatty() else None
    if first is None or not _overflows(first):
        for text in chain(first or [], texts):
            if not put(text, kind):
                return
        return
    encoding = sys.stdout.encoding
    click.echo_via_pager(f"{words.fitting(text, kind, encoding)}\n" for text in chain(first, texts))


def _screenful(texts: Iterator[str]) -> list[str]:
    """As many as fill the terminal, if there are so many."""
    taken: list[str] = []
    for text in texts:
        taken.append(text)
        if _overflows(taken):
            break
    return taken


def _overflows(texts: list[str]) -> bool:
    width, height = shutil.get_terminal_size()
    lines = (line for text in texts for line in text.splitlines() or [""])
    return sum(1 + len(line) // max(width, 1) for line in lines) >= height

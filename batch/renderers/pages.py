"""Pages of one look: no script, nothing from elsewhere, light and dark, to be printed too.

Every word goes into a page through its template, which escapes it.
"""

from __future__ import annotations

from datetime import UTC, datetime
from functools import lru_cache
from pathlib import Path
from typing import Any

import jinja2

from batch import __version__
from batch.errors import Refused, StorageError, UsageError
from batch.outputs import whole

TEMPLATES = Path(__file__).parent
SUFFIXES = (".html", ".htm")

OURS = b'<meta name="generator" content="batchmill">'
"""Stands in the first KiB of each page, and of no other file."""


def page(template: str, title: str, heading: str, **values: Any) -> str:
    """The page of a template, which fills in base.html."""
    made = f"{datetime.now(UTC):%Y-%m-%d %H:%M} UTC, batchmill {__version__}"
    known = _templates().get_template(template)
    return known.render(title=title, heading=heading, made=made, **values)


def check(path: Path) -> None:
    """Raises UsageError for a file that is called no page, and Refused for one that is there and none of
    ours.
    """
    if path.suffix.lower() not in SUFFIXES:
        raise UsageError(f"-o {path}: a page is written there; name it *.html")
    if path.exists() and OURS not in _beginning(path):
        raise Refused(f"{path} is there already, and no page of ours", hint="choose another name")


def _beginning(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            return file.read(1024)
    except OSError as error:
        raise StorageError(f"{path}: {error.strerror}") from None


def write(path: Path, text: str) -> None:
    """Make a page the whole content of a file, all or nothing.  Raises StorageError."""
    whole.put(path, text.encode())


@lru_cache(maxsize=1)
def _templates() -> jinja2.Environment:
    return jinja2.Environment(
        loader=jinja2.FileSystemLoader(TEMPLATES, encoding="utf-8"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )

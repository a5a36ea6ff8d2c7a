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
from batch.errors import UsageError
from batch.renderers import files

TEMPLATES = Path(__file__).parent
SUFFIXES = (".html", ".htm")

OURS = b'<meta name="generator" content="batchmill">'
"""Stands near the beginning of each page, and of no other file."""


def page(template: str, title: str, heading: str, **values: Any) -> str:
    """The page of a template, which fills in base.html."""
    made = f"{datetime.now(UTC):%Y-%m-%d %H:%M} UTC, batchmill {__version__}"
    known = _templates().get_template(template)
    return known.render(title=title, heading=heading, made=made, **values)


def check(path: Path) -> None:
    """Raises UsageError for a file that is called no page, and what `files.check` raises."""
    if path.suffix.lower() not in SUFFIXES:
        raise UsageError(f"-o {path}: a page is written there; name it *.html")
    files.check(path, OURS)


@lru_cache(maxsize=1)
def _templates() -> jinja2.Environment:
    return jinja2.Environment(
        loader=jinja2.FileSystemLoader(TEMPLATES, encoding="utf-8"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )

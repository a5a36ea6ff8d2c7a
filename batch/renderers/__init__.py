"""How a report is shown.  A renderer is a module with a function `text`; MODULES is the list of them.
Those of a comparison are `compared_table`, `compared_json` and `compared_html`; that of estimates is
`estimated`.

To import this room is cheap: a renderer, and what it needs, is loaded when it is asked for.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Protocol, cast

if TYPE_CHECKING:
    from batch.reports.report import Report
    from batch.words import Kind

MODULES = {
    "table": "table",
    "md": "markdown",
    "json": "json",
    "csv": "csv",
    "html": "html",
}
"""A format, as it is asked for, and the module that writes it: a line each."""


class Renderer(Protocol):
    """What a module here offers."""

    @property
    def KIND(self) -> Kind:
        """What its text is, for whoever prints it."""

    def text(self, report: Report) -> str: ...


def renderer(format: str) -> Renderer:
    """The one of a format."""
    return cast(Renderer, import_module(f"{__name__}.{MODULES[format]}"))

"""How a report is shown: each renderer takes it to text."""

from __future__ import annotations

from collections.abc import Callable

from batch.renderers import csv, html, json, table
from batch.reports.report import Report

RENDERERS: dict[str, Callable[[Report], str]] = {
    "table": table.text,
    "md": table.markdown,
    "json": json.text,
    "csv": csv.text,
    "html": html.text,
}

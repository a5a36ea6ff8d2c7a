"""The groups of a report as CSV, one line each, with no cell that a spreadsheet would run."""

from __future__ import annotations

import csv
import io
from typing import Any

import msgspec

from batch.reports.groups import Numbers
from batch.reports.report import Report
from batch.words import Kind, guarded, printable

KIND: Kind = "text"
OURS = b"rows_ok,rows_failed,rows_reused,attempts,"


def text(report: Report) -> str:
    """The keys, then every number; null is empty.  Without keys: one line, of everything."""
    file = io.StringIO(newline="")
    writer = csv.writer(file, lineterminator="\n")
    writer.writerow([_cell(name) for name in (*report.by, *Numbers.__struct_fields__)])
    if not report.by:
        writer.writerow(_cells([], report.totals))
    for group in report.groups:
        writer.writerow(_cells(list(group.by.values()), group.numbers))
    return file.getvalue()


def _cells(keys: list[str | None], numbers: Numbers) -> list[Any]:
    return [_cell(value) for value in (*keys, *msgspec.structs.astuple(numbers))]


def _cell(value: Any) -> Any:
    if isinstance(value, dict):
        return " ".join(f"{name}={amount}" for name, amount in value.items())
    if isinstance(value, str):
        return printable(guarded(value))
    return "" if value is None else value

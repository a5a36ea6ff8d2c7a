"""A run on a card, as a notebook shows it: how far it is, what it cost, what failed."""

from __future__ import annotations

from html import escape

from batch.reports.groups import Numbers
from batch.reports.report import Failure, Report
from batch.reports.status import Status
from batch.words import at_least, money


def html(status: Status, report: Report, stopped: str | None) -> str:
    """The card; `stopped` says why the last start ended early.  All that is not ours is escaped."""
    numbers = report.totals
    facts = [
        ("state", status.state if stopped is None else f"{status.state}: {stopped}"),
        ("rows", _rows(status)),
        ("tokens", f"{_count(numbers.input_tokens)} in, {_count(numbers.output_tokens)} out"),
        ("cost", _cost(numbers)),
        *((failure.error_class, _failure(failure)) for failure in report.failures),
    ]
    rows = "".join(
        f"<tr><th style='text-align:left'>{escape(name)}</th>"
        f"<td style='text-align:left'>{escape(text)}</td></tr>"
        for name, text in facts
    )
    return f"<table><caption style='text-align:left'>{escape(status.run)}</caption>{rows}</table>"


def _rows(status: Status) -> str:
    said = f"{status.ok:,} ok, {status.failed:,} failed"
    return said if not status.pending else f"{said}, {status.pending:,} to go"


def _cost(numbers: Numbers) -> str:
    if numbers.cost_usd is None:
        return "unknown"
    return at_least(numbers.cost_usd) if numbers.unpriced_rows else money(numbers.cost_usd)


def _failure(failure: Failure) -> str:
    return f"{failure.rows:,} rows: {failure.example}"


def _count(tokens: int | None) -> str:
    return "?" if tokens is None else f"{tokens:,}"

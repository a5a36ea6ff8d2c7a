"""A report as Markdown."""

from __future__ import annotations

import re

from batch.renderers import words
from batch.renderers.table import Table, failures, groups, padded, prefixes
from batch.reports.report import Report
from batch.words import Kind

KIND: Kind = "text"
OURS = b"# What it cost\n\n* **runs** "

_MARKDOWN = re.compile(r"[\\`*_\[\]|~#]")


def text(report: Report) -> str:
    """For a page or an issue; nothing in it that others wrote is obeyed."""
    facts = "\n".join(f"* **{word}** {_escaped(said)}" for word, said in words.facts(report))
    sections = [f"# What it cost\n\n{facts}"]
    if report.groups:
        sections.append(_piped(groups(report, None)))
    if report.prefixes is not None:
        sections.append(f"## Prompt cache\n\n{_piped(prefixes(report.prefixes, None))}")
    if report.failures:
        sections.append(f"## Failures\n\n{_piped(failures(report))}")
    return "\n\n".join(sections) + "\n"


def _piped(table: Table) -> str:
    escaped = [[_escaped(cell) for cell in line] for line in table.lines]
    title, *lines = padded(Table([_escaped(title) for title in table.titles], escaped, table.keys))
    rule = [
        f"{'-' * (len(cell) - 1)}{'-' if at < table.keys else ':'}" for at, cell in enumerate(title)
    ]
    return "\n".join(f"| {' | '.join(line)} |" for line in [title, rule, *lines])


def _escaped(words_: str) -> str:
    plain = words_.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    return _MARKDOWN.sub(lambda found: f"\\{found[0]}", plain)

"""The pages for users, and what stands in them as code."""

from __future__ import annotations

import re
from pathlib import Path

ROOT = Path(__file__).parent.parent
PAGES = [
    ROOT / "README.md",
    *sorted((ROOT / "batch" / "docs").glob("*.md")),
    ROOT / "jobs" / "README.md",
]

TEXT = "\n\n".join(page.read_text(encoding="utf-8") for page in PAGES)

CONTRIBUTING = (ROOT / ".github" / "CONTRIBUTING.md").read_text(encoding="utf-8")
"""The page for those who change the program."""

_BLOCK = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)


def blocks(language: str) -> list[str]:
    """The blocks of code in a language."""
    return [text for kind, text in _BLOCK.findall(TEXT) if kind == language]


def spans(text: str | None = None) -> list[str]:
    """What stands in code font outside of blocks: everywhere, or in a text."""
    found = re.findall(r"`([^`]+)`", _BLOCK.sub("", TEXT if text is None else text))
    return [span.replace("\n", " ") for span in found]


def table(*header: str, text: str = TEXT) -> list[list[str]]:
    """The cells of the table with these headers, which is only once in the text."""
    start = f"| {' | '.join(header)} |\n".replace("|  |", "| |")
    assert text.count(start) == 1, f"{text.count(start)} tables begin with {start!r}, not one"
    after = text.partition(start)[2].splitlines()
    rows = after[1 : next(n for n, line in enumerate(after) if not line.startswith("|"))]
    return [[cell.strip() for cell in re.split(r"(?<!\\)\|", row)[1:-1]] for row in rows]


def commands() -> list[str]:
    """Every line of a block, or span, that calls the program: from its name on."""
    lines = [
        line for kind in ("console", "sh") for text in blocks(kind) for line in text.split("\n")
    ]
    calls = (re.search(r"\bbatchmill ([a-z].*)", line) for line in [*lines, *spans()])
    return [call[0] for call in calls if call]


def anchors(page: Path) -> set[str]:
    """What a link may name in a page: its headings, as GitHub writes them."""
    text = _BLOCK.sub("", page.read_text(encoding="utf-8"))
    headings = re.findall(r"^#+ (.+)$", text, re.MULTILINE)
    return {re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-") for heading in headings}


def links() -> list[tuple[Path, str]]:
    """The links to other places of the project: the page they are in, and what they name."""
    found = ((page, re.findall(r"\]\(([^)\s]+)\)", page.read_text("utf-8"))) for page in PAGES)
    return [(page, link) for page, named in found for link in named if "://" not in link]

"""`batchmill docs`: the pages for users, which come with the package."""

from __future__ import annotations

import sys
from pathlib import Path

import click

from batch import words
from batch.cli import put

PAGES = Path(__file__).parent.parent / "docs"


def _complete(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[str]:
    return [name for name in topics() if name.startswith(incomplete)]


@click.command()
@click.argument("topic", metavar="[TOPIC]", required=False, shell_complete=_complete)
def docs(topic: str | None) -> None:
    """Show a page of the documentation, or list them all.

    \b
    batchmill docs
    batchmill docs cost
    """
    if topic is None:
        put(_list())
        return
    text = _page(topic).read_text(encoding="utf-8").rstrip()
    if sys.stdout.isatty():
        click.echo_via_pager(words.fitting(text, "text", sys.stdout.encoding) + "\n")
    else:
        put(text)


def topics() -> dict[str, Path]:
    """The pages by their names."""
    return {path.stem: path for path in sorted(PAGES.glob("*.md"))}


def _list() -> str:
    """A line a topic: its name, and the heading of its page."""
    found = topics()
    width = max(map(len, found))
    lines = [f"{name:<{width}}  {_heading(path)}" for name, path in found.items()]
    return "\n".join(lines)


def _heading(path: Path) -> str:
    with path.open(encoding="utf-8") as page:
        return page.readline().removeprefix("# ").rstrip()


def _page(topic: str) -> Path:
    """Raises UsageError, which names the nearest, or all."""
    import difflib

    from batch.errors import UsageError

    found = topics()
    name = topic.casefold().removesuffix(".md")
    if name in found:
        return found[name]
    near = difflib.get_close_matches(name, found, n=1) or [one for one in found if name in one]
    meant = f"did you mean {near[0]}?" if near else f"the topics are {', '.join(found)}"
    raise UsageError(f"there is no topic {topic!r}; {meant}")

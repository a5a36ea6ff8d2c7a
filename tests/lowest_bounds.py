"""Prints, for pip's `-c`, the lowest versions that pyproject.toml allows of what the program needs."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

PROJECT = Path(__file__).parent.parent / "pyproject.toml"
EXTRAS = ("local", "tokens")


def lowest() -> list[str]:
    """A line a dependency: `aiohttp==3.14.3`, and where it is needed."""
    project = tomllib.loads(PROJECT.read_text(encoding="utf-8"))["project"]
    extras = [needed for extra in EXTRAS for needed in project["optional-dependencies"][extra]]
    return [_lowest(needed) for needed in [*project["dependencies"], *extras]]


def _lowest(needed: str) -> str:
    wanted, semicolon, where = needed.partition(";")
    name, version = re.findall(r"^([\w.-]+).*>=([\w.]+)", wanted)[0]
    return f"{name}=={version}{semicolon}{where}"


if __name__ == "__main__":
    print(*lowest(), sep="\n")

"""How a command speaks on stderr: in words, in one last line (`--quiet`), or in JSON lines."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import NamedTuple


class Manner(NamedTuple):
    """`as_json`: a program reads it, and nothing else is on stderr.  `quiet`: only the end is told."""

    as_json: bool = False
    quiet: bool = False


def of(words: Sequence[str]) -> Manner:
    """What a command line asks for, also where it cannot be understood."""
    flags = words[: words.index("--")] if "--" in words else words
    as_json = "--progress=json" in flags or ("--progress", "json") in pairwise(flags)
    return Manner(as_json, "--quiet" in flags)

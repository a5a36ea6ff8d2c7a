"""Which key of a job is meant by one that is none: misspelt, shortened, or in the wrong table.  Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from batch.requests.known_keys import KNOWN, nearest
from batch.requests.preflight import CLIENT_SIDE

TOP = ""
"""The table that has no name: the job itself."""

Keys = Mapping[str, Sequence[str]]
"""The keys of each table, TOP among them."""


def meant(wrong: str, table: str, keys: Keys, *, dotted: bool = False) -> str:
    """What to write for `wrong`, which stands in `table`; all that is known there where nobody knows.
    A key elsewhere is `dotted` where there is no file.
    """
    elsewhere = [name for name in keys if wrong in keys[name]]
    if not elsewhere and wrong in KNOWN:
        elsewhere = ["request"]
    if elsewhere:
        return f"(did you mean {_placed(wrong, elsewhere[0], dotted)}?)"
    if near := _alike(wrong, keys[table]):
        return f"(did you mean {' or '.join(near)}?)"
    if wrong in CLIENT_SIDE:
        return f"(did you mean {CLIENT_SIDE[wrong]}?)"
    if parameters := nearest(wrong):
        placed = [_placed(name, "request", dotted) for name in parameters]
        return f"(did you mean {' or '.join(placed)}?)"
    return f"(known: {', '.join(keys[table])})"


def _alike(wrong: str, known: Sequence[str]) -> list[str]:
    """Keys that are spelt like it, begin with its letters word by word (rpm), or have all its words."""
    import difflib

    if near := difflib.get_close_matches(wrong, known, n=3, cutoff=0.5):
        return near
    words = set(wrong.split("_"))
    return [
        key
        for key in known
        if wrong == "".join(word[0] for word in key.split("_")) or words <= set(key.split("_"))
    ]


def _placed(key: str, table: str, dotted: bool) -> str:
    if dotted:
        return f"{table}.{key}" if table else key
    return f"{key} in [{table}]" if table else f"{key}, which stands before the first [table]"

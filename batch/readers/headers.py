"""What the first lines of a CSV file tell: what stands between fields, and what columns are called."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Iterator, Sequence

DELIMITERS = (",", ";", "\t", "|")

MOST = 1_000
"""Records that are looked at."""

_SEP = re.compile(r"\"?sep=(.)\"?\r?\n?", re.IGNORECASE | re.DOTALL)


def named_by_excel(line: str) -> str | None:
    """What a first line `sep=;` names."""
    found = _SEP.fullmatch(line)
    return found[1] if found and found[1] not in "\r\n" else None


def delimiter(sample: str, usual: str, *, cut: bool) -> str:
    """What stands between the fields of a text that begins with `sample`, which may be `cut` off
    anywhere.  It is what is `usual` unless another character splits the header and most of the
    records into as many fields, and this one does not.
    """
    shares = {mark: _agreeing(sample, mark, cut) for mark in (usual, *DELIMITERS)}
    if shares[usual] == 1:
        return usual
    best = max(shares, key=lambda mark: shares[mark])  # the first of equals
    return best if shares[best] > max(shares[usual], 0.5) else usual


def _agreeing(sample: str, mark: str, cut: bool) -> float:
    """The share of the records that have as many fields as the header, which must have several."""
    widths = list(_widths(sample, mark))
    if cut and len(widths) < MOST:
        del widths[-1:]
    if not widths or widths[0] < 2:
        return 0.0
    return widths.count(widths[0]) / len(widths) if widths[1:] else 1.0


def _widths(sample: str, mark: str) -> Iterator[int]:
    reader = csv.reader(io.StringIO(sample, newline=""), delimiter=mark)
    found = 0
    while found < MOST:
        try:
            fields = next(reader)
        except (StopIteration, csv.Error):
            return
        if any(field.strip() for field in fields):
            found += 1
            yield len(fields)


def quoted_after_space(header: Sequence[str]) -> bool:
    """Whether spaces stand before the quotes, as in `id, "text"`."""
    return any(re.match(r" +\"", name) for name in header)


_KEPT = {ord(" "): "\ufdd0", ord("\t"): "\ufdd1"}
_SPACE = {ord(kept): chr(plain) for plain, kept in _KEPT.items()}


def fields(text: str, mark: str, spaced: bool) -> list[str]:
    """The names in a header, without the spaces around those that are not quoted."""
    parts = text.split('"')
    parts[1::2] = [inside.translate(_KEPT) for inside in parts[1::2]]
    lines = io.StringIO('"'.join(parts), newline="")
    found = next(csv.reader(lines, delimiter=mark, skipinitialspace=spaced), [])
    return [name.strip(" \t").translate(_SPACE) for name in found]


def names(found: Sequence[str]) -> list[str]:
    """A name of its own for every column: `column_3` for the third where it has none, `text_1` for
    the second `text`.  No new name is that of another column, whatever its case.
    """
    taken = {name.lower() for name in found}
    used: set[str] = set()
    made = []
    for place, name in enumerate(found, 1):
        own = name or f"column_{place}"
        if own in used or (not name and own.lower() in taken):
            own = _free(own, taken)
        taken.add(own.lower())
        used.add(own)
        made.append(own)
    return made


def _free(name: str, taken: set[str]) -> str:
    number = 1
    while f"{name}_{number}".lower() in taken:
        number += 1
    return f"{name}_{number}"

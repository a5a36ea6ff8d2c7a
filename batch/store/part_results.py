"""The results of one part, whether they are sealed, still in the journal, or both.

Takes no lock and changes nothing, so it works beside a running process: a part that is sealed
meanwhile is read again.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Sequence
from typing import TypeVar

import msgspec

from batch import columns
from batch.errors import Damaged
from batch.model import Result
from batch.run_folder import RunFolder
from batch.store import journal, parts, seal

T = TypeVar("T")


def generation(run: RunFolder, number: int) -> int:
    """That of the sealed part, 0 when there is none."""
    path = run.sealed(number)
    return parts.footer(path).generation if os.path.lexists(path) else 0


def journalled(run: RunFolder, number: int) -> list[journal.Entry]:
    """Where the results lie that the journal of a part adds to what is sealed of it."""
    before = generation(run, number)
    scan = journal.scan(run.opened(number).journal)
    newer = scan.header is not None and scan.header.generation == before + 1
    return scan.entries if newer else []


def results(run: RunFolder, number: int, names: Sequence[str] = seal.COUNTED) -> Iterable[Result]:
    """One result a row, of the rows that have one, in no order.  It holds only what the columns `names`
    tell, and all attempts of the row are added up.  Raises Damaged.
    """
    return steadily(run, number, lambda: together(run, number, journalled(run, number), names))


def together(
    run: RunFolder, number: int, entries: list[journal.Entry], names: Sequence[str] = seal.COUNTED
) -> list[Result]:
    """`results` of a part whose journal adds `entries`."""
    path = run.sealed(number)
    sealed = seal.results(path, names) if os.path.lexists(path) else ()
    latest = {result.row: result for result in sealed}
    for result in journal.results(run.opened(number).journal, entries) if entries else ():
        if columns.EMBEDDING.name not in names:
            result = msgspec.structs.replace(result, embedding=None)
        earlier = latest.get(result.row)
        latest[result.row] = result if earlier is None else seal.after(earlier, result)
    return list(latest.values())


def steadily(run: RunFolder, number: int, read: Callable[[], T]) -> T:
    """What `read` gives of a part, as if nobody were writing.  Raises Damaged, and what it raises."""
    while True:
        before = generation(run, number)
        try:
            found = read()
        except (Damaged, FileNotFoundError):
            if generation(run, number) == before:
                raise
        else:
            if generation(run, number) == before:
                return found

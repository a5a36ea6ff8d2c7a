"""What a run holds, read from outside: sealed parts and the journals of open ones, in row order.

Takes no lock and changes nothing, so it works beside a running process; a row is seen once,
wherever it lies.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import closing
from functools import partial
from pathlib import Path
from typing import NamedTuple

import pyarrow as pa

from batch import columns, sampling
from batch.damage import damaged
from batch.model import Sent
from batch.run_folder import RunFolder
from batch.store import part_results, parts, sends
from batch.store.files import parquet
from batch.store.seal import Layout, Merge
from batch.totals import Summary


def tables(run: RunFolder, layout: Layout) -> Iterator[pa.Table]:
    """All results, a bounded number of rows at a time."""
    for number in run.numbers():
        yield from part(run, number, layout)


def sampled(run: RunFolder, layout: Layout, size: int, seed: int) -> Iterator[pa.Table]:
    """A sample of the results, by their `row`, a bounded number of rows at a time."""
    import pyarrow.compute as pc  # 50 ms, at every start

    numbers = (chosen(run, number, layout, ["row"])["row"] for number in run.numbers())
    rows = sampling.smallest((each.combine_chunks() for each in numbers), size, seed)
    for table in tables(run, layout):
        yield table.filter(pc.is_in(table["row"], value_set=rows))


def part(
    run: RunFolder, number: int, layout: Layout, *, spooled: bool = True
) -> Iterator[pa.Table]:
    """The results of one part, also those that are still in its journal.  Raises Damaged, also where
    the spool lacks rows.  With `spooled` False the carried columns of these are null instead.
    """
    sealed = run.sealed(number)
    entries = part_results.journalled(run, number)
    if entries:
        old = sealed if os.path.lexists(sealed) else None
        made = Merge(run.opened(number), old, entries, layout, spooled=spooled)
        with closing(made) as merge:
            yield from merge.tables()
    elif os.path.lexists(sealed):  # also when it was sealed while we looked
        with parquet(sealed) as file:
            for batch in file.iter_batches(1024):
                yield pa.Table.from_batches([batch], schema=layout.schema)


def unanswered(run: RunFolder, layout: Layout) -> list[Sent]:
    """What was sent and is in no result: in flight, or lost in a kill."""
    lines = sends.read(run)
    if not lines:
        return []
    attempts: dict[int, int] = {}
    for number in run.numbers():
        both = chosen(run, number, layout, ["row", "attempts"]).columns
        attempts.update(zip(*(column.to_pylist() for column in both), strict=True))
    return [sent for sents in sends.unrecorded(lines, attempts).values() for sent in sents]


def chosen(run: RunFolder, number: int, layout: Layout, names: Sequence[str]) -> pa.Table:
    """Some columns of one part, while others may write it: a part that is sealed meanwhile is read again.
    Raises Damaged.  Carried columns are null where the spool lacks rows.
    """
    if not run.opened(number).path.exists():
        return _with_all(_read(run.sealed(number), names), names)
    return part_results.steadily(run, number, partial(_chosen, run, number, layout, names))


def _chosen(run: RunFolder, number: int, layout: Layout, names: Sequence[str]) -> pa.Table:
    there = [name for name in names if name in layout.schema.names]
    pieces = [table.select(there) for table in part(run, number, layout, spooled=False)]
    nothing = layout.schema.empty_table().select(there)
    return _with_all(pa.concat_tables([nothing, *pieces]), names)


def _with_all(table: pa.Table, names: Sequence[str]) -> pa.Table:
    """`table` with all of our columns; those that the run began without are null."""
    for name in names:
        if name not in table.column_names:
            table = table.append_column(name, columns.null(name, len(table)))
    return table.select(list(names))


def _read(sealed: Path, names: Sequence[str]) -> pa.Table:
    try:
        with parquet(sealed) as file:
            return file.read(list(names), use_threads=False)
    except FileNotFoundError:
        raise damaged(sealed, "is missing") from None


class Counted(NamedTuple):
    """What a run holds, added up.  `opened` parts are open; `finished` are the moments at which the rows
    in their journals were finished.
    """

    summary: Summary
    opened: int
    finished: list[float]


def counted(run: Path) -> Counted:
    """What the run in a folder holds; sealed parts count by their footers.  Raises Damaged."""
    folder = RunFolder(run)
    opened = folder.open_parts()
    whole, finished = Summary(), list[float]()
    for number in sorted(opened.keys() | folder.sealed_parts().keys()):
        if number in opened:
            found = part_results.steadily(folder, number, partial(_of_open, folder, number))
            whole.merge(found.summary)
            finished += found.finished
        else:
            whole.merge(parts.footer(folder.sealed(number)).summary)
    return Counted(whole, len(opened), finished)


def _of_open(run: RunFolder, number: int) -> Counted:
    """What an open part holds."""
    entries, sealed = part_results.journalled(run, number), run.sealed(number)
    if not entries and os.path.lexists(sealed):
        return Counted(parts.footer(sealed).summary, 1, [])
    whole, results = Summary(), part_results.together(run, number, entries)
    for result in results:
        whole.add(result)
    finished = [result.finished_at for result in results if result.finished_at is not None]
    return Counted(whole, 1, finished)

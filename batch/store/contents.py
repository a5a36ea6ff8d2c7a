"""What a run holds, read from outside: sealed parts and the journals of open ones, in row order.

Takes no lock and changes nothing, so it works beside a running process; a row is seen once,
wherever it lies.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from batch import columns
from batch.errors import Damaged
from batch.model import Sent
from batch.store import journal, parts, sends
from batch.store.seal import Layout, Merge


def tables(run: Path, layout: Layout) -> Iterator[pa.Table]:
    """All results, a bounded number of rows at a time."""
    for number in numbers(run):
        yield from part(run, number, layout)


def numbers(run: Path) -> list[int]:
    """The parts that hold results, in order; open ones are looked for first, as they move on."""
    paths = [*(run / "open").glob("part-*"), *(run / "completions").glob("part-*.parquet")]
    return sorted({number for path in paths if (number := parts.number(path)) is not None})


def part(run: Path, number: int, layout: Layout, *, spooled: bool = True) -> Iterator[pa.Table]:
    """The results of one part, those that are still in its journal included.  Raises Damaged, also
    where its rows are to be spooled anew: unless `spooled` is False, which makes their carried
    columns null.
    """
    sealed = _sealed(run, number)
    opened = run / "open" / parts.name(number)
    entries = journalled(run, number)
    if entries:
        old = sealed if sealed.exists() else None
        merge = Merge(opened, old, entries, layout, spooled=spooled)
        yield from merge.tables()
    elif sealed.exists():  # also when it was sealed while we looked
        for batch in pq.ParquetFile(sealed, pre_buffer=False).iter_batches(1024):
            yield pa.Table.from_batches([batch], schema=layout.schema)


def unanswered(run: Path, layout: Layout) -> list[Sent]:
    """What was sent and is in no result: in flight, or lost in a kill."""
    lines = sends.read(run)
    if not lines:
        return []
    attempts: dict[int, int] = {}
    for number in numbers(run):
        both = chosen(run, number, layout, ["row", "attempts"]).columns
        attempts.update(zip(*(column.to_pylist() for column in both), strict=True))
    return [sent for sents in sends.unrecorded(lines, attempts).values() for sent in sents]


def journalled(run: Path, number: int) -> list[journal.Entry]:
    """Where the results lie that the journal of a part adds to what is sealed of it."""
    generation = _generation(run, number)
    scan = journal.scan(run / "open" / parts.name(number) / journal.NAME)
    newer = scan.header is not None and scan.header.generation == generation + 1
    return scan.entries if newer else []


def chosen(run: Path, number: int, layout: Layout, names: Sequence[str]) -> pa.Table:
    """Some columns of one part, read as if nobody were writing: what is sealed meanwhile is read
    anew.  Raises Damaged.  What the input carried is null where a kill left it to be read again.
    """
    sealed = _sealed(run, number)
    if not (run / "open" / parts.name(number)).exists():
        return _with_all(_read(sealed, names), names)
    before = _generation(run, number)
    try:
        there = [name for name in names if name in layout.schema.names]
        pieces = [table.select(there) for table in part(run, number, layout, spooled=False)]
    except (Damaged, FileNotFoundError):
        if _generation(run, number) == before:
            raise
    else:
        if _generation(run, number) == before:
            nothing = layout.schema.empty_table().select(there)
            return _with_all(pa.concat_tables([nothing, *pieces]), names)
    return chosen(run, number, layout, names)


def _with_all(table: pa.Table, names: Sequence[str]) -> pa.Table:
    """`table` with the columns of ours that there were not yet when the run began, as null."""
    for name in names:
        if name not in table.column_names:
            table = table.append_column(name, columns.null(name, len(table)))
    return table.select(list(names))


def _read(sealed: Path, names: Sequence[str]) -> pa.Table:
    try:
        return pq.ParquetFile(sealed, pre_buffer=False).read(list(names), use_threads=False)
    except (pa.ArrowException, OSError) as error:  # as pyarrow meets damage
        problem = str(error).splitlines()[0]
        raise Damaged(f"{sealed}: cannot be read: {problem}") from None


def _generation(run: Path, number: int) -> int:
    """That of the sealed part, 0 when there is none."""
    sealed = _sealed(run, number)
    return parts.footer(sealed).generation if sealed.exists() else 0


def _sealed(run: Path, number: int) -> Path:
    return run / "completions" / f"{parts.name(number)}.parquet"

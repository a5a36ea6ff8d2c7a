"""What a start of a run has to do, in input order: parts of earlier starts to open again, and batches
of the input whose rows are asked.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator

import msgspec

from batch.model import Batch
from batch.readers import Watched
from batch.run_folder import RunFolder
from batch.store import spool
from batch.store.parts import Footer
from batch.store.recover import Found, Redo, end_of, to_do
from batch.store.sends import Unanswered
from batch.totals import Summary


class Reopen(msgspec.Struct, frozen=True):
    found: Found
    to_do: bytes
    taken_back: Summary
    attempts: dict[int, int]  # recorded of the rows that are taken back
    unanswered: Unanswered = {}  # what others have sent for its rows, and nobody recorded


class Slice(msgspec.Struct, frozen=True):
    """A batch of the reopened part that was `found`, or of new input (None)."""

    batch: Batch
    found: Found | None = None
    first_row: int = 0


class Filled(msgspec.Struct, frozen=True):
    found: Found


Step = Reopen | Slice | Filled
"""One thing to do: open a part again, ask the rows of a batch, or end the part's slice."""


Read = Callable[[Found], Iterator[Batch]]
"""Gives the rows of a part, from the input."""


def of_planned(
    run: RunFolder, watched: Watched, found: Iterable[Found], redo: Redo, limit: int | None
) -> Iterator[Step]:
    """The same where the parts were planned: only these are worked at, begun or not."""
    read = _forward(watched)
    for part in found:
        if _needs_work(part, redo):
            yield from _again(run, watched, part, redo, limit, read)
    watched.check()


def of_leased(
    run: RunFolder,
    watched: Watched,
    found: Iterable[tuple[Found, Unanswered]],
    redo: Redo,
    limit: int | None,
    passed_over: Callable[[Found], None],
) -> Iterator[Step]:
    """The same where parts come one by one, each with what others have sent for its rows.
    `passed_over` hears of those in which nothing is to do.
    """
    read = _forward(watched)
    for part, unanswered in found:
        begun = False
        if _needs_work(part, redo):
            for step in _again(run, watched, part, redo, limit, read):
                if isinstance(step, Reopen):
                    begun, step = True, msgspec.structs.replace(step, unanswered=unanswered)
                yield step
        if not begun:
            passed_over(part)
    watched.check()


def _forward(watched: Watched) -> Read:
    from batch.readers.forward import Forward

    forward = Forward(watched)

    def read(part: Found) -> Iterator[Batch]:
        return forward.batches(part.start, part.start_row, part.rows or 0)

    return read


def of(
    run: RunFolder, watched: Watched, found: list[Found], redo: Redo, limit: int | None
) -> Iterator[Step]:
    """All that is to be done, in input order.  Runs in the reader's thread.  Raises Changed."""

    def read(part: Found) -> Iterator[Batch]:
        return _first(watched.batches(part.start), part.rows)

    position, next_row = end_of(found)
    last: Reopen | None = None
    for part in found:
        if part.rows is None:
            last = _last(run, watched, part, redo, limit)
            yield last
        elif _needs_work(part, redo):
            yield from _again(run, watched, part, redo, limit, read)
    known = len(last.to_do) if last else 0
    left = None if limit is None else max(known, limit - next_row)
    if not redo.missing:
        left = known
    for batch in _first(watched.batches(position), left):
        yield Slice(batch)
    watched.check()


def _needs_work(part: Found, redo: Redo) -> bool:
    if part.generation > 0 or part.footer is None:
        return True
    return may_want(part.footer, redo)


def may_want(sealed: Footer, redo: Redo) -> bool:
    """Whether rows of a sealed part are perhaps to be asked."""
    return (redo.missing and not sealed.complete) or redo.anything_in(sealed.summary)


def _last(run: RunFolder, watched: Watched, part: Found, redo: Redo, limit: int | None) -> Reopen:
    """The last part, which is still open: its slice is read again, at least up to its last result."""
    wanted, taken_back, attempts = to_do(run, part, redo, watched.source.chosen)
    return Reopen(part, _up_to(limit, part, wanted), taken_back, attempts)


def _again(
    run: RunFolder, watched: Watched, part: Found, redo: Redo, limit: int | None, read: Read
) -> Iterator[Step]:
    assert part.rows is not None
    wanted, taken_back, attempts = to_do(run, part, redo, watched.source.chosen)
    wanted = _up_to(limit, part, wanted)
    if not any(wanted) and not part.generation:
        return
    yield Reopen(part, wanted, taken_back, attempts)
    first = part.start_row
    for batch in _slice_of(run, part, read):
        yield Slice(batch, part, first)
        first += len(batch.table)
    yield Filled(part)


def _up_to(limit: int | None, part: Found, to_do: bytes) -> bytes:
    """`to_do`, nothing being to do from row `limit` on."""
    kept = len(to_do) if limit is None else max(0, limit - part.start_row)
    return to_do[:kept].ljust(len(to_do), b"\0")


def _slice_of(run: RunFolder, part: Found, read: Read) -> Iterator[Batch]:
    if part.spooled:
        found = spool.read(run.opened(part.number).spool)
        return found[1] if found else iter(())
    return read(part)


def _first(batches: Iterator[Batch], rows: int | None) -> Iterator[Batch]:
    """The first `rows` rows; all of them when None."""
    for batch in batches:
        if rows is not None and rows <= len(batch.table):
            if rows:
                yield batch if rows == len(batch.table) else batch.cut(rows)[0]
            return
        yield batch
        rows = None if rows is None else rows - len(batch.table)

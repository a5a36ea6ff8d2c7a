"""What was sent and has no result yet: a line for every request, written before it leaves.

The lines for the rows of part N stand in `open/sent-N`.  They are not synced: they survive a kill of
the process, but a power cut may lose those of its last moments.

A line tells how many attempts of its row were recorded when the request left.  While that number is
the same, nobody knows what became of the request: an answer may have been computed and charged.  A
result of the row counts the request, too, and makes the number larger.  So each request is counted
once, whatever was killed in between.

A start gathers such lines of earlier starts in `open/sent`.  The file of a part is removed when the
part is sealed, unless some of its rows are still unanswered (a second Ctrl-C).
"""

from __future__ import annotations

import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path

import msgspec

from batch.errors import StorageError
from batch.model import Result, Sent
from batch.run_folder import RunFolder
from batch.sampling import Chosen
from batch.store import files, journal
from batch.store.append_files import AppendFiles
from batch.store.files import Disk
from batch.store.recover import Found

MOST_OPEN = 8
"""Files that are held open."""

_encoder = msgspec.json.Encoder()
_decoder = msgspec.json.Decoder(Sent)


class _Counted(msgspec.Struct):
    row: int
    attempts: int = 0


_counted = msgspec.json.Decoder(_Counted)

Unanswered = dict[int, list[Sent]]
"""By row."""

CountLost = Callable[[Result, Sequence[Sent]], Result]
"""Gives a result that counts lost requests of its row, too."""


def gathered(
    disk: Disk, run: RunFolder, found: list[Found], chosen: Chosen | None = None
) -> Unanswered:
    """What earlier starts sent and never recorded; it is durably in one file then.

    To be called under the lock, after `recover`.
    """
    paths = run.all_sent()
    if not paths:
        return {}
    lines = _read(paths)
    places = {row: row if chosen is None else chosen.place(row) for row in lines}
    parts_with = [part for part in found if any(_holds(part, at) for at in places.values())]
    unanswered = unrecorded(lines, _attempts(run, parts_with))
    kept = [sent for row in sorted(unanswered) for sent in unanswered[row]]
    if kept:
        disk.put(run.gathered, map(_line, kept), run.drafts)
    for path in paths:
        if not kept or path != run.gathered:
            disk.remove(path)
    disk.sync_folder(run.open)
    return unanswered


def gathered_of(disk: Disk, run: RunFolder, part: Found) -> Unanswered:
    """The same of one part that was planned: its requests stay in a file of their own, for whoever
    holds the part next.
    """
    path = run.sent(part.number)
    lines = _read([path])
    unanswered = unrecorded(lines, _attempts(run, [part])) if lines else {}
    if unanswered:
        kept = [sent for row in sorted(unanswered) for sent in unanswered[row]]
        disk.put(path, map(_line, kept), run.drafts)
    elif path.exists():
        disk.remove(path)
    return unanswered


def read(run: RunFolder) -> Unanswered:
    """All requests in the files, each once, without those that certainly cost nothing."""
    return _read(run.all_sent())


def _read(paths: Iterable[Path]) -> Unanswered:
    found: dict[tuple[int, float], Sent] = {}
    free: set[tuple[int, float]] = set()
    for path in paths:
        for sent in _lines(path):
            found[sent.row, sent.at] = sent
            if sent.free:
                free.add((sent.row, sent.at))
    by_row: Unanswered = {}
    for key, sent in found.items():
        if key not in free:
            by_row.setdefault(sent.row, []).append(sent)
    return by_row


def unrecorded(lines: Unanswered, attempts: Mapping[int, int]) -> Unanswered:
    """Those whose rows have had no result since."""
    left = {
        row: [sent for sent in sents if sent.before == attempts.get(row, 0)]
        for row, sents in lines.items()
    }
    return {row: sents for row, sents in left.items() if sents}


class Sends:
    """The files of the open parts.  `unanswered` is what earlier starts left."""

    def __init__(
        self,
        disk: Disk,
        run: RunFolder,
        unanswered: Unanswered | None = None,
        count_lost: CountLost = lambda result, lost: result,
    ) -> None:
        """`count_lost` adds what was sent for a row and never recorded to the row's result."""
        self._count_lost = count_lost
        self.disk = disk
        unanswered = unanswered or {}
        self._run = run
        self._lost = dict(unanswered)
        self._unanswered: Unanswered = {row: [*sents] for row, sents in unanswered.items()}
        self._files = AppendFiles(disk, run.sent, MOST_OPEN)
        self._new: dict[int, list[bytes]] = {}  # lines of each part that are not written yet

    def take_over(self, unanswered: Unanswered) -> None:
        """More rows have been sent by others, who recorded no answer."""
        self._lost |= unanswered
        self._unanswered |= {row: [*sents] for row, sents in unanswered.items()}

    def leaves(self, part: int, sent: Sent) -> None:
        """A request is about to leave; `write_down` before it does."""
        self._new.setdefault(part, []).append(_line(sent))
        self._unanswered.setdefault(sent.row, []).append(sent)

    def write_down(self) -> None:
        """Write the lines that are new: one call of the system for all that leave together.  Raises
        StorageError.
        """
        new, self._new = self._new, {}
        try:
            for part, lines in new.items():
                self._files.add(part, b"".join(lines))
        except StorageError:
            self._new = new  # whoever is about to leave besides must not
            raise

    def cost_nothing(self, rows: Iterable[tuple[int, int]]) -> None:
        """The last request of each of these, part and row, was certainly not charged.  Raises
        StorageError.
        """
        told = False
        for part, row in rows:
            if sents := self._unanswered.get(row):
                free = msgspec.structs.replace(sents.pop(), free=True)
                self._new.setdefault(part, []).append(_line(free))
                told = True
        if told:
            self.write_down()

    def answered(self, result: Result) -> Result:
        """The result of a row.  The one returned also counts what earlier starts sent and lost."""
        self._unanswered.pop(result.row, None)
        lost = self._lost.pop(result.row, None)
        return self._count_lost(result, lost) if lost else result

    def has_unanswered(self, rows: range) -> bool:
        """Whether a request for one of these rows is in no result."""
        return any(row in rows and sents for row, sents in self._unanswered.items())

    def close(self, part: int) -> None:
        """Close the file of a part, for which nothing more is expected to leave."""
        self._new.pop(part, None)
        self._files.close(part)

    def remove(self, part: int) -> None:
        """Remove the file of a part.  Durable with the next sync of `open/`."""
        self.disk.remove(self._run.sent(part))

    def end(self, durable: bool) -> None:
        """Close all files.  The gathered one is removed if all in it is answered, and `durable`."""
        self._files.close_all()
        path = self._run.gathered
        if durable and path.exists() and not any(self._unanswered.values()):
            self.disk.remove(path)
            self.disk.sync_folder(path.parent)


def _line(sent: Sent) -> bytes:
    encoded = _encoder.encode(sent)
    return b"%08x %s\n" % (zlib.crc32(encoded), encoded)


def _lines(path: Path) -> Iterator[Sent]:
    """The whole lines of a file; of none when it is gone."""
    with suppress(FileNotFoundError), files.stored(path) as file:
        for raw in file:
            payload = journal.payload(raw)
            if payload is not None:
                yield _decoder.decode(payload)


def _holds(part: Found, place: int) -> bool:
    return part.start_row <= place and (part.rows is None or place < part.start_row + part.rows)


def _attempts(run: RunFolder, found: Iterable[Found]) -> dict[int, int]:
    """Attempts recorded of each row that has a result."""
    counted: dict[int, int] = {}
    for part in found:
        if part.footer is not None:
            with files.parquet(run.sealed(part.number)) as file:
                table = file.read(["row", "attempts"])
            counted.update(zip(*(column.to_pylist() for column in table.columns), strict=True))
        if part.generation:
            for payload in journal.payloads(run.opened(part.number).journal):
                result = _counted.decode(payload)
                counted[result.row] = counted.get(result.row, 0) + result.attempts
    return counted

"""budget.json: what a run has taken from the cap on its cost.  What stands there may have been spent."""

from __future__ import annotations

from decimal import Decimal
from pathlib import Path

import msgspec

from batch.damage import damaged
from batch.run_folder import RunFolder
from batch.store import lock
from batch.store.files import Disk, content


class Cap(msgspec.Struct, frozen=True):
    """A cap in USD that a flag gave; `usd` None lifts the job's.  It holds until another flag, or until
    the job's own cap is no longer the `in_job` of that time.
    """

    usd: float | None
    in_job: float | None = None


class Withdrawals(msgspec.Struct, frozen=True, omit_defaults=True):
    """USD that starts with a cap have drawn.

    A start without a cap draws nothing.  `held_usd` is then what the run's rows had cost when it began:
    whatever they cost beyond that was spent besides.  `cap` is the one that a flag gave.
    """

    drawn_usd: Decimal = Decimal(0)
    held_usd: Decimal | None = Decimal(0)
    cap: Cap | None = None

    def spent(self, held: Decimal) -> Decimal:
        """USD that may have been spent, now that the rows have cost `held`."""
        if self.held_usd is None:
            return max(held, self.drawn_usd)
        return max(held, self.drawn_usd + held - self.held_usd)


def read(run: RunFolder) -> Withdrawals | None:
    """What the run has drawn, or its worker; None when no start had a cap.  Raises Damaged."""
    return read_file(run.budget)


def of_all(run: RunFolder) -> Withdrawals:
    """What all that ever worked at the run have drawn together.  Raises Damaged."""
    whole = read(RunFolder(run.path)) or Withdrawals()
    each = [read_file(path) or Withdrawals() for path in run.budgets()]
    return msgspec.structs.replace(
        whole, drawn_usd=sum((one.drawn_usd for one in each), Decimal(0))
    )


def read_file(path: Path) -> Withdrawals | None:
    """What stands in one of a run's files of money; None where there is none.  Raises Damaged."""
    found = content(path)
    try:
        return None if found is None else msgspec.json.decode(found, type=Withdrawals)
    except ValueError as error:
        raise damaged(path, str(error)) from None


def write(disk: Disk, run: RunFolder, drawn: Withdrawals) -> None:
    """Write it, durably: takes 5 ms."""
    disk.put(run.budget, [msgspec.json.encode(drawn), b"\n"], run.drafts)


class Alone:
    """The account of a process that has the run to itself."""

    others = Decimal(0)

    def __init__(self, disk: Disk, run: RunFolder) -> None:
        self._disk = disk
        self._run = run

    def draw(self, wished: Decimal, least: Decimal) -> Decimal:
        """See Account."""
        self.record(wished)
        return wished

    def record(self, spent: Decimal) -> None:
        """See Account."""
        now = read(self._run) or Withdrawals()
        kept = msgspec.structs.replace(now, drawn_usd=spent, held_usd=None)
        write(self._disk, self._run, kept)


class Shared:
    """The account of a worker.  Each has a file of its own, and the sum of all is held to the cap under a
    lock, so that it holds however many there are, and whatever becomes of them.
    """

    def __init__(self, disk: Disk, run: RunFolder, cap: Decimal, workers: int) -> None:
        """A worker takes small slices at the end, so that little lies idle with others."""
        self._disk = disk
        self._run = run
        self._cap = cap
        self._workers = workers
        self._drawn = (read(run) or Withdrawals()).drawn_usd
        self.others = of_all(run).drawn_usd - self._drawn

    def draw(self, wished: Decimal, least: Decimal) -> Decimal:
        """See Account."""
        with lock.of_budget(self._run):
            self._look()
            left = self._cap - self.others
            share = self._drawn + max(left - self._drawn, Decimal(0)) / (2 * self._workers)
            amount = min(left, max(least, min(wished, share)))
            if least <= amount:
                self._write(amount)
        return self._drawn

    def record(self, spent: Decimal) -> None:
        """See Account."""
        with lock.of_budget(self._run):
            self._look()
            self._write(spent)

    def _look(self) -> None:
        self.others = of_all(self._run).drawn_usd - self._drawn

    def _write(self, amount: Decimal) -> None:
        write(self._disk, self._run, Withdrawals(amount, None))
        self._drawn = amount


def begin_without_cap(disk: Disk, run: RunFolder, held: Decimal) -> None:
    """Note that a start without a cap begins, when the rows have cost `held` USD."""
    known = read(run)
    if known is not None and known.held_usd is None:
        write(disk, run, msgspec.structs.replace(known, held_usd=held))


def cap_of(run: Path, in_job: float | None) -> Cap | None:
    """The cap that a flag gave an earlier start of the run in a folder, if it still holds.  `in_job` is
    the job's own.
    """
    known = read(RunFolder(run))
    if known is None or known.cap is None or known.cap.in_job != in_job:
        return None
    return known.cap


def keep_cap(disk: Disk, run: RunFolder, cap: Cap | None) -> None:
    """Let later starts know what a flag gave; None where the job's own cap holds."""
    known = read(run) or Withdrawals()
    if known.cap != cap:
        write(disk, run, msgspec.structs.replace(known, cap=cap))

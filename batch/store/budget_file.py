"""budget.json: what a run has taken from the cap on its cost.  What stands there may have been spent."""

from __future__ import annotations

from decimal import Decimal
from pathlib import Path

import msgspec

from batch.damage import damaged
from batch.run_folder import RunFolder
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
    """What the run has drawn; None when no start had a cap.  Raises Damaged."""
    found = content(run.budget)
    try:
        return None if found is None else msgspec.json.decode(found, type=Withdrawals)
    except ValueError as error:
        raise damaged(run.budget, str(error)) from None


def write(disk: Disk, run: RunFolder, drawn: Withdrawals) -> None:
    """Write it, durably: takes 5 ms."""
    disk.put(run.budget, [msgspec.json.encode(drawn), b"\n"], run.drafts)


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

"""budget.json: what a run has taken from the cap on its cost.  What stands there may have been spent."""

from __future__ import annotations

from decimal import Decimal
from pathlib import Path

import msgspec

from batch.errors import Damaged
from batch.store.files import Disk

NAME = "budget.json"


class Drawn(msgspec.Struct, frozen=True, omit_defaults=True):
    """USD drawn by starts with a cap.  A start without one draws nothing: `held_usd` is then what the
    run's rows had cost when it began, and what they cost beyond that was spent besides.
    """

    drawn_usd: Decimal = Decimal(0)
    held_usd: Decimal | None = Decimal(0)

    def spent(self, held: Decimal) -> Decimal:
        """USD that may have been spent, now that the rows have cost `held`."""
        if self.held_usd is None:
            return max(held, self.drawn_usd)
        return max(held, self.drawn_usd + held - self.held_usd)


def read(run: Path) -> Drawn | None:
    """What the run has drawn; None when no start had a cap.  Raises Damaged."""
    path = run / NAME
    try:
        return msgspec.json.decode(path.read_bytes(), type=Drawn)
    except FileNotFoundError:
        return None
    except (msgspec.DecodeError, OSError) as error:
        raise Damaged(f"{path}: {error}") from None


def write(disk: Disk, run: Path, drawn: Drawn) -> None:
    """Make it durable: 5 ms."""
    disk.put(run / NAME, [msgspec.json.encode(drawn), b"\n"], run / "tmp")


def begin_without_cap(disk: Disk, run: Path, held: Decimal) -> None:
    """A start without a cap begins, whose rows will have cost what they do beyond `held` USD."""
    known = read(run)
    if known is not None and known.held_usd is None:
        write(disk, run, Drawn(known.drawn_usd, held))

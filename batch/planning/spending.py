"""What a run may still spend under its cap."""

from __future__ import annotations

import itertools
from decimal import Decimal

import msgspec

from batch import lost as losses
from batch.costs.budget import SLICE, Budget, Reservations
from batch.planning.open_run import Opened, Say
from batch.planning.prepare import Prepared
from batch.store import budget_file
from batch.store.budget_file import Withdrawals
from batch.store.sends import Unanswered
from batch.totals import Totals
from batch.words import money


def reservations(
    prepared: Prepared, opened: Opened, before: Totals, unanswered: Unanswered, say: Say
) -> Reservations | None:
    """What may still be spent; None where nothing caps it.  The rows that the run holds (`before`)
    have cost what they say, and what they cannot say at its most.
    """
    disk, run = opened.disk, opened.run
    totals, cap = before, prepared.asked.limits.max_cost_usd
    held = Decimal(repr(totals.cost_usd + totals.unconfirmed_cost_usd))
    if cap is None:
        budget_file.begin_without_cap(disk, run, held)
        return None
    known = budget_file.read(run) or Withdrawals()
    if known.held_usd is not None:  # the start before had no cap; what it had in flight is lost
        lost_usd, unbounded = losses.worst_of(
            itertools.chain(*unanswered.values()), prepared.pricer
        )
        held += lost_usd
        missed = totals.unpriced_rows + totals.unbounded_attempts + unbounded
        if missed:
            say(
                f"what {missed:,} rows cost that were asked without a cap is not known, nor in the cap"
            )
    lost = known.spent(held) - held
    if lost > SLICE * Decimal(repr(cap)):
        say(f"{money(lost)} beyond what the rows cost counts as spent: it was in flight at a kill")

    def draw(amount: Decimal) -> None:
        now = budget_file.read(run) or Withdrawals()
        kept = msgspec.structs.replace(now, drawn_usd=amount, held_usd=None)
        budget_file.write(disk, run, kept)

    return Reservations(Budget(Decimal(repr(cap)), known.spent(held), draw), prepared.pricer)

"""What a run may still spend under its cap."""

from __future__ import annotations

import itertools
from decimal import Decimal

import msgspec

from batch import lost as losses
from batch.costs.budget import SLICE, Budget, Reservations
from batch.planning.opened import Opened, Say
from batch.planning.prepare import Prepared
from batch.run_folder import RunFolder
from batch.store import budget_file, contents, lock
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
    disk, run, cap = opened.disk, opened.run, prepared.asked.limits.max_cost_usd
    if run.worker:
        if cap is None and not run.budgets():
            return None
        with lock.of_budget(run):
            return _shared(prepared, opened, say)
    held = _held(before)
    if cap is None:
        budget_file.begin_without_cap(disk, run, held)
        return None
    spent = _spent(prepared, budget_file.of_all(run), before, unanswered, say)
    account = budget_file.Alone(disk, run)
    return Reservations(Budget(Decimal(repr(cap)), spent, account), prepared.pricer)


def _shared(prepared: Prepared, opened: Opened, say: Say) -> Reservations | None:
    """The same for one of several workers: what all rows of the run have cost counts, whoever asked
    them.
    """
    disk, run, cap = opened.disk, opened.run, prepared.asked.limits.max_cost_usd
    whole, known = RunFolder(run.path), budget_file.of_all(run)
    before = contents.counted(run.path).summary.totals()
    if cap is None:
        budget_file.begin_without_cap(disk, whole, _held(before))
        return None
    lost: Unanswered = {}
    if known.held_usd is not None:
        for sent in contents.unanswered(whole, opened.layout):
            lost.setdefault(sent.row, []).append(sent)
    more = _spent(prepared, known, before, lost, say, is_shared=True) - known.drawn_usd
    common = budget_file.read(whole) or Withdrawals()
    budget_file.write(disk, whole, msgspec.structs.replace(common, held_usd=None))
    own = (budget_file.read(run) or Withdrawals()).drawn_usd + more
    budget_file.write(disk, run, Withdrawals(own, None))
    shard = prepared.terms.shard
    account = budget_file.Shared(disk, run, Decimal(repr(cap)), 1 if shard is None else shard.of)
    return Reservations(Budget(Decimal(repr(cap)), own, account), prepared.pricer)


def _held(before: Totals) -> Decimal:
    """USD that rows have cost, at most."""
    return Decimal(repr(before.cost_usd + before.unconfirmed_cost_usd))


def _spent(
    prepared: Prepared,
    known: Withdrawals,
    before: Totals,
    unanswered: Unanswered,
    say: Say,
    *,
    is_shared: bool = False,
) -> Decimal:
    """USD that may have been spent of the cap before now.  Where the run `is_shared`, others may be
    spending it.
    """
    held, cap = _held(before), prepared.asked.limits.max_cost_usd
    if known.held_usd is not None:  # the start before had no cap; what it had in flight is lost
        lost_usd, unbounded = losses.worst_of(
            itertools.chain(*unanswered.values()), prepared.pricer
        )
        held += lost_usd
        missed = before.unpriced_rows + before.unbounded_attempts + unbounded
        if missed:
            say(
                f"what {missed:,} rows cost that were asked without a cap is not known, nor in the cap"
            )
    spent = known.spent(held)
    if not is_shared and spent - held > SLICE * Decimal(repr(cap)):
        beyond = f"{money(spent - held)} beyond what the rows cost"
        say(f"{beyond} counts as spent: it was in flight at a kill")
    return spent
